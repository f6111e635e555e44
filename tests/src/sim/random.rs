//! Where every decision of a simulation comes from: one seed, split by name. Integers only, so that all machines draw the same.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A seeded generator (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The generator for one purpose: what others draw does not change it.
    pub(crate) fn of(seed: u64, purpose: &str) -> Random {
        Random(xxh3_64_with_seed(purpose.as_bytes(), seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `from..=to`.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True `ppm` times in a million.
    pub(crate) fn chance(&mut self, ppm: u64) -> bool {
        ppm > 0 && self.below(1_000_000) < ppm
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// About exponentially distributed with this mean: the logarithm is straight between powers of two.
    pub(crate) fn exponential(&mut self, mean: u64) -> u64 {
        let draw = self.next() | 1;
        let zeros = u128::from(draw.leading_zeros());
        // The bits behind the first one, as a fraction of 2^16.
        let fraction = u128::from((draw << draw.leading_zeros() << 1) >> 48);
        let log2 = ((zeros + 1) << 16) - fraction;
        ((u128::from(mean) * log2 * 693 / 1000) >> 16) as u64
    }

    /// Any order of magnitude of `low..=high` as likely as any other.
    pub(crate) fn log_uniform(&mut self, low: u64, high: u64) -> u64 {
        let low = low.max(1);
        let octaves = (high / low).max(1).ilog2();
        let octave = self.below(u64::from(octaves) + 1) as u32;
        let base = low << octave;
        self.between(base, (2 * base).min(high.max(base)))
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_keep_their_bounds_and_means() {
        let mut random = Random::of(1, "test");
        let mean = (0..100_000).map(|_| random.exponential(1000)).sum::<u64>() / 100_000;
        assert!((900..1100).contains(&mean), "{mean}");
        for _ in 0..10_000 {
            assert!((10..=1000).contains(&random.log_uniform(10, 1000)));
            assert!((3..=5).contains(&random.between(3, 5)));
        }
        assert!(Random::of(1, "a").next() != Random::of(1, "b").next());
    }
}
