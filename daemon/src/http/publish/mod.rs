//! Publishing a message: `/v1/overlays/{overlay}/publish/{topic}`. The body is the message as it stands. It is accepted on the
//! overlay's shard, by `clerk`; `letterbox` is the way there.

mod clerk;
mod letterbox;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tidings_engine::{Outcome, PublisherId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::clerk::{Accepted, Order, Progress, Refused};
pub use self::letterbox::Letterboxes;
use super::error::{ApiError, ApiResult};
use super::limits::{CONFIRM_TIME, CONFIRM_TIME_MAX, ROOM_LOOK, ROOM_TIME};
use super::shared::Shared;
use super::{body, query, reply};
use crate::config::units;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(publish))
}

/// Whose message it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PublisherView {
    /// Id of the publisher's node.
    node: String,
    /// Random bits of that node's start.
    boot: String,
    /// Its number within that start.
    handle: u32,
}

impl From<PublisherId> for PublisherView {
    fn from(id: PublisherId) -> Self {
        Self {
            node: id.node.to_string(),
            boot: id.boot.to_string(),
            handle: id.handle,
        }
    }
}

/// A message that was published.
#[derive(Serialize, ToSchema)]
pub struct PublishedView {
    /// With `seq` the message's id.
    publisher: PublisherView,
    /// Its number among the messages of its publisher.
    seq: u64,
    /// Subscriptions that it is owed to.
    owed: u32,
    /// The node did not know the subscriptions of every member yet: there may be some that it is not owed to.
    unsynced: bool,
    /// Subscriptions that acknowledged it, if that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered: Option<u64>,
    /// The others, by reason, if that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<Vec<FailureView>>,
}

/// Subscriptions of which it is not known that they have a message.
#[derive(Serialize, ToSchema)]
pub struct FailureView {
    /// Why.
    #[schema(value_type = String, example = "unsubscribed")]
    reason: &'static str,
    /// How many.
    count: u64,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// The message is in the store of this node.
    Accepted,
    /// Every subscription that it is owed to acknowledged it, or did not, within this time.
    Delivered(Duration),
}

impl Confirm {
    fn of(query: Option<&str>) -> ApiResult<Self> {
        let (mut confirm, mut timeout) = (None, None);
        for (name, value) in query::pairs(query, &["confirm", "timeout"])? {
            match name.as_str() {
                "confirm" => confirm = Some(value),
                _ => timeout = Some(value),
            }
        }
        Self::said(confirm.as_deref(), timeout.as_deref())
    }

    /// What these words mean; none of them: `accepted`.
    pub fn said(confirm: Option<&str>, timeout: Option<&str>) -> ApiResult<Self> {
        let is_delivered = match confirm {
            None | Some("accepted") => false,
            Some("delivered") => true,
            Some(other) => {
                return Err(query::bad(
                    format!("confirm cannot be {other:?}"),
                    "say accepted or delivered".to_owned(),
                ));
            }
        };
        match (is_delivered, timeout.map(duration).transpose()?) {
            (true, time) => Ok(Self::Delivered(time.unwrap_or(CONFIRM_TIME))),
            (false, None) => Ok(Self::Accepted),
            (false, Some(_)) => Err(query::bad(
                "timeout is for confirm=delivered".to_owned(),
                "say confirm=delivered, too, or leave it out".to_owned(),
            )),
        }
    }
}

fn duration(text: &str) -> ApiResult<Duration> {
    let time = units::duration(text).filter(|time| *time <= CONFIRM_TIME_MAX);
    time.ok_or_else(|| {
        query::bad(
            format!("timeout cannot be {text:?}"),
            format!(
                "write {}; at most {} s",
                units::DURATION_FORMS,
                CONFIRM_TIME_MAX.as_secs()
            ),
        )
    })
}

/// Publishes the body, as it stands and whatever its type.
///
/// Messages of one overlay and topic have one publisher, and are in the order of their acceptance, as long as fewer than 64 other topics are
/// published to in between.
#[utoipa::path(post, path = "/v1/overlays/{overlay}/publish/{topic}", tag = "messages",
    params(("overlay" = String, Path, description = "Name of the overlay"), ("topic" = String, Path, description = "Topic of the message"),
        ("confirm" = Option<String>, Query, description = "What is waited for: `accepted` (default) or `delivered`, that is every outcome"),
        ("timeout" = Option<String>, Query, description = "How long outcomes are waited for: 10s, if nothing is said, and at most 25s")),
    request_body(content = String, content_type = "application/octet-stream", description = "The message"),
    responses((status = 200, description = "Every outcome is there", body = PublishedView),
        (status = 202, description = "It is in this node's store, and will be delivered", body = PublishedView),
        (status = 409, description = "Outcomes are waited for, and nobody has subscribed", body = ApiError),
        (status = 504, description = "It was published, and not every outcome is there in time", body = ApiError)))]
async fn publish(
    State(shared): State<Arc<Shared>>,
    Path((overlay, topic)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> ApiResult<Response> {
    let confirm = Confirm::of(query.as_deref())?;
    // Its room is held as long as the message may be ordered again.
    let (payload, room) = body::held(request).await?;
    let place = place(&shared)?;
    let progress = Arc::new(Progress::default());
    let wish = Wish {
        overlay: &overlay,
        topic: &topic,
        payload,
        progress: (confirm != Confirm::Accepted).then(|| Arc::clone(&progress)),
    };
    let begun = Instant::now();
    let accepted = wish.accepted(&shared, begun, confirm).await?;
    drop((wish, room));
    let answer = match confirm {
        Confirm::Accepted => reply::json(StatusCode::ACCEPTED, &view(&accepted)),
        Confirm::Delivered(time) => {
            let mut accepted = accepted;
            let (delivered, failed) = settled(&mut accepted, &progress, begun + time).await?;
            let mut told = view(&accepted);
            (told.delivered, told.failed) = (Some(delivered), Some(failed));
            reply::json(StatusCode::OK, &told)
        }
    };
    drop(place);
    Ok(answer)
}

fn place(shared: &Shared) -> ApiResult<OwnedSemaphorePermit> {
    let place = Arc::clone(&shared.places().publishes).try_acquire_owned();
    place.map_err(|_| busy())
}

fn busy() -> ApiError {
    ApiError::too_many("busy", "too many messages are being published at a time", 1)
}

/// 400 of what is no topic.
pub fn bad_topic(topic: &str) -> ApiError {
    ApiError::bad(
        "bad_topic",
        format!("{topic:?} is no topic"),
        "a topic is 1 to 255 bytes of UTF-8, parts joined by `.`, none empty, without `*` and control characters",
    )
}

/// Has a message accepted, for other routes; what becomes of it is not told.
pub async fn accept(shared: &Shared, overlay: &str, topic: &str, payload: Bytes) -> ApiResult<()> {
    let _place = place(shared)?;
    let wish = Wish {
        overlay,
        topic,
        payload,
        progress: None,
    };
    wish.accepted(shared, Instant::now(), Confirm::Accepted)
        .await
        .map(drop)
}

/// A message that waits to be accepted.
struct Wish<'a> {
    overlay: &'a str,
    topic: &'a str,
    payload: Bytes,
    progress: Option<Arc<Progress>>,
}

impl Wish<'_> {
    /// Has it accepted, as soon as there is room for it.
    async fn accepted(
        &self,
        shared: &Shared,
        begun: Instant,
        confirm: Confirm,
    ) -> ApiResult<Accepted> {
        let time = match confirm {
            Confirm::Accepted => ROOM_TIME,
            Confirm::Delivered(time) => time.min(ROOM_TIME),
        };
        loop {
            if shared.drain.is_draining() {
                return Err(ApiError::unavailable(
                    "draining",
                    "the node is going out of service and takes no more messages",
                    "publish at another node",
                ));
            }
            match self.order(shared).await? {
                Ok(accepted) => return Ok(accepted),
                Err(Refused::WouldBlock) if begun.elapsed() < time => sleep(ROOM_LOOK).await,
                Err(refused) => return Err(self.explain(refused)),
            }
        }
    }

    async fn order(&self, shared: &Shared) -> ApiResult<Result<Accepted, Refused>> {
        let (answer, heard) = oneshot::channel();
        let order = Order {
            topic: self.topic.to_owned(),
            payload: self.payload.clone(),
            progress: self.progress.clone(),
            answer,
        };
        letterbox::post(shared, self.overlay, order).await?;
        heard.await.map_err(|_| letterbox::gone())
    }

    fn explain(&self, refused: Refused) -> ApiError {
        match refused {
            Refused::WouldBlock => ApiError::unavailable(
                "would_block",
                "there is no room for the message: the store is full, or other members' subscriptions are not known yet",
                "try again; a subscriber that takes nothing may hold it up, or `retain` of the overlay is small",
            ),
            Refused::TooLarge(limit) => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!(
                    "the message has {} bytes, and {:?} takes at most {limit}",
                    self.payload.len(),
                    self.overlay
                ),
                "publish smaller pieces, or raise `max_message` of the overlay",
            ),
            Refused::NoSubscriber => no_subscriber(self.topic, "nothing was published"),
            Refused::BadTopic => bad_topic(self.topic),
            Refused::TooMany => ApiError::unavailable(
                "limit",
                "the overlay has as many publishers as it may",
                "close some",
            ),
            Refused::Leaving => letterbox::gone(),
        }
    }
}

fn no_subscriber(topic: &str, what: &str) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "no_subscriber",
        format!("nobody has subscribed to {topic:?}; {what}"),
        "subscribe first, or leave out confirm=delivered",
    )
}

/// A message that was accepted, and whose outcomes may be waited for.
pub struct Waiting {
    accepted: Accepted,
    progress: Arc<Progress>,
    until: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    /// How it was accepted.
    pub fn view(&self) -> PublishedView {
        view(&self.accepted)
    }

    /// Whether outcomes are wanted.
    pub fn is_to_settle(&self) -> bool {
        self.until.is_some()
    }

    /// Waits for its outcomes: subscriptions that acknowledged it, and the others by reason.
    pub async fn settled(mut self) -> ApiResult<(u64, Vec<FailureView>)> {
        let until = self.until.unwrap_or_else(Instant::now);
        settled(&mut self.accepted, &self.progress, until).await
    }
}

/// Has a message of a socket accepted, which waits for a place, too: its next frames are read when this is done.
pub async fn order(
    shared: Arc<Shared>,
    overlay: String,
    topic: String,
    payload: Bytes,
    confirm: Confirm,
) -> ApiResult<Waiting> {
    let begun = Instant::now();
    let place = Arc::clone(&shared.places().publishes).acquire_owned();
    // It is never closed.
    let Ok(Ok(place)) = timeout_at(begun + ROOM_TIME, place).await else {
        return Err(busy());
    };
    let progress = Arc::new(Progress::default());
    let until = match confirm {
        Confirm::Accepted => None,
        Confirm::Delivered(time) => Some(begun + time),
    };
    let wish = Wish {
        overlay: &overlay,
        topic: &topic,
        payload,
        progress: until.map(|_| Arc::clone(&progress)),
    };
    let accepted = wish.accepted(&shared, begun, confirm).await?;
    Ok(Waiting {
        accepted,
        progress,
        until,
        _place: place,
    })
}

/// Why a message counts as failed though every outcome is there.
pub fn not_delivered(failures: &[FailureView]) -> ApiError {
    let count: u64 = failures.iter().map(|failure| failure.count).sum();
    ApiError::new(
        StatusCode::CONFLICT,
        "not_delivered",
        format!("{count} of the subscriptions that it was owed to did not acknowledge it"),
        "`failed` has the reasons; the others have it",
    )
}

/// Waits for the outcomes of a message: subscriptions that acknowledged it, and the others by reason.
async fn settled(
    accepted: &mut Accepted,
    progress: &Progress,
    until: Instant,
) -> ApiResult<(u64, Vec<FailureView>)> {
    if accepted.owed == 0 {
        // It went out while the subscriptions were not known.
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "no_subscriber",
            "nobody is known to have subscribed; the message was published all the same",
            "wait until the node is synced: /readyz tells",
        ));
    }
    if let Some(heard) = accepted.settled.take() {
        match timeout_at(until, heard).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(letterbox::gone()),
            Err(_) => return Err(late(accepted, progress)),
        }
    }
    Ok(counts(progress))
}

fn counts(progress: &Progress) -> (u64, Vec<FailureView>) {
    let (mut delivered, mut failed) = (0, Vec::new());
    for (outcome, count) in progress.counts() {
        match outcome {
            Outcome::Delivered => delivered = count,
            other => failed.push(FailureView {
                reason: other.label(),
                count,
            }),
        }
    }
    (delivered, failed)
}

fn late(accepted: &Accepted, progress: &Progress) -> ApiError {
    let (delivered, failed) = counts(progress);
    let failed: u64 = failed.iter().map(|failure| failure.count).sum();
    let owed = u64::from(accepted.owed);
    ApiError::new(
        StatusCode::GATEWAY_TIMEOUT,
        "not_confirmed",
        format!(
            "message {} of publisher {} was accepted, and is still owed to {} of {owed} subscriptions; {delivered} acknowledged it, {failed} failed",
            accepted.seq,
            accepted.publisher.handle,
            owed.saturating_sub(delivered + failed),
        ),
        "it is delivered further on: do not publish it again, or take it twice",
    )
}

fn view(accepted: &Accepted) -> PublishedView {
    PublishedView {
        publisher: accepted.publisher.into(),
        seq: accepted.seq,
        owed: accepted.owed,
        unsynced: !accepted.synced,
        delivered: None,
        failed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_said_in_the_query() {
        let of = |query: &str| Confirm::of(Some(query));
        assert_eq!(Confirm::of(None).unwrap(), Confirm::Accepted);
        assert_eq!(of("confirm=accepted").unwrap(), Confirm::Accepted);
        let delivered = Confirm::Delivered(CONFIRM_TIME);
        assert_eq!(of("confirm=delivered").unwrap(), delivered);
        let short = Confirm::Delivered(Duration::from_millis(200));
        assert_eq!(of("timeout=200ms&confirm=delivered").unwrap(), short);
        for bad in [
            "confirm=maybe",
            "confirm",
            "timeout=1s",
            "confirm=delivered&timeout=26s",
            "confirm=delivered&timeout=5",
            "qos=1",
        ] {
            assert_eq!(of(bad).expect_err(bad).code(), "bad_query");
        }
    }
}
