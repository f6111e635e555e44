//! A subscriber of the embedder: one thread at a time reads the messages of its patterns from a ring that the overlay's
//! shard fills, and acknowledges them over another.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidings_protocol::{AckMode, PublisherId, Redelivery, SlowPolicy, SubSpec};
use tidings_wire::NodeId;

use crate::limits::{ACKS_HELD_MAX, RELEASE_PARTS};
use crate::queue::bell::Flag;
use crate::queue::notify::{Notify, block_until};
use crate::queue::ring::{Consumer, Producer};
use crate::record::{self, Ack, Gap, Source};
use crate::whereabouts::PortBell;

/// What a subscriber and its shard share beside the rings.
pub(crate) struct SubscriberShared {
    /// Raised by the shard when it found no acknowledgements.
    pub(crate) bell: Flag,
    /// Raised by the shard when the ring is short of room: it wants to hear when half of it is free.
    pub(crate) starved: Flag,
    /// Tells of messages, and of the end.
    pub(crate) notify: Notify,
    /// Tells of the end alone.
    end: Notify,
    closed: AtomicBool,
    superseded: AtomicBool,
}

impl SubscriberShared {
    pub(crate) fn new() -> Self {
        Self {
            bell: Flag::new(true),
            starved: Flag::new(false),
            notify: Notify::new(),
            end: Notify::new(),
            closed: AtomicBool::new(false),
            superseded: AtomicBool::new(false),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.notify.notify();
        self.end.notify();
    }

    /// Another one has its subscription now.
    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
        self.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// How to subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberOptions {
    /// A name makes the subscription survive this process; empty: it ends with the `Subscriber`.
    pub client: String,
    /// What an acknowledgement means.
    pub ack: AckMode,
    /// Increasing sequence numbers per publisher, holes told as gaps.
    pub ordered: bool,
    /// What happens when the reader does not keep up.
    pub policy: SlowPolicy,
    /// When publishers give up; `None`: as the overlay's policy says.
    pub redelivery: Option<Redelivery>,
    /// Bytes of the ring of messages; at least twice the largest message. Touched only as it is used.
    pub ring_bytes: usize,
}

impl Default for SubscriberOptions {
    fn default() -> Self {
        Self {
            client: String::new(),
            ack: AckMode::Client,
            ordered: false,
            policy: SlowPolicy::Detach,
            redelivery: None,
            ring_bytes: crate::limits::RING_BYTES_DEFAULT,
        }
    }
}

impl SubscriberOptions {
    pub(crate) fn spec(&self, pattern: &str) -> SubSpec {
        SubSpec {
            pattern: pattern.to_owned(),
            client: self.client.clone(),
            ack: self.ack,
            ordered: self.ordered,
            policy: self.policy,
            redelivery: self.redelivery,
        }
    }
}

/// Id of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Node, boot and handle.
    pub publisher: PublisherId,
    /// Position among the messages of its publisher.
    pub seq: u64,
}

/// A message in the ring. It goes with the next call on the subscriber.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its id.
    pub id: MessageId,
    /// The subscription that it came by.
    pub sub: u32,
    /// Its topic.
    pub topic: &'a str,
    /// What was published.
    pub payload: &'a [u8],
    /// It may have been seen before.
    pub again: bool,
}

/// What a subscriber reads.
#[derive(Debug)]
pub enum Received<'a> {
    /// A message.
    Message(Message<'a>),
    /// A hole in an ordered subscription.
    Gap(Gap),
}

/// An open subscriber. It may move to another thread, but two threads cannot use it at once.
pub struct Subscriber {
    subs: Vec<u32>,
    partial: Vec<NodeId>,
    ring: Consumer,
    /// Where the messages that are read come from.
    source: Option<Source>,
    acks: Producer,
    /// Acknowledgements not yet passed on: a run of one publisher's messages.
    held: Option<Ack>,
    /// The record at the front was handed out and goes with the next call.
    handed: bool,
    /// Bytes handed out since memory was last given back.
    unreleased: u64,
    release_at: u64,
    shared: Arc<SubscriberShared>,
    bell: PortBell,
    /// Not `Sync`.
    _one_thread: PhantomData<std::cell::Cell<()>>,
}

/// What a subscriber is made of.
pub(crate) struct SubscriberParts {
    pub(crate) subs: Vec<u32>,
    pub(crate) partial: Vec<NodeId>,
    pub(crate) ring: Consumer,
    pub(crate) acks: Producer,
    pub(crate) shared: Arc<SubscriberShared>,
    pub(crate) bell: PortBell,
}

impl Subscriber {
    pub(crate) fn new(parts: SubscriberParts) -> Self {
        let release_at = parts.ring.bytes() / RELEASE_PARTS;
        Self {
            subs: parts.subs,
            partial: parts.partial,
            ring: parts.ring,
            source: None,
            acks: parts.acks,
            held: None,
            handed: false,
            unreleased: 0,
            release_at,
            shared: parts.shared,
            bell: parts.bell,
            _one_thread: PhantomData,
        }
    }

    /// Members that had not confirmed the subscription within 2 s; empty: it is effective everywhere.
    pub fn partial(&self) -> &[NodeId] {
        &self.partial
    }

    /// Subscription ids on this node, one for each pattern in the order given.
    pub fn subs(&self) -> &[u32] {
        &self.subs
    }

    /// What is next, if anything is there.
    pub fn try_next(&mut self) -> Option<Received<'_>> {
        if !self.step() {
            return None;
        }
        Some(self.hand_out())
    }

    /// What is next, waited for at most `timeout`. `None`: nothing came, or the overlay closed.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Received<'_>> {
        // Neither the clock nor a reference count while there is something to read.
        if self.step() {
            return Some(self.hand_out());
        }
        let shared = Arc::clone(&self.shared);
        let deadline = Instant::now() + timeout;
        let found = block_until(&shared.notify, Some(deadline), || match self.step() {
            true => Some(true),
            false => self.is_closed().then_some(false),
        });
        if found == Some(true) {
            Some(self.hand_out())
        } else {
            None
        }
    }

    /// What is next, for any async runtime. `None`: the overlay closed.
    pub async fn next(&mut self) -> Option<Received<'_>> {
        let found = std::future::poll_fn(|context| self.poll_ready(context)).await;
        if found { Some(self.hand_out()) } else { None }
    }

    /// Ready when [`Self::try_next`] will find something (`true`) or the overlay closed (`false`).
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.step() {
            return Poll::Ready(true);
        }
        self.shared.notify.register(context.waker());
        match self.step() {
            true => Poll::Ready(true),
            false if self.is_closed() => Poll::Ready(false),
            false => Poll::Pending,
        }
    }

    /// Ready when nothing more comes ([`Self::is_closed`]), whatever is in the ring: for who leaves it there for now. Messages do
    /// not wake.
    pub fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        self.shared.end.register(context.waker());
        match self.is_closed() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Whether nothing more comes: the overlay was removed, the node stopped, or a newer subscriber has the subscription
    /// ([`Self::is_superseded`]). What is in the ring can still be read.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed() || self.ring.is_closed()
    }

    /// Whether a newer subscriber of the same name has one of its subscriptions: what this one was handed and did not
    /// acknowledge comes again there.
    pub fn is_superseded(&self) -> bool {
        self.shared.superseded.load(Ordering::Acquire)
    }

    /// Goes past what was handed out; `true`: there is a record at the front.
    fn step(&mut self) -> bool {
        if self.handed {
            self.handed = false;
            self.unreleased += self.ring.advance();
        }
        if self.unreleased >= self.release_at {
            self.release();
        }
        if !self.ring.is_empty() {
            return true;
        }
        if self.unreleased > 0 {
            self.release();
        }
        // Nothing to read: a good time for acknowledgements.
        self.pass_acks();
        false
    }

    fn release(&mut self) {
        self.unreleased = 0;
        self.ring.release();
        let starved = &self.shared.starved;
        if starved.is_raised() && self.ring.is_half_free() && starved.take() {
            self.bell.ring();
        }
    }

    fn hand_out(&mut self) -> Received<'_> {
        self.handed = true;
        let (kind, bytes) = self.ring.peek().expect("step found a record");
        if kind == record::GAP {
            return Received::Gap(record::read_gap(bytes));
        }
        let (seq, payload) = record::read_message(kind, bytes, &mut self.source);
        let source = self.source.as_ref();
        let source = source.expect("the first message in a ring brings its source");
        Received::Message(Message {
            id: MessageId {
                publisher: source.publisher,
                seq,
            },
            sub: source.sub,
            topic: &source.topic,
            payload,
            again: kind & record::AGAIN != 0,
        })
    }

    /// Acknowledges one message that came by subscription `sub`. Runs of one publisher travel together, at the latest when
    /// the ring is empty or by [`Self::flush`].
    pub fn ack(&mut self, sub: u32, id: MessageId) {
        if let Some(held) = &mut self.held {
            let joins = !held.upto
                && (held.sub, held.publisher) == (sub, id.publisher)
                && held.to + 1 == id.seq;
            if joins && held.to - held.from < ACKS_HELD_MAX {
                held.to = id.seq;
                return;
            }
        }
        self.pass_acks();
        self.held = Some(Ack {
            sub,
            publisher: id.publisher,
            from: id.seq,
            to: id.seq,
            upto: false,
        });
    }

    /// Acknowledges all messages of the publisher up to this one.
    pub fn ack_upto(&mut self, sub: u32, id: MessageId) {
        if let Some(held) = &mut self.held
            && held.upto
            && (held.sub, held.publisher) == (sub, id.publisher)
        {
            held.to = held.to.max(id.seq);
            return;
        }
        self.pass_acks();
        self.held = Some(Ack {
            sub,
            publisher: id.publisher,
            from: id.seq,
            to: id.seq,
            upto: true,
        });
    }

    /// Passes on what was acknowledged.
    pub fn flush(&mut self) {
        self.pass_acks();
    }

    /// A full acknowledgement ring means that the shard is far behind; waiting for it here is the only bounded answer.
    fn pass_acks(&mut self) {
        let Some(ack) = self.held.take() else { return };
        let bytes = record::ack_bytes(&ack);
        while !self.acks.push(record::ACK, &[&bytes]) {
            if self.acks.is_closed() {
                return;
            }
            self.bell.ring();
            std::thread::sleep(Duration::from_micros(50));
        }
        if self.shared.bell.take() {
            self.bell.ring();
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.pass_acks();
        self.acks.close();
        if self.shared.bell.take() {
            self.bell.ring();
        }
    }
}
