//! One connection to the daemon, for as long as the program lives: commands go out in batches, events come back in the
//! order in which the daemon sent them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use tidings_wire::client::frame::split;
use tidings_wire::client::presence::{
    FLAG_END, FLAG_REACHED, FLAG_SELF, FLAG_SNAPSHOT, Unwatch, Watch,
};
use tidings_wire::client::publish::{AskOwed, Close, Open, PUBLISH_OVERHEAD, PublishRun};
use tidings_wire::client::query::{Leave, Query, Topic};
use tidings_wire::client::subscribe::{Ack, Subscribe, Unsubscribe};
use tidings_wire::client::{ErrorCode, FrameError, Kind, RECORD_HEAD, Reply};

use crate::error::Error;
use crate::event::{Attached, Event, Messages, PresenceEvent, address};
use crate::limits::{
    ANSWER_WAIT, BACK_OFF, FLUSH_BYTES, LOOK_READS, NUMBERS, OUTPUT_MAX, RUN_BYTES,
};
use crate::login::login;
use crate::options::{Options, SubscribeOptions};
use crate::publisher::{Publisher, PublisherState};
use crate::session::{Books, Refused};
use crate::stream::Stream;
use crate::subscription::{Delivered, PublisherId, Subscription, SubscriptionState};

/// Events that the client makes itself.
enum Notice {
    Lost(String),
    Unknown {
        publisher: Publisher,
        messages: u64,
        outcomes: u64,
    },
    Attached(Attached),
}

/// A client of the daemon on this host.
pub struct Client {
    options: Options,
    stream: Option<Stream>,
    books: Books,
    /// The PUBLISH frame at the end of the output that further messages join.
    run: Option<PublishRun>,
    /// The backlog at which the output is tried again.
    flush_at: usize,
    notices: VecDeque<Notice>,
    back_off: Duration,
    next_attempt: Instant,
}

impl Client {
    /// Attaches to the daemon.
    pub fn connect(options: Options) -> Result<Self, Error> {
        let login = login(&options)?;
        Ok(Self {
            options,
            stream: Some(login.stream),
            books: Books::new(login.attached, login.session_epoch, login.credit),
            run: None,
            flush_at: FLUSH_BYTES,
            notices: VecDeque::new(),
            back_off: BACK_OFF.0,
            next_attempt: Instant::now(),
        })
    }

    /// The node that it is attached to, or was last.
    pub fn attached(&self) -> &Attached {
        &self.books.attached
    }

    /// Whether the connection stands.
    pub fn is_attached(&self) -> bool {
        self.stream.is_some()
    }

    // Publishing.

    /// Opens a publisher on a topic and waits until it stands.
    pub fn open(&mut self, overlay: &str, topic: &str) -> Result<Publisher, Error> {
        let publisher = self.begin_open(overlay, topic)?;
        self.answer_to(Kind::Open, publisher.0)?;
        Ok(publisher)
    }

    /// Opens a publisher without waiting. What is published before it stands waits.
    pub fn begin_open(&mut self, overlay: &str, topic: &str) -> Result<Publisher, Error> {
        let number = free_number(&mut self.books.publishers)?;
        Open {
            publisher: number,
            overlay,
            topic,
        }
        .encode(self.output()?);
        self.books.publishers[number as usize] = Some(PublisherState::new(overlay, topic));
        Ok(Publisher(number))
    }

    /// Publishes a message, waiting for credit if need be, and gives its seq. It is sent with those that follow, at the
    /// latest by [`flush`](Self::flush) or [`next`](Self::next).
    pub fn publish(&mut self, publisher: Publisher, payload: &[u8]) -> Result<u64, Error> {
        loop {
            match self.try_publish(publisher, payload) {
                Err(Error::WouldBlock) => self.pump(None)?,
                result => return result,
            }
        }
    }

    /// As [`publish`](Self::publish), but [`Error::WouldBlock`] instead of waiting.
    pub fn try_publish(&mut self, publisher: Publisher, payload: &[u8]) -> Result<u64, Error> {
        let Some(stream) = &mut self.stream else {
            return Err(not_attached());
        };
        let books = &mut self.books;
        let slot = books
            .publishers
            .get_mut(publisher.0 as usize)
            .and_then(Option::as_mut);
        let state = slot
            .filter(|state| !state.closing && !state.ended)
            .ok_or(Error::Closed)?;
        let record = (RECORD_HEAD + payload.len()) as u64;
        if state.open && payload.len() > state.max_message {
            return self.publish_larger(publisher, payload);
        }
        let run = self.run.filter(|run| {
            run.publisher() == publisher.0
                && run.fits(&stream.output, payload.len())
                && stream.output.len() - run.start() < RUN_BYTES
        });
        let cost = record
            + if run.is_some() {
                0
            } else {
                PUBLISH_OVERHEAD as u64
            };
        let has_credit = state.sent + record <= state.credit && books.sent + cost <= books.credit;
        if !has_credit || stream.backlog() > OUTPUT_MAX {
            return Err(Error::WouldBlock);
        }
        let mut run = run.unwrap_or_else(|| PublishRun::begin(&mut stream.output, publisher.0));
        run.push(&mut stream.output, payload);
        self.run = Some(run);
        state.sent += record;
        books.sent += cost;
        let seq = state.next;
        state.next += 1;
        if stream.backlog() >= self.flush_at {
            self.drain();
        }
        Ok(seq)
    }

    /// Publishes what is larger than the daemon has told that it takes, if it has told since that it takes more.
    #[cold]
    fn publish_larger(&mut self, publisher: Publisher, payload: &[u8]) -> Result<u64, Error> {
        match self.look() {
            Ok(()) | Err(Error::EventsWaiting) => {}
            Err(error) => return Err(error),
        }
        match self.books.publisher(publisher.0) {
            Some(state) if state.open && payload.len() > state.max_message => {
                Err(Error::TooLarge {
                    limit: state.max_message,
                })
            }
            _ => self.try_publish(publisher, payload),
        }
    }

    /// Subscriptions that a message would be owed to now.
    pub fn owed(&mut self, publisher: Publisher) -> Result<u32, Error> {
        AskOwed {
            publisher: publisher.0,
        }
        .encode(self.output()?);
        self.answer_to(Kind::AskOwed, publisher.0)?;
        self.books
            .publisher(publisher.0)
            .map(|state| state.owed)
            .ok_or(Error::Closed)
    }

    /// The largest message that a publisher takes, in bytes; `None` until it stands. It is another one once the daemon has told so, as it
    /// does when the overlay's `max_message` is changed. What was told is heard of when anything is read, as by [`next`](Self::next).
    pub fn max_message(&self, publisher: Publisher) -> Option<usize> {
        let state = self.books.publishers.get(publisher.0 as usize)?.as_ref()?;
        (state.max_message > 0).then_some(state.max_message)
    }

    /// Closes a publisher. Outcomes that have not come by now will not come: take them first.
    pub fn close(&mut self, publisher: Publisher) -> Result<(), Error> {
        self.books
            .publisher(publisher.0)
            .ok_or(Error::Closed)?
            .closing = true;
        Close {
            publisher: publisher.0,
        }
        .encode(self.output()?);
        self.answer_to(Kind::Close, publisher.0).map(drop)
    }

    // Subscribing.

    /// Subscribes and waits until the subscription stands; which members are missing is told by
    /// [`Event::Subscribed`].
    pub fn subscribe(
        &mut self,
        overlay: &str,
        pattern: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, Error> {
        let subscription = self.begin_subscribe(overlay, pattern, options)?;
        self.answer_to(Kind::Subscribe, subscription.0)?;
        Ok(subscription)
    }

    /// Subscribes without waiting.
    pub fn begin_subscribe(
        &mut self,
        overlay: &str,
        pattern: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, Error> {
        let number = free_number(&mut self.books.subscriptions)?;
        let state = SubscriptionState {
            overlay: overlay.to_owned(),
            pattern: pattern.to_owned(),
            options,
            stands: false,
            ending: false,
            ended: false,
        };
        subscribe_frame(number, &state).encode(self.output()?);
        self.books.subscriptions[number as usize] = Some(state);
        Ok(Subscription(number))
    }

    /// Ends a subscription for good, also that of a named client.
    pub fn unsubscribe(&mut self, subscription: Subscription) -> Result<(), Error> {
        self.books
            .subscription(subscription.0)
            .ok_or(Error::Closed)?
            .ending = true;
        Unsubscribe {
            sub: subscription.0,
        }
        .encode(self.output()?);
        self.answer_to(Kind::Unsubscribe, subscription.0).map(drop)
    }

    /// Acknowledges messages. Those of a lost session come again, so that theirs means nothing.
    pub fn acknowledge(&mut self, messages: &Delivered) {
        if messages.session_epoch != self.books.session_epoch {
            return;
        }
        let ack = Ack {
            sub: messages.subscription.0,
            handle: messages.publisher.handle,
            node: messages.publisher.node,
            boot: messages.publisher.boot,
            from: messages.from,
            to: messages.to,
            session_epoch: messages.session_epoch,
        };
        if let Ok(output) = self.output() {
            ack.encode(output);
            if self
                .stream
                .as_ref()
                .is_some_and(|stream| stream.backlog() >= self.flush_at)
            {
                self.drain();
            }
        }
    }

    // Presence, questions, commands.

    /// Watches the members of an overlay: a snapshot comes first, then every change.
    pub fn watch(&mut self, overlay: &str) -> Result<u32, Error> {
        let watch = self.number();
        Watch { watch, overlay }.encode(self.output()?);
        self.books.watches.insert(watch, overlay.to_owned());
        Ok(watch)
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: u32) -> Result<(), Error> {
        self.books.watches.remove(&watch).ok_or(Error::Closed)?;
        Unwatch { watch }.encode(self.output()?);
        Ok(())
    }

    /// Asks the daemon; the answer is JSON.
    pub fn ask(&mut self, question: Topic, overlay: &str) -> Result<String, Error> {
        let request = self.number();
        Query {
            request,
            what: question,
            overlay,
        }
        .encode(self.output()?);
        self.answer_to(Kind::Query, request)
    }

    /// Tells the daemon to leave an overlay; with an empty name all, and to stop.
    pub fn leave(&mut self, overlay: &str) -> Result<(), Error> {
        let request = self.number();
        Leave { request, overlay }.encode(self.output()?);
        self.answer_to(Kind::Leave, request).map(drop)
    }

    fn number(&mut self) -> u32 {
        self.books.next_number = (self.books.next_number + 1) % NUMBERS as u32;
        self.books.next_number
    }

    // The connection.

    /// Writes everything that waits.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.drain();
        while self
            .stream
            .as_ref()
            .is_some_and(|stream| stream.backlog() > 0 && stream.ended().is_none())
        {
            self.pump(None)?;
        }
        Ok(())
    }

    /// The next event, `None` if none came within `timeout`. Without a timeout it waits for ever. Everything that waits
    /// to be written is written before it waits. While the daemon is lost, it attaches again; an error is final.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event<'_>>, Error> {
        let mut until = None;
        let frame = loop {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(Some(notice.event()));
            }
            if let Some(frame) = self.next_frame()? {
                break frame;
            }
            if !self.books.refusals.is_empty() {
                return Ok(self.books.take_refusal());
            }
            let now = Instant::now();
            let until = *until.get_or_insert_with(|| timeout.map(|timeout| now + timeout));
            if until.is_some_and(|until| until < now) {
                return Ok(None);
            }
            match self.stream {
                Some(_) => match self.pump(until) {
                    Ok(()) | Err(Error::Lost(_)) => {}
                    Err(error) => return Err(error),
                },
                None => self.attach_again(until)?,
            }
        };
        self.event(frame).map(Some)
    }

    fn output(&mut self) -> Result<&mut Vec<u8>, Error> {
        self.run = None;
        self.stream
            .as_mut()
            .map(|stream| &mut stream.output)
            .ok_or(not_attached())
    }

    fn drain(&mut self) {
        self.run = None;
        if let Some(stream) = &mut self.stream {
            stream.drain();
            self.flush_at = stream.backlog() + FLUSH_BYTES;
        }
    }

    /// Writes, reads once, waiting for something to read or to write if nothing is, and enters what came.
    fn pump(&mut self, until: Option<Instant>) -> Result<(), Error> {
        self.drain();
        let Some(stream) = &mut self.stream else {
            return Err(not_attached());
        };
        if !stream.fill()? && stream.ended().is_none() {
            stream.wait(until);
            stream.fill()?;
        }
        self.scan()?;
        let ended = self
            .stream
            .as_ref()
            .and_then(|stream| stream.ended())
            .map(str::to_owned);
        match ended {
            Some(why) => self.lose(why),
            None => Ok(()),
        }
    }

    /// Reads what has come, without waiting, and enters it.
    fn look(&mut self) -> Result<(), Error> {
        for _ in 0..LOOK_READS {
            let Some(stream) = &mut self.stream else {
                return Err(not_attached());
            };
            if !stream.fill()? {
                break;
            }
            self.scan()?;
        }
        Ok(())
    }

    /// Enters all whole frames that have not been entered.
    fn scan(&mut self) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while let Some(frame) = stream.scan()? {
            let bytes = stream.bytes(frame);
            self.books.scanned(is_event(bytes));
            if !is_plain_event(bytes) {
                self.books.apply(&decode(bytes)?);
            }
        }
        Ok(())
    }

    /// The next frame that is an event.
    fn next_frame(&mut self) -> Result<Option<std::ops::Range<usize>>, Error> {
        self.scan()?;
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        while let Some(frame) = stream.take() {
            let is_event = is_event(stream.bytes(frame.clone()));
            self.books.taken(is_event);
            if is_event {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn event(&self, frame: std::ops::Range<usize>) -> Result<Event<'_>, Error> {
        let stream = self.stream.as_ref().ok_or(not_attached())?;
        let base = |publisher: u32| {
            let slot = self
                .books
                .publishers
                .get(publisher as usize)
                .and_then(Option::as_ref);
            slot.map_or(0, |state| state.base)
        };
        Ok(match decode(stream.bytes(frame))? {
            Reply::Deliver(deliver) => Event::Messages(Messages {
                subscription: Subscription(deliver.sub),
                publisher: PublisherId {
                    node: deliver.node,
                    boot: deliver.boot,
                    handle: deliver.handle,
                },
                seq: deliver.seq,
                again: deliver.again,
                topic: deliver.topic,
                payloads: deliver.records,
                session_epoch: self.books.session_epoch,
            }),
            Reply::Gap(gap) => Event::Gap {
                subscription: Subscription(gap.sub),
                publisher: PublisherId {
                    node: gap.node,
                    boot: gap.boot,
                    handle: gap.handle,
                },
                topic: gap.topic,
                from: gap.from,
                count: gap.count,
                reason: gap.reason,
            },
            Reply::Accepted(accepted) => Event::Accepted {
                publisher: Publisher(accepted.publisher),
                from: base(accepted.publisher) + accepted.from,
                count: accepted.count,
                owed: accepted.owed,
                unsynced: accepted.unsynced,
            },
            Reply::Outcome(outcome) => Event::Outcome {
                publisher: Publisher(outcome.publisher),
                node: outcome.node,
                sub: outcome.sub,
                from: base(outcome.publisher) + outcome.from,
                count: outcome.count,
                outcome: outcome.result,
            },
            Reply::Subscribed(subscribed) => Event::Subscribed {
                subscription: Subscription(subscribed.sub),
                partial: subscribed.partial,
                pending: subscribed.pending,
            },
            Reply::Presence(presence) if presence.flags & FLAG_END != 0 => {
                Event::PresenceSnapshotEnd {
                    watch: presence.watch,
                }
            }
            Reply::Presence(presence) => Event::Presence(PresenceEvent {
                watch: presence.watch,
                change: presence.change,
                snapshot: presence.flags & FLAG_SNAPSHOT != 0,
                this_node: presence.flags & FLAG_SELF != 0,
                reached: presence.flags & FLAG_REACHED != 0,
                node: presence.node,
                address: address(presence.ip, presence.port),
                name: presence.name,
                metadata: presence.metadata,
            }),
            _ => unreachable!("only frames that `is_event` passed come here"),
        })
    }

    /// Waits for the answer to one request. Events that come meanwhile stay where they are.
    fn answer_to(&mut self, kind: Kind, number: u32) -> Result<String, Error> {
        self.books.waiting = Some((kind, number));
        self.books.answer = None;
        let until = Instant::now() + ANSWER_WAIT;
        let result = loop {
            match self.books.answer.take() {
                Some(Ok(text)) => break Ok(text),
                Some(Err(refused)) => break Err(refused.into()),
                None => {}
            }
            if Instant::now() >= until {
                break Err(Error::TimedOut);
            }
            if let Err(error) = self.pump(Some(until)) {
                break Err(error);
            }
        };
        self.books.waiting = None;
        result
    }

    /// The connection is lost. Events that came before stay to be taken first; the loss is told after them.
    fn lose(&mut self, why: String) -> Result<(), Error> {
        if self.books.has_untaken_events() {
            // Whoever waits for an answer hears now why there is none.
            return Err(match &self.books.fatal {
                Some(refused) if self.books.waiting.is_some() && is_final(refused.code) => {
                    refused.clone().into()
                }
                _ => Error::Lost(why),
            });
        }
        self.stream = None;
        self.books.lost();
        self.run = None;
        self.back_off = BACK_OFF.0;
        self.next_attempt = Instant::now();
        let why = match self.books.fatal.take() {
            Some(refused) if is_final(refused.code) => return Err(refused.into()),
            Some(refused) => refused.text,
            None => why,
        };
        self.notices.push_back(Notice::Lost(why.clone()));
        for (number, state) in self.books.publishers.iter_mut().enumerate() {
            let Some(state) = state else { continue };
            let (messages, outcomes) = state.lost();
            if messages + outcomes > 0 {
                let publisher = Publisher(number as u32);
                self.notices.push_back(Notice::Unknown {
                    publisher,
                    messages,
                    outcomes,
                });
            }
        }
        Err(Error::Lost(why))
    }

    /// Tries to attach again, once its time has come.
    fn attach_again(&mut self, until: Option<Instant>) -> Result<(), Error> {
        let at = until.map_or(self.next_attempt, |until| until.min(self.next_attempt));
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if Instant::now() < self.next_attempt {
            return Ok(());
        }
        match login(&self.options) {
            Ok(login) => {
                self.stream = Some(login.stream);
                self.flush_at = FLUSH_BYTES;
                self.books.attached = login.attached.clone();
                self.books.session_epoch = login.session_epoch;
                self.books.credit = login.credit;
                self.books.sent = 0;
                self.ask_again()?;
                self.notices.push_back(Notice::Attached(login.attached));
                Ok(())
            }
            Err(Error::Refused { code, text }) if is_final(code) => {
                Err(Error::Refused { code, text })
            }
            Err(
                error @ (Error::Impostor
                | Error::Untrusted { .. }
                | Error::Protocol(_)
                | Error::Random),
            ) => Err(error),
            Err(_) => {
                self.next_attempt = Instant::now() + jittered(self.back_off);
                self.back_off = (self.back_off * 2).min(BACK_OFF.1);
                Ok(())
            }
        }
    }

    /// Asks a fresh connection for everything that the lost one had.
    fn ask_again(&mut self) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else {
            return Err(not_attached());
        };
        for (number, slot) in self.books.subscriptions.iter_mut().enumerate() {
            match slot {
                Some(state) if state.ending => *slot = None,
                Some(state) => {
                    state.stands = false;
                    subscribe_frame(number as u32, state).encode(&mut stream.output);
                }
                None => {}
            }
        }
        for (number, slot) in self.books.publishers.iter_mut().enumerate() {
            match slot {
                Some(state) if state.closing => *slot = None,
                Some(state) => {
                    Open {
                        publisher: number as u32,
                        overlay: &state.overlay,
                        topic: &state.topic,
                    }
                    .encode(&mut stream.output);
                }
                None => {}
            }
        }
        for (watch, overlay) in &self.books.watches {
            Watch {
                watch: *watch,
                overlay,
            }
            .encode(&mut stream.output);
        }
        Ok(())
    }
}

impl Notice {
    fn event<'a>(self) -> Event<'a> {
        match self {
            Notice::Lost(why) => Event::Lost { why },
            Notice::Unknown {
                publisher,
                messages,
                outcomes,
            } => Event::Unknown {
                publisher,
                messages,
                outcomes,
            },
            Notice::Attached(attached) => Event::Attached(attached),
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Error::Refused {
            code: refused.code,
            text: refused.text,
        }
    }
}

/// Refusals after which attaching again is no use.
fn is_final(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Fenced | ErrorCode::Denied | ErrorCode::Version | ErrorCode::Protocol
    )
}

fn not_attached() -> Error {
    Error::Lost("not attached at the moment".to_owned())
}

fn subscribe_frame(sub: u32, state: &SubscriptionState) -> Subscribe<'_> {
    Subscribe {
        sub,
        ack: state.options.ack,
        order: state.options.order,
        policy: state.options.policy,
        attempts: state.options.attempts,
        every_ms: state.options.every_ms,
        overlay: &state.overlay,
        pattern: &state.pattern,
    }
}

/// Of so many of the highest numbers free ones are used again: a program that opens and closes stays small, one that
/// opens 100,000 publishers does not search through them.
const REUSED_NUMBERS: usize = 64;

/// A free number, whose slot is there.
fn free_number<T>(slots: &mut Vec<Option<T>>) -> Result<u32, Error> {
    let recent = slots.len().saturating_sub(REUSED_NUMBERS);
    if let Some(number) = slots[recent..].iter().rposition(Option::is_none) {
        return Ok((recent + number) as u32);
    }
    if slots.len() >= NUMBERS {
        return Err(Error::Refused {
            code: ErrorCode::TooMany,
            text: String::new(),
        });
    }
    slots.push(None);
    Ok(slots.len() as u32 - 1)
}

fn decode(bytes: &[u8]) -> Result<Reply<'_>, Error> {
    let (raw, _) = split(bytes)?.ok_or(FrameError::TooShort)?;
    Ok(Reply::decode(raw)?)
}

/// Frames that change nothing in the client's own books.
fn is_plain_event(frame: &[u8]) -> bool {
    matches!(
        kind(frame),
        Some(Kind::Deliver | Kind::Gap | Kind::Presence)
    )
}

/// Frames that are events.
fn is_event(frame: &[u8]) -> bool {
    is_plain_event(frame)
        || matches!(
            kind(frame),
            Some(Kind::Accepted | Kind::Outcome | Kind::Subscribed)
        )
}

fn kind(frame: &[u8]) -> Option<Kind> {
    frame.get(4).copied().and_then(Kind::of)
}

/// Half to all of `time`, so that many clients do not come back at one moment.
fn jittered(time: Duration) -> Duration {
    let mut byte = [0];
    let _ = SystemRandom::new().fill(&mut byte); // Without randomness the pause is the shortest: no harm.
    time / 2 + time / 2 * u32::from(byte[0]) / 255
}
