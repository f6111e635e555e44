//! When beacons are sent, and how many are taken: jittered times and a token bucket. Times are those of the engine's
//! clock.

use crate::limits::{BEACON_EAGER_EVERY, BEACON_EAGER_FOR, SECOND_NS};

/// How long after a beacon the next one is sent: sooner while the overlay was turned on lately. `random` moves it by up
/// to 20 %.
pub(super) fn wait(now: u64, since: u64, every: u64, random: u16) -> u64 {
    let eager = BEACON_EAGER_EVERY.as_nanos() as u64;
    let is_eager = now < since + BEACON_EAGER_FOR.as_nanos() as u64;
    let mean = if is_eager { every.min(eager) } else { every };
    mean / 5 * 4 + (u128::from(mean / 5 * 2) * u128::from(random) / u128::from(u16::MAX)) as u64
}

/// A token bucket.
pub(super) struct Bucket {
    rate: u64,
    depth: u64,
    /// In tokens x 1e9.
    level: u64,
    filled_at: u64,
}

impl Bucket {
    /// A full bucket of `depth` tokens that gains `rate` a second.
    pub(super) fn new(now: u64, rate: u64, depth: u64) -> Self {
        Self {
            rate,
            depth,
            level: depth * SECOND_NS,
            filled_at: now,
        }
    }

    /// Takes one token if there is one.
    pub(super) fn take(&mut self, now: u64) -> bool {
        let gained = u128::from(now.saturating_sub(self.filled_at)) * u128::from(self.rate);
        let most = u128::from(self.depth) * u128::from(SECOND_NS);
        self.level = (u128::from(self.level) + gained).min(most) as u64;
        self.filled_at = self.filled_at.max(now);
        let has = self.level >= SECOND_NS;
        if has {
            self.level -= SECOND_NS;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beacons_are_frequent_at_first_and_never_in_step() {
        let every = 5 * SECOND_NS;
        assert_eq!(wait(1, 1, every, 0), SECOND_NS / 5 * 4);
        assert_eq!(wait(1, 1, every, u16::MAX), SECOND_NS / 5 * 6);
        let later = 1 + BEACON_EAGER_FOR.as_nanos() as u64;
        assert_eq!(wait(later, 1, every, 0), 4 * SECOND_NS);
        assert_eq!(wait(later, 1, every, u16::MAX), 6 * SECOND_NS);
        assert!(wait(1, 1, SECOND_NS / 2, u16::MAX) < SECOND_NS);
    }

    #[test]
    fn a_bucket_gives_what_it_holds_and_then_its_rate() {
        let mut bucket = Bucket::new(0, 10, 3);
        assert_eq!([(); 4].map(|()| bucket.take(0)), [true, true, true, false]);
        assert!(!bucket.take(SECOND_NS / 10 - 1));
        assert!(bucket.take(SECOND_NS / 10));
        assert_eq!((0..100).filter(|_| bucket.take(100 * SECOND_NS)).count(), 3);
    }
}
