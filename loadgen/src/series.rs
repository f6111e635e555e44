//! What a run did over time: a rate for each slice of it, and latencies where they are known.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::schedule::Schedule;
use crate::times::Times;

/// One point over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Seconds since the measured time began; below 0 in the warm-up.
    pub(crate) at: f64,
    /// Messages per second.
    pub(crate) rate: Option<f64>,
    /// Latency in ns.
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) max: Option<u64>,
}

/// How many had come at which moments, in ns of [`crate::clock`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<(u64, u64)>);

impl Samples {
    pub(crate) fn push(&mut self, at: u64, count: u64) {
        self.0.push((at, count));
    }

    /// Messages per second between the last two.
    pub(crate) fn rate(&self) -> f64 {
        match self.0[..] {
            [.., before, after] => rate(before, after),
            _ => 0.0,
        }
    }

    /// One point between each two.
    pub(crate) fn points(&self, schedule: &Schedule) -> Vec<Point> {
        let start = schedule.measured().start as f64;
        let point = |pair: &[(u64, u64)]| Point {
            at: (pair[1].0 as f64 - start) / 1e9,
            rate: Some(rate(pair[0], pair[1])),
            ..Point::default()
        };
        self.0.windows(2).map(point).collect()
    }
}

fn rate(before: (u64, u64), after: (u64, u64)) -> f64 {
    let seconds = after.0.saturating_sub(before.0).max(1) as f64 / 1e9;
    after.1.saturating_sub(before.1) as f64 / seconds
}

/// Slices of latency by the clock, of all subscribers together.
#[derive(Clone, Debug, Default)]
pub(crate) struct SliceSum(BTreeMap<u64, Times>);

impl SliceSum {
    pub(crate) fn add(&mut self, slices: &BTreeMap<u64, Vec<(u64, u64)>>) {
        for (&at, pairs) in slices {
            let times = self.0.entry(at).or_insert_with(|| Times::with_digits(2));
            times.add_pairs(pairs);
        }
    }

    /// One point for each slice of `width` ns. Slices count what counts for latency, which is all at a fixed rate.
    pub(crate) fn points(&self, schedule: &Schedule, width: u64) -> Vec<Point> {
        let measured = schedule.measured();
        let mut points = Vec::new();
        for (&slice, times) in &self.0 {
            let (from, to) = (slice * width, (slice + 1) * width);
            let told = times.percentiles();
            // The first and the last slice are cut by the measured time.
            let inside = to
                .min(measured.end)
                .saturating_sub(from.max(measured.start));
            let rate = told.count as f64 * 1e9 / inside.max(1) as f64;
            points.push(Point {
                at: (to as f64 - measured.start as f64) / 1e9,
                rate: (inside > width / 4).then_some(rate),
                p50: Some(told.p50),
                p99: Some(told.p99),
                max: Some(told.max),
            });
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn rates_are_of_the_time_between_samples() {
        let schedule = Schedule::new(&Plan::default(), 1_000_000_000);
        let mut samples = Samples::default();
        samples.push(1_000_000_000, 10);
        samples.push(1_500_000_000, 60);
        assert_eq!(samples.rate(), 100.0);
        let points = samples.points(&schedule);
        assert_eq!((points[0].at, points[0].rate), (0.5, Some(100.0)));
    }

    #[test]
    fn slices_of_all_subscribers_are_one_line() {
        let schedule = Schedule::new(&Plan::default(), 1_000);
        let mut sum = SliceSum::default();
        for _ in 0..2 {
            sum.add(&BTreeMap::from([(3, vec![(10, 2), (20, 1)])]));
        }
        let points = sum.points(&schedule, 1_000);
        assert_eq!(points.len(), 1);
        assert_eq!((points[0].p50, points[0].max), (Some(10), Some(20)));
        assert_eq!(points[0].rate, Some(6e6));
    }
}
