//! What one publisher's messages still wait for: which of them lies in which datagram, and which subscription has settled it.
//!
//! Settled means a terminal outcome was told. Each (message, subscription) pair is settled exactly once.

use std::collections::VecDeque;

use crate::peer::PeerIx;
use crate::ranges::RangeSet;
use crate::tables::index::SubRef;

/// A stream's datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DatagramId {
    pub(crate) stream: u32,
    pub(crate) counter: u64,
}

/// Consecutive messages in one datagram, or one message in consecutive datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// Datagrams that a message is cut into; 1 for whole messages.
    pub(crate) datagrams: u32,
    pub(crate) at: DatagramId,
    /// (message, subscription) pairs not settled.
    pub(crate) pending: u32,
    /// When it was accepted, in ns.
    pub(crate) accepted: u64,
}

impl Span {
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// One subscription that is owed messages of this publisher.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) sub: SubRef,
    /// All below it, and those settled since.
    pub(crate) settled: RangeSet,
    /// When it was last offered what it is owed, in ns.
    pub(crate) offered: u64,
    /// One past the highest number served by catch-up.
    pub(crate) served: u64,
    /// The same, of what an earlier boot of its node was served.
    pub(crate) earlier: u64,
}

impl Owed {
    // The lowest unsettled number; all below `start` are settled.
    fn oldest(&self) -> u64 {
        match self.settled.first() {
            Some((0, to)) => to,
            _ => 0,
        }
    }
}

/// Unsettled messages of one publisher.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    // Ascending by sequence number; settled ones in the middle are swept out when they are the majority.
    spans: VecDeque<Span>,
    stale: usize,
    // Sorted by subscription.
    owed: Vec<Owed>,
    // The route whose subscriptions are known to be in `owed`; 0 = none is.
    route: u64,
}

impl Outstanding {
    /// Whether nothing is outstanding.
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// (message, subscription) pairs without an outcome. Goes through all spans.
    pub(crate) fn pairs(&self) -> u64 {
        self.spans.iter().map(|span| u64::from(span.pending)).sum()
    }

    /// From now on `subs`, those of `route`, are owed every message from `seq` on.
    pub(crate) fn owe(&mut self, route: u64, subs: &[SubRef], seq: u64, now: u64) {
        if self.route == route {
            return;
        }
        self.route = route;
        if self.owed.is_empty() {
            // Most publishers have few subscriptions, and there may be a hundred thousand publishers.
            self.owed.reserve_exact(subs.len());
        }
        for &sub in subs {
            if let Err(at) = self.position(sub) {
                let owed = Owed {
                    sub,
                    settled: RangeSet::below(seq),
                    offered: now,
                    served: 0,
                    earlier: 0,
                };
                self.owed.insert(at, owed);
            }
        }
    }

    /// The lowest number that may be owed to a subscription whose node hears of the topic now, be it for the first time or in a new
    /// life: the lowest that any has not settled.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.owed.iter().map(Owed::oldest).min()
    }

    pub(crate) fn owed(&self, sub: SubRef) -> Option<&Owed> {
        let at = self.position(sub).ok()?;
        Some(&self.owed[at])
    }

    pub(crate) fn owed_mut(&mut self, sub: SubRef) -> Option<&mut Owed> {
        let at = self.position(sub).ok()?;
        Some(&mut self.owed[at])
    }

    fn position(&self, sub: SubRef) -> Result<usize, usize> {
        self.owed.binary_search_by_key(&sub, |owed| owed.sub)
    }

    /// A node has a new boot: whatever its subscriptions were served went to an earlier one.
    pub(crate) fn on_reborn(&mut self, peer: PeerIx) {
        for owed in self.owed.iter_mut().filter(|owed| owed.sub.peer == peer) {
            owed.earlier = owed.served;
        }
    }

    /// Every subscription with messages outstanding or lately settled.
    pub(crate) fn subs(&self) -> impl Iterator<Item = &Owed> {
        self.owed.iter()
    }

    /// Whether message `seq` of `route` continues the last span: the one before it lies in this datagram and is not settled.
    #[inline]
    pub(crate) fn is_continued(&self, route: u64, seq: u64, at: DatagramId) -> bool {
        let continues = |last: &Span| {
            last.at == at && last.end() == seq && last.datagrams == 1 && last.pending > 0
        };
        self.route == route && self.spans.back().is_some_and(continues)
    }

    /// So many messages continue the last span.
    pub(crate) fn extend(&mut self, count: u32, pairs: u32) {
        if let Some(last) = self.spans.back_mut() {
            last.count += count;
            last.pending += pairs;
        }
    }

    /// Adds a message, owed to `subs` subscriptions.
    pub(crate) fn push(&mut self, seq: u64, at: DatagramId, datagrams: u32, subs: u32, now: u64) {
        if let Some(last) = self.spans.back_mut()
            && last.at == at
            && last.datagrams == 1
            && datagrams == 1
            && last.end() == seq
        {
            if last.pending == 0 {
                self.stale -= 1;
            }
            last.count += 1;
            last.pending += subs;
            return;
        }
        if self.spans.capacity() == 0 {
            // A publisher's first message is often its only one.
            self.spans.reserve_exact(1);
        }
        self.spans.push_back(Span {
            first: seq,
            count: 1,
            datagrams,
            at,
            pending: subs,
            accepted: now,
        });
    }

    /// Spans that overlap `from..to` and are not settled.
    pub(crate) fn spans(&self, from: u64, to: u64) -> impl Iterator<Item = &Span> {
        let start = self.spans.partition_point(|s| s.end() <= from);
        self.spans
            .range(start..)
            .take_while(move |s| s.first < to)
            .filter(|s| s.pending > 0)
    }

    /// Settles `from..to` for one subscription. Calls `told` for each range that was not settled before, `aged` with the time of
    /// acceptance and number of pairs that have one, and `freed` for each datagram with the number of pairs that it is rid of.
    pub(crate) fn settle(
        &mut self,
        sub: SubRef,
        (from, to): (u64, u64),
        mut told: impl FnMut(u64, u64),
        mut aged: impl FnMut(u64, u64),
        mut freed: impl FnMut(DatagramId, u32),
    ) {
        let Ok(ix) = self.position(sub) else {
            return;
        };
        let to = to.min(self.spans.back().map_or(0, Span::end));
        if from >= to {
            return;
        }
        let mut fresh: [(u64, u64); 1] = [(from, to)];
        let mut many = Vec::new();
        let settled = &mut self.owed[ix].settled;
        // Nearly always the whole range is new: no allocation then.
        let mut parts = 0;
        settled.holes(from, to, |a, b| {
            if parts == 0 {
                fresh[0] = (a, b);
            } else {
                many.push((a, b));
            }
            parts += 1;
        });
        if parts == 0 {
            return;
        }
        settled.insert(from, to);
        for (a, b) in fresh.into_iter().chain(many) {
            told(a, b);
            self.free(a, b, &mut aged, &mut freed);
        }
        self.sweep();
    }

    fn free(
        &mut self,
        from: u64,
        to: u64,
        aged: &mut impl FnMut(u64, u64),
        freed: &mut impl FnMut(DatagramId, u32),
    ) {
        let start = self.spans.partition_point(|s| s.end() <= from);
        // Spans of one turn are as old as each other, and told together.
        let (mut accepted, mut as_old) = (0, 0);
        for span in self.spans.range_mut(start..) {
            if span.first >= to {
                break;
            }
            let pairs = (span.end().min(to) - span.first.max(from)) as u32;
            assert!(span.pending >= pairs, "a pair is settled once");
            span.pending -= pairs;
            self.stale += usize::from(span.pending == 0);
            if span.accepted != accepted {
                if as_old > 0 {
                    aged(accepted, as_old);
                }
                (accepted, as_old) = (span.accepted, 0);
            }
            as_old += u64::from(pairs);
            for n in 0..u64::from(span.datagrams) {
                freed(
                    DatagramId {
                        counter: span.at.counter + n,
                        ..span.at
                    },
                    pairs,
                );
            }
        }
        if as_old > 0 {
            aged(accepted, as_old);
        }
    }

    fn sweep(&mut self) {
        while self.spans.front().is_some_and(|s| s.pending == 0) {
            self.spans.pop_front();
            self.stale -= 1;
        }
        if self.stale > 64 && self.stale * 2 > self.spans.len() {
            // The last span stays: its end bounds what may be settled, and it may grow.
            let last = self.spans.back().map_or(0, |s| s.first);
            self.spans.retain(|s| s.pending > 0 || s.first == last);
            self.stale = self.spans.iter().filter(|s| s.pending == 0).count();
        }
    }

    /// A subscription is no longer owed anything: call after settling all of it.
    pub(crate) fn disown(&mut self, sub: SubRef) {
        self.route = 0;
        self.owed.retain(|o| o.sub != sub);
    }

    /// The oldest and newest unsettled number for one subscription.
    pub(crate) fn unsettled(&self, sub: SubRef) -> Option<(u64, u64)> {
        let owed = self.owed(sub)?;
        let end = self.spans.back()?.end();
        owed.settled.span_of_holes(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SubRef = SubRef {
        peer: PeerIx(1),
        sub: 1,
    };
    const B: SubRef = SubRef {
        peer: PeerIx(2),
        sub: 2,
    };

    fn at(counter: u64) -> DatagramId {
        DatagramId { stream: 0, counter }
    }

    #[test]
    fn a_pair_is_told_once_and_frees_its_datagram() {
        let mut out = Outstanding::default();
        out.owe(1, &[A, B], 0, 0);
        for seq in 0..10 {
            out.push(seq, at(seq / 4), 1, 2, 0);
        }
        let (mut told, mut freed) = (Vec::new(), [0; 3]);
        for _ in 0..2 {
            out.settle(
                A,
                (2, 6),
                |a, b| told.push((a, b)),
                |_, _| {},
                |d, n| freed[d.counter as usize] += n,
            );
        }
        assert_eq!((told, freed), (vec![(2, 6)], [2, 2, 0]));
        let mut told = Vec::new();
        out.settle(
            A,
            (0, 99),
            |a, b| told.push((a, b)),
            |_, _| {},
            |d, n| freed[d.counter as usize] += n,
        );
        out.settle(
            B,
            (0, 10),
            |_, _| {},
            |_, _| {},
            |d, n| freed[d.counter as usize] += n,
        );
        assert_eq!((told, freed), (vec![(0, 2), (6, 10)], [8, 8, 4]));
        assert!(out.is_empty());
    }

    #[test]
    fn one_held_message_does_not_keep_the_others() {
        let mut out = Outstanding::default();
        out.owe(1, &[A], 0, 0);
        for seq in 0..10_000 {
            out.push(seq, at(seq), 1, 1, 0);
        }
        out.settle(A, (1, 10_000), |_, _| {}, |_, _| {}, |_, _| {});
        assert!(out.spans.len() < 200, "{}", out.spans.len());
        assert_eq!(out.unsettled(A), Some((0, 1)));
    }

    #[test]
    fn a_large_message_frees_each_of_its_datagrams() {
        let mut out = Outstanding::default();
        out.owe(1, &[A], 5, 0);
        out.push(5, at(3), 4, 1, 9);
        let (mut freed, mut ages) = (Vec::new(), Vec::new());
        out.settle(
            A,
            (5, 6),
            |_, _| {},
            |accepted, pairs| ages.push((accepted, pairs)),
            |d, n| freed.push((d.counter, n)),
        );
        assert_eq!(freed, [(3, 1), (4, 1), (5, 1), (6, 1)]);
        assert_eq!(ages, [(9, 1)], "it is one message");
    }
}
