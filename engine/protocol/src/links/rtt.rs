//! Round-trip time of one link, as RFC 6298 smooths it, with the minimum ever seen.

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;
/// Assumed before the first sample.
const UNKNOWN_NS: u64 = 250 * MS;
/// Below this a retransmission timer would race the peer's scheduler.
const RTO_NS_MIN: u64 = 10 * MS;
/// A sample longer than this and than the timeout is not the path's: this node stood still, or its clock jumped.
const SAMPLE_NS_MAX: u64 = 1_000 * MS;
/// Above this waiting longer helps nobody.
const RTO_NS_MAX: u64 = 10_000 * MS;

/// The estimate. All times in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    smoothed: u64,
    variance: u64,
    min: u64,
    latest: u64,
}

impl Rtt {
    /// Takes one measurement; 0 counts as 1 ns, so that a sample always leaves the estimate known. One that is far longer than
    /// expected raises the estimate step by step.
    pub(crate) fn sample(&mut self, rtt: u64) {
        let rtt = rtt.clamp(1, self.rto().max(SAMPLE_NS_MAX));
        self.latest = rtt;
        if self.smoothed == 0 {
            *self = Self {
                smoothed: rtt,
                variance: rtt / 2,
                min: rtt,
                latest: rtt,
            };
            return;
        }
        self.min = self.min.min(rtt);
        self.variance = (3 * self.variance + self.smoothed.abs_diff(rtt)) / 4;
        self.smoothed = (7 * self.smoothed + rtt) / 8;
    }

    /// Whether there was a sample.
    pub(crate) fn is_known(&self) -> bool {
        self.smoothed != 0
    }

    /// The smoothed estimate, 250 ms while unknown.
    pub(crate) fn smoothed(&self) -> u64 {
        if self.is_known() {
            self.smoothed
        } else {
            UNKNOWN_NS
        }
    }

    /// The smallest sample.
    pub(crate) fn min(&self) -> Option<u64> {
        self.is_known().then_some(self.min)
    }

    /// The latest sample.
    pub(crate) fn latest(&self) -> Option<u64> {
        self.is_known().then_some(self.latest)
    }

    /// smoothed + 4 x variance without floor, for probe timeouts.
    pub(crate) fn bound(&self) -> u64 {
        self.smoothed() + 4 * self.variance
    }

    /// The retransmission timeout: at least 10 ms, at most 10 s.
    pub(crate) fn rto(&self) -> u64 {
        self.bound().clamp(RTO_NS_MIN, RTO_NS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_rtt_times_out_after_a_quarter_second() {
        let rtt = Rtt::default();
        assert!(!rtt.is_known());
        assert_eq!((rtt.min(), rtt.rto()), (None, 250 * MS));
    }

    #[test]
    fn steady_samples_shrink_the_variance_and_a_jump_raises_the_timeout() {
        let mut rtt = Rtt::default();
        for _ in 0..50 {
            rtt.sample(20 * MS);
        }
        assert!((20 * MS..21 * MS).contains(&rtt.rto()));
        rtt.sample(60 * MS);
        assert!(rtt.rto() > 60 * MS);
        assert_eq!(rtt.min(), Some(20 * MS));
    }

    #[test]
    fn a_clock_that_jumped_does_not_make_the_path_slow() {
        let mut rtt = Rtt::default();
        for _ in 0..50 {
            rtt.sample(MS);
        }
        rtt.sample(3_600_000 * MS);
        assert!(rtt.rto() < 1_500 * MS, "{}", rtt.rto());
    }

    #[test]
    fn the_timeout_stays_within_its_bounds() {
        let mut rtt = Rtt::default();
        rtt.sample(0);
        assert_eq!(rtt.rto(), RTO_NS_MIN);
        for _ in 0..50 {
            rtt.sample(60_000 * MS);
        }
        assert_eq!(rtt.rto(), RTO_NS_MAX);
    }
}
