//! What the owner asks of a core: publishing, subscribing; and what it may look at.

use std::net::SocketAddr;

use tidings_wire::{Boot, NodeId, validate_pattern, validate_topic};

use super::*;
use crate::config::SubSpec;
use crate::event::{Accepted, CommandError, Event, Outcome, PublishError, PublisherId};
use crate::latency::Latency;
use crate::members::MemberCounters;
use crate::publish::subscriber::Subscriber;
use crate::publish::{PublishCounters, Sealing};
use crate::receive::ReceiveCounters;
use crate::tables::index::SubRef;

impl Core {
    /// Opens a publisher on a topic; the handle is unique within this boot and overlay.
    pub fn open_publisher(&mut self, topic: &str) -> Result<u32, CommandError> {
        validate_topic(topic).map_err(|_| CommandError::BadTopic)?;
        if self.is_leaving() {
            return Err(CommandError::Leaving);
        }
        self.publish.open(topic)
    }

    /// Closes a publisher. Messages accepted so far keep their guarantees.
    pub fn close_publisher(&mut self, handle: u32) -> Result<(), CommandError> {
        self.publish.close(handle)
    }

    /// The topic of an open publisher.
    pub fn publisher_topic(&self, handle: u32) -> Option<&str> {
        self.publish.topic(handle)
    }

    /// Takes a message for delivery. `WouldBlock` while tables are not synced, the store is full or the network is behind:
    /// [`Event::Writable`] tells when to try again.
    pub fn publish(
        &mut self,
        now: u64,
        handle: u32,
        payload: &[u8],
        out: &mut dyn Outlet,
    ) -> Result<Accepted, PublishError> {
        let limit = self.config.policy.max_message;
        if payload.len() > limit {
            return Err(PublishError::TooLarge { limit });
        }
        self.accept(now, handle, payload, out)
    }

    /// The same for a message that is known not to be too large.
    pub(super) fn accept(
        &mut self,
        now: u64,
        handle: u32,
        payload: &[u8],
        out: &mut dyn Outlet,
    ) -> Result<Accepted, PublishError> {
        if self.is_leaving() {
            return Err(PublishError::Closed);
        }
        if !self.sync.may_publish() {
            return Err(PublishError::WouldBlock);
        }
        let Self {
            publish,
            tables,
            keyring,
            rng,
            peers,
            receive,
            ..
        } = self;
        let mut sealing = Sealing {
            keyring,
            rng,
            peers,
        };
        publish.publish(handle, payload, tables, &mut sealing, receive, now, out)
    }

    /// Every pattern with effective subscriptions, of this node and others, and how many it has.
    pub fn patterns(&self) -> impl Iterator<Item = (String, usize)> + '_ {
        self.tables.index.patterns()
    }

    /// How many subscriptions a message on this topic would be owed to now.
    pub fn owed(&self, topic: &str) -> usize {
        self.tables.index.matches(topic).len()
    }

    /// Adds a local subscription. It is effective for local publishers at once; [`Event::Subscribed`] tells when it is for all.
    /// A named client that subscribes to the same pattern again gets its old subscription with all that it is owed.
    pub fn subscribe(
        &mut self,
        now: u64,
        spec: SubSpec,
        out: &mut dyn Outlet,
    ) -> Result<u32, CommandError> {
        validate_pattern(&spec.pattern).map_err(|_| CommandError::BadTopic)?;
        if self.is_leaving() {
            return Err(CommandError::Leaving);
        }
        let is_first = self.tables.own.version() == 0;
        let (sub, _) = self
            .tables
            .subscribe(now, spec.clone(), self.salt, self.members.alive())?;
        self.receive.subscribe(sub, &spec);
        self.publish.on_subscribed(
            SubRef {
                peer: PeerIx::LOCAL,
                sub,
            },
            Subscriber::new(spec.policy, self.tables.redelivery(&spec)),
        );
        self.members.set_table_version(self.tables.own.version());
        if is_first {
            self.begin_table();
        }
        out.event(Event::Routes);
        self.attach(sub, out);
        Ok(sub)
    }

    /// Ends a local subscription: its unacknowledged messages fail with `Unsubscribed`.
    pub fn unsubscribe(
        &mut self,
        now: u64,
        sub: u32,
        out: &mut dyn Outlet,
    ) -> Result<(), CommandError> {
        if !self.tables.unsubscribe(sub) {
            return Err(CommandError::Unknown);
        }
        self.grace.over(sub);
        // What it acknowledged counts, though it ends in the same moment.
        flush::settle_locally(&mut self.receive, &mut self.publish, &self.peers, now, out);
        self.receive.unsubscribe(sub, self.tables.own.version());
        self.publish.on_unsubscribed(
            SubRef {
                peer: PeerIx::LOCAL,
                sub,
            },
            (Outcome::Unsubscribed, now),
            &self.peers,
            out,
        );
        self.members.set_table_version(self.tables.own.version());
        out.event(Event::Routes);
        Ok(())
    }

    /// The subscription's client is gone but may come back: messages wait with their publishers. What it had not acknowledged
    /// is delivered again, marked so. After [`Policy::client_grace`](crate::Policy::client_grace) without it the subscription ends.
    pub fn detach(&mut self, now: u64, sub: u32) {
        if self.tables.own.spec(sub).is_some() {
            self.receive.detach(sub);
            self.grace.client_gone(now, sub);
        }
    }

    /// The subscription's client is there (again).
    pub fn attach(&mut self, sub: u32, out: &mut dyn Outlet) {
        self.grace.over(sub);
        self.receive.attach(sub, out);
    }

    /// There is room for the subscription after [`Taken::Full`](crate::Taken::Full).
    pub fn ready(&mut self, sub: u32, out: &mut dyn Outlet) {
        self.receive.ready(sub, out);
    }

    /// The subscriber's application acknowledges message `seq` of a publisher, or all up to it. Unknown ids do nothing.
    /// Returns how many messages that settled.
    pub fn acknowledge(&mut self, sub: u32, publisher: PublisherId, seq: u64, upto: bool) -> u64 {
        let from = if upto { 0 } else { seq };
        self.acknowledge_range(sub, publisher, from, seq.saturating_add(1))
    }

    /// The same for the messages `from..to` of a publisher.
    pub fn acknowledge_range(
        &mut self,
        sub: u32,
        publisher: PublisherId,
        from: u64,
        to: u64,
    ) -> u64 {
        let peer = if publisher.node == self.config.node {
            Some(PeerIx::LOCAL)
        } else {
            self.peers.find(&publisher.node)
        };
        let Some(peer) = peer else { return 0 };
        self.receive
            .acknowledge(peer, publisher.boot, sub, publisher.handle, from, to)
    }

    /// Replaces the application metadata in this node's member record.
    pub fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), CommandError> {
        if metadata.len() > tidings_wire::limits::MAX_METADATA {
            return Err(CommandError::TooLong);
        }
        self.members.set_metadata(metadata);
        self.config.metadata = metadata.to_vec();
        Ok(())
    }

    /// Replaces the rack in this node's member record.
    pub fn set_rack(&mut self, rack: &str) -> Result<(), CommandError> {
        if rack.len() > tidings_wire::limits::MAX_NAME {
            return Err(CommandError::TooLong);
        }
        self.members
            .change(|portrait| portrait.rack = rack.to_owned());
        self.config.rack = rack.to_owned();
        Ok(())
    }

    /// Replaces the steer byte that peers are asked to put on PAIR and BULK: sessions that begin from now on use it. Those that stand go on
    /// with theirs, which costs their datagrams a detour at most.
    pub fn set_steer(&mut self, steer: u8) {
        self.links.local.steer = steer;
        self.config.steer = steer;
    }

    /// Replaces the seeds' addresses, after names were resolved anew.
    pub fn set_seeds(&mut self, now: u64, seeds: &[SocketAddr]) {
        self.members.set_seeds(now, seeds);
    }

    /// A verified beacon told that `node` is reached at `addr`: there a handshake is tried, unless an alive member is there, and
    /// again from time to time as long as beacons tell of it. Of a bounded number of addresses; nothing is believed but that.
    pub fn on_found(&mut self, now: u64, node: &NodeId, addr: SocketAddr) {
        let (ctx, members) = self.ctx(now);
        members.on_found(&ctx, node, addr);
    }

    /// Addresses that beacons told of in the last minutes.
    pub fn found_len(&self) -> usize {
        self.members.found_len()
    }

    /// There is somebody to join from now on, where nobody was: what is published waits for the subscriptions there, as after a
    /// start. With other members it is joined already, and nothing changes.
    pub fn begin_joining(&mut self, now: u64) {
        if self.members.alive_count() == 0 {
            self.members.forget_joining();
            self.sync = sync::Sync::new(now, true);
        }
    }

    /// How far this node is with the subscriptions of the others.
    pub fn sync_stage(&self) -> SyncStage {
        self.sync.stage()
    }

    /// Whether every alive member's subscriptions were known once since joining; it stays so. Publishing goes on without 5 s after joining; what
    /// is published then may owe less than it should.
    pub fn is_synced(&self) -> bool {
        self.sync.is_synced()
    }

    /// The host's interface refused a datagram of `bytes` to `to` for its size: smaller ones go there from now on.
    pub fn on_too_big(&mut self, now: u64, to: SocketAddr, bytes: usize) {
        self.links.on_too_big(now, to, bytes);
    }

    /// Whether a publisher waits to hear what came of its streams: then [`Core::note_unread`] must be told the truth before
    /// [`Core::flush`].
    pub fn is_asked(&self) -> bool {
        self.streams.is_asked()
    }

    /// Whether datagrams came, before the last that was handed in, that were not handed in yet. As long as there are none of the
    /// kind, as at the beginning, nobody need say so.
    pub fn note_unread(&mut self, unread: bool) {
        self.streams.note_unread(unread);
    }

    /// Whether every accepted message has all its outcomes.
    pub fn is_settled(&self) -> bool {
        self.publish.is_settled()
    }

    /// Counts of the publishing side.
    pub fn publish_counters(&self) -> PublishCounters {
        self.publish.counters
    }

    /// How old delivered messages were when their acknowledgements came: as many pairs as were delivered.
    pub fn latency(&self) -> &Latency {
        &self.publish.latency
    }

    /// Counts of membership.
    pub fn member_counters(&self) -> MemberCounters {
        self.members.counters
    }

    /// Counts of the receiving side.
    pub fn receive_counters(&self) -> ReceiveCounters {
        self.receive.counters
    }

    /// Datagrams refused, by reason.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Bytes that the core keeps for messages: (store, held back and partly received).
    pub fn memory(&self) -> (usize, usize) {
        (self.publish.stored(), self.receive.bytes())
    }

    /// The most bytes that the store may take.
    pub fn store_limit(&self) -> usize {
        self.publish.store_limit()
    }

    /// Streams that exist: (to publish, open here for receiving).
    pub fn stream_counts(&self) -> (usize, usize) {
        (self.publish.stream_count(), self.streams.len())
    }

    /// Publishers that are known: (of this node, those gone with nothing outstanding not counted; of all nodes, as their
    /// subscriber).
    pub fn publisher_counts(&self) -> (usize, usize) {
        (self.publish.publishers(), self.receive.publishers())
    }

    /// Version of this node's subscription table, and the number of its subscriptions.
    pub fn table(&self) -> (u64, usize) {
        (self.tables.own.version(), self.tables.own.iter().count())
    }

    /// Version held of a member's table.
    pub fn table_of(&self, node: &NodeId, boot: Boot) -> u64 {
        self.peers
            .find(node)
            .map_or(0, |peer| self.tables.held(peer, boot))
    }
}
