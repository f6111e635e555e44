//! Answers that go on: server-sent events, of presence and of messages. Here is what they have in common: a place, the body that
//! a future writes, the pulse. The future is polled by the body alone, so that it ends with it, and so does what it has open.
//! `socket` has the same over WebSocket, by what is public here.

pub mod messages;
pub mod presence;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use http_body::Frame;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Sleep, sleep};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::auth::Authority;
use super::error::{ApiError, ApiResult};
use super::limits::{BATCH_BYTES, BEAT};
use super::patience::Flushes;
use super::serve::Stop;
use super::shared::Shared;

/// The routes of this folder.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(
        messages::Standing,
        messages::MessageView,
        messages::GapView,
        presence::Snapshot,
        presence::Change
    )))]
    struct Events;
    OpenApiRouter::with_openapi(<Events as utoipa::OpenApi>::openapi())
        .merge(presence::routes())
        .merge(messages::routes())
}

/// A place for one more stream.
pub fn place(shared: &Shared) -> ApiResult<OwnedSemaphorePermit> {
    let place = Arc::clone(&shared.places().streams).try_acquire_owned();
    place.map_err(|_| ApiError::too_many("too_many_streams", "too many streams are open", 10))
}

/// A server-sent event, as the OpenAPI document has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only documents what `Batch` writes")]
struct EventView {
    /// Of a message NODE/BOOT/HANDLE/SEQ.
    id: Option<String>,
    /// What happened.
    #[schema(example = "message")]
    event: String,
    /// JSON in one line. `subscribed`: as `Standing`; `message`: `MessageView`; `gap`: `GapView`; `snapshot`: `Snapshot`; `member_in` and its like: `Change`;
    /// `closed`: an empty object.
    #[schema(example = "{\"pending\":[]}")]
    data: String,
}

/// Events that go out together.
#[derive(Default)]
struct Batch(Vec<u8>);

impl Batch {
    /// Adds an event. Neither `id` nor `event` has line ends: they are made of numbers and of our own names.
    fn event(&mut self, event: &str, id: Option<&str>, data: &impl Serialize) {
        if let Some(id) = id {
            self.line("id", id.as_bytes());
        }
        self.line("event", event.as_bytes());
        // JSON has no line ends outside of its texts, where they are escaped. What is told has no keys that are no texts.
        let data = serde_json::to_vec(data).unwrap_or_default();
        self.line("data", &data);
        self.0.push(b'\n');
    }

    fn line(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    fn is_full(&self) -> bool {
        self.0.len() >= BATCH_BYTES
    }
}

/// Where a stream is written to.
struct Page {
    batches: mpsc::Sender<Bytes>,
    flushes: Flushes,
    /// Flushes that there were when the last batch was written.
    written_at: u64,
}

impl Page {
    /// Writes a batch as soon as the connection takes it. `false`: never.
    async fn write(&mut self, batch: Batch) -> bool {
        let written = self.batches.send(batch.0.into()).await.is_ok();
        // It is taken in the same poll, and flushed after it.
        self.written_at = self.flushes.count();
        written
    }

    /// Ready when the last batch is with the kernel.
    fn poll_flushed(&self, context: &mut Context<'_>) -> Poll<()> {
        self.flushes.poll_beyond(context, self.written_at)
    }

    async fn beat(&mut self) -> bool {
        self.write(Batch(b": still there\n\n".to_vec())).await
    }
}

/// What a stream waits for besides its own events.
pub struct Pulse {
    beat: Pin<Box<Sleep>>,
    /// When to look again whether who reads may.
    look: Pin<Box<Sleep>>,
    may: Box<dyn Fn() -> bool + Send>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Why a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Nothing was written for long.
    Beat,
    /// The service ends.
    Stop,
    /// Who reads may not any more.
    Revoked,
}

impl Pulse {
    /// Of a stream that `authority` opened.
    pub fn new(stop: Stop, shared: &Arc<Shared>, authority: Authority) -> Self {
        let Stop(mut stopped) = stop;
        let shared = Arc::clone(shared);
        Self {
            beat: Box::pin(sleep(BEAT)),
            look: Box::pin(sleep(BEAT)),
            may: Box::new(move || shared.still_may(&authority)),
            stop: Box::pin(async move {
                // Its end is the service's.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            }),
        }
    }

    /// Ready when the stream has to do something. A beat comes again until [`Self::reset`].
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Woken> {
        if self.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(Woken::Stop);
        }
        while self.look.as_mut().poll(context).is_ready() {
            if !self.may() {
                return Poll::Ready(Woken::Revoked);
            }
            self.look.as_mut().reset(Instant::now() + BEAT);
        }
        self.beat.as_mut().poll(context).map(|()| Woken::Beat)
    }

    /// Whether who opened the stream still may.
    pub fn may(&self) -> bool {
        (self.may)()
    }

    /// Something was written.
    pub fn reset(&mut self) {
        self.beat.as_mut().reset(Instant::now() + BEAT);
    }
}

/// The answer that `write` writes.
fn answer<W>(
    place: OwnedSemaphorePermit,
    flushes: Flushes,
    write: impl FnOnce(Page) -> W,
) -> Response
where
    W: Future<Output = ()> + Send + 'static,
{
    let (sender, batches) = mpsc::channel(1);
    let page = Page {
        batches: sender,
        written_at: flushes.count(),
        flushes,
    };
    let body = Written {
        writer: Some(Box::pin(write(page))),
        batches,
        _place: place,
    };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A body that a future writes, a batch at a time. What was written is handed on before the future is polled again.
struct Written {
    /// None: it is done.
    writer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    batches: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            if let Poll::Ready(Some(batch)) = this.batches.poll_recv(context) {
                return Poll::Ready(Some(Ok(Frame::data(batch))));
            }
            let Some(writer) = &mut this.writer else {
                return Poll::Ready(None);
            };
            let is_done = writer.as_mut().poll(context).is_ready();
            if is_done {
                this.writer = None;
            } else if this.batches.is_empty() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_three_lines_and_an_empty_one() {
        let mut batch = Batch::default();
        batch.event("message", Some("a/1"), &"one\ntwo\r");
        batch.event("closed", None, &serde_json::json!({}));
        let wanted =
            "id: a/1\nevent: message\ndata: \"one\\ntwo\\r\"\n\nevent: closed\ndata: {}\n\n";
        assert_eq!(String::from_utf8(batch.0).unwrap(), wanted);
    }
}
