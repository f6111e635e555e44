//! When a stream's datagrams first went to one of its nodes: the attempts at their messages count from then.

use std::collections::VecDeque;

/// Datagrams that left within this time of each other count from the first, in ns.
const GRAIN: u64 = 10_000_000;
/// So many times are told apart; then neighbours become one whose distance is at most this part of their age. Some 30 for
/// each factor of e in age remain: 450 for a million of grains, three hours.
const MARKS_MAX: usize = 1024;
const ERROR: u64 = 32;

/// Times by counter, ascending.
#[derive(Debug, Default)]
pub(super) struct Sendings {
    // One past the last datagram that left then.
    marks: VecDeque<(u64, u64)>,
}

impl Sendings {
    /// All below `to` that were not marked before left now, or could not because the node was out of the stream.
    pub(super) fn mark(&mut self, to: u64, now: u64) {
        match self.marks.back_mut() {
            Some((last, _)) if *last >= to => {}
            Some((last, at)) if now < *at + GRAIN => *last = to,
            _ => {
                if self.marks.len() >= MARKS_MAX {
                    self.thin(now);
                }
                self.marks.push_back((to, now));
            }
        }
    }

    /// What lies from `next` on did not leave after all.
    pub(super) fn take_back(&mut self, next: u64) {
        let last = self.marks.partition_point(|(to, _)| *to < next);
        self.marks.truncate(last + 1);
        if let Some((to, _)) = self.marks.get_mut(last) {
            *to = next;
        }
    }

    // Of two neighbours the later stays: late is better than early.
    fn thin(&mut self, now: u64) {
        let mut before = 0;
        for ix in 0..self.marks.len() - 1 {
            let (at, next) = (self.marks[ix].1, self.marks[ix + 1].1);
            if next - before <= (now - at) / ERROR {
                // A blank, to be forgotten.
                self.marks[ix].0 = 0;
            } else {
                before = at;
            }
        }
        self.marks.retain(|(to, _)| *to > 0);
    }

    /// When the datagram left; `None` = not yet.
    pub(super) fn at(&self, counter: u64) -> Option<u64> {
        let ix = self.marks.partition_point(|(to, _)| *to <= counter);
        self.marks.get(ix).map(|(_, at)| *at)
    }

    /// Nobody asks for anything below `floor` any more.
    pub(super) fn trim(&mut self, floor: u64) {
        while self.marks.front().is_some_and(|(to, _)| *to <= floor) {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_counts_from_when_it_first_left() {
        let mut sendings = Sendings::default();
        sendings.mark(5, GRAIN);
        sendings.mark(5, 3 * GRAIN);
        sendings.mark(3, 4 * GRAIN);
        sendings.mark(7, 5 * GRAIN);
        assert_eq!(sendings.at(4), Some(GRAIN));
        assert_eq!(sendings.at(5), Some(5 * GRAIN));
        assert_eq!(sendings.at(7), None);
        sendings.trim(5);
        assert_eq!(sendings.marks.len(), 1);
    }

    #[test]
    fn what_did_not_leave_after_all_counts_from_when_it_does() {
        let mut sendings = Sendings::default();
        sendings.mark(5, GRAIN);
        sendings.mark(9, 3 * GRAIN);
        sendings.mark(12, 5 * GRAIN);
        sendings.take_back(7);
        assert_eq!((sendings.at(6), sendings.at(7)), (Some(3 * GRAIN), None));
        sendings.mark(8, 7 * GRAIN);
        assert_eq!((sendings.at(7), sendings.at(8)), (Some(7 * GRAIN), None));
        sendings.take_back(5);
        assert_eq!((sendings.at(4), sendings.at(5)), (Some(GRAIN), None));
        sendings.take_back(20);
        assert_eq!((sendings.at(4), sendings.at(5)), (Some(GRAIN), None));
    }

    #[test]
    fn long_histories_are_kept_with_a_small_relative_error() {
        let mut sendings = Sendings::default();
        let many = 1_000_000;
        for counter in 0..many {
            sendings.mark(counter + 1, (counter + 1) * GRAIN);
        }
        assert!(sendings.marks.len() <= MARKS_MAX);
        for counter in (0..many).step_by(997) {
            let (sent, at) = ((counter + 1) * GRAIN, sendings.at(counter).unwrap());
            let age = many * GRAIN - sent;
            assert!(at >= sent && at - sent <= age / ERROR + GRAIN, "{counter}");
        }
    }
}
