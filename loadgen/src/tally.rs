//! The subscriber's books: which messages came, which twice, in which order, and how late.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::payload::Stamp;

/// Latencies above a minute are counted as a minute.
const LATENCY_MAX: u64 = 60_000_000_000;
/// Numbers that may come before a missing one; more would be a fault, and are counted as foreign.
const AHEAD_MAX: usize = 1 << 22;

/// What other threads see of a tally while it grows.
#[derive(Default)]
pub(crate) struct Seen {
    /// Different messages.
    pub(crate) unique: AtomicU64,
    /// One more than the number of the message that said it was the last; 0: it did not come yet.
    pub(crate) total: AtomicU64,
    /// Messages that the subscription was told it will never get.
    pub(crate) gaps: AtomicU64,
    /// The first and the latest arrival, in ns of [`crate::clock`].
    pub(crate) first: AtomicU64,
    pub(crate) last: AtomicU64,
}

/// An empty histogram of times in ns.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("the bounds are in order")
}

/// What is told of a histogram, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Percentiles {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        }
    }
}

/// What a finished tally says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tallied {
    /// Different messages.
    pub(crate) unique: u64,
    /// Messages that had come before.
    pub(crate) duplicates: u64,
    /// Those of them that were marked as repeated.
    pub(crate) again: u64,
    /// Messages that came before one with a lower number.
    pub(crate) early: u64,
    /// Messages that are none of this run.
    pub(crate) foreign: u64,
    /// Messages that the subscription was told it will never get.
    pub(crate) gaps: u64,
    /// From due to arrival.
    pub(crate) latency: Percentiles,
}

/// The books, kept by the thread that receives.
pub(crate) struct Tally {
    /// Every number below came.
    next: u64,
    /// Numbers above that came.
    ahead: BTreeSet<u64>,
    told: Tallied,
    latency: Histogram<u64>,
    seen: Arc<Seen>,
}

impl Tally {
    pub(crate) fn new(seen: Arc<Seen>) -> Self {
        Self {
            next: 0,
            ahead: BTreeSet::new(),
            told: Tallied::default(),
            latency: histogram(),
            seen,
        }
    }

    /// Enters a message.
    pub(crate) fn take(&mut self, payload: &[u8], again: bool) {
        let Some(stamp) = Stamp::read(payload) else {
            self.told.foreign += 1;
            return;
        };
        self.enter(stamp.number, again);
        if stamp.due != 0 {
            let late = clock::now().saturating_sub(stamp.due);
            self.latency.saturating_record(late.max(1));
        }
        if stamp.last {
            self.seen.last.store(clock::now(), Relaxed);
            self.seen.total.store(stamp.number + 1, Relaxed);
        }
    }

    fn enter(&mut self, number: u64, again: bool) {
        if number == self.next && self.ahead.is_empty() {
            if number == 0 {
                self.seen.first.store(clock::now(), Relaxed);
            }
            self.next += 1;
        } else if number < self.next || self.ahead.contains(&number) {
            self.told.duplicates += 1;
            self.told.again += u64::from(again);
            return;
        } else if self.ahead.len() >= AHEAD_MAX {
            self.told.foreign += 1;
            return;
        } else {
            self.told.early += u64::from(number != self.next);
            self.ahead.insert(number);
            while self.ahead.remove(&self.next) {
                self.next += 1;
            }
        }
        self.told.unique += 1;
        self.seen.unique.store(self.told.unique, Relaxed);
    }

    /// Closes the books.
    pub(crate) fn finish(self) -> Tallied {
        Tallied {
            gaps: self.seen.gaps.load(Relaxed),
            latency: Percentiles::of(&self.latency),
            ..self.told
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(numbers: &[u64]) -> Tallied {
        let seen = Arc::new(Seen::default());
        let mut tally = Tally::new(Arc::clone(&seen));
        for &number in numbers {
            let mut payload = [0; 16];
            Stamp {
                number,
                last: false,
                due: 0,
            }
            .write(&mut payload);
            tally.take(&payload, false);
        }
        let told = tally.finish();
        assert_eq!(seen.unique.load(Relaxed), told.unique);
        told
    }

    #[test]
    fn in_order_nothing_is_remarkable() {
        let all = told(&[0, 1, 2, 3]);
        assert_eq!((all.unique, all.duplicates, all.early), (4, 0, 0));
    }

    #[test]
    fn doubles_and_early_ones_are_told_apart() {
        let all = told(&[0, 2, 3, 2, 1, 4, 0]);
        assert_eq!((all.unique, all.duplicates, all.early), (5, 2, 2));
    }

    #[test]
    fn what_carries_no_stamp_is_foreign() {
        let mut tally = Tally::new(Arc::default());
        tally.take(b"short", false);
        assert_eq!(tally.finish().foreign, 1);
    }
}
