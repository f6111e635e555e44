//! Frames on their way, by the time at which they arrive; among equal times by the order in which they came.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::class::Class;
use super::pool::Slot;

/// A frame under way on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parcel {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) class: Class,
    /// Bytes of payload, for the counters.
    pub(super) payload: usize,
    pub(super) slot: Slot,
}

#[derive(Debug, Default)]
pub(super) struct Schedule {
    heap: BinaryHeap<Reverse<(u64, u64, Parcel)>>,
    pushed: u64,
}

impl Schedule {
    pub(super) fn push(&mut self, at: u64, parcel: Parcel) {
        self.heap.push(Reverse((at, self.pushed, parcel)));
        self.pushed += 1;
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn pop_due(&mut self, now: u64) -> Option<Parcel> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, parcel))| parcel)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}
