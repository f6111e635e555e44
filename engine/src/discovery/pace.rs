//! When beacons are sent: jittered times, of the engine's clock.

use crate::limits::{BEACON_EAGER_EVERY, BEACON_EAGER_FOR};

/// How long after a beacon the next one is sent: sooner while the overlay was turned on lately. `random` moves it by up
/// to 20 %.
pub(super) fn wait(now: u64, since: u64, every: u64, random: u16) -> u64 {
    let eager = BEACON_EAGER_EVERY.as_nanos() as u64;
    let is_eager = now < since + BEACON_EAGER_FOR.as_nanos() as u64;
    let mean = if is_eager { every.min(eager) } else { every };
    mean / 5 * 4 + (u128::from(mean / 5 * 2) * u128::from(random) / u128::from(u16::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SECOND_NS;

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
}
