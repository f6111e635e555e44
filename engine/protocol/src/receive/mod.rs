//! The subscriber's side: what comes in for local subscriptions, in which order it is handed over, what is fetched, and what is
//! acknowledged to its publishers.
//!
//! Whatever cannot be handed over is missed and fetched later from the publisher, who keeps it until it is acknowledged. So
//! nothing waits here but what an ordered subscription holds back behind a hole.

pub(crate) mod intake;
pub(crate) mod reassembly;
mod report;
pub(crate) mod stream;
mod toward;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidings_wire::{Boot, NodeId};

use crate::config::{AckMode, SlowPolicy, SubSpec};
use crate::event::{Outcome, Outlet, PublisherId};
use crate::limits;
use crate::peer::PeerIx;
use crate::tables::index::{SubRef, TopicIndex};
use intake::Intake;
use reassembly::{MessageKey, Part, Reassembly};
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
    // (publisher's node, handle) with something missed or held.
    behind: BTreeSet<(PeerIx, u32)>,
}

struct Handle {
    topic: Box<str>,
    // One past the highest number seen.
    seen: u64,
    intakes: Vec<Intake>,
}

struct Origin {
    node: NodeId,
    boot: Boot,
    handles: BTreeMap<u32, Handle>,
    dirty: BTreeSet<u32>,
    // (local subscription, handle) with something missed: a subscription's first and last is told to the publisher.
    missing: BTreeSet<(u32, u32)>,
    notices: Vec<Notice>,
    // (subscription, handle) of FETCHes under way.
    fetching: BTreeSet<(u32, u32)>,
    // What subscriptions had that ended, until the publisher knows the table without them.
    left: Vec<Left>,
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

/// One FETCH to send, or to serve from the own store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) sub: u32,
    pub(crate) handle: u32,
    pub(crate) from: u64,
    pub(crate) count: u32,
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
    origins: BTreeMap<PeerIx, Origin>,
    reassembly: Reassembly,
    // Intakes with empty memory, oldest first: (publisher's node, handle, local subscription).
    resting: VecDeque<(PeerIx, u32, u32)>,
    pub(crate) counters: ReceiveCounters,
}

/// FETCHes to one publisher node that may be under way at a time.
const FETCHES: usize = 16;
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
        let new = LocalSub {
            pattern: spec.pattern.as_str().into(),
            ordered: spec.ordered,
            ack: spec.ack,
            policy: spec.policy,
            attached: true,
            full: false,
            behind: BTreeSet::new(),
        };
        match self.subs.get_mut(&sub) {
            Some(old) => {
                let behind = std::mem::take(&mut old.behind);
                *old = LocalSub { behind, ..new };
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
            self.index.remove(
                &old.pattern,
                SubRef {
                    peer: PeerIx::LOCAL,
                    sub,
                },
            );
        }
        for (&peer, origin) in &mut self.origins {
            origin.missing.retain(|(s, _)| *s != sub);
            origin.fetching.retain(|(s, _)| *s != sub);
            for (&number, handle) in &mut origin.handles {
                for mut intake in handle.intakes.extract_if(.., |i| i.sub == sub) {
                    intake.end();
                    // Local publishers were told just before.
                    if peer != PeerIx::LOCAL {
                        origin.left.push(Left {
                            handle: number,
                            version,
                            intake,
                        });
                    }
                }
            }
        }
    }

    /// The client is back: everything that waits for it may flow.
    pub(crate) fn attach(&mut self, sub: u32, out: &mut dyn Outlet) {
        if let Some(local) = self.subs.get_mut(&sub) {
            local.attached = true;
        }
        self.ready(sub, out);
    }

    /// The client is gone: its subscription keeps what it had not acknowledged.
    pub(crate) fn detach(&mut self, sub: u32) {
        let Some(local) = self.subs.get_mut(&sub) else {
            return;
        };
        local.attached = false;
        for (&peer, origin) in &mut self.origins {
            let Origin {
                handles,
                missing,
                notices,
                ..
            } = origin;
            for (&number, handle) in handles {
                for intake in handle.intakes.iter_mut().filter(|i| i.sub == sub) {
                    intake.detach();
                    note_behind(local, missing, notices, (peer, number), intake);
                }
            }
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
            id,
            topic,
            out,
        };
        to.drain(intake);
        note_behind(
            local,
            &mut origin.missing,
            &mut origin.notices,
            (peer, number),
            intake,
        );
        if intake.has_reports() {
            origin.dirty.insert(number);
        }
    }

    /// The publisher's session: a new boot forgets what the old one sent, the same boot only what was under way.
    pub(crate) fn on_session(&mut self, peer: PeerIx, node: NodeId, boot: Boot) {
        self.reassembly.forget(peer);
        match self.origins.get_mut(&peer) {
            Some(origin) if origin.boot == boot => origin.renew(),
            _ => {
                self.forget(peer);
                let origin = Origin {
                    node,
                    boot,
                    handles: BTreeMap::new(),
                    dirty: BTreeSet::new(),
                    missing: BTreeSet::new(),
                    notices: Vec::new(),
                    fetching: BTreeSet::new(),
                    left: Vec::new(),
                };
                self.origins.insert(peer, origin);
            }
        }
    }

    /// Forgets a publisher node.
    pub(crate) fn forget(&mut self, peer: PeerIx) {
        self.origins.remove(&peer);
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
        if !origin.handles.contains_key(&number) && origin.handles.len() >= limits::MAX_PUBLISHERS {
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
            if handle.intakes.iter().any(|i| i.sub == sub) {
                continue;
            }
            let Some(local) = subs.get_mut(&sub) else {
                continue;
            };
            handle.intakes.push(Intake::new(sub, local.ordered, seq));
        }
    }

    /// A whole message on the live path: for every subscription that is owed it. Returns how many of them wanted it and have not
    /// acknowledged it yet.
    pub(crate) fn on_message(
        &mut self,
        message: Incoming<'_>,
        out: &mut dyn Outlet,
    ) -> Result<u32, Undefined> {
        self.hand_over(message, None, out)
    }

    /// A whole message by catch-up, for one subscription.
    pub(crate) fn on_catchup(
        &mut self,
        message: Incoming<'_>,
        sub: u32,
        out: &mut dyn Outlet,
    ) -> Result<u32, Undefined> {
        self.hand_over(message, Some(sub), out)
    }

    fn hand_over(
        &mut self,
        m: Incoming<'_>,
        only: Option<u32>,
        out: &mut dyn Outlet,
    ) -> Result<u32, Undefined> {
        let Self {
            subs,
            origins,
            counters,
            reassembly,
            ..
        } = self;
        let origin = origins.get_mut(&m.peer).ok_or(Undefined)?;
        let handle = origin.handles.get_mut(&m.handle).ok_or(Undefined)?;
        let seen = handle.seen;
        handle.seen = seen.max(m.seq + 1);
        let id = PublisherId {
            node: origin.node,
            boot: origin.boot,
            handle: m.handle,
        };
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
                id,
                topic,
                out,
            };
            let late = only.is_none() && intake.begins_late(m.seq, seen);
            let taken = only.is_some() || intake.is_live(m.seq);
            let behind = taken && to.take(intake, m.seq, m.payload);
            if behind || late {
                note_behind(
                    local,
                    &mut origin.missing,
                    &mut origin.notices,
                    (m.peer, m.handle),
                    intake,
                );
            }
            reports |= intake.has_reports();
            unsettled += u32::from(!intake.is_settled(m.seq));
        }
        if reports {
            origin.dirty.insert(m.handle);
        }
        reassembly.discard(m.peer, m.handle, (m.seq, m.seq + 1), intakes);
        Ok(unsettled)
    }

    /// A part of a large message, live (`only` is `None`) or by catch-up.
    pub(crate) fn on_part(
        &mut self,
        part: Incoming<'_>,
        (offset, total): (u32, u32),
        only: Option<u32>,
        out: &mut dyn Outlet,
    ) -> Result<(), Undefined> {
        if !self.wants_part(part, only)? {
            return Ok(());
        }
        let key = MessageKey {
            peer: part.peer,
            handle: part.handle,
            seq: part.seq,
        };
        let mut evicted = Vec::new();
        let whole = self
            .reassembly
            .put(key, offset, total, part.payload, &mut evicted);
        for key in evicted {
            self.counters.evicted += 1;
            self.miss_everywhere(key);
        }
        match whole {
            // Both paths may have contributed: whoever lacks it gets it.
            Part::Whole(payload) => {
                let whole = Incoming {
                    payload: &payload,
                    ..part
                };
                if only.is_some() {
                    self.hand_over(whole, only, out)?;
                }
                self.hand_over(whole, None, out).map(|_| ())
            }
            Part::Taken | Part::Bad => Ok(()),
        }
    }

    // Whether any subscription, or the one named, lacks the message that the part is of.
    fn wants_part(&mut self, part: Incoming<'_>, only: Option<u32>) -> Result<bool, Undefined> {
        let origin = self.origins.get_mut(&part.peer).ok_or(Undefined)?;
        let handle = origin.handles.get_mut(&part.handle).ok_or(Undefined)?;
        let seen = handle.seen;
        handle.seen = seen.max(part.seq + 1);
        let mut wanted = false;
        for intake in &mut handle.intakes {
            if only.is_some_and(|sub| intake.sub != sub) {
                continue;
            }
            wanted |= intake.wants(part.seq);
            if only.is_none()
                && intake.begins_late(part.seq, seen)
                && let Some(local) = self.subs.get_mut(&intake.sub)
            {
                note_behind(
                    local,
                    &mut origin.missing,
                    &mut origin.notices,
                    (part.peer, part.handle),
                    intake,
                );
            }
        }
        Ok(wanted)
    }

    fn miss_everywhere(&mut self, key: MessageKey) {
        let Some(origin) = self.origins.get_mut(&key.peer) else {
            return;
        };
        let Some(handle) = origin.handles.get_mut(&key.handle) else {
            return;
        };
        for intake in &mut handle.intakes {
            let Some(local) = self.subs.get_mut(&intake.sub) else {
                continue;
            };
            intake.miss(key.seq, key.seq + 1);
            note_behind(
                local,
                &mut origin.missing,
                &mut origin.notices,
                (key.peer, key.handle),
                intake,
            );
        }
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
        note_behind(
            local,
            &mut origin.missing,
            &mut origin.notices,
            (peer, number),
            intake,
        );
        if intake.has_reports() {
            origin.dirty.insert(number);
        }
    }

    fn define_for(&mut self, peer: PeerIx, sub: u32, number: u32, from: u64, topic: &str) {
        let (Some(local), Some(origin)) = (self.subs.get(&sub), self.origins.get_mut(&peer)) else {
            return;
        };
        if !origin.handles.contains_key(&number) && origin.handles.len() >= limits::MAX_PUBLISHERS {
            return;
        }
        let new = || Handle {
            topic: topic.into(),
            seen: from,
            intakes: Vec::new(),
        };
        let handle = origin.handles.entry(number).or_insert_with(new);
        if !handle.intakes.iter().any(|i| i.sub == sub) {
            handle.intakes.push(Intake::new(sub, local.ordered, from));
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
        let gaps = intake.skip(from, to, reason);
        let mut toward = Toward {
            local,
            counters,
            id,
            topic,
            out,
        };
        gaps.into_iter()
            .for_each(|gap| toward.tell(intake.sub, gap));
        toward.drain(intake);
        note_behind(
            local,
            &mut origin.missing,
            &mut origin.notices,
            (peer, number),
            intake,
        );
        reassembly.discard(peer, number, (from, to), intakes);
    }

    /// A FETCH was answered.
    pub(crate) fn on_fetched(&mut self, peer: PeerIx, sub: u32, number: u32, from: u64) {
        let Some(origin) = self.origins.get_mut(&peer) else {
            return;
        };
        origin.fetching.remove(&(sub, number));
        let handle = origin.handles.get_mut(&number);
        if let Some(intake) = handle.and_then(|h| h.intakes.iter_mut().find(|i| i.sub == sub)) {
            intake.on_fetched(from);
        }
    }

    /// Whether asking for a FETCH may yield one.
    pub(crate) fn may_fetch(&self, peer: PeerIx) -> bool {
        self.origins
            .get(&peer)
            .is_some_and(|o| !o.missing.is_empty() && o.fetching.len() < FETCHES)
    }

    /// The next FETCH for a publisher node, if any is due.
    pub(crate) fn next_fetch(&mut self, peer: PeerIx, now: u64) -> Option<Fetch> {
        let origin = self.origins.get_mut(&peer)?;
        if origin.fetching.len() >= FETCHES {
            return None;
        }
        for (&sub, local) in self
            .subs
            .iter_mut()
            .filter(|(_, l)| l.attached && !l.full && !l.behind.is_empty())
        {
            for &(_, number) in local.behind.range((peer, 0)..=(peer, u32::MAX)) {
                let handle = origin.handles.get_mut(&number)?;
                let Some(intake) = handle.intakes.iter_mut().find(|i| i.sub == sub) else {
                    continue;
                };
                let Some(fetch) = intake.fetch(now) else {
                    continue;
                };
                origin.fetching.insert((sub, number));
                return Some(Fetch {
                    sub,
                    handle: number,
                    from: fetch.from,
                    count: (fetch.to - fetch.from) as u32,
                });
            }
        }
        None
    }

    /// Bytes held back or partly received.
    pub(crate) fn bytes(&self) -> usize {
        let held = self
            .origins
            .values()
            .flat_map(|o| o.handles.values())
            .flat_map(|h| &h.intakes);
        held.map(Intake::held_bytes).sum::<usize>() + self.reassembly.bytes()
    }
}

impl Origin {
    // The same boot in a new session: what was asked and told is asked and told again.
    fn renew(&mut self) {
        self.fetching.clear();
        self.notices.clear();
        for intake in self.handles.values_mut().flat_map(|h| &mut h.intakes) {
            intake.forget_fetch();
        }
        // Its table comes whole and without these; what they acknowledged may have been lost with the old session.
        for left in &mut self.left {
            left.intake.report_again(0, u64::MAX);
        }
        let mut told = None;
        for &(sub, handle) in &self.missing {
            if told != Some(sub) {
                told = Some(sub);
                self.notices.push(Notice::Deferred {
                    sub,
                    handle,
                    from: 0,
                });
            }
        }
    }
}
