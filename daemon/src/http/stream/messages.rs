//! Messages of an overlay as events: `/v1/overlays/{overlay}/subscribe`. The subscription is the stream's: it ends with it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tidings_engine::{AckMode, Gap, Message, MessageId, Received, Subscriber, SubscriberOptions};
use tidings_wire::validate_pattern;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Batch, EventView, Page, Pulse, Woken, answer, place};
use crate::http::auth::Authority;
use crate::http::error::{ApiError, ApiResult};
use crate::http::limits::PATTERNS;
use crate::http::patience::Flushes;
use crate::http::publish::PublisherView;
use crate::http::query;
use crate::http::serve::Stop;
use crate::http::shared::Shared;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(subscribe))
}

/// That the subscription stands, as the first event tells.
#[derive(Serialize, ToSchema)]
pub struct Standing {
    /// Ids of members that had not heard of it within 2 s.
    pending: Vec<String>,
}

/// A message, as an event tells.
#[derive(Serialize, ToSchema)]
pub struct MessageView<'a> {
    /// Its topic.
    #[schema(example = "orders.new")]
    topic: &'a str,
    /// With `seq` its id.
    publisher: PublisherView,
    /// Its number among the messages of its publisher.
    seq: u64,
    /// It may have been sent before.
    again: bool,
    /// What was published, in base64.
    #[schema(example = "eyJpZCI6MX0=")]
    data: String,
}

/// Messages that never come, as an event of an ordered subscription tells.
#[derive(Serialize, ToSchema)]
pub struct GapView<'a> {
    /// Their topic.
    topic: &'a str,
    /// Whose they are.
    publisher: PublisherView,
    /// The number of the first.
    from: u64,
    /// One past the last.
    to: u64,
    /// Why they never come.
    #[schema(value_type = String, example = "overflow")]
    reason: &'static str,
}

/// What to subscribe to, and how.
#[derive(Debug)]
struct Wish {
    patterns: Vec<String>,
    ack: AckMode,
    ordered: bool,
}

impl Wish {
    fn of(query: Option<&str>) -> ApiResult<Self> {
        let mut wish = Self {
            patterns: Vec::new(),
            ack: AckMode::Client,
            ordered: false,
        };
        for (name, value) in query::pairs(query, &["pattern", "ack", "ordered"])? {
            match (name.as_str(), value.as_str()) {
                ("pattern", _) => wish.patterns.push(value),
                ("ack", "node") => wish.ack = AckMode::Node,
                ("ack", "client") => wish.ack = AckMode::Client,
                ("ack", _) => {
                    return Err(query::bad(
                        format!("ack cannot be {value:?}"),
                        "say node or client".to_owned(),
                    ));
                }
                _ => wish.ordered = query::truth(&name, &value)?,
            }
        }
        check(&wish.patterns, 1)?;
        Ok(wish)
    }
}

/// Refuses patterns that are none, fewer than `least` of them, or more than there may be.
pub fn check(patterns: &[String], least: usize) -> ApiResult<()> {
    if patterns.len() < least || patterns.len() > PATTERNS {
        return Err(query::bad(
            format!("{} patterns are named", patterns.len()),
            format!("name {least} to {PATTERNS}, each as pattern=…"),
        ));
    }
    match patterns.iter().find(|p| validate_pattern(p).is_err()) {
        None => Ok(()),
        Some(wrong) => Err(ApiError::bad(
            "bad_pattern",
            format!("{wrong:?} is no pattern"),
            "a pattern is a topic, a prefix such as orders.*, or *",
        )),
    }
}

/// Messages from now on, as server-sent events.
///
/// First `subscribed`, when the members have heard of it, then `message` and, in an ordered subscription, `gap`; `closed` when the overlay goes.
/// The subscription ends with the connection: nothing is kept for a reader that is gone.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/subscribe", tag = "messages",
    params(("overlay" = String, Path, description = "Name of the overlay"),
        ("pattern" = Vec<String>, Query, description = "A topic, a prefix such as orders.*, or *; may come again, 16 times at most"),
        ("ack" = Option<String>, Query, description = "When a message counts as delivered: `client` (default), when its event is with the kernel that sends it; `node`, when this node queued it"),
        ("ordered" = Option<bool>, Query, description = "Whether each publisher's messages come in order, and what is missing is told")),
    responses((status = 200, description = "Events", body = EventView, content_type = "text/event-stream")))]
async fn subscribe(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    RawQuery(query): RawQuery,
    Extension(authority): Extension<Authority>,
    Extension(flushes): Extension<Flushes>,
    Extension(stop): Extension<Stop>,
) -> ApiResult<Response> {
    let wish = Wish::of(query.as_deref())?;
    let place = place(&shared)?;
    let asks = shared.places().questions.subscribe().await;
    let subscriber = shared.ask_overlay(overlay, move |engine, id| {
        // Until it stands, though nobody may wait for it any more.
        let _asks = asks;
        let patterns: Vec<&str> = wish.patterns.iter().map(String::as_str).collect();
        let options = SubscriberOptions {
            ack: wish.ack,
            ordered: wish.ordered,
            // As small as the largest message lets it be.
            ring_bytes: 0,
            ..SubscriberOptions::default()
        };
        let subscriber = engine.subscribe(id, &patterns, options)?;
        let acknowledges = wish.ack == AckMode::Client;
        Ok(Reader {
            subscriber,
            acknowledges,
            unflushed: Vec::new(),
        })
    });
    let reader = subscriber.await?;
    let pulse = Pulse::new(stop, &shared, authority);
    Ok(answer(place, flushes, |page| reader.write(page, pulse)))
}

struct Reader {
    subscriber: Subscriber,
    acknowledges: bool,
    /// Messages that were written and may not have gone out yet: those of one batch.
    unflushed: Vec<(u32, MessageId)>,
}

/// What is next.
enum Next {
    /// There is something to read.
    Messages,
    /// What was written went out.
    Flushed,
    /// The overlay went.
    Closed,
    Woken(Woken),
}

impl Reader {
    async fn write(mut self, mut page: Page, mut pulse: Pulse) {
        let mut batch = Batch::default();
        let pending = self.subscriber.partial().iter().map(ToString::to_string);
        let pending = pending.collect();
        batch.event("subscribed", None, &Standing { pending });
        while page.write(batch).await {
            pulse.reset();
            batch = loop {
                match self.next(&page, &mut pulse).await {
                    Next::Messages => break self.batch(),
                    Next::Flushed => self.acknowledge(),
                    Next::Closed => {
                        let mut batch = Batch::default();
                        batch.event("closed", None, &serde_json::json!({}));
                        let _ = page.write(batch).await;
                        return;
                    }
                    Next::Woken(Woken::Stop | Woken::Revoked) => return,
                    Next::Woken(Woken::Beat) => {
                        if !page.beat().await {
                            return;
                        }
                        pulse.reset();
                    }
                }
            };
        }
    }

    async fn next(&mut self, page: &Page, pulse: &mut Pulse) -> Next {
        poll_fn(|context| {
            if !self.unflushed.is_empty() {
                // Nothing more is read before it is known to have gone out: that bounds what is unacknowledged.
                if page.poll_flushed(context).is_ready() {
                    return Poll::Ready(Next::Flushed);
                }
                return match pulse.poll(context) {
                    Poll::Pending | Poll::Ready(Woken::Beat) => Poll::Pending,
                    Poll::Ready(end) => Poll::Ready(Next::Woken(end)),
                };
            }
            match pulse.poll(context) {
                // The end before all, the beat after what there is to tell.
                Poll::Ready(end @ (Woken::Stop | Woken::Revoked)) => Poll::Ready(Next::Woken(end)),
                beat => match self.subscriber.poll_ready(context) {
                    Poll::Ready(true) => Poll::Ready(Next::Messages),
                    Poll::Ready(false) => Poll::Ready(Next::Closed),
                    Poll::Pending => beat.map(Next::Woken),
                },
            }
        })
        .await
    }

    /// What there is to read, up to the bytes that go out together.
    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        while !batch.is_full()
            && let Some(received) = self.subscriber.try_next()
        {
            match received {
                Received::Message(message) => {
                    if self.acknowledges {
                        self.unflushed.push((message.sub, message.id));
                    }
                    tell(&mut batch, &message);
                }
                Received::Gap(gap) => tell_gap(&mut batch, &gap),
            }
        }
        batch
    }

    fn acknowledge(&mut self) {
        for (sub, id) in self.unflushed.drain(..) {
            self.subscriber.ack(sub, id);
        }
        self.subscriber.flush();
    }
}

fn tell(batch: &mut Batch, message: &Message<'_>) {
    let MessageId { publisher, seq } = message.id;
    let id = format!(
        "{}/{}/{}/{seq}",
        publisher.node, publisher.boot, publisher.handle
    );
    let view = MessageView {
        topic: message.topic,
        publisher: publisher.into(),
        seq,
        again: message.again,
        data: STANDARD.encode(message.payload),
    };
    batch.event("message", Some(&id), &view);
}

fn tell_gap(batch: &mut Batch, gap: &Gap) {
    let view = GapView {
        topic: &gap.topic,
        publisher: gap.publisher.into(),
        from: gap.from,
        to: gap.to,
        reason: gap.reason.label(),
    };
    batch.event("gap", None, &view);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_checked_before_anything_is_opened() {
        let wish = Wish::of(Some("pattern=a.*&pattern=b&ack=node&ordered")).unwrap();
        assert_eq!(wish.patterns, ["a.*", "b"]);
        assert!(wish.ack == AckMode::Node && wish.ordered);
        for (query, code) in [
            ("", "bad_query"),
            ("pattern=a&ack=never", "bad_query"),
            ("pattern=a&ordered=perhaps", "bad_query"),
            ("pattern=a..b", "bad_pattern"),
            ("pattern=*.a", "bad_pattern"),
            ("pattern=", "bad_pattern"),
        ] {
            assert_eq!(Wish::of(Some(query)).expect_err(query).code(), code);
        }
        let many = "pattern=a&".repeat(PATTERNS + 1);
        assert!(Wish::of(Some(&many)).is_err());
    }
}
