//! A publisher of the embedder: one topic, one thread at a time, a ring of its own to the shard that owns the overlay.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidings_protocol::PublisherId;

use crate::queue::bell::Flag;
use crate::queue::notify::{Notify, block_until};
use crate::queue::ring::{Consumer, Producer};
use crate::record::{self, OutcomeRange, PUBLISH};
use crate::routes::OverlayShared;
use crate::shard::outlet::OutcomeWish;
use crate::whereabouts::PortBell;

/// How much of what was published is settled. The shard writes, the publisher reads.
#[derive(Default)]
pub(crate) struct Tally {
    accepted: AtomicU64,
    owed: AtomicU64,
    outcomes: AtomicU64,
}

impl Tally {
    /// A message was accepted, owed to so many subscriptions.
    pub(crate) fn accept(&self, owed: u32) {
        add(&self.owed, u64::from(owed));
        add(&self.accepted, 1);
    }

    /// So many outcomes came.
    pub(crate) fn settle(&self, outcomes: u64) {
        add(&self.outcomes, outcomes);
    }

    /// Whether everything that was accepted has its outcomes.
    pub(crate) fn is_even(&self) -> bool {
        let owed = self.owed.load(Ordering::Acquire);
        owed == self.outcomes.load(Ordering::Acquire)
    }

    /// Whether so many messages were accepted, and have their outcomes. None is owed more once it is accepted, so nothing
    /// changes between the looks.
    fn is_settled(&self, published: u64) -> bool {
        self.accepted.load(Ordering::Acquire) == published && self.is_even()
    }
}

/// There is one writer.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Release);
}

/// What a publisher and its shard share beside the rings.
pub(crate) struct PublisherShared {
    /// Raised by the shard when it found the ring empty.
    pub(crate) bell: Flag,
    /// Raised by the shard when too many outcomes are unread.
    pub(crate) unread: Flag,
    /// Tells of room in the ring.
    pub(crate) room: Notify,
    /// Tells of outcomes, and that all is settled.
    pub(crate) outcomes: Notify,
    pub(crate) tally: Tally,
    closed: AtomicBool,
}

impl PublisherShared {
    pub(crate) fn new() -> Self {
        Self {
            bell: Flag::new(true),
            unread: Flag::new(false),
            room: Notify::new(),
            outcomes: Notify::new(),
            tally: Tally::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.room.notify();
        self.outcomes.notify();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// How a publisher is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublisherOptions {
    /// Which outcomes to report. Those that are reported must be read, or publishing stops.
    pub outcomes: OutcomeWish,
    /// Bytes of the ring to the shard; at least twice the largest message. Touched only as it is used.
    pub ring_bytes: usize,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            outcomes: OutcomeWish::default(),
            ring_bytes: crate::limits::RING_BYTES_DEFAULT,
        }
    }
}

/// A message was taken for delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Position among this publisher's messages; with [`Publisher::id`] the message's id.
    pub seq: u64,
    /// Subscriptions that this node knows now, a hint: how many it is owed is counted when the shard accepts it, which may be
    /// after others came or went. Whether all of them have it is told by [`Publisher::is_settled`].
    pub owed: u32,
}

/// Why a message was not taken. Nothing was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishRefusal {
    /// No room: the overlay's store is full, too much waits for the path to a subscriber's node, or the shard has not come to it
    /// yet. See [`Publisher::wait_for_room`].
    WouldBlock,
    /// Longer than the overlay's `max_message`.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The overlay was removed, or the node stopped.
    Closed,
}

impl std::fmt::Display for PublishRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WouldBlock => f.write_str("no room for the message"),
            Self::TooLarge { limit } => write!(f, "the message is larger than {limit} bytes"),
            Self::Closed => f.write_str("the overlay is closed"),
        }
    }
}

impl std::error::Error for PublishRefusal {}

/// An open publisher. It may move to another thread, but two threads cannot use it at once.
pub struct Publisher {
    id: PublisherId,
    topic: String,
    next_seq: u64,
    /// Version of the routing table that `owed` was counted in.
    routes_version: u64,
    owed: u32,
    ring: Producer,
    /// The largest message that is sure to fit the ring.
    holds: usize,
    outcomes: Consumer,
    shared: Arc<PublisherShared>,
    overlay: Arc<OverlayShared>,
    bell: PortBell,
    /// Not `Sync`.
    _one_thread: PhantomData<std::cell::Cell<()>>,
}

/// What the shard's answer to an opened publisher is made of.
pub(crate) struct PublisherParts {
    pub(crate) id: PublisherId,
    pub(crate) topic: String,
    pub(crate) ring: Producer,
    pub(crate) outcomes: Consumer,
    pub(crate) shared: Arc<PublisherShared>,
    pub(crate) overlay: Arc<OverlayShared>,
    pub(crate) bell: PortBell,
}

impl Publisher {
    pub(crate) fn new(parts: PublisherParts) -> Self {
        let mut publisher = Self {
            id: parts.id,
            topic: parts.topic,
            next_seq: 0,
            routes_version: 0,
            owed: 0,
            holds: parts.ring.record_bytes_max() - crate::record::HEAD_BYTES_MAX,
            ring: parts.ring,
            outcomes: parts.outcomes,
            shared: parts.shared,
            overlay: parts.overlay,
            bell: parts.bell,
            _one_thread: PhantomData,
        };
        publisher.count_owed();
        publisher
    }

    /// Who this is: node, boot and handle, the first three parts of each message's id.
    pub fn id(&self) -> PublisherId {
        self.id
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Copies `payload` once into the ring and returns its number; never waits for the shard.
    pub fn publish(&mut self, payload: &[u8]) -> Result<Published, PublishRefusal> {
        let limit = self.overlay.message_bytes_max().min(self.holds);
        if payload.len() > limit {
            return Err(PublishRefusal::TooLarge { limit });
        }
        if self.shared.is_closed() || self.ring.is_closed() {
            return Err(PublishRefusal::Closed);
        }
        if !self.ring.push(PUBLISH, &[payload]) {
            return Err(PublishRefusal::WouldBlock);
        }
        if self.shared.bell.take() {
            self.bell.ring();
        }
        if self.overlay.routes.version() != self.routes_version {
            self.count_owed();
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        Ok(Published {
            seq,
            owed: self.owed,
        })
    }

    fn count_owed(&mut self) {
        self.routes_version = self.overlay.routes.version();
        self.owed = self.overlay.routes.read(|routes| routes.owed(&self.topic));
    }

    /// Publishes, waiting for room at most `timeout`.
    pub fn publish_within(
        &mut self,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Published, PublishRefusal> {
        let mut deadline = None;
        loop {
            match self.publish(payload) {
                Err(PublishRefusal::WouldBlock) => {}
                other => return other,
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.wait_for_room(left) {
                return self.publish(payload);
            }
        }
    }

    /// Waits until the shard has read from the ring. `false`: not within `timeout`.
    pub fn wait_for_room(&mut self, timeout: Duration) -> bool {
        let shared = Arc::clone(&self.shared);
        block_until(&shared.room, Some(Instant::now() + timeout), || {
            self.has_room().then_some(())
        })
        .is_some()
    }

    /// The same for any async runtime.
    pub async fn room(&mut self) {
        std::future::poll_fn(|context| self.poll_room(context)).await;
    }

    /// The same as a poll function.
    pub fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.shared.room.register(context.waker());
        if self.has_room() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn has_room(&mut self) -> bool {
        self.ring.is_half_free() || self.shared.is_closed() || self.ring.is_closed()
    }

    /// The next range of outcomes, if there is one.
    pub fn try_outcome(&mut self) -> Option<OutcomeRange> {
        let Some((_, bytes)) = self.outcomes.peek() else {
            if self.shared.unread.take() {
                self.bell.ring();
            }
            return None;
        };
        let range = record::read_outcome(bytes);
        self.outcomes.advance();
        self.outcomes.release();
        Some(range)
    }

    /// The next range of outcomes, waited for at most `timeout`. `None` also when the overlay closed.
    pub fn outcome_within(&mut self, timeout: Duration) -> Option<OutcomeRange> {
        let shared = Arc::clone(&self.shared);
        let deadline = Some(Instant::now() + timeout);
        block_until(&shared.outcomes, deadline, || match self.try_outcome() {
            Some(range) => Some(Some(range)),
            None => self.is_ended().then_some(None),
        })?
    }

    /// The next range of outcomes, for any async runtime. `None`: the overlay closed.
    pub async fn outcome(&mut self) -> Option<OutcomeRange> {
        std::future::poll_fn(|context| self.poll_outcome(context)).await
    }

    /// The same as a poll function.
    pub fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Option<OutcomeRange>> {
        if let Some(range) = self.try_outcome() {
            return Poll::Ready(Some(range));
        }
        self.shared.outcomes.register(context.waker());
        match self.try_outcome() {
            Some(range) => Poll::Ready(Some(range)),
            None if self.is_ended() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Whether everything that was published so far is settled: accepted by the overlay, and delivered or failed at each
    /// subscription that it was owed to. The outcomes to report are in the queue then. A publisher that leaves thousands of
    /// them unread is not served any more, and does not settle.
    pub fn is_settled(&self) -> bool {
        self.shared.tally.is_settled(self.next_seq)
    }

    /// Waits until everything [is settled](Self::is_settled). `false`: not within `timeout`, or the overlay closed before.
    pub fn settled_within(&mut self, timeout: Duration) -> bool {
        let shared = Arc::clone(&self.shared);
        block_until(&shared.outcomes, Some(Instant::now() + timeout), || {
            (self.is_settled() || self.is_ended()).then_some(())
        });
        self.is_settled()
    }

    /// The same for any async runtime, without a timeout.
    pub async fn settled(&mut self) -> bool {
        std::future::poll_fn(|context| self.poll_settled(context)).await
    }

    /// The same as a poll function.
    pub fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        self.shared.outcomes.register(context.waker());
        match self.is_settled() {
            true => Poll::Ready(true),
            false if self.is_ended() => Poll::Ready(self.is_settled()),
            false => Poll::Pending,
        }
    }

    fn is_ended(&self) -> bool {
        self.shared.is_closed() || self.outcomes.is_closed()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.ring.close();
        if self.shared.bell.take() {
            self.bell.ring();
        }
    }
}
