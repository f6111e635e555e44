//! The subscriber's side: what comes in for local subscriptions, in which order it is handed over, what is fetched, and what is
//! acknowledged to its publishers.
//!
//! Whatever cannot be handed over is missed and fetched later from the publisher, who keeps it until it is acknowledged. So
//! nothing waits here but what an ordered subscription holds back behind a hole.

mod asking;
pub(crate) mod body;
mod fetch;
pub(crate) mod held;
pub(crate) mod intake;
mod parts;
mod portion;
pub(crate) mod reassembly;
mod report;
pub(crate) mod run;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
mod toward;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::{Boot, NodeId};

use crate::config::{AckMode, SlowPolicy, SubSpec};
use crate::event::{Outcome, Outlet, PublisherId};
use crate::limits;
use crate::peer::PeerIx;
use crate::ranges::RangeSet;
use crate::tables::index::{SubRef, TopicIndex};
use asking::{Asking, Pair};
use held::Held;
use intake::Intake;
use portion::Portion;
use reassembly::Reassembly;
use toward::{Toward, note_behind};

crate::counters! {
    /// Counts of the receiving side; monotonic.
    ReceiveCounters {
        delivered: "Messages handed to local subscriptions",
        delivered_bytes: "Payload bytes of messages handed to local subscriptions",
        duplicates: "Messages that a subscription had already",
        missed: "Messages without room, to be fetched later",
        held: "Messages held back behind a hole",
        gaps: "Messages that will never come",
        refused: "Messages that a subscription's policy refused",
        again: "Messages handed over for a second time, marked so",
        fetches: "Requests to publishers for messages that are lacking here",
        evicted: "Partly received messages that made room for others",
    }
}

struct LocalSub {
    pattern: Box<str>,
    ordered: bool,
    ack: AckMode,
    policy: SlowPolicy,
    attached: bool,
    full: bool,
    named: bool,
    // One of the same client and pattern ended in this life of the node. A publisher that did not hear of that takes this one for
    // it, and may send what that one had.
    returned: bool,
    portion: Portion,
    // (publisher's node, handle) with something missed or held.
    behind: BTreeSet<(PeerIx, u32)>,
}

impl LocalSub {
    fn has_room(&self) -> bool {
        self.attached && !self.full
    }
}

struct Handle {
    topic: Box<str>,
    // One past the highest number seen.
    seen: u64,
    intakes: Vec<Intake>,
}

impl Handle {
    fn add(&mut self, intake: Intake) {
        if self.intakes.capacity() == 0 {
            // Most topics have one subscription here, and there may be a hundred thousand topics.
            self.intakes.reserve_exact(1);
        }
        self.intakes.push(intake);
    }
}

struct Origin {
    node: NodeId,
    boot: Boot,
    handles: BTreeMap<u32, Handle>,
    dirty: BTreeSet<u32>,
    asking: Asking,
    // How often it opened streams to here, counted round.
    opened: u16,
    // Handles of publishers that are gone: of what still comes of them nothing is taken.
    retired: RangeSet,
    // What subscriptions had that ended, until the publisher knows the table without them; whether any of it is to report.
    left: Vec<Left>,
    left_reports: bool,
}

/// How a whole message came.
#[derive(Clone, Copy)]
enum Way {
    /// On a stream, for everyone.
    Live,
    /// Fetched, for this subscription.
    Fetched(u32),
    /// Put together of parts that another subscription fetched, and maybe of live ones, which do not come again.
    Beside,
}

impl Origin {
    /// Whether the publisher node is to be told something.
    fn has_reports(&self) -> bool {
        self.left_reports || !self.dirty.is_empty() || !self.asking.notices.is_empty()
    }
}

/// What an ended subscription had of one publisher: its acknowledgements must reach that before the end does.
struct Left {
    handle: u32,
    // Of the own table, the first without it.
    version: u64,
    intake: Intake,
}

/// What the publisher is told of a subscription besides acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Deferred { sub: u32, handle: u32, from: u64 },
    Resumed { sub: u32 },
}

impl Notice {
    fn sub(self) -> u32 {
        match self {
            Notice::Deferred { sub, .. } | Notice::Resumed { sub } => sub,
        }
    }
}

/// One FETCH to send, or to serve from the own store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) sub: u32,
    pub(crate) handle: u32,
    pub(crate) from: u64,
    pub(crate) count: u32,
    /// Payload bytes wanted at most; one message always comes.
    pub(crate) max_bytes: u32,
}

/// A pair that fetches a message too large for the room there is.
#[derive(Clone, Copy)]
struct Crowded {
    peer: PeerIx,
    pair: Pair,
    total: usize,
}

/// A message that came in.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) peer: PeerIx,
    pub(crate) handle: u32,
    pub(crate) seq: u64,
    pub(crate) payload: &'a [u8],
}

/// The handle is not defined here: the datagram must come again after its definition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undefined;

/// The subscriber's side of one overlay.
#[derive(Default)]
pub(crate) struct Receive {
    subs: BTreeMap<u32, LocalSub>,
    index: TopicIndex,
    // Boxed: most nodes have few, and a map makes room for eleven at once.
    origins: BTreeMap<PeerIx, Box<Origin>>,
    held: Held,
    reassembly: Reassembly,
    // Who waits for room to put a large message together, in turn; one at a time fetches it.
    crowd: VecDeque<Crowded>,
    alone: Option<(PeerIx, Pair)>,
    // Intakes with empty memory, oldest first: (publisher's node, handle, local subscription).
    resting: VecDeque<(PeerIx, u32, u32)>,
    // Named subscriptions that ended: one of the same client and pattern has the same number.
    ended: BTreeSet<u32>,
    pub(crate) counters: ReceiveCounters,
}

/// Subscriptions that ended are remembered up to this many; beyond, every new one may have been there before.
const ENDED_MAX: usize = 65_536;
/// Messages of one publisher that may wait for a subscription that drops the oldest.
const DROP_OLDEST_WAITING: u64 = 4096;

impl Receive {
    /// Adds a local subscription, or gives an existing one new options.
    pub(crate) fn subscribe(&mut self, sub: u32, spec: &SubSpec) {
        self.index.insert(
            &spec.pattern,
            SubRef {
                peer: PeerIx::LOCAL,
                sub,
            },
        );
        let named = !spec.client.is_empty();
        let new = LocalSub {
            pattern: spec.pattern.as_str().into(),
            ordered: spec.ordered,
            ack: spec.ack,
            policy: spec.policy,
            attached: true,
            full: false,
            named,
            returned: named && (self.ended.contains(&sub) || self.ended.len() >= ENDED_MAX),
            portion: Portion::default(),
            behind: BTreeSet::new(),
        };
        match self.subs.get_mut(&sub) {
            Some(old) => {
                let behind = std::mem::take(&mut old.behind);
                // Whether its client is there is told by `attach` and `detach`.
                let attached = old.attached;
                let returned = old.returned;
                *old = LocalSub {
                    behind,
                    attached,
                    returned,
                    ..new
                };
                let handles = self
                    .origins
                    .values_mut()
                    .flat_map(|o| o.handles.values_mut());
                for intake in handles
                    .flat_map(|h| &mut h.intakes)
                    .filter(|i| i.sub == sub)
                {
                    intake.set_ordered(spec.ordered);
                }
            }
            None => drop(self.subs.insert(sub, new)),
        }
    }

    /// Ends a local subscription; `version` is the own table's without it. What it acknowledged is still reported.
    pub(crate) fn unsubscribe(&mut self, sub: u32, version: u64) {
        if let Some(old) = self.subs.remove(&sub) {
            if old.named && self.ended.len() < ENDED_MAX {
                self.ended.insert(sub);
            }
            self.index.remove(
                &old.pattern,
                SubRef {
                    peer: PeerIx::LOCAL,
                    sub,
                },
            );
        }
        for (&peer, origin) in &mut self.origins {
            origin.asking.forget_sub(sub);
            for (&number, handle) in &mut origin.handles {
                if origin.retired.contains(number.into()) {
                    origin.dirty.insert(number);
                }
                let before = handle.intakes.len();
                for mut intake in handle.intakes.extract_if(.., |i| i.sub == sub) {
                    intake.end(&mut self.held);
                    // Local publishers were told just before.
                    if peer != PeerIx::LOCAL {
                        origin.left_reports = true;
                        origin.left.push(Left {
                            handle: number,
                            version,
                            intake,
                        });
                    }
                }
                if handle.intakes.len() < before {
                    // The rest of a large message that nobody is owed any more need not come.
                    self.reassembly
                        .discard(peer, number, (0, u64::MAX), &handle.intakes);
                }
            }
        }
    }

    /// The client is back: everything that waits for it may flow.
    pub(crate) fn attach(&mut self, sub: u32, out: &mut dyn Outlet) {
        let local = self.subs.get_mut(&sub);
        let is_back = local.is_some_and(|l| !std::mem::replace(&mut l.attached, true));
        self.ready(sub, out);
        if is_back {
            self.tell_again(sub);
        }
    }

    /// The client is gone: its subscription keeps what it had not acknowledged.
    pub(crate) fn detach(&mut self, sub: u32) {
        let Some(local) = self.subs.get_mut(&sub) else {
            return;
        };
        let leaves = std::mem::replace(&mut local.attached, false);
        for (&peer, origin) in &mut self.origins {
            let Origin {
                handles, asking, ..
            } = &mut **origin;
            for (&number, handle) in handles {
                for intake in handle.intakes.iter_mut().filter(|i| i.sub == sub) {
                    intake.detach(&mut self.held);
                    note_behind(local, asking, (peer, number), intake);
                }
            }
        }
        if leaves {
            self.tell_again(sub);
        }
    }

    /// Whether the subscription's client is there, and of how many publishers messages wait for it.
    pub(crate) fn standing(&self, sub: u32) -> Option<(bool, usize)> {
        let local = self.subs.get(&sub)?;
        Some((local.attached, local.behind.len()))
    }

    // Publishers who know that the subscription waits are told whether anybody is there: the word takes that along.
    fn tell_again(&mut self, sub: u32) {
        for origin in self.origins.values_mut() {
            origin.asking.tell_again(sub);
        }
    }

    /// There is room for the subscription again.
    pub(crate) fn ready(&mut self, sub: u32, out: &mut dyn Outlet) {
        let Some(local) = self.subs.get_mut(&sub) else {
            return;
        };
        local.full = false;
        let behind: Vec<(PeerIx, u32)> = local.behind.iter().copied().collect();
        for (peer, handle) in behind {
            self.drain(peer, handle, sub, out);
            if self.subs.get(&sub).is_none_or(|l| l.full) {
                return;
            }
        }
    }

    fn drain(&mut self, peer: PeerIx, number: u32, sub: u32, out: &mut dyn Outlet) {
        let Self {
            subs,
            origins,
            counters,
            held,
            ..
        } = self;
        let (Some(local), Some(origin)) = (subs.get_mut(&sub), origins.get_mut(&peer)) else {
            return;
        };
        let id = PublisherId {
            node: origin.node,
            boot: origin.boot,
            handle: number,
        };
        let Some(handle) = origin.handles.get_mut(&number) else {
            local.behind.remove(&(peer, number));
            return;
        };
        let Handle { topic, intakes, .. } = handle;
        let Some(intake) = intakes.iter_mut().find(|i| i.sub == sub) else {
            return;
        };
        let mut to = Toward {
            local,
            counters,
            held,
            id,
            topic,
            out,
        };
        to.drain(intake);
        note_behind(local, &mut origin.asking, (peer, number), intake);
        if intake.has_reports() {
            origin.dirty.insert(number);
        }
        origin.look_again(number);
    }

    /// The publisher's session: a new boot forgets what the old one sent, the same boot only what was under way.
    pub(crate) fn on_session(&mut self, peer: PeerIx, node: NodeId, boot: Boot) {
        self.reassembly.forget(peer);
        match self.origins.get_mut(&peer) {
            Some(origin) if origin.boot == boot || mutant(Mutant::OldPublisher) => origin.renew(),
            _ => {
                self.forget(peer);
                let origin = Origin {
                    node,
                    boot,
                    handles: BTreeMap::new(),
                    dirty: BTreeSet::new(),
                    asking: Asking::default(),
                    opened: 0,
                    retired: RangeSet::default(),
                    left: Vec::new(),
                    left_reports: false,
                };
                self.origins.insert(peer, Box::new(origin));
            }
        }
    }

    /// The publisher opened a stream: what it sent live meanwhile will not come of itself.
    pub(crate) fn on_stream_open(&mut self, peer: PeerIx) {
        let Some(origin) = self.origins.get_mut(&peer) else {
            return;
        };
        origin.opened = origin.opened.wrapping_add(1);
        for (&sub, local) in self.subs.iter_mut().filter(|(_, local)| local.ordered) {
            let behind = local.behind.range((peer, 0)..=(peer, u32::MAX));
            let behind: Vec<(PeerIx, u32)> = behind.copied().collect();
            for at in behind {
                let handle = origin.handles.get_mut(&at.1);
                let intakes = handle.into_iter().flat_map(|h| &mut h.intakes);
                for intake in intakes.filter(|intake| intake.sub == sub) {
                    intake.ask_for_held();
                    note_behind(local, &mut origin.asking, at, intake);
                }
            }
        }
    }

    /// Whether anything of the publisher node is kept.
    pub(crate) fn knows(&self, peer: PeerIx) -> bool {
        self.origins.contains_key(&peer)
    }

    /// The session ended: what it brought in parts comes as a whole in the next, and nobody waits for it.
    pub(crate) fn on_link_down(&mut self, peer: PeerIx) {
        self.reassembly.forget(peer);
        self.crowd.retain(|waiting| waiting.peer != peer);
        if let Some(origin) = self.origins.get_mut(&peer) {
            origin.asking.end_crowd();
        }
    }

    /// Forgets a publisher node.
    pub(crate) fn forget(&mut self, peer: PeerIx) {
        let gone = self.origins.remove(&peer).map(|o| o.handles);
        for intake in gone.iter().flatten().flat_map(|(_, h)| &h.intakes) {
            self.held.give_back(intake.held_bytes());
        }
        self.reassembly.forget(peer);
        for local in self.subs.values_mut() {
            local.behind.retain(|(p, _)| *p != peer);
        }
    }

    /// The publisher's handle stands for `topic`; local subscriptions new to it are owed everything from `seq` on.
    pub(crate) fn define(&mut self, peer: PeerIx, number: u32, seq: u64, topic: &str) {
        let Self {
            subs,
            index,
            origins,
            ..
        } = self;
        let Some(origin) = origins.get_mut(&peer) else {
            return;
        };
        if !origin.handles.contains_key(&number) && !origin.takes(number) {
            return;
        }
        let new = || Handle {
            topic: topic.into(),
            seen: seq,
            intakes: Vec::new(),
        };
        let handle = origin.handles.entry(number).or_insert_with(new);
        if &*handle.topic != topic {
            return;
        }
        for SubRef { sub, .. } in index.matches(topic) {
            let Some(local) = subs.get_mut(&sub) else {
                continue;
            };
            match handle.intakes.iter_mut().find(|i| i.sub == sub) {
                None => handle.add(Intake::new(sub, local.ordered, seq)),
                // Subscriptions changed. What came before may have been what the earlier one was owed, and nothing for a while.
                Some(intake) if local.returned => {
                    intake.begin_anew();
                    intake.ask_for_held();
                    note_behind(local, &mut origin.asking, (peer, number), intake);
                }
                Some(_) => {}
            }
        }
    }

    /// A whole message on the live path: for every subscription that is owed it. Returns how many of them wanted it and have not
    /// acknowledged it yet.
    pub(crate) fn on_message(
        &mut self,
        message: Incoming<'_>,
        out: &mut dyn Outlet,
    ) -> Result<u32, Undefined> {
        self.hand_over(message, Way::Live, out)
    }

    /// A whole message by catch-up, for one subscription.
    pub(crate) fn on_catchup(
        &mut self,
        message: Incoming<'_>,
        sub: u32,
        now: u64,
        out: &mut dyn Outlet,
    ) -> Result<u32, Undefined> {
        if let Some(origin) = self.origins.get_mut(&message.peer) {
            origin.asking.on_part(now);
            origin.asking.on_fetched_message(message.payload.len());
        }
        self.hand_over(message, Way::Fetched(sub), out)
    }

    fn hand_over(
        &mut self,
        m: Incoming<'_>,
        way: Way,
        out: &mut dyn Outlet,
    ) -> Result<u32, Undefined> {
        let only = match way {
            Way::Fetched(sub) => Some(sub),
            Way::Live | Way::Beside => None,
        };
        let Self {
            subs,
            origins,
            counters,
            held,
            reassembly,
            ..
        } = self;
        let origin = origins.get_mut(&m.peer).ok_or(Undefined)?;
        let Some(handle) = origin.handles.get_mut(&m.handle) else {
            return origin.unknown(m.handle).map(|()| 0);
        };
        let seen = handle.seen;
        handle.seen = seen.max(m.seq + 1);
        let id = PublisherId {
            node: origin.node,
            boot: origin.boot,
            handle: m.handle,
        };
        let opened = origin.opened;
        let Handle { topic, intakes, .. } = handle;
        let (mut reports, mut unsettled) = (false, 0);
        for intake in intakes
            .iter_mut()
            .filter(|i| only.is_none_or(|sub| i.sub == sub))
        {
            let Some(local) = subs.get_mut(&intake.sub) else {
                continue;
            };
            let mut to = Toward {
                local,
                counters,
                held,
                id,
                topic,
                out,
            };
            let live = only.is_none();
            if !live && to.local.returned && intake.wants(m.seq) {
                intake.mark_again(m.seq);
            }
            let late = match way {
                Way::Live => intake.begins_late(m.seq, seen, opened),
                Way::Beside => to.local.ordered && intake.wants(m.seq) && intake.ask_below(m.seq),
                Way::Fetched(_) => false,
            };
            let taken = !live || intake.is_live(m.seq);
            let behind = taken
                && if live {
                    to.take_live(intake, m.seq, m.payload)
                } else {
                    to.take(intake, m.seq, m.payload)
                };
            if !live {
                to.local.portion.on_message(!to.local.full);
            }
            if behind || late {
                note_behind(local, &mut origin.asking, (m.peer, m.handle), intake);
            }
            reports |= intake.has_reports();
            unsettled += u32::from(!intake.is_settled(m.seq));
        }
        if reports {
            origin.dirty.insert(m.handle);
        }
        reassembly.discard(m.peer, m.handle, (m.seq, m.seq + 1), intakes);
        origin.look_again(m.handle);
        Ok(unsettled)
    }

    /// The publisher has these for the subscription and waits for their acknowledgement.
    pub(crate) fn on_backlog(
        &mut self,
        peer: PeerIx,
        sub: u32,
        number: u32,
        (from, to): (u64, u64),
        again: bool,
        topic: &str,
    ) {
        self.define_for(peer, sub, number, from, topic);
        let Some(origin) = self.origins.get_mut(&peer) else {
            return;
        };
        let left = origin.left.iter_mut();
        for left in left.filter(|l| l.handle == number && l.intake.sub == sub) {
            left.intake.report_again(from, to);
            origin.left_reports = true;
        }
        let Some(handle) = origin.handles.get_mut(&number) else {
            return;
        };
        let Some(intake) = handle.intakes.iter_mut().find(|i| i.sub == sub) else {
            return;
        };
        let Some(local) = self.subs.get_mut(&sub) else {
            return;
        };
        intake.on_backlog(from, to, again);
        note_behind(local, &mut origin.asking, (peer, number), intake);
        if intake.has_reports() {
            origin.dirty.insert(number);
        }
    }

    fn define_for(&mut self, peer: PeerIx, sub: u32, number: u32, from: u64, topic: &str) {
        let (Some(local), Some(origin)) = (self.subs.get(&sub), self.origins.get_mut(&peer)) else {
            return;
        };
        if !origin.handles.contains_key(&number) && !origin.takes(number) {
            return;
        }
        let new = || Handle {
            topic: topic.into(),
            seen: from,
            intakes: Vec::new(),
        };
        let handle = origin.handles.entry(number).or_insert_with(new);
        if !handle.intakes.iter().any(|i| i.sub == sub) {
            handle.add(Intake::new(sub, local.ordered, from));
        }
    }

    /// These will never come to the subscription.
    pub(crate) fn on_gap(
        &mut self,
        peer: PeerIx,
        sub: u32,
        number: u32,
        (from, to): (u64, u64),
        reason: Outcome,
        out: &mut dyn Outlet,
    ) {
        let Self {
            subs,
            origins,
            counters,
            held,
            reassembly,
            ..
        } = self;
        let (Some(local), Some(origin)) = (subs.get_mut(&sub), origins.get_mut(&peer)) else {
            return;
        };
        let id = PublisherId {
            node: origin.node,
            boot: origin.boot,
            handle: number,
        };
        let Some(Handle { topic, intakes, .. }) = origin.handles.get_mut(&number) else {
            return;
        };
        let Some(intake) = intakes.iter_mut().find(|i| i.sub == sub) else {
            return;
        };
        if intake.is_full_of_gaps() {
            return;
        }
        let begun = intake.has_begun();
        let gaps = intake.skip(from, to, reason);
        let mut toward = Toward {
            local,
            counters,
            held,
            id,
            topic,
            out,
        };
        gaps.into_iter()
            .for_each(|gap| toward.tell(intake.sub, gap, begun));
        toward.drain(intake);
        note_behind(local, &mut origin.asking, (peer, number), intake);
        reassembly.discard(peer, number, (from, to), intakes);
        origin.look_again(number);
    }

    /// The publisher node closed these publishers, and everything of them is settled.
    pub(crate) fn on_retired(&mut self, peer: PeerIx, (from, to): (u64, u64)) {
        let Some(origin) = self.origins.get_mut(&peer) else {
            return;
        };
        let scattered = origin.retired.ranges() > limits::MAX_PUBLISHERS;
        let end = origin.retired.last().filter(|_| scattered);
        origin
            .retired
            .insert(from.min(end.map_or(from, |r| r.1)), to);
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let known = origin.handles.range(number(from)..number(to));
        let known: Vec<u32> = known.map(|(number, _)| *number).collect();
        for number in known {
            self.forget_retired(peer, number);
        }
    }

    // Forgets a publisher that is gone, unless something of it is still to be told or acknowledged here.
    fn forget_retired(&mut self, peer: PeerIx, number: u32) {
        let Some(origin) = self.origins.get_mut(&peer) else {
            return;
        };
        let handle = origin.handles.get(&number);
        let Some(handle) = handle.filter(|h| !h.intakes.iter().any(Intake::is_in_use)) else {
            return;
        };
        for intake in &handle.intakes {
            origin.asking.forget((intake.sub, number));
            if let Some(local) = self.subs.get_mut(&intake.sub) {
                local.behind.remove(&(peer, number));
            }
        }
        origin.handles.remove(&number);
        self.reassembly.forget_handle(peer, number);
    }

    /// Publishers that are known, of all nodes.
    pub(crate) fn publishers(&self) -> usize {
        self.origins.values().map(|o| o.handles.len()).sum()
    }

    /// Bytes held back or partly received.
    pub(crate) fn bytes(&self) -> usize {
        self.held.bytes() + self.reassembly.bytes()
    }
}

impl Origin {
    // Whether a publisher that is not known may become so: it is not one that is gone, or one too many.
    fn takes(&self, number: u32) -> bool {
        !self.retired.contains(number.into()) && self.handles.len() < limits::MAX_PUBLISHERS
    }

    // What a message of an unknown publisher is: to come again after the definition, or nothing to anybody.
    fn unknown(&self, number: u32) -> Result<(), Undefined> {
        if self.takes(number) {
            Err(Undefined)
        } else {
            Ok(())
        }
    }

    // Something of the publisher was settled here: it may be the last of one that is gone.
    fn look_again(&mut self, number: u32) {
        if !self.retired.is_empty() && self.retired.contains(number.into()) {
            self.dirty.insert(number);
        }
    }

    // The same boot in a new session: what was asked and told is asked and told again.
    fn renew(&mut self) {
        self.asking.renew();
        // Its table comes whole and without these; what they acknowledged may have been lost with the old session.
        for left in &mut self.left {
            left.intake.report_again(0, u64::MAX);
            self.left_reports = true;
        }
    }
}
