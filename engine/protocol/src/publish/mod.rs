//! The publisher's side: from a message to the streams of its subscribers' nodes, and from acknowledgements to one outcome
//! for each subscription. Design section 7.
//!
//! `accept` takes messages, `fanout` sends and repairs, `catchup` serves those who are behind, `expiry` gives up, `fit` follows
//! what paths carry.

mod accept;
mod catchup;
mod expiry;
mod fanout;
mod fit;
pub(crate) mod following;
mod handles;
mod held;
mod large;
pub(crate) mod node;
pub(crate) mod outstanding;
pub(crate) mod record;
mod sendings;
mod sessions;
pub(crate) mod store;
pub(crate) mod stream;
pub(crate) mod subscriber;

pub(crate) use catchup::LocalCopy;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::{Boot, FanTx, Keyring, NodeId};

use crate::config::Policy;
use crate::event::{CommandError, Event, Outcome, Outlet};
use crate::latency::Latency;
use crate::limits;
use crate::peer::{PeerIx, Peers};
use crate::ranges::RangeSet;
use crate::rng::Rng;
use crate::tables::index::SubRef;
use crate::tables::remote::RemoteSub;
use handles::Handles;
use outstanding::{DatagramId, Outstanding};
use sessions::Sessions;
use store::Store;
use stream::{Stream, StreamKeys};
use subscriber::{Phase, Subscriber, Subscribing, Untold};

crate::counters! {
    /// Counts of the publishing side; monotonic.
    PublishCounters {
        accepted: "Messages accepted",
        accepted_bytes: "Payload bytes of accepted messages",
        unowed: "Messages that nobody was owed",
        would_block: "Refusals for want of room",
        sealed: "Datagrams sealed for streams",
        sent: "Datagrams sent of streams, once for each receiver",
        sent_bytes: "Bytes of datagrams sent of streams",
        repairs: "Datagrams sent again",
        repair_bytes: "Bytes of datagrams sent again",
        lost: "Datagrams judged lost",
        spurious: "Repairs that proved needless",
        delivered: "(message, subscription) pairs acknowledged",
        failed: "(message, subscription) pairs failed",
        redeliveries: "Subscriptions offered their messages again after a period without acknowledgement",
        catchup: "Messages sent by catch-up",
        behind: "Nodes that fell behind a stream",
        beats: "Heartbeats of streams",
    }
}

/// The subscriptions that a topic's messages are owed to, shared by all topics with the same ones.
#[derive(Debug)]
struct Route {
    // Never the same twice; from 1.
    id: u64,
    subs: Vec<SubRef>,
    // Stream of the subscriber nodes; the local one if there are none.
    stream: u32,
    // How many of `subs` are local.
    local: u32,
}

struct Handle {
    topic: Box<str>,
    next: u64,
    route: Option<(u64, Arc<Route>)>,
    // Stream and its define epoch in which the topic was last defined.
    defined: (u32, u32),
    // Kept for a while when everything in it is settled: the next message finds its memory.
    out: Option<Box<Outstanding>>,
    // Listed in `resting`; `next` when that list was last gone through.
    rests: bool,
    looked_at: u64,
}

impl Handle {
    fn new(topic: &str) -> Self {
        Self {
            topic: topic.into(),
            next: 0,
            route: None,
            defined: (u32::MAX, 0),
            out: None,
            rests: false,
            looked_at: 0,
        }
    }

    // Its route, if subscriptions did not change since that was made.
    fn current_route(&self, epoch: u64) -> Option<&Arc<Route>> {
        let (of, route) = self.route.as_ref()?;
        (*of == epoch || mutant(Mutant::RouteKept)).then_some(route)
    }

    // The lowest number that a subscription may be owed, or yet be told as a gap, whose node learns of the publisher now: an
    // ordered one sees nothing above before that.
    fn owed_from(
        &self,
        number: u32,
        subs: &[SubRef],
        nodes: &BTreeMap<PeerIx, Subscribing>,
    ) -> Option<u64> {
        let lowest = self.out.as_ref().and_then(|out| out.lowest());
        let gaps = subs.iter().filter_map(|sub| {
            let node = nodes.get(&sub.peer)?;
            node.oldest_gap(sub.sub, number)
        });
        lowest.into_iter().chain(gaps).min()
    }
}

/// What sealing needs besides the streams.
pub(crate) struct Sealing<'a> {
    pub(crate) keyring: &'a Keyring,
    pub(crate) rng: &'a mut Rng,
    pub(crate) peers: &'a Peers,
}

/// The publisher's side of one overlay.
pub(crate) struct Publish {
    node: NodeId,
    boot: Boot,
    steer: u8,
    // The key slot that seals.
    primary: u8,
    // What paths are probed for, and when streams must be fitted to them, and to their links' keys, anew; 0 = nothing changed.
    datagram_max: usize,
    refit_at: u64,
    // Streams that were replaced and have not ended yet.
    replaced: usize,
    park_max: u64,
    client_grace: u64,
    // The largest message that was ever allowed: one may still come, and must fit.
    largest: usize,
    handles: Handles,
    // Numbers of those that are gone: what nodes are told when a link of the same boots begins anew.
    retired: RangeSet,
    // Handles with unsettled messages.
    active: BTreeSet<u32>,
    // Handles whose last message was settled since the last tick.
    resting: Vec<u32>,
    routes: BTreeMap<Vec<SubRef>, Arc<Route>>,
    routes_made: u64,
    // Each is taken out while it is worked on: boxed, so that this moves a pointer.
    streams: Vec<Option<Box<Stream>>>,
    by_nodes: BTreeMap<Vec<PeerIx>, u32>,
    by_session: BTreeMap<u64, u32>,
    sessions: Sessions,
    subs: BTreeMap<SubRef, Subscriber>,
    // Those of them with a time at which they are given up.
    missing: BTreeSet<SubRef>,
    nodes: BTreeMap<PeerIx, Subscribing>,
    store: Store,
    // Nodes that a flush deals with, while it does.
    peers: Vec<PeerIx>,
    // Subscriber nodes that no flush has seen yet.
    unfollowed: Vec<PeerIx>,
    // Datagrams opened again; made for the first of them.
    scratch: Box<[u8]>,
    // Nodes with messages in the local stream, and when the first of them was accepted; whether any topic goes there now.
    spilled: BTreeMap<PeerIx, u64>,
    spills: bool,
    // Chunks that a refused publish needs, nobody being told since that there is room; 0 = none was refused.
    blocked: usize,
    // Streams with too much unsent that refused a publish, a large one or any, nobody being told since that one of them flows
    // again.
    refused_on: Vec<(u32, bool)>,
    // No use looking for messages to give up before this.
    evict_at: u64,
    next_tick: u64,
    pub(crate) counters: PublishCounters,
    pub(crate) latency: Box<Latency>,
}

const LANE: u8 = 0;

impl Publish {
    pub(crate) fn new(config: &crate::CoreConfig, primary: u8, steer: u8) -> Self {
        Publish {
            node: config.node,
            boot: config.boot,
            steer,
            primary,
            datagram_max: config.policy.max_datagram,
            refit_at: 0,
            replaced: 0,
            park_max: config.policy.park_max,
            client_grace: config.policy.client_grace,
            largest: config.policy.max_message,
            handles: Handles::default(),
            retired: RangeSet::default(),
            active: BTreeSet::new(),
            resting: Vec::new(),
            peers: Vec::new(),
            unfollowed: Vec::new(),
            routes: BTreeMap::new(),
            routes_made: 0,
            streams: Vec::new(),
            by_nodes: BTreeMap::new(),
            by_session: BTreeMap::new(),
            sessions: Sessions::default(),
            subs: BTreeMap::new(),
            missing: BTreeSet::new(),
            nodes: BTreeMap::new(),
            store: Store::new(config.policy.retain.max(2 * config.policy.max_message)),
            scratch: Box::default(),
            spilled: BTreeMap::new(),
            spills: false,
            blocked: 0,
            refused_on: Vec::new(),
            evict_at: 0,
            next_tick: 0,
            counters: PublishCounters::default(),
            latency: Box::default(),
        }
    }

    /// The local node is a subscriber node like others, without sessions.
    pub(crate) fn add_local(&mut self, now: u64) {
        self.nodes.insert(PeerIx::LOCAL, Subscribing::new(now));
        if let Some(node) = self.nodes.get_mut(&PeerIx::LOCAL) {
            node.phase = Phase::Ready;
        }
    }

    /// What local subscriptions will not get.
    pub(crate) fn take_local_gaps(&mut self) -> Vec<Untold> {
        let node = self.nodes.get_mut(&PeerIx::LOCAL);
        node.map_or_else(Vec::new, |n| {
            std::mem::take(&mut n.untold).into_values().collect()
        })
    }

    /// Another policy, for what is stored and waited for already, too.
    pub(crate) fn set_policy(
        &mut self,
        policy: &Policy,
        peers: &Peers,
        now: u64,
        out: &mut dyn Outlet,
    ) {
        let was = std::mem::replace(&mut self.client_grace, policy.client_grace);
        for sub in &self.missing {
            if let Some(until) = self.subs.get_mut(sub).and_then(|s| s.until.as_mut()) {
                *until = until.saturating_sub(was).saturating_add(self.client_grace);
            }
        }
        self.park_max = policy.park_max;
        if self.datagram_max != policy.max_datagram {
            self.datagram_max = policy.max_datagram;
            self.refit_at = now;
        }
        self.largest = self.largest.max(policy.max_message);
        self.store.set_limit(policy.retain.max(2 * self.largest));
        self.evict_at = 0;
        if !self.store.has_room(0) {
            // What only catch-up needs is given up at once, as far as there is such; the rest goes as it is acknowledged.
            self.give_up_slow(0, peers, now, out);
        }
    }

    /// The bytes of a run that [`Publish::flush`] planned.
    pub(crate) fn run_bytes(&self, run: &stream::StoreRun) -> &[u8] {
        self.store.run(run.place, run.bytes)
    }

    /// Opens a publisher on a valid topic.
    pub(crate) fn open(&mut self, topic: &str) -> Result<u32, CommandError> {
        if self.handles.len() >= limits::MAX_PUBLISHERS {
            return Err(CommandError::TooMany);
        }
        let added = self.handles.add(Handle::new(topic));
        added.ok_or(CommandError::TooMany)
    }

    /// Closes a publisher; what is outstanding goes on.
    pub(crate) fn close(&mut self, number: u32) -> Result<(), CommandError> {
        let handle = self.handle_mut(number).ok_or(CommandError::Unknown)?;
        // A closed handle takes no message; it is dropped when nothing needs it any more.
        handle.next = CLOSED;
        if handle.out.as_ref().is_none_or(|out| out.is_empty()) && !handle.rests {
            self.drop_closed(number);
        }
        Ok(())
    }

    // Drops a closed handle of which everything is settled, unless a node is yet to hear of its gaps: they need the topic.
    fn drop_closed(&mut self, number: u32) {
        if !self.nodes.values().any(|node| node.owes_gap(number)) {
            self.retire_publisher(number);
        } else if let Some(handle) = self.handle_mut(number) {
            handle.rests = true;
            self.resting.push(number);
        }
    }

    /// How many there are, closed ones with messages outstanding included.
    pub(crate) fn publishers(&self) -> usize {
        self.handles.len()
    }

    // Closed and settled: it is forgotten, here and by those who may know it.
    fn retire_publisher(&mut self, number: u32) {
        self.handles.remove(number);
        let number = u64::from(number);
        self.retired.insert(number, number + 1);
        for node in self.nodes.values_mut().filter(|n| n.is_linked()) {
            node.retired.insert(number, number + 1);
        }
    }

    /// Publishers that local subscriptions may forget, as half-open ranges of numbers.
    pub(crate) fn take_local_retired(&mut self) -> RangeSet {
        let node = self.nodes.get_mut(&PeerIx::LOCAL);
        node.map_or_else(RangeSet::default, |n| std::mem::take(&mut n.retired))
    }

    /// The topic of an open publisher.
    pub(crate) fn topic(&self, number: u32) -> Option<&str> {
        self.handle(number).map(|handle| &*handle.topic)
    }

    fn handle(&self, number: u32) -> Option<&Handle> {
        self.handles.get(number)
    }

    fn handle_mut(&mut self, number: u32) -> Option<&mut Handle> {
        self.handles.get_mut(number)
    }

    /// A subscription became effective here, or changed its options.
    pub(crate) fn on_subscribed(&mut self, sub: SubRef, subscriber: Subscriber) {
        let entry = self.subs.entry(sub).or_insert(subscriber);
        (entry.policy, entry.redelivery) = (subscriber.policy, subscriber.redelivery);
        (entry.until, entry.unconfirmed) = (None, false);
        self.missing.remove(&sub);
    }

    /// A subscription of a peer with a link to this boot of it, as its table says.
    pub(crate) fn on_remote_sub(
        &mut self,
        (peer, boot): (PeerIx, Boot),
        sub: u32,
        entry: &RemoteSub,
        now: u64,
    ) {
        let sub = SubRef { peer, sub };
        let is_back = self.subs.get(&sub).is_some_and(|s| !s.is_there());
        self.on_subscribed(sub, Subscriber::new(entry.policy, entry.redelivery));
        if let Entry::Vacant(node) = self.nodes.entry(peer) {
            node.insert(Subscribing::new(now));
            self.unfollowed.push(peer);
            self.on_link_up(peer, boot, now);
        }
        if is_back {
            self.offer_anew(sub);
        }
    }

    /// A named client's subscription is not there after its node's restart: it has some time to come back.
    pub(crate) fn on_missing(&mut self, sub: SubRef, now: u64) {
        let mut until = now + self.client_grace;
        if mutant(Mutant::NoGrace) {
            until = now;
        }
        if let Some(subscriber) = self.subs.get_mut(&sub) {
            subscriber.until.get_or_insert(until);
            self.missing.insert(sub);
        }
    }

    /// The subscription ended: whatever it was owed has its outcome now.
    pub(crate) fn on_unsubscribed(
        &mut self,
        sub: SubRef,
        (outcome, now): (Outcome, u64),
        peers: &Peers,
        out: &mut dyn Outlet,
    ) {
        self.subs.remove(&sub);
        self.missing.remove(&sub);
        let active: Vec<u32> = self.active.iter().chain(&self.resting).copied().collect();
        for number in active {
            self.settle(number, sub, (0, u64::MAX), (outcome, now), peers, out);
            if let Some(outstanding) = self.handle_mut(number).and_then(|h| h.out.as_mut()) {
                outstanding.disown(sub);
            }
        }
        if let Some(node) = self.nodes.get_mut(&sub.peer) {
            // What was asked for it is answered all the same: it may have been asked for another of the same client.
            node.forget_gaps(sub.sub);
        }
    }

    /// A subscriber's acknowledgement or refusal of a range, and when it came.
    pub(crate) fn on_delivered(
        &mut self,
        sub: SubRef,
        number: u32,
        range: (u64, u64),
        word: (Outcome, u64),
        peers: &Peers,
        out: &mut dyn Outlet,
    ) {
        self.settle(number, sub, range, word, peers, out);
    }

    /// The subscription takes nothing more: message `from` of the publisher was the first. `gone` says that its client is not
    /// there; it is told again when that changes.
    pub(crate) fn on_deferred(
        &mut self,
        sub: SubRef,
        number: u32,
        from: u64,
        gone: bool,
        now: u64,
    ) {
        let out = self.handle(number).and_then(|h| h.out.as_ref());
        let span = out.and_then(|o| o.spans(from, from + 1).next());
        let since = span.and_then(|span| self.sent_at(sub, span)).unwrap_or(now);
        if let Some(subscriber) = self.subs.get_mut(&sub) {
            subscriber.deferred.get_or_insert(since);
            subscriber.gone = gone;
        }
        if gone {
            // There may be messages to give up now: a publisher that was refused tries again at once.
            self.evict_at = self.evict_at.min(now);
        }
    }

    // When all of a message was first on its way to the subscription's node; `None` = not yet.
    fn sent_at(&self, sub: SubRef, span: &outstanding::Span) -> Option<u64> {
        let stream = self.streams[span.at.stream as usize].as_ref();
        let Some((stream, node)) = stream.and_then(|s| Some((s, s.node(sub.peer)?))) else {
            // Its own node, or one that fetches all of this stream: there is nothing to send.
            return Some(span.accepted);
        };
        node.sent_first(stream.last_of(span.at.counter, span.datagrams)?)
    }

    /// The subscription has taken up again.
    pub(crate) fn on_resumed(&mut self, sub: SubRef, now: u64) {
        if let Some(subscriber) = self.subs.get_mut(&sub) {
            subscriber.resume(now);
        }
    }

    // Gives each unsettled pair of the range its outcome, now.
    fn settle(
        &mut self,
        number: u32,
        sub: SubRef,
        range: (u64, u64),
        (outcome, now): (Outcome, u64),
        peers: &Peers,
        out: &mut dyn Outlet,
    ) {
        let Self {
            handles,
            streams,
            store,
            counters,
            latency,
            nodes,
            node: me,
            ..
        } = self;
        let Some(handle) = handles.get_mut(number) else {
            return;
        };
        let Some(outstanding) = &mut handle.out else {
            return;
        };
        let node = if sub.peer == PeerIx::LOCAL {
            *me
        } else {
            peers.id(sub.peer)
        };
        let told = |from: u64, to: u64| {
            if outcome == Outcome::Delivered {
                counters.delivered += to - from;
            } else {
                counters.failed += to - from;
                tell_gap(nodes, sub, number, (from, to), outcome);
            }
            out.event(Event::Outcome {
                handle: number,
                node,
                sub: sub.sub,
                from,
                to,
                outcome,
            });
        };
        let aged = |accepted: u64, pairs: u64| {
            if outcome == Outcome::Delivered {
                latency.record(now.saturating_sub(accepted), pairs);
            }
        };
        let freed = |at: DatagramId, pairs: u32| {
            if let Some(Some(stream)) = streams.get_mut(at.stream as usize) {
                stream.settle(store, at.counter, pairs);
            }
        };
        outstanding.settle(sub, range, told, aged, freed);
        if outstanding.is_empty() {
            self.active.remove(&number);
            self.rest(number);
        }
    }

    // Everything of the publisher is settled. Its memory is kept for the next message for a while, but not that of a hundred
    // thousand publishers with a message each.
    fn rest(&mut self, number: u32) {
        let crowded = self.resting.len() >= limits::RESTING;
        let Some(handle) = self.handle_mut(number).filter(|h| !h.rests) else {
            return;
        };
        if crowded && handle.next != CLOSED {
            handle.out = None;
            return;
        }
        (handle.rests, handle.looked_at) = (true, 0);
        self.resting.push(number);
    }

    // Frees what settled handles kept that had no message since the last time: the others need it again.
    fn end_rest(&mut self) {
        let mut resting = std::mem::take(&mut self.resting);
        resting.retain(|&number| self.rests_on(number));
        self.resting = resting;
    }

    fn rests_on(&mut self, number: u32) -> bool {
        let Some(handle) = self.handle_mut(number) else {
            return false;
        };
        if handle.out.as_ref().is_some_and(|out| !out.is_empty()) {
            handle.rests = false;
            return false;
        }
        if handle.looked_at != handle.next {
            handle.looked_at = handle.next;
            return true;
        }
        handle.out = None;
        if handle.next != CLOSED {
            handle.rests = false;
            return false;
        }
        // A closed one goes for good, once nobody is yet to hear of it.
        let stays = self.nodes.values().any(|node| node.owes_gap(number));
        if !stays {
            self.retire_publisher(number);
        }
        stays
    }

    /// Bytes of the store in use.
    pub(crate) fn stored(&self) -> usize {
        self.store.used()
    }

    /// The most that they may be.
    pub(crate) fn store_limit(&self) -> usize {
        self.store.limit()
    }

    /// Streams that exist.
    pub(crate) fn stream_count(&self) -> usize {
        self.streams.iter().flatten().count()
    }

    /// (message, subscription) pairs without an outcome. Goes through all that is outstanding: not for every turn.
    pub(crate) fn outstanding(&self) -> u64 {
        let active = self.active.iter();
        let outstanding = active.filter_map(|number| self.handle(*number)?.out.as_ref());
        outstanding.map(|out| out.pairs()).sum()
    }

    /// Whether any message waits for an outcome.
    pub(crate) fn is_settled(&self) -> bool {
        self.active.is_empty()
    }

    /// The stream of a set of nodes, sorted, if it is open.
    pub(crate) fn stream_to(&self, nodes: &[PeerIx]) -> Option<&stream::Stream> {
        let ix = *self.by_nodes.get(nodes)?;
        self.streams.get(ix as usize)?.as_deref()
    }

    // The stream of a set of nodes, opened if there is none.
    fn stream_for(&mut self, nodes: Vec<PeerIx>, sealing: &mut Sealing<'_>) -> u32 {
        if let Some(&ix) = self.by_nodes.get(&nodes) {
            return ix;
        }
        let ix = match self.streams.iter().position(Option::is_none) {
            Some(ix) => ix,
            None if self.streams.len() < limits::MAX_STREAMS || nodes.is_empty() => {
                self.streams.push(None);
                self.streams.len() - 1
            }
            None => match self.drop_idle_stream() {
                Some(ix) => ix,
                None => return self.stream_for(Vec::new(), sealing),
            },
        };
        let (mut session, mut keys) = (0, None);
        if !nodes.is_empty() {
            session = self.sessions.draw(sealing.rng);
            keys = self.stream_keys(session, &nodes, sealing.keyring);
            self.by_session.insert(session, ix as u32);
        }
        self.by_nodes.insert(nodes.clone(), ix as u32);
        let size = self.size_for(&nodes);
        let stream = Stream::new(ix as u32, session, nodes, size, keys, self.steer);
        self.streams[ix] = Some(Box::new(stream));
        ix as u32
    }

    fn stream_keys(&self, session: u64, nodes: &[PeerIx], keyring: &Keyring) -> Option<StreamKeys> {
        let slot = self.key_for(nodes).filter(|slot| keyring.has(*slot));
        let slot = slot.unwrap_or(keyring.primary_slot());
        let suite = keyring.suite(slot)? as u8;
        let tx = FanTx::new(keyring, slot, self.node, self.boot, session, LANE).ok()?;
        Some(StreamKeys { tx, slot, suite })
    }

    // Makes the place of the stream free that was not used for longest.
    fn drop_idle_stream(&mut self) -> Option<usize> {
        let idle = self.streams.iter().flatten().filter(|s| s.is_idle());
        let ix = idle.min_by_key(|s| s.used_at)?.ix;
        self.drop_stream(ix);
        Some(ix as usize)
    }

    fn drop_stream(&mut self, ix: u32) {
        let stream = self.streams[ix as usize].take();
        self.by_nodes.retain(|_, stream| *stream != ix);
        self.by_session.retain(|_, stream| *stream != ix);
        self.forget_routes(ix);
        for stream in stream.iter().filter(|s| !s.is_local()) {
            for node in &stream.nodes {
                if let Some(state) = self.nodes.get_mut(&node.peer) {
                    state.close_stream(stream.session);
                }
            }
        }
    }

    // Messages for other nodes lie in the local stream because every other was in use: their nodes are told, and fetch them.
    fn tell_of_spilled(&mut self) {
        for (peer, accepted) in std::mem::take(&mut self.spilled) {
            if let Some(node) = self.nodes.get_mut(&peer) {
                node.phase.extend(accepted);
            }
        }
    }

    // As soon as a stream is idle, topics that do without one get it.
    fn end_spill(&mut self) {
        let mut streams = self.streams.iter().flatten();
        if self.spills && streams.any(|s| !s.is_local() && s.is_idle()) {
            self.spills = false;
            if let Some(&local) = self.by_nodes.get(&[][..]) {
                self.forget_routes(local);
            }
        }
    }

    fn forget_routes(&mut self, ix: u32) {
        self.routes.retain(|_, route| route.stream != ix);
        for handle in self.handles.iter_mut() {
            handle.route = handle.route.take().filter(|(_, route)| route.stream != ix);
        }
    }
}

/// `next` of a handle that is closed but has messages outstanding.
const CLOSED: u64 = u64::MAX;

// A node is told what it will not get; local subscriptions are told from the same list.
fn tell_gap(
    nodes: &mut BTreeMap<PeerIx, Subscribing>,
    sub: SubRef,
    handle: u32,
    (from, to): (u64, u64),
    reason: Outcome,
) {
    // What the subscriber itself refused it knows.
    if matches!(reason, Outcome::Rejected | Outcome::Unsubscribed) {
        return;
    }
    if let Some(node) = nodes.get_mut(&sub.peer) {
        node.tell(Untold {
            sub: sub.sub,
            handle,
            from,
            to,
            reason,
        });
    }
}
