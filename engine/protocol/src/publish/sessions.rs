//! Numbers of streams: as unforeseeable as if each were drawn, and none ever comes twice in a boot.

use crate::rng::Rng;

/// Draws them. The memory of a set of all that were drawn is not needed: equal steps from a drawn start, mixed by a bijection, are
/// all different.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    state: Option<u64>,
}

/// Odd, so that 2^64 steps lead around once: the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Sessions {
    /// The next one; never 0, which stands for none.
    pub(super) fn draw(&mut self, rng: &mut Rng) -> u64 {
        let state = self.state.get_or_insert_with(|| rng.next_u64());
        loop {
            *state = state.wrapping_add(STEP);
            let session = mix(*state);
            if session != 0 {
                return session;
            }
        }
    }
}

// The finalizer of SplitMix64: each step can be undone.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // What `mix` does, undone: that there is such a function shows that no two numbers are mixed into one.
    fn unmix(mut z: u64) -> u64 {
        z = z ^ (z >> 31) ^ (z >> 62);
        z = z.wrapping_mul(0x3196_42b2_d24d_8ec3);
        z = z ^ (z >> 27) ^ (z >> 54);
        z = z.wrapping_mul(0x96de_1b17_3f11_9089);
        z ^ (z >> 30) ^ (z >> 60)
    }

    #[test]
    fn no_two_are_equal() {
        let mut rng = Rng::from_seed([3; 32]);
        let mut sessions = Sessions::default();
        let drawn: BTreeSet<u64> = (0..100_000).map(|_| sessions.draw(&mut rng)).collect();
        assert_eq!(drawn.len(), 100_000);
        for z in drawn {
            assert_eq!(unmix(mix(z)), z);
            assert_eq!(mix(unmix(z)), z);
        }
    }

    #[test]
    fn two_nodes_draw_different_ones() {
        let of = |seed| Sessions::default().draw(&mut Rng::from_seed([seed; 32]));
        assert_ne!(of(1), of(2));
    }
}
