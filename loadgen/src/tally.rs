//! The subscriber's books: which messages came, which twice, in which order, and how late.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::book::{Book, Entry};
use crate::clock;
use crate::plan::{Place, Plan};
use crate::stamp::{self, Stamp};
use crate::times::Times;

/// Holes that are remembered, over all streams: some 32 MiB of them.
const HOLES_MAX: i64 = 1 << 20;

/// What other threads see of a tally while it grows.
#[derive(Default)]
pub struct Seen {
    /// Different messages.
    pub(crate) unique: AtomicU64,
    /// All messages of the run, once each publisher's last came; 0 before.
    pub(crate) total: AtomicU64,
    /// Messages that the subscription was told it will never get.
    gaps: AtomicU64,
    /// The first arrival, and that of the latest last message, in ns of [`crate::clock`].
    pub(crate) first: AtomicU64,
    pub(crate) last: AtomicU64,
}

impl Seen {
    /// The subscription was told that so many messages will never come.
    pub fn gap(&self, messages: u64) {
        self.gaps.fetch_add(messages, Relaxed);
    }
}

/// The counts of a tally.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Different messages.
    pub(crate) unique: u64,
    /// Messages that had come before.
    pub(crate) duplicates: u64,
    /// Those of them that were marked as repeated.
    pub(crate) again: u64,
    /// Messages that came after one of their stream with a higher number.
    pub(crate) late: u64,
    /// Messages without the stamp of a publisher and topic of this run.
    pub(crate) foreign: u64,
    /// Messages that the subscription was told it will never get.
    pub(crate) gaps: u64,
    /// Messages from before the first that came of their stream.
    pub(crate) before: u64,
    /// Messages about which nothing is known, because there were more holes than are remembered.
    pub(crate) forgotten: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.unique += other.unique;
        self.duplicates += other.duplicates;
        self.again += other.again;
        self.late += other.late;
        self.foreign += other.foreign;
        self.gaps += other.gaps;
        self.before += other.before;
        self.forgotten += other.forgotten;
    }
}

/// What a finished tally says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tallied {
    pub(crate) counts: Counts,
    /// From due to arrival.
    pub(crate) latency: Times,
    /// The same by time of arrival: in which slice of the clock, and which times how often in it.
    pub(crate) slices: BTreeMap<u64, Vec<(u64, u64)>>,
}

/// The books, kept by the thread that receives.
pub struct Tally {
    /// Of each stream; that of `expected` is not up to date.
    books: Vec<Book>,
    /// Stream and number of what comes next if nothing is remarkable. All messages pass by here: what costs a ns shows.
    expected: u64,
    topics: usize,
    /// How many messages each publisher published, once it is known.
    totals: Vec<Option<u64>>,
    holes: i64,
    counts: Counts,
    latency: Times,
    slices: Slices,
    /// What each message costs a slow subscriber, in ns.
    pause: u64,
    seen: Arc<Seen>,
}

impl Tally {
    /// Empty books of one subscriber.
    pub fn new(plan: &Plan, place: &Place, seen: Arc<Seen>) -> Self {
        let streams = plan.publishers * plan.topics;
        Self {
            books: (0..streams).map(|_| Book::default()).collect(),
            expected: 0,
            topics: plan.topics,
            totals: vec![None; plan.publishers],
            holes: 0,
            counts: Counts::default(),
            latency: Times::new(),
            slices: Slices::new(plan.slice_ns()),
            pause: place.pause_ns,
            seen,
        }
    }

    /// Enters a message; `again`: it was marked as one that may have come before.
    #[inline]
    pub fn take(&mut self, payload: &[u8], again: bool) {
        let Some((word, due)) = stamp::read(payload) else {
            self.counts.foreign += 1;
            return;
        };
        if word == self.expected && self.counts.unique > 0 {
            self.expected += 1;
            self.counts.unique += 1;
            self.seen.unique.store(self.counts.unique, Relaxed);
        } else if !self.take_other(payload, again) {
            return;
        }
        if due | self.pause != 0 {
            self.time(due);
        }
    }

    /// The first, those of other streams than the one before, out of order, or the last; `false`: it is none of ours.
    #[cold]
    fn take_other(&mut self, payload: &[u8], again: bool) -> bool {
        let stamp = Stamp::read(payload).filter(|stamp| stamp.stream < self.books.len());
        let Some(stamp) = stamp else {
            self.counts.foreign += 1;
            return false;
        };
        self.note_expected();
        let book = &mut self.books[stamp.stream];
        if stamp.number == book.end {
            book.end += 1;
            self.count_one();
        } else {
            self.enter(&stamp, again);
        }
        self.expected = stamp::word(stamp.stream, self.books[stamp.stream].end);
        if stamp.last {
            self.note_last(&stamp);
        }
        true
    }

    fn note_expected(&mut self) {
        let (stream, end) = stamp::unword(self.expected);
        self.books[stream].end = end;
    }

    fn count_one(&mut self) {
        if self.counts.unique == 0 {
            self.seen.first.store(clock::now(), Relaxed);
        }
        self.counts.unique += 1;
        self.seen.unique.store(self.counts.unique, Relaxed);
    }

    fn enter(&mut self, stamp: &Stamp, again: bool) {
        let book = &mut self.books[stamp.stream];
        if self.holes >= HOLES_MAX {
            self.counts.forgotten += book.skip_to(stamp.number);
        }
        match book.enter(stamp.number) {
            Entry::Again => {
                self.counts.duplicates += 1;
                self.counts.again += u64::from(again);
                return;
            }
            Entry::Ahead { holes } => self.holes += i64::from(holes),
            Entry::Late { holes } => {
                self.holes += i64::from(holes);
                self.counts.late += 1;
            }
        }
        self.count_one();
    }

    fn time(&mut self, due: u64) {
        let now = clock::now();
        if due != 0 {
            let late = now.saturating_sub(due);
            self.latency.record(late);
            self.slices.record(now, late);
        }
        if self.pause > 0 {
            clock::sleep_until(now + self.pause);
        }
    }

    fn note_last(&mut self, stamp: &Stamp) {
        let (publisher, topic) = (stamp.stream / self.topics, stamp.stream % self.topics);
        let total = stamp.number * self.topics as u64 + topic as u64 + 1;
        self.totals[publisher] = Some(total);
        self.seen.last.store(clock::now(), Relaxed);
        if let Some(total) = self.totals.iter().copied().sum::<Option<u64>>() {
            self.seen.total.store(total, Relaxed);
        }
    }

    /// Closes the books.
    pub fn finish(mut self) -> Tallied {
        self.note_expected();
        Tallied {
            counts: Counts {
                gaps: self.seen.gaps.load(Relaxed),
                before: self.books.iter().map(Book::before).sum(),
                ..self.counts
            },
            latency: self.latency,
            slices: self.slices.finish(),
        }
    }
}

/// Latency by time of arrival.
struct Slices {
    width: u64,
    at: u64,
    /// When the current one ends.
    end: u64,
    current: Times,
    done: BTreeMap<u64, Vec<(u64, u64)>>,
}

impl Slices {
    fn new(width: u64) -> Self {
        Self {
            width,
            at: 0,
            end: 0,
            current: Times::with_digits(2),
            done: BTreeMap::new(),
        }
    }

    fn record(&mut self, now: u64, late: u64) {
        if now >= self.end {
            self.close();
            self.at = now / self.width;
            self.end = (self.at + 1) * self.width;
        }
        self.current.record(late);
    }

    fn close(&mut self) {
        if !self.current.is_empty() {
            self.done.insert(self.at, self.current.pairs().collect());
            self.current.reset();
        }
    }

    fn finish(mut self) -> BTreeMap<u64, Vec<(u64, u64)>> {
        self.close();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(tally: &mut Tally, stream: usize, number: u64, last: bool) {
        let mut payload = [0; 16];
        let due = 0;
        Stamp {
            stream,
            number,
            last,
            due,
        }
        .write(&mut payload);
        tally.take(&payload, false);
    }

    fn counts(numbers: &[u64]) -> Counts {
        let seen = Arc::new(Seen::default());
        let mut tally = Tally::new(&Plan::default(), &Place::loopback(), Arc::clone(&seen));
        for &number in numbers {
            take(&mut tally, 0, number, false);
        }
        let counts = tally.finish().counts;
        assert_eq!(seen.unique.load(Relaxed), counts.unique);
        counts
    }

    #[test]
    fn in_order_nothing_is_remarkable() {
        let all = counts(&[0, 1, 2, 3]);
        assert_eq!((all.unique, all.duplicates, all.late), (4, 0, 0));
    }

    #[test]
    fn doubles_and_late_ones_are_told_apart() {
        let all = counts(&[0, 2, 3, 2, 1, 4, 0]);
        assert_eq!((all.unique, all.duplicates, all.late), (5, 2, 1));
    }

    #[test]
    fn a_hole_of_any_size_is_filled_late_without_miscounting() {
        let mut numbers: Vec<u64> = (1_000_000..1_000_100).collect();
        numbers.extend(0..1_000);
        numbers.extend([500_000, 999_999, 1_000_050]);
        let all = counts(&numbers);
        assert_eq!((all.unique, all.duplicates), (1_102, 1));
        assert_eq!((all.late, all.foreign, all.forgotten), (1_002, 0, 0));
    }

    #[test]
    fn who_came_later_knows_what_was_before() {
        assert_eq!(counts(&[7, 8, 6, 10]).before, 6);
    }

    #[test]
    fn the_total_is_known_when_each_publisher_said_its_last() {
        let plan = Plan {
            publishers: 2,
            topics: 3,
            ..Plan::default()
        };
        let seen = Arc::new(Seen::default());
        let mut tally = Tally::new(&plan, &Place::loopback(), Arc::clone(&seen));
        take(&mut tally, 1, 4, true);
        assert_eq!(seen.total.load(Relaxed), 0);
        take(&mut tally, 3, 0, true);
        assert_eq!(seen.total.load(Relaxed), 4 * 3 + 2 + 1);
        take(&mut tally, 6, 0, false);
        assert_eq!(tally.finish().counts.foreign, 1, "no such stream");
    }

    #[test]
    fn what_carries_no_stamp_is_foreign() {
        let mut tally = Tally::new(&Plan::default(), &Place::loopback(), Arc::default());
        tally.take(b"short", false);
        assert_eq!(tally.finish().counts.foreign, 1);
    }

    #[test]
    fn more_holes_than_are_remembered_are_told() {
        let mut tally = Tally::new(&Plan::default(), &Place::loopback(), Arc::default());
        tally.holes = HOLES_MAX - 1;
        take(&mut tally, 0, 10, false);
        take(&mut tally, 0, 20, false);
        let counts = tally.finish().counts;
        assert_eq!((counts.unique, counts.forgotten), (2, 9));
    }

    #[test]
    fn slices_close_by_the_clock() {
        let mut slices = Slices::new(100);
        for now in [150, 199, 200, 510] {
            slices.record(now, 5);
        }
        let slices: Vec<_> = slices.finish().into_iter().collect();
        assert_eq!(
            slices,
            [(1, vec![(5, 2)]), (2, vec![(5, 1)]), (5, vec![(5, 1)])]
        );
    }
}
