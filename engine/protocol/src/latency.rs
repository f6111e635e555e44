//! How long deliveries took, from the acceptance of a message by its publisher's core to the word that a subscription has it: counts
//! by age in an array of fixed size, which publishing fills and whoever reads statistics copies.
//!
//! An acknowledgement settles whole datagrams, each of which knows when its first message was accepted: one entry counts all pairs of
//! those of one turn, so that a message costs nothing here. Ages are of the caller's clock, once a turn: a message may be told a turn too old.

/// Each factor of two is told apart in so many parts, so that what is read from a bucket is off by an eighth at most.
const PARTS_BITS: u32 = 3;
const PARTS: usize = 1 << PARTS_BITS;
/// The shortest age that is told from none, as a power of two: 1.024 us. Clocks are not read more often.
const LEAST_BITS: u32 = 10;
/// Ages from this power of two on are one bucket: 73 min. Whatever was parked so long is no latency any more.
const MOST_BITS: u32 = 42;
/// Buckets: 258, of 8 bytes each. hdrhistogram takes 20 KB for the same range and grows as it is filled.
pub const BUCKETS: usize = (MOST_BITS - LEAST_BITS) as usize * PARTS + 2;

const _: () = assert!(BUCKETS == 258 && LEAST_BITS > PARTS_BITS);

/// (message, subscription) pairs that were delivered, by their age; monotonic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    counts: [u64; BUCKETS],
    // A million messages that were parked for a day exceed 64 bits of ns.
    sum: u128,
    max: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            sum: 0,
            max: 0,
        }
    }
}

impl Latency {
    /// So many pairs were delivered, each `age` ns old.
    #[inline]
    pub fn record(&mut self, age: u64, pairs: u64) {
        self.counts[bucket(age)] += pairs;
        self.sum += u128::from(age) * u128::from(pairs);
        self.max = self.max.max(age);
    }

    /// Pairs by bucket, ascending in age: see [`Latency::bound`].
    pub fn counts(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of their ages in ns.
    pub fn sum_ns(&self) -> u128 {
        self.sum
    }

    /// The oldest, in ns.
    pub fn max_ns(&self) -> u64 {
        self.max
    }

    /// The end of a bucket in ns: whatever is in it is younger. `None` = the last one, which has no end.
    pub fn bound(bucket: usize) -> Option<u64> {
        let from_least = bucket as u32;
        let (power, part) = (from_least / PARTS as u32, from_least % PARTS as u32);
        let end = (PARTS as u64 + u64::from(part)) << (LEAST_BITS - PARTS_BITS + power);
        (bucket + 1 < BUCKETS).then_some(end)
    }

    /// The age in ns that the part `q` (0 to 1) of all pairs in these buckets is younger than; of the last bucket, where it begins. It is
    /// too high by an eighth at most. `None` = there is no pair.
    pub fn quantile(counts: &[u64; BUCKETS], q: f64) -> Option<u64> {
        let all: u64 = counts.iter().sum();
        let rank = ((all as f64 * q).ceil() as u64).clamp(1, all.max(1));
        let mut below = 0;
        let at = counts.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Self::bound(at).unwrap_or(1 << MOST_BITS))
    }
}

#[inline]
fn bucket(age: u64) -> usize {
    if age < 1 << LEAST_BITS {
        return 0;
    }
    let power = age.ilog2();
    if power >= MOST_BITS {
        return BUCKETS - 1;
    }
    let part = (age >> (power - PARTS_BITS)) as usize & (PARTS - 1);
    1 + (power - LEAST_BITS) as usize * PARTS + part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_age_is_in_the_bucket_whose_bounds_hold_it() {
        let ages = (0..64).flat_map(|power| {
            let age = 1u64 << power;
            [age - 1, age, age + age / 3, age + age / 8 * 7]
        });
        for age in ages.chain([0, u64::MAX]) {
            let at = bucket(age);
            let from = at.checked_sub(1).and_then(Latency::bound).unwrap_or(0);
            assert!(from <= age, "{age}: bucket {at}");
            assert!(
                Latency::bound(at).is_none_or(|end| age < end),
                "{age}: {at}"
            );
            let is_fine = |end: u64| at == 0 || end - from <= from / 8;
            assert!(Latency::bound(at).is_none_or(is_fine), "{at} is too wide");
        }
        assert_eq!(Latency::bound(0), Some(1 << LEAST_BITS));
        assert_eq!(Latency::bound(BUCKETS - 2), Some(1 << MOST_BITS));
        assert_eq!(Latency::bound(BUCKETS - 1), None);
    }

    #[test]
    fn quantiles_are_those_of_the_pairs() {
        let mut latency = Latency::default();
        assert_eq!(Latency::quantile(latency.counts(), 0.5), None);
        // 900 of 0.1 ms, 90 of 1 ms, 9 of 10 ms, one of 3 hours.
        for (age, pairs) in [(100_000, 900), (1_000_000, 90), (10_000_000, 9)] {
            latency.record(age, pairs);
        }
        let hours = 3 * 3_600 * 1_000_000_000;
        latency.record(hours, 1);
        for (q, age) in [
            (0.0, 100_000),
            (0.5, 100_000),
            (0.9, 100_000),
            (0.99, 1_000_000),
            (0.999, 10_000_000),
        ] {
            let told = Latency::quantile(latency.counts(), q).unwrap();
            assert!((age..=age + age / 8).contains(&told), "{q}: {told}");
        }
        assert_eq!(
            Latency::quantile(latency.counts(), 1.0),
            Some(1 << MOST_BITS)
        );
        assert_eq!((latency.count(), latency.max_ns()), (1_000, hours));
        assert_eq!(
            latency.sum_ns(),
            u128::from(90_000_000 + 90_000_000 + 90_000_000 + hours)
        );
    }
}
