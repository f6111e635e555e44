//! What the publisher knows of one subscription and of one subscriber node besides its streams.

use std::collections::{BTreeMap, VecDeque};

use tidings_wire::Boot;

use crate::config::{Redelivery, SlowPolicy};
use crate::event::Outcome;
use crate::limits;
use crate::ranges::RangeSet;

/// Times without room that are told apart.
const WAITS: usize = 4;

/// What one subscription is owed by one publisher is to be told again: all of it, or what was sent a period ago.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) sub: u32,
    pub(crate) number: u32,
    pub(crate) overdue: bool,
}

/// One effective subscription, local or remote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub(crate) policy: SlowPolicy,
    pub(crate) redelivery: Redelivery,
    /// Since when it takes nothing, in ns.
    pub(crate) deferred: Option<u64>,
    /// And nobody is there to take it: its node lives, its client does not.
    pub(crate) gone: bool,
    // Earlier such times, from..to: what was first sent within one counts from its end.
    waits: [(u64, u64); WAITS],
    /// A named client's, whose node came back without it: when it is given up.
    pub(crate) until: Option<u64>,
    /// Its node has a new boot, whose table has not come yet: what it is told it may not be able to place.
    pub(crate) unconfirmed: bool,
}

impl Subscriber {
    pub(crate) fn new(policy: SlowPolicy, redelivery: Redelivery) -> Self {
        Subscriber {
            policy,
            redelivery,
            deferred: None,
            gone: false,
            waits: [(0, 0); WAITS],
            until: None,
            unconfirmed: false,
        }
    }

    /// Whether its node knows of it, as far as this one can tell.
    pub(crate) fn is_there(&self) -> bool {
        self.until.is_none() && !self.unconfirmed
    }

    /// It takes up again.
    pub(crate) fn resume(&mut self, now: u64) {
        self.gone = false;
        if let Some(since) = self.deferred.take() {
            // The two oldest become one when there are too many: late is better than early.
            if self.waits[0].1 > 0 {
                self.waits[1].0 = self.waits[0].0;
            }
            self.waits.rotate_left(1);
            self.waits[WAITS - 1] = (since, now);
        }
    }

    /// How long a message waits for its acknowledgement before it is offered again, in ns.
    pub(crate) fn period(&self) -> u64 {
        u64::from(self.redelivery.every_ms).max(100) * 1_000_000
    }

    /// Since when the attempts of a message count that was first sent at `sent`; `None` while they do not.
    pub(crate) fn counts_from(&self, sent: u64) -> Option<u64> {
        if self.deferred.is_some_and(|since| sent >= since) {
            return None;
        }
        let wait = self
            .waits
            .iter()
            .find(|(from, to)| (*from..*to).contains(&sent));
        Some(wait.map_or(sent, |(_, to)| *to))
    }

    /// Whether it is not to be waited for: nobody is there, or who is has taken nothing for long.
    pub(crate) fn is_slow(&self, now: u64) -> bool {
        let since = self.deferred;
        self.gone
            || self.until.is_some()
            || since.is_some_and(|since| now >= since + limits::SLOW_DETACH)
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

    /// Messages accepted from `accepted` on must be told, too.
    pub(crate) fn extend(&mut self, accepted: u64) {
        match self {
            // Its return begins with telling everything.
            Phase::Down { .. } => {}
            Phase::Backlog { paused, .. } => *paused = true,
            Phase::Ready => {
                *self = Phase::Backlog {
                    cursor: 0,
                    since: accepted,
                    began: accepted,
                    paused: false,
                }
            }
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
    /// It had another boot before.
    pub(crate) reborn: bool,
    /// Which of its subscriptions are there again is not known yet: it has a new boot whose table has not come. Until then it
    /// joins no stream, or its ordered subscriptions would see the new before the old.
    pub(crate) awaits_table: bool,
    pub(crate) jobs: VecDeque<Job>,
    /// Gaps by (subscription, handle, first): told before anything else.
    pub(crate) untold: BTreeMap<(u32, u32, u64), Untold>,
    // Those that are queued for it, by the position in the channel at which they have arrived. With the link the queue would go.
    telling: VecDeque<(u64, Untold)>,
    /// What it is to be told again that it is owed.
    pub(crate) offers: VecDeque<Offer>,
    /// Sessions of streams that are no more.
    pub(crate) closed: VecDeque<u64>,
    /// Publishers that are gone, which it is yet to hear of.
    pub(crate) retired: RangeSet,
    /// Bytes of the largest datagram that its path is known to carry; 0 without a link.
    pub(crate) datagram: usize,
    /// The key slot of the session that its link uses.
    pub(crate) key: u8,
    /// Until then the path of its new link may show to carry more, in ns.
    pub(crate) probing_until: u64,
}

impl Subscribing {
    pub(crate) fn new(now: u64) -> Self {
        Subscribing {
            phase: Phase::Down { since: now },
            boot: None,
            reborn: false,
            awaits_table: false,
            jobs: VecDeque::new(),
            untold: BTreeMap::new(),
            telling: VecDeque::new(),
            offers: VecDeque::new(),
            closed: VecDeque::new(),
            retired: RangeSet::default(),
            datagram: 0,
            key: 0,
            probing_until: 0,
        }
    }

    /// Whether it has a session, or is this node itself.
    pub(crate) fn is_linked(&self) -> bool {
        !matches!(self.phase, Phase::Down { .. })
    }

    /// Whether a flush has something to tell the node.
    pub(crate) fn is_owed(&self) -> bool {
        matches!(self.phase, Phase::Backlog { .. })
            || !self.jobs.is_empty()
            || self.has_gaps()
            || !self.offers.is_empty()
            || !self.closed.is_empty()
            || !self.retired.is_empty()
    }

    /// Notes that a stream is no more. A node that hears of too few of them drops its quietest itself.
    pub(crate) fn close_stream(&mut self, session: u64) {
        if self.closed.len() >= limits::MAX_STREAMS_PER_PEER {
            self.closed.pop_front();
        }
        self.closed.push_back(session);
    }

    /// Whether the node has gaps to be told, or on their way.
    pub(crate) fn has_gaps(&self) -> bool {
        !self.untold.is_empty() || !self.telling.is_empty()
    }

    /// The gap is queued; it is told when the channel has arrived at `position`.
    pub(crate) fn queued(&mut self, gap: Untold, position: u64) {
        self.telling.push_back((position, gap));
    }

    /// The channel has arrived at `position`.
    pub(crate) fn arrived(&mut self, position: u64) {
        while self
            .telling
            .pop_front_if(|(at, _)| *at <= position)
            .is_some()
        {}
    }

    /// The link is gone, and what was queued for it: that is to be told again.
    pub(crate) fn take_back_gaps(&mut self) {
        for (_, gap) in std::mem::take(&mut self.telling) {
            self.tell(gap);
        }
    }

    /// The subscription is gone: it is told nothing.
    pub(crate) fn forget_gaps(&mut self, sub: u32) {
        self.untold.retain(|_, gap| gap.sub != sub);
        self.telling.retain(|(_, gap)| gap.sub != sub);
    }

    /// Whether the node is yet to hear of a gap of the publisher.
    pub(crate) fn owes_gap(&self, handle: u32) -> bool {
        if self.telling.iter().any(|(_, gap)| gap.handle == handle) {
            return true;
        }
        let mut least = Some(0);
        while let Some(from) = least {
            let Some((&(sub, ..), _)) = self.untold.range((from, 0, 0)..).next() else {
                return false;
            };
            let of_handle = (sub, handle, 0)..=(sub, handle, u64::MAX);
            if self.untold.range(of_handle).next().is_some() {
                return true;
            }
            least = sub.checked_add(1);
        }
        false
    }

    /// The lowest number of the publisher in a gap that the subscription is yet to hear of.
    pub(crate) fn oldest_gap(&self, sub: u32, handle: u32) -> Option<u64> {
        let of_handle = (sub, handle, 0)..=(sub, handle, u64::MAX);
        let untold = self.untold.range(of_handle).next().map(|(key, _)| key.2);
        let telling = self.telling.iter().map(|(_, gap)| gap);
        let telling = telling.filter(|gap| (gap.sub, gap.handle) == (sub, handle));
        untold.into_iter().chain(telling.map(|gap| gap.from)).min()
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
