//! Maps from numbers of which only this node puts any in (subscriptions, publishers, beginnings of its overlays' tags), looked up
//! once per message or datagram. Nobody else can make entries collide, so the hash need not be keyed: one multiplication spreads
//! them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map from `u32`.
pub(crate) type NumberMap<V> = HashMap<u32, V, BuildHasherDefault<Spread>>;

/// Fibonacci hashing: the golden ratio of 2^64.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("the keys are u32");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_numbers_spread_over_the_whole_hash() {
        let hash = |number: u32| {
            let mut hasher = Spread::default();
            hasher.write_u32(number);
            hasher.finish()
        };
        let tops: std::collections::HashSet<u64> = (0..64).map(|n| hash(n) >> 58).collect();
        assert!(tops.len() > 32);
    }
}
