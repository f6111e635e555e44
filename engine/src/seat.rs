//! What a session can do on its shard: publish, subscribe, acknowledge, look around. Valid for one call.

use std::sync::atomic::Ordering;

use tidings_protocol::{Accepted, Batch, CommandError, Member, PublishError, PublisherId, SubSpec};
use tidings_wire::{Boot, NodeId, OverlayId};

use crate::session::SessionRc;
use crate::shard::outlet::{PublisherSink, Sink};
use crate::shard::overlay::ShardOverlay;

/// A session's place at its overlay, for the length of one call.
pub struct Seat<'a> {
    pub(crate) now: u64,
    pub(crate) overlay: &'a mut ShardOverlay,
    pub(crate) me: &'a SessionRc,
}

impl Seat<'_> {
    /// The turn's time in ns of [`crate::clock`].
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The overlay that the session speaks for.
    pub fn overlay(&self) -> OverlayId {
        self.overlay.shared.id
    }

    /// The shard that it is on, now.
    pub(crate) fn shard(&self) -> usize {
        self.overlay.shared.at.shard()
    }

    /// This node and its boot.
    pub fn node(&self) -> (NodeId, Boot) {
        (self.overlay.shared.node, self.overlay.shared.boot)
    }

    /// Opens a publisher on `topic`; its outcomes come as events to this session.
    pub fn open_publisher(&mut self, topic: &str) -> Result<u32, CommandError> {
        self.overlay
            .open_publisher(topic, PublisherSink::Session(SessionRc::clone(self.me)))
    }

    /// Accepts a message into the overlay's store, or says why not.
    pub fn publish(&mut self, handle: u32, payload: &[u8]) -> Result<Accepted, PublishError> {
        self.overlay.publish(self.now, handle, payload)
    }

    /// Accepts several messages of one publisher, as [`Seat::publish`] would each: `publish` is given what takes them. Where no
    /// subscription is local, what fits into a datagram costs less so, and least where messages are written straight into it
    /// ([`Batch::publish_with`]). As in `publish`, deliveries and events of this very
    /// session may be told meanwhile: hold no borrow of what they need.
    pub fn publish_batch<R>(
        &mut self,
        handle: u32,
        publish: impl FnOnce(&mut Batch<'_>) -> R,
    ) -> R {
        self.overlay.publish_batch(self.now, handle, publish)
    }

    /// Closes a publisher; what it was owed is still delivered, but nobody is told.
    pub fn close_publisher(&mut self, handle: u32) {
        self.overlay.close_publisher(handle);
    }

    /// Subscribes; messages come to this session. A named client's subscription is continued if it exists.
    pub fn subscribe(&mut self, spec: SubSpec) -> Result<u32, CommandError> {
        self.overlay
            .subscribe(self.now, spec, Sink::Session(SessionRc::clone(self.me)))
    }

    /// Ends a subscription of this session: publishers are told that it is gone.
    pub fn unsubscribe(&mut self, sub: u32) {
        if self.has(sub) {
            self.overlay.unsubscribe(self.now, sub);
        }
    }

    /// Leaves a subscription of this session without its client: it waits for `client_grace`.
    pub fn detach(&mut self, sub: u32) {
        if self.has(sub) {
            self.overlay.detach(self.now, sub);
        }
    }

    // Not if a newer session under the client's name took it over.
    fn has(&self, sub: u32) -> bool {
        let sink = self.overlay.outlets.sinks.get(&sub);
        sink.is_some_and(|sink| sink.is_session(self.me.index))
    }

    /// There is room again after `deliver` answered `Full` for this subscription.
    pub fn ready(&mut self, sub: u32) {
        self.overlay.ready(sub);
    }

    /// Acknowledges one message, or with `upto` all of its publisher up to it. Returns how many that settled.
    pub fn acknowledge(&mut self, sub: u32, publisher: PublisherId, seq: u64, upto: bool) -> u64 {
        self.overlay.acknowledge(sub, publisher, seq, upto)
    }

    /// Acknowledges the messages `from..to` of a publisher. Returns how many that settled.
    pub fn acknowledge_range(
        &mut self,
        sub: u32,
        publisher: PublisherId,
        from: u64,
        to: u64,
    ) -> u64 {
        self.overlay.touched = true;
        self.overlay
            .core
            .acknowledge_range(sub, publisher, from, to)
    }

    /// Starts or stops presence events for this session; the caller takes a snapshot by [`Self::members`] first.
    pub fn watch_presence(&mut self, on: bool) {
        let watchers = &mut self.overlay.outlets.watchers;
        watchers.retain(|watcher| !watcher.is_session(self.me.index));
        if on {
            watchers.push(Sink::Session(SessionRc::clone(self.me)));
        }
    }

    /// Everybody in the overlay, this node included.
    pub fn members(&self) -> Vec<Member> {
        self.overlay.members()
    }

    /// Whether the subscription tables of all members held alive are here.
    pub fn is_synced(&self) -> bool {
        self.overlay.is_synced()
    }

    /// Whether the node goes out of service, see [`crate::Engine::refuse_publishers`].
    pub(crate) fn is_draining(&self) -> bool {
        self.overlay.shared.draining.load(Ordering::Relaxed)
    }

    /// Subscriptions that a message on `topic` would be owed now.
    pub fn owed(&self, topic: &str) -> u32 {
        self.overlay.shared.routes.read(|routes| routes.owed(topic))
    }

    /// Subscriptions that the next message of an open publisher would be owed.
    pub fn owed_by(&self, handle: u32) -> u32 {
        let topic = self.overlay.core.publisher_topic(handle);
        topic.map_or(0, |topic| self.owed(topic))
    }

    /// Counts messages that came over from a connection on another shard.
    pub fn count_crossed_in(&mut self, messages: u64) {
        self.overlay.outlets.counts.crossed_in += messages;
    }

    /// Counts messages passed on to an overlay on another shard.
    pub fn count_crossed_out(&mut self, messages: u64) {
        self.overlay.outlets.counts.crossed_out += messages;
    }

    /// Largest message in bytes.
    pub fn message_bytes_max(&self) -> usize {
        self.overlay.shared.message_bytes_max()
    }
}
