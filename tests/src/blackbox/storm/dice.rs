//! Dice of a storm: everything that its seed decides.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice that depend on the seed and on what they are for.
    pub(super) fn new(seed: u64, purpose: &str) -> Dice {
        Dice(seed ^ xxhash_rust::xxh3::xxh3_64(purpose.as_bytes()))
    }

    /// Any number.
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// From `low` to below `high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low).max(1)
    }

    /// One of these.
    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u64) as usize]
    }

    /// Whether something happens that does so in `percent` of the cases.
    pub(super) fn happens(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}
