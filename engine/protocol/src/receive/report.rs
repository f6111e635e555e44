//! What is told to publishers: acknowledgements and refusals, who waits and who does no more.

use tidings_wire::Boot;

use super::{Left, LocalSub, Notice, Receive};
use crate::event::Outcome;
use crate::peer::PeerIx;

/// Intakes that keep their memory although it is empty: those in use need it again with the next message.
const RESTING: usize = 256;

impl Receive {
    /// The client acknowledges; unknown ids are ignored. Returns how many messages that settled.
    pub(crate) fn acknowledge(
        &mut self,
        peer: PeerIx,
        boot: Boot,
        sub: u32,
        number: u32,
        from: u64,
        to: u64,
    ) -> u64 {
        let Some(origin) = self.origins.get_mut(&peer).filter(|o| o.boot == boot) else {
            return 0;
        };
        let Some(handle) = origin.handles.get_mut(&number) else {
            return 0;
        };
        let Some(intake) = handle.intakes.iter_mut().find(|i| i.sub == sub) else {
            return 0;
        };
        let settled = intake.acknowledge(from, to);
        if settled > 0 {
            origin.dirty.insert(number);
        }
        settled
    }

    /// Subscriptions whose clients are there and did not take yet what came for them, or wait behind a hole.
    pub(crate) fn slow_subscribers(&self) -> usize {
        let is_slow = |local: &&LocalSub| local.attached && !local.behind.is_empty();
        self.subs.values().filter(is_slow).count()
    }

    /// Publisher nodes that are to be told something, or asked; this node itself needs no link for that.
    pub(crate) fn owing(&self, now: u64) -> impl Iterator<Item = PeerIx> {
        let others = self
            .origins
            .iter()
            .filter(|(peer, _)| **peer != PeerIx::LOCAL);
        let crowded = self.crowd.front().map(|crowded| crowded.peer);
        let owed = others.filter(move |(peer, origin)| {
            origin.has_reports() || origin.asking.is_due(now) || crowded == Some(**peer)
        });
        owed.map(|(&peer, _)| peer)
    }

    /// Whether a publisher node is to be told something.
    pub(crate) fn has_reports(&self, peer: PeerIx) -> bool {
        self.origins
            .get(&peer)
            .is_some_and(|origin| origin.has_reports())
    }

    /// Whether a subscription ended that the publisher node may not know the end of.
    pub(crate) fn is_left(&self, peer: PeerIx) -> bool {
        self.origins.get(&peer).is_some_and(|o| !o.left.is_empty())
    }

    /// The publisher node knows this version of the own table.
    pub(crate) fn on_table_ack(&mut self, peer: PeerIx, version: u64) {
        if let Some(origin) = self.origins.get_mut(&peer) {
            origin.left.retain(|left| left.version > version);
        }
    }

    /// Takes the notices for a publisher node, each with whether its subscription's client is gone.
    pub(crate) fn take_notices(
        &mut self,
        peer: PeerIx,
        mut emit: impl FnMut(Notice, bool) -> bool,
    ) -> bool {
        let Self { subs, origins, .. } = self;
        let Some(origin) = origins.get_mut(&peer) else {
            return true;
        };
        let mut sent = 0;
        let notices = &mut origin.asking.notices;
        for notice in notices.iter() {
            let local = subs.get(&notice.sub());
            if !emit(*notice, local.is_some_and(|l| !l.attached)) {
                break;
            }
            sent += 1;
        }
        notices.drain(..sent);
        notices.is_empty()
    }

    /// Takes acknowledgements for a publisher node: (sub, handle, from, to, outcome).
    pub(crate) fn take_reports(
        &mut self,
        peer: PeerIx,
        mut emit: impl FnMut(u32, u32, u64, u64, Outcome) -> bool,
    ) -> bool {
        let Some(origin) = self.origins.get_mut(&peer) else {
            return true;
        };
        if origin.left_reports {
            for Left { handle, intake, .. } in &mut origin.left {
                let (sub, number) = (intake.sub, *handle);
                if !intake.reports(|from, to, outcome| emit(sub, number, from, to, outcome)) {
                    return false;
                }
            }
            origin.left_reports = false;
        }
        let mut gone = Vec::new();
        while let Some(&number) = origin.dirty.first() {
            if let Some(handle) = origin.handles.get_mut(&number) {
                for intake in &mut handle.intakes {
                    let sub = intake.sub;
                    if !intake.reports(|from, to, outcome| emit(sub, number, from, to, outcome)) {
                        return false;
                    }
                    if intake.begins_rest() {
                        self.resting.push_back((peer, number, sub));
                    }
                }
            }
            origin.dirty.pop_first();
            if origin.retired.contains(number.into()) {
                gone.push(number);
            }
        }
        for number in gone {
            self.forget_retired(peer, number);
        }
        self.end_rest();
        true
    }

    // Frees the memory of the intakes that rest for longest.
    fn end_rest(&mut self) {
        while self.resting.len() > RESTING
            && let Some((peer, number, sub)) = self.resting.pop_front()
        {
            let origin = self.origins.get_mut(&peer);
            let handle = origin.and_then(|o| o.handles.get_mut(&number));
            if let Some(intake) = handle.and_then(|h| h.intakes.iter_mut().find(|i| i.sub == sub)) {
                intake.end_rest();
            }
        }
    }
}
