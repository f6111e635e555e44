//! The life of one socket: what comes is answered in order, messages go out as far as they were granted, and every end has its
//! code. One task; nothing is sent before what was sent is with the kernel, which bounds what a slow client costs.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tidings_engine::{MessageId, PresenceEvent, Received, Subscriber};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::frames::{self, Protocol, Said, Told};
use super::window::{NeverSent, Window};
use crate::http::error::{ApiError, ApiResult};
use crate::http::limits::{BATCH_BYTES, CLOSE_TIME, CREDIT_MAX, SOCKET_OUTCOMES, SOCKET_SILENCE};
use crate::http::publish::{self, Confirm, Waiting};
use crate::http::shared::Shared;
use crate::http::stream::presence::Watch;
use crate::http::stream::{Pulse, Woken};

/// Frames over the connection of a request.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What a socket begins with.
pub struct Begun {
    /// When it has to look around.
    pub pulse: Pulse,
    /// What handlers have.
    pub shared: Arc<Shared>,
    /// What it is about.
    pub overlay: String,
    /// Its subscription, if it has one.
    pub subscriber: Option<Subscriber>,
    /// What it is told of presence from, if it is.
    pub watch: Option<Watch>,
    /// Messages that may be unacknowledged.
    pub credit: usize,
    /// In which form they go.
    pub protocol: Protocol,
}

/// See the module.
pub struct Talk {
    socket: Socket,
    pulse: Pulse,
    shared: Arc<Shared>,
    overlay: String,
    subscriber: Option<Subscriber>,
    window: Window<(u32, MessageId)>,
    watch: Option<Watch>,
    protocol: Protocol,
    /// When something came last.
    heard: Instant,
    /// A message of the client that is about to be accepted.
    accepting: Option<Accepting>,
    /// Those whose outcomes are waited for.
    settling: Vec<Settling>,
}

type Accepting = Pin<Box<dyn Future<Output = (u64, ApiResult<Waiting>)> + Send>>;
type Settling = Pin<Box<dyn Future<Output = Told> + Send>>;

/// What is next.
enum Next {
    /// The client said something, or nothing any more.
    Heard(Option<tungstenite::Result<Message>>),
    /// A message of the client was accepted, or refused.
    Accepted(u64, ApiResult<Waiting>),
    /// The outcomes of one are there.
    Settled(Told),
    /// There is something to read, and leave to send it.
    Messages,
    /// A member came or went.
    Change(PresenceEvent),
    /// The subscription or the overlay went.
    Closed,
    Woken(Woken),
}

/// Why a socket ends.
enum End {
    /// The client closed it.
    Client,
    /// The connection is gone.
    Lost,
    /// The node closes it.
    Node {
        code: u16,
        reason: &'static str,
        error: Option<ApiError>,
    },
}

impl End {
    /// With one of RFC 6455's codes, or of docs/management.md's from 4400.
    fn of(code: u16, reason: &'static str) -> Self {
        let error = None;
        Self::Node {
            code,
            reason,
            error,
        }
    }

    fn with(code: u16, error: ApiError) -> Self {
        Self::Node {
            code,
            reason: error.code(),
            error: Some(error),
        }
    }

    /// What the client sent is no frame, or a frame that has no sense here.
    fn bad_frame(error: ApiError) -> Self {
        Self::with(4400, error)
    }

    fn closed() -> Self {
        Self::of(4404, "overlay_removed")
    }

    /// What the node could not do now.
    fn later(error: ApiError) -> Self {
        match error.code() {
            "no_overlay" => Self::closed(),
            "stopping" => Self::stopping(),
            _ => Self::with(1013, error),
        }
    }

    fn stopping() -> Self {
        Self::of(1001, "stopping")
    }
}

impl From<tungstenite::Error> for End {
    fn from(error: tungstenite::Error) -> Self {
        use tungstenite::Error::{Capacity, Protocol, Utf8};
        use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
        match error {
            Capacity(_) => Self::of(1009, "too_large"),
            Utf8(_) => Self::of(1007, "not_utf8"),
            Protocol(ResetWithoutClosingHandshake) => Self::Lost,
            Protocol(_) => Self::of(1002, "bad_websocket"),
            _ => Self::Lost,
        }
    }
}

impl Talk {
    /// Over `socket`, which has just begun.
    pub fn new(socket: Socket, begun: Begun) -> Self {
        Self {
            socket,
            pulse: begun.pulse,
            shared: begun.shared,
            overlay: begun.overlay,
            subscriber: begun.subscriber,
            window: Window::new(begun.credit),
            watch: begun.watch,
            protocol: begun.protocol,
            heard: Instant::now(),
            accepting: None,
            settling: Vec::new(),
        }
    }

    /// Talks until one end has enough.
    pub async fn run(mut self) {
        let end = match self.begin().await {
            Ok(()) => loop {
                let next = self.next().await;
                if let Err(end) = self.step(next).await {
                    break end;
                }
            },
            Err(end) => end,
        };
        // Whoever attaches next finds them free, however long the farewell takes.
        (self.subscriber, self.watch) = (None, None);
        // It cannot be helped if the client has not heard.
        let _ = timeout(CLOSE_TIME, farewell(&mut self.socket, end)).await;
    }

    async fn begin(&mut self) -> Result<(), End> {
        let pending = self.subscriber.iter().flat_map(Subscriber::partial);
        let open = Told::Open {
            pending: pending.map(ToString::to_string).collect(),
            credit: self.window.credit(),
        };
        self.tell(&open).await?;
        if let Some(watch) = &self.watch {
            let told = Told::Snapshot {
                members: watch.snapshot().members,
            };
            self.tell(&told).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, told: &Told) -> Result<(), End> {
        Ok(self.socket.send(told.text()).await?)
    }

    async fn next(&mut self) -> Next {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let beat = match self.pulse.poll(context) {
            // The end before all, the beat after what there is to tell.
            Poll::Ready(end @ (Woken::Stop | Woken::Revoked)) => {
                return Poll::Ready(Next::Woken(end));
            }
            beat => beat,
        };
        if let Poll::Ready(told) = self.poll_settling(context) {
            return Poll::Ready(Next::Settled(told));
        }
        match &mut self.accepting {
            // Frames are taken in their order: none before this one is done.
            Some(accepting) => {
                if let Poll::Ready((number, accepted)) = accepting.as_mut().poll(context) {
                    self.accepting = None;
                    self.heard = Instant::now();
                    return Poll::Ready(Next::Accepted(number, accepted));
                }
            }
            None => {
                if let Poll::Ready(heard) = self.socket.poll_next_unpin(context) {
                    self.heard = Instant::now();
                    return Poll::Ready(Next::Heard(heard));
                }
            }
        }
        if let Poll::Ready(next) = self.poll_messages(context) {
            return Poll::Ready(next);
        }
        if let Some(watch) = &mut self.watch
            && let Poll::Ready(change) = watch.poll_next(context)
        {
            return Poll::Ready(change.map_or(Next::Closed, Next::Change));
        }
        beat.map(Next::Woken)
    }

    fn poll_settling(&mut self, context: &mut Context<'_>) -> Poll<Told> {
        for at in 0..self.settling.len() {
            if let Poll::Ready(told) = self.settling[at].as_mut().poll(context) {
                // Each has its own future: the order is of no account.
                drop(self.settling.swap_remove(at));
                return Poll::Ready(told);
            }
        }
        Poll::Pending
    }

    fn poll_messages(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let Some(subscriber) = &mut self.subscriber else {
            return Poll::Pending;
        };
        let is_ready = subscriber.poll_ready(context);
        if subscriber.is_superseded() {
            return Poll::Ready(Next::Closed);
        }
        match is_ready {
            Poll::Ready(true) if self.window.is_open() => Poll::Ready(Next::Messages),
            // What was not granted stays where it is, and says nothing of the end.
            Poll::Ready(true) => subscriber.poll_closed(context).map(|()| Next::Closed),
            Poll::Pending => Poll::Pending,
            Poll::Ready(false) => Poll::Ready(Next::Closed),
        }
    }

    async fn step(&mut self, next: Next) -> Result<(), End> {
        match next {
            Next::Heard(heard) => self.hear(heard.ok_or(End::Lost)??).await,
            Next::Accepted(number, accepted) => self.accepted(number, accepted).await,
            Next::Settled(told) => self.tell(&told).await,
            Next::Messages => self.send_messages().await,
            Next::Change(first) => self.tell_changes(first).await,
            Next::Closed => Err(self.closed()),
            Next::Woken(Woken::Stop) => Err(End::stopping()),
            Next::Woken(Woken::Revoked) => Err(End::of(4401, "token_ended")),
            Next::Woken(Woken::Beat) => {
                if self.accepting.is_none() && self.heard.elapsed() >= SOCKET_SILENCE {
                    return Err(End::of(4408, "silent"));
                }
                self.pulse.reset();
                Ok(self.socket.send(Message::Ping(Bytes::new())).await?)
            }
        }
    }

    /// Whether what this socket is about is gone.
    fn is_over(&self) -> bool {
        self.subscriber.as_ref().is_some_and(Subscriber::is_closed)
            || self.watch.as_ref().is_some_and(Watch::is_closed)
    }

    fn closed(&self) -> End {
        match &self.subscriber {
            Some(subscriber) if subscriber.is_superseded() => End::of(4409, "taken_over"),
            _ => End::closed(),
        }
    }

    async fn hear(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Text(_) | Message::Binary(_) => {}
            Message::Close(_) => return Err(End::Client),
            // What answers a ping is in the socket already.
            _ => return Ok(self.socket.flush().await?),
        }
        let (said, payload) = frames::read(&message).map_err(End::bad_frame)?;
        let is_order = matches!(said, Said::Publish { .. } | Said::Unsubscribe {});
        if is_order && self.is_over() {
            // Another socket has the subscription, or another overlay the name: it is not for them.
            return Err(self.closed());
        }
        match said {
            Said::Ack { n, upto } => self.acknowledge(n, upto),
            Said::Credit { messages } if messages <= CREDIT_MAX => {
                self.window.grant(messages);
                Ok(())
            }
            Said::Credit { messages } => Err(End::bad_frame(frames::bad(
                format!("credit of {messages} messages is too much"),
                "grant 1024 at most",
            ))),
            Said::Publish {
                r#ref,
                topic,
                confirm,
                timeout,
                ..
            } => {
                let confirm = Confirm::said(confirm.as_deref(), timeout.as_deref());
                self.publish(r#ref, topic, payload, confirm).await
            }
            Said::Unsubscribe {} => Err(self.unsubscribe().await),
        }
    }

    fn acknowledge(&mut self, n: Option<u64>, upto: Option<u64>) -> Result<(), End> {
        let acknowledged: Result<Vec<_>, NeverSent> = match (n, upto) {
            (Some(n), None) => self.window.acknowledge(n).map(Vec::from_iter),
            (None, Some(upto)) => {
                let all = self.window.acknowledge_upto(upto);
                all.map(|all| all.into_values().collect())
            }
            _ => {
                return Err(End::bad_frame(frames::bad(
                    "an acknowledgement has either `n` or `upto`",
                    "say which message, or up to which",
                )));
            }
        };
        let acknowledged = acknowledged.map_err(|NeverSent(number)| {
            End::bad_frame(frames::bad(
                format!("no message of this socket has the number {number}"),
                "acknowledge by the `n` that came with the message, over the same socket",
            ))
        })?;
        if let Some(subscriber) = &mut self.subscriber {
            for (sub, id) in acknowledged {
                subscriber.ack(sub, id);
            }
            subscriber.flush();
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        number: u64,
        topic: String,
        payload: Bytes,
        confirm: ApiResult<Confirm>,
    ) -> Result<(), End> {
        if !self.pulse.may() {
            return Err(End::of(4401, "token_ended"));
        }
        let is_full = self.settling.len() >= SOCKET_OUTCOMES;
        let confirm = confirm.and_then(|confirm| match confirm {
            Confirm::Delivered(_) if is_full => Err(ApiError::too_many(
                "busy",
                "the outcomes of 8 messages of this socket are waited for already",
                1,
            )),
            confirm => Ok(confirm),
        });
        match confirm {
            Err(error) => self.tell(&failed(number, error)).await,
            Ok(confirm) => {
                let (shared, overlay) = (Arc::clone(&self.shared), self.overlay.clone());
                self.accepting = Some(Box::pin(async move {
                    let accepted = publish::order(shared, overlay, topic, payload, confirm);
                    (number, accepted.await)
                }));
                Ok(())
            }
        }
    }

    async fn accepted(&mut self, number: u64, accepted: ApiResult<Waiting>) -> Result<(), End> {
        let waiting = match accepted {
            Ok(waiting) => waiting,
            Err(error) => return self.tell(&failed(number, error)).await,
        };
        let told = Told::Accepted {
            r#ref: number,
            view: waiting.view(),
        };
        if waiting.is_to_settle() {
            self.settling.push(Box::pin(settled(number, waiting)));
        }
        self.tell(&told).await
    }

    /// What there is to read, as far as it was granted and up to the bytes that go out together.
    async fn send_messages(&mut self) -> Result<(), End> {
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && self.window.is_open()
            && let Some(subscriber) = &mut self.subscriber
            && let Some(received) = subscriber.try_next()
        {
            let frame = match received {
                Received::Message(message) => {
                    let told = Told::Message {
                        n: self.window.send((message.sub, message.id)),
                        topic: message.topic.to_owned(),
                        publisher: message.id.publisher.into(),
                        seq: message.id.seq,
                        again: message.again,
                        data: None,
                    };
                    told.message(message.payload, self.protocol)
                }
                Received::Gap(gap) => {
                    let told = Told::Gap {
                        topic: gap.topic.to_string(),
                        publisher: gap.publisher.into(),
                        from: gap.from,
                        to: gap.to,
                        reason: gap.reason.label(),
                    };
                    told.text()
                }
            };
            bytes += frame.len();
            self.socket.feed(frame).await?;
        }
        Ok(self.socket.flush().await?)
    }

    async fn tell_changes(&mut self, first: PresenceEvent) -> Result<(), End> {
        let Some(watch) = &mut self.watch else {
            return Ok(());
        };
        for (event, change) in watch.changes(first).await.map_err(End::later)? {
            let told = Told::Presence {
                event,
                id: change.id,
                member: change.member,
            };
            self.socket.feed(told.text()).await?;
        }
        Ok(self.socket.flush().await?)
    }

    async fn unsubscribe(&mut self) -> End {
        // Those that are acknowledged are before it.
        let Some(subscriber) = self.subscriber.take() else {
            return End::of(1000, "unsubscribed");
        };
        let ended = self
            .shared
            .ask_overlay(self.overlay.clone(), move |engine, id| {
                // It may have gone to another socket while this waited for its turn.
                let is_ours = !subscriber.is_closed();
                if is_ours {
                    engine.unsubscribe(id, subscriber.subs())?;
                }
                Ok((is_ours, subscriber))
            });
        match ended.await {
            Ok((true, _)) => End::of(1000, "unsubscribed"),
            Ok((false, subscriber)) => {
                self.subscriber = Some(subscriber);
                self.closed()
            }
            Err(error) => End::later(error),
        }
    }
}

fn failed(number: u64, error: ApiError) -> Told {
    Told::Failed {
        r#ref: number,
        error,
        delivered: None,
        failed: None,
    }
}

async fn settled(number: u64, waiting: Waiting) -> Told {
    match waiting.settled().await {
        Ok((delivered, failures)) if failures.is_empty() => Told::Delivered {
            r#ref: number,
            delivered,
        },
        Ok((delivered, failures)) => Told::Failed {
            r#ref: number,
            error: publish::not_delivered(&failures),
            delivered: Some(delivered),
            failed: Some(failures),
        },
        Err(error) => failed(number, error),
    }
}

async fn farewell(socket: &mut Socket, end: End) -> tungstenite::Result<()> {
    match end {
        End::Lost => return Ok(()),
        // The answer to a close is in the socket already.
        End::Client => socket.flush().await?,
        End::Node {
            code,
            reason,
            error,
        } => {
            if let Some(error) = error {
                socket.send(Told::Error { error }.text()).await?;
            }
            let code = CloseCode::from(code);
            let reason = reason.into();
            socket.close(Some(CloseFrame { code, reason })).await?;
        }
    }
    // Were a connection closed on which something still comes, the kernel would take back what it has not sent yet.
    let io = socket.get_mut();
    io.shutdown().await?;
    let mut rest = [0; 1024];
    while io.read(&mut rest).await? > 0 {}
    Ok(())
}
