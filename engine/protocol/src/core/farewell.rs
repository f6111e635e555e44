//! How a node leaves. The word that it goes gives up whatever it has not acknowledged, so what it has must arrive before.

use std::collections::BTreeMap;

use super::*;
use crate::links::link::Link;

/// How long the word waits for that, in ns: peers may be gone that nobody holds dead yet.
const WAIT: u64 = 500_000_000;

pub(super) struct Farewell {
    by: u64,
    // Peers and up to where they must have the control channel; not known before all is queued there.
    awaited: Option<BTreeMap<PeerIx, u64>>,
    is_said: bool,
}

impl Core {
    /// Announces that this node leaves, once what its subscriptions acknowledged has arrived, or after half a second. Publishers and
    /// subscriptions are closed to new commands; the owner keeps driving the core until [`Core::has_left`].
    pub fn leave(&mut self, now: u64) {
        self.farewell.get_or_insert(Farewell {
            by: now + WAIT,
            awaited: None,
            is_said: false,
        });
    }

    /// Whether the farewell is told and the core may be dropped.
    pub fn has_left(&self, now: u64) -> bool {
        self.farewell.as_ref().is_some_and(|f| f.is_said) && self.members.has_left(now)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.farewell.is_some()
    }

    /// When the farewell is told at the latest.
    pub(super) fn farewell_at(&self) -> Option<u64> {
        let waits = self.farewell.as_ref().filter(|f| !f.is_said);
        waits.map(|f| f.by)
    }

    /// Tells the farewell when it is time. All that is to be acknowledged was queued.
    pub(super) fn say_farewell(&mut self, now: u64) {
        let Some(farewell) = self.farewell.as_mut().filter(|f| !f.is_said) else {
            return;
        };
        let links = &self.links;
        // What finds no room in the channel is queued when there is some.
        let queues = |link: &Link| self.receive.has_reports(link.known.peer);
        if farewell.awaited.is_none() && now < farewell.by && links.iter().any(queues) {
            return;
        }
        let awaited = farewell.awaited.get_or_insert_with(|| {
            let to = |link: &Link| (link.known.peer, link.ctl.tx.pushed_to());
            links.iter().map(to).collect()
        });
        let lacks = |link: &Link| {
            let to = awaited.get(&link.known.peer);
            to.is_some_and(|to| link.ctl.tx.arrived_to() < *to)
        };
        farewell.is_said = now >= farewell.by || !links.iter().any(lacks);
        if farewell.is_said {
            let (mut ctx, members) = self.ctx(now);
            members.leave(&mut ctx);
        }
    }
}
