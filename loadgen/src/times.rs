//! Times in ns in a histogram, and what is told of them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Above a minute is counted as a minute.
const MAX_NS: u64 = 60_000_000_000;

/// Times of messages in ns, exact to three digits.
#[derive(Clone, Debug, PartialEq)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

impl Times {
    /// None yet.
    pub fn new() -> Self {
        Self::with_digits(3)
    }

    /// Less memory, less exact.
    pub(crate) fn with_digits(digits: u8) -> Self {
        let empty = Histogram::new_with_bounds(1, MAX_NS, digits);
        Self(empty.expect("the bounds are in order"))
    }

    /// Enters one.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// Enters those of another.
    pub fn add(&mut self, other: &Self) {
        for (ns, count) in other.pairs() {
            self.0.saturating_record_n(ns, count);
        }
    }

    /// Enters each so often.
    pub(crate) fn add_pairs(&mut self, pairs: &[(u64, u64)]) {
        for &(ns, count) in pairs {
            self.0.saturating_record_n(ns, count);
        }
    }

    /// Each time that occurred with how often, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let recorded = self.0.iter_recorded();
        recorded.map(|at| (at.value_iterated_to(), at.count_at_value()))
    }

    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time that a share of all does not exceed.
    pub(crate) fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.mean()
    }

    pub(crate) fn deviation(&self) -> f64 {
        self.0.stdev()
    }

    /// Buckets of the histogram, each of which spans twice the one before.
    pub(crate) fn buckets(&self) -> u32 {
        (MAX_NS / 2048).ilog2() + 2
    }

    pub(crate) fn max(&self) -> u64 {
        self.0.max()
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Percentiles {
            count: self.0.len(),
            mean: self.0.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        }
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.pairs())
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut times = Self::new();
        times.add_pairs(&Vec::<(u64, u64)>::deserialize(deserializer)?);
        Ok(times)
    }
}

/// What is told of times, in ns.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_over_a_pipe() {
        let mut times = Times::new();
        for ns in [0, 1, 1_000, 1_000, 123_456, u64::MAX] {
            times.record(ns);
        }
        let text = serde_json::to_string(&times).unwrap();
        let back: Times = serde_json::from_str(&text).unwrap();
        assert_eq!(back.percentiles(), times.percentiles());
        let mut both = Times::new();
        both.add(&times);
        both.add(&back);
        assert_eq!(both.percentiles().count, 12);
    }
}
