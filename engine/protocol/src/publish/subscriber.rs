//! What the publisher knows of one subscription and of one subscriber node besides its streams.

use std::collections::{BTreeMap, VecDeque};

use tidings_wire::Boot;

use crate::config::{Redelivery, SlowPolicy};
use crate::event::Outcome;
use crate::limits;

/// One effective subscription, local or remote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub(crate) policy: SlowPolicy,
    pub(crate) redelivery: Redelivery,
    /// Since when it takes nothing, in ns.
    pub(crate) deferred: Option<u64>,
    /// When it last took up again: attempts count from there.
    pub(crate) resumed: u64,
    /// A named client's, whose node came back without it: when it is given up.
    pub(crate) until: Option<u64>,
}

impl Subscriber {
    pub(crate) fn new(policy: SlowPolicy, redelivery: Redelivery) -> Self {
        Subscriber {
            policy,
            redelivery,
            deferred: None,
            resumed: 0,
            until: None,
        }
    }

    /// Whether the store may give its messages up when it is full.
    pub(crate) fn is_slow(&self, now: u64) -> bool {
        self.policy != SlowPolicy::Block
            && self
                .deferred
                .is_some_and(|since| now >= since + limits::SLOW_DETACH)
    }
}

/// Where the bringing up to date of a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No session; in ns since when, for the longest time of parking.
    Down { since: u64 },
    /// It is told what it is owed: publishers from `cursor` on, messages accepted at or after `since`.
    Backlog {
        cursor: u32,
        since: u64,
        began: u64,
        paused: bool,
    },
    /// It may take part in live streams.
    Ready,
}

impl Phase {
    /// From the beginning.
    pub(crate) fn backlog(now: u64) -> Phase {
        Phase::Backlog {
            cursor: 0,
            since: 0,
            began: now,
            paused: false,
        }
    }
}

/// One answer to a FETCH, under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) sub: u32,
    pub(crate) handle: u32,
    pub(crate) from: u64,
    pub(crate) next: u64,
    pub(crate) to: u64,
    /// Where in message `next` to go on.
    pub(crate) offset: u32,
    pub(crate) bytes_left: u32,
}

/// Something that a node must be told by the reliable channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Untold {
    pub(crate) sub: u32,
    pub(crate) handle: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) reason: Outcome,
}

/// One subscriber node.
#[derive(Debug)]
pub(crate) struct Subscribing {
    pub(crate) phase: Phase,
    /// Boot of its latest session.
    pub(crate) boot: Option<Boot>,
    /// That is another than messages before were sent to.
    pub(crate) reborn: bool,
    pub(crate) jobs: VecDeque<Job>,
    /// Gaps by (subscription, handle, first): told before anything else.
    pub(crate) untold: BTreeMap<(u32, u32, u64), Untold>,
    /// Subscriptions to offer again: (subscription, handle).
    pub(crate) offers: VecDeque<(u32, u32)>,
}

/// Answers that may wait for one node; more are asked for again.
pub(crate) const JOBS: usize = 1024;

impl Subscribing {
    pub(crate) fn new(now: u64) -> Self {
        Subscribing {
            phase: Phase::Down { since: now },
            boot: None,
            reborn: false,
            jobs: VecDeque::new(),
            untold: BTreeMap::new(),
            offers: VecDeque::new(),
        }
    }

    /// Notes a gap, joined to its neighbour.
    pub(crate) fn tell(&mut self, gap: Untold) {
        let below = self
            .untold
            .range_mut((gap.sub, gap.handle, 0)..=(gap.sub, gap.handle, gap.from))
            .next_back();
        if let Some((_, last)) = below
            && last.to == gap.from
            && last.reason == gap.reason
        {
            last.to = gap.to;
            return;
        }
        self.untold.insert((gap.sub, gap.handle, gap.from), gap);
    }
}
