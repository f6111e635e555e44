//! Holes that wait to be told to a reader who does not read. They cannot be refused, so they must stay few: those of one
//! subscription and publisher that adjoin are one.

use std::collections::{HashMap, VecDeque};

use tidings_protocol::PublisherId;

use crate::record::Gap;

/// Bytes that a gap takes beside its topic, in a frame or a record.
const GAP_BYTES: usize = 72;

/// Gaps in the order in which they came.
#[derive(Default)]
pub(crate) struct Gaps {
    waiting: VecDeque<Gap>,
    /// How many have left: the position of the first that waits.
    left: u64,
    /// Position of the last gap of each subscription and publisher.
    last: HashMap<(u32, PublisherId), u64>,
    bytes: usize,
}

impl Gaps {
    /// Adds a gap. One that adjoins the last of its subscription and publisher extends it; while `max` or more wait, any
    /// other extends it, too. What lies between was settled in an earlier session: nothing is delivered while gaps wait. So
    /// no more than `max` wait, or one for each pair if there are more pairs than that.
    pub(crate) fn push(&mut self, gap: Gap, max: usize) {
        let key = (gap.sub, gap.publisher);
        let crowded = self.waiting.len() >= max;
        let last = self.last.get(&key).copied();
        if let Some(last) = last.and_then(|at| self.waiting.get_mut((at - self.left) as usize))
            && (crowded || (last.to == gap.from && last.reason == gap.reason))
        {
            last.from = last.from.min(gap.from);
            last.to = last.to.max(gap.to);
            return;
        }
        self.last.insert(key, self.left + self.waiting.len() as u64);
        self.bytes += GAP_BYTES + gap.topic.len();
        self.waiting.push_back(gap);
    }

    pub(crate) fn front(&self) -> Option<&Gap> {
        self.waiting.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Gap> {
        let gap = self.waiting.pop_front()?;
        let key = (gap.sub, gap.publisher);
        if self.last.get(&key) == Some(&self.left) {
            self.last.remove(&key);
        }
        self.left += 1;
        self.bytes -= GAP_BYTES + gap.topic.len();
        Some(gap)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that those which wait will take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_protocol::Outcome;
    use tidings_wire::{Boot, NodeId};

    fn gap(handle: u32, from: u64, to: u64, reason: Outcome) -> Gap {
        let publisher = PublisherId {
            node: NodeId([1; 16]),
            boot: Boot([2; 16]),
            handle,
        };
        Gap {
            sub: 1,
            publisher,
            topic: "a.b".into(),
            from,
            to,
            reason,
        }
    }

    fn ranges(gaps: &mut Gaps) -> Vec<(u32, u64, u64)> {
        std::iter::from_fn(|| gaps.pop())
            .map(|gap| (gap.publisher.handle, gap.from, gap.to))
            .collect()
    }

    #[test]
    fn gaps_that_adjoin_are_one_also_when_publishers_take_turns() {
        let mut gaps = Gaps::default();
        for seq in 0..1000 {
            for handle in [1, 2] {
                gaps.push(gap(handle, seq, seq + 1, Outcome::Overflow), 1 << 20);
            }
        }
        gaps.push(gap(1, 1000, 1001, Outcome::NodeDead), 1 << 20);
        gaps.push(gap(2, 1005, 1006, Outcome::Overflow), 1 << 20);
        assert_eq!(gaps.bytes(), 4 * (GAP_BYTES + 3));
        assert_eq!(
            ranges(&mut gaps),
            [(1, 0, 1000), (2, 0, 1000), (1, 1000, 1001), (2, 1005, 1006)]
        );
        assert_eq!((gaps.bytes(), gaps.last.len()), (0, 0));
    }

    #[test]
    fn a_crowd_of_gaps_is_told_by_wider_ones_and_none_is_lost() {
        let mut gaps = Gaps::default();
        for i in 0..100 {
            gaps.push(gap(1, 10 * i, 10 * i + 1, Outcome::Overflow), 4);
        }
        gaps.push(gap(2, 7, 8, Outcome::Overflow), 4);
        assert_eq!(
            ranges(&mut gaps),
            [(1, 0, 1), (1, 10, 11), (1, 20, 21), (1, 30, 991), (2, 7, 8)]
        );
    }

    #[test]
    fn what_has_left_is_not_extended() {
        let mut gaps = Gaps::default();
        gaps.push(gap(1, 0, 1, Outcome::Overflow), 4);
        gaps.push(gap(2, 0, 1, Outcome::Overflow), 4);
        assert_eq!(gaps.pop().map(|gap| gap.publisher.handle), Some(1));
        gaps.push(gap(1, 1, 2, Outcome::Overflow), 4);
        gaps.push(gap(2, 1, 2, Outcome::Overflow), 4);
        assert_eq!(ranges(&mut gaps), [(2, 0, 2), (1, 1, 2)]);
    }
}
