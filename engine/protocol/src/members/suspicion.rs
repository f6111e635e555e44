//! How long a suspect has to refute: Lifeguard's shrinking timeout (Dadgar et al., arXiv 1707.00788).

use tidings_wire::NodeId;
use tidings_wire::mutants::{Mutant, mutant};

use crate::config::Profile;

/// Independent accusers, besides the first, after which the timeout is at its minimum.
const CONFIRMATIONS: usize = 2;
/// ln(C + 1) / ln(K + 1) in thousandths for C = 0, 1, 2 and K = 2.
const SHRINK: [u64; CONFIRMATIONS + 1] = [0, 631, 1000];
/// The longest timeout is this many times the shortest.
const MAX_MULTIPLE: u64 = 6;
/// The shortest timeout in protocol periods, per decade of members.
const MIN_PERIODS: u64 = 4;

/// A running suspicion.
#[derive(Clone, Debug)]
pub(crate) struct Suspicion {
    pub(crate) since: u64,
    accusers: Vec<NodeId>,
    shortest: u64,
    longest: u64,
    /// Others held it dead when we had just heard it: if we do not hear it again, it is.
    pub(crate) condemned: bool,
}

impl Suspicion {
    /// Begins with one accuser, in a view of `live` members besides ourselves.
    pub(crate) fn new(now: u64, accuser: NodeId, live: usize, timing: &Profile) -> Self {
        let mut suspicion = Self {
            since: now,
            accusers: vec![accuser],
            shortest: 0,
            longest: 0,
            condemned: false,
        };
        suspicion.set_timing(live, timing);
        suspicion
    }

    /// How long it takes, in a view of `live` members besides ourselves.
    pub(crate) fn set_timing(&mut self, live: usize, timing: &Profile) {
        // Nobody is there to confirm: waiting longer than the minimum would buy nothing.
        let alone = live < 1 + CONFIRMATIONS;
        self.shortest = shortest(live, timing);
        self.longest = self.shortest * if alone { 1 } else { MAX_MULTIPLE };
    }

    /// Another accuser. True if it is new and shortens the timeout.
    pub(crate) fn confirm(&mut self, accuser: NodeId) -> bool {
        let new = self.accusers.len() <= CONFIRMATIONS && !self.accusers.contains(&accuser);
        if new {
            self.accusers.push(accuser);
        }
        new
    }

    /// When the suspect is held dead.
    pub(crate) fn deadline(&self) -> u64 {
        if mutant(Mutant::SuspectDies) {
            return self.since;
        }
        let share = SHRINK[(self.accusers.len() - 1).min(CONFIRMATIONS)];
        self.since + self.longest - (self.longest - self.shortest) * share / 1000
    }

    /// The longest that it can last.
    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }
}

/// max(profile's minimum, 4 x log10(live) x period).
pub(crate) fn shortest(live: usize, timing: &Profile) -> u64 {
    // log2 to a quarter, from the fourth power, then x 0.30103: no floating point, same result everywhere.
    let fourth = (live.max(1) as u128).min(1 << 31).pow(4);
    let log10_thousandths = (u64::from(fourth.ilog2()) * 301 / 4).max(1000);
    timing
        .suspicion_min
        .max(MIN_PERIODS * timing.period * log10_thousandths / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn confirmations_shorten_the_timeout_and_the_same_accuser_does_not() {
        let mut suspicion = Suspicion::new(0, NodeId([1; 16]), 50, &Profile::LAN);
        assert_eq!(suspicion.deadline(), 24 * SECOND);
        assert!(!suspicion.confirm(NodeId([1; 16])));
        assert!(suspicion.confirm(NodeId([2; 16])));
        assert!((11 * SECOND..12 * SECOND).contains(&suspicion.deadline()));
        assert!(suspicion.confirm(NodeId([3; 16])));
        assert_eq!(suspicion.deadline(), 4 * SECOND);
        assert!(!suspicion.confirm(NodeId([4; 16])));
    }

    #[test]
    fn the_minimum_grows_with_the_logarithm_of_the_members_and_is_never_below_four_seconds() {
        let slow = Profile {
            period: SECOND,
            ..Profile::LAN
        };
        assert_eq!(shortest(1, &Profile::LAN), 4 * SECOND);
        assert!((75..=80).contains(&(shortest(100, &slow) * 10 / SECOND)));
        assert!((155..=160).contains(&(shortest(10_000, &slow) * 10 / SECOND)));
        assert_eq!(
            Suspicion::new(0, NodeId([1; 16]), 2, &Profile::LAN).deadline(),
            4 * SECOND
        );
    }
}
