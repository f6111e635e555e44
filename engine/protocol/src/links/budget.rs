//! What handshakes may cost: a token bucket for the core and one per source prefix in a table of fixed size.
//!
//! Consulted only for HELLOs that passed the gate, else spoofed sources would fill the table.

use std::net::{IpAddr, SocketAddr};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// HELLOs a second for one core: 4 % of it at 2 us each.
const CORE_RATE: u64 = 20_000;
/// HELLOs a second from one source prefix (IPv4 /32, IPv6 /64) ...
const SOURCE_RATE: u64 = 20;
/// ... after this many at once: 32 handshakes of two HELLOs each, a host that runs a small cluster of its own.
const SOURCE_BURST: u64 = 64;
/// Prefixes tracked. Two that share an entry share its rate; the seed keeps an attacker from choosing which.
const SOURCES: usize = 4096;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// A token bucket. The level is kept in tokens x 1e9, so that no rate rounds to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: u64,
    depth: u64,
    level: u64,
    filled_at: u64,
}

impl Bucket {
    /// A full bucket of `depth` tokens that gains `rate` a second.
    pub fn new(rate: u64, depth: u64) -> Self {
        Self {
            rate,
            depth,
            level: depth * SECOND,
            filled_at: 0,
        }
    }

    /// Tokens in it.
    pub(crate) fn level(&mut self, now: u64) -> u64 {
        let gained = u128::from(now.saturating_sub(self.filled_at)) * u128::from(self.rate);
        self.filled_at = self.filled_at.max(now);
        let level =
            (u128::from(self.level) + gained).min(u128::from(self.depth) * u128::from(SECOND));
        self.level = level as u64;
        self.level / SECOND
    }

    /// Takes one token if there is one. `now` is in nanoseconds; it may stand still, but not go back.
    pub fn take(&mut self, now: u64) -> bool {
        let has = self.level(now) > 0;
        if has {
            self.level -= SECOND;
        }
        has
    }

    /// Takes a token, or what is left of it: for what must not wait but counts.
    pub(crate) fn take_anyway(&mut self, now: u64) {
        self.level(now);
        self.level = self.level.saturating_sub(SECOND);
    }

    /// When a token will be there.
    pub(crate) fn ready_at(&self) -> u64 {
        let missing = SECOND.saturating_sub(self.level);
        self.filled_at + missing.div_ceil(self.rate.max(1))
    }
}

/// What to do with a HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// Answer it.
    Take,
    /// Answer it only if it proves its address: the core is over half its budget.
    Cookie,
    /// Drop it.
    Refuse,
}

/// The budget of one core.
pub(crate) struct Budget {
    core: Bucket,
    /// Empty while all are full.
    sources: Vec<Bucket>,
    taken_at: u64,
    seed: u64,
}

impl Budget {
    /// A full budget; `seed` is random.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            core: Bucket::new(CORE_RATE, CORE_RATE),
            sources: Vec::new(),
            taken_at: 0,
            seed,
        }
    }

    /// Charges one HELLO to its source and to the core. While the core is nearly idle no source is limited: a cluster
    /// whose nodes share one address starts at full speed.
    pub(crate) fn admit(&mut self, now: u64, from: SocketAddr) -> Admission {
        let level = self.core.level(now);
        let place = self.place(from);
        self.taken_at = now;
        if self.sources.is_empty() {
            self.sources = vec![Bucket::new(SOURCE_RATE, SOURCE_BURST); SOURCES];
        }
        let within = self.sources[place].take(now);
        if level < CORE_RATE * 7 / 8 && !within {
            return Admission::Refuse;
        }
        if !self.core.take(now) {
            return Admission::Refuse;
        }
        if level < CORE_RATE / 2 {
            Admission::Cookie
        } else {
            Admission::Take
        }
    }

    /// Puts the table away if every bucket in it has filled up again: without handshakes it is 128 KiB for nothing.
    pub(crate) fn rest(&mut self, now: u64) {
        if now >= self.taken_at + SECOND * SOURCE_BURST.div_ceil(SOURCE_RATE) {
            self.sources = Vec::new();
        }
    }

    fn place(&self, from: SocketAddr) -> usize {
        let prefix = match from.ip() {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(ip) => u64::from(u32::from(ip)),
                None => (u128::from(ip) >> 64) as u64,
            },
        };
        xxh3_64_with_seed(&prefix.to_le_bytes(), self.seed) as usize % SOURCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 7000))
    }

    #[test]
    fn a_bucket_gains_at_its_rate_up_to_its_depth() {
        let mut bucket = Bucket::new(10, 3);
        assert_eq!([(); 4].map(|()| bucket.take(0)), [true, true, true, false]);
        assert_eq!(bucket.ready_at(), SECOND / 10);
        assert!(!bucket.take(SECOND / 10 - 1));
        assert!(bucket.take(SECOND / 10));
        assert_eq!(bucket.level(100 * SECOND), 3);
        bucket.take_anyway(100 * SECOND);
        assert_eq!(bucket.level(100 * SECOND), 2);
    }

    #[test]
    fn under_pressure_one_source_is_limited_and_others_are_asked_for_a_cookie() {
        let mut budget = Budget::new(1);
        let taken = (0..5000)
            .filter(|_| budget.admit(0, from(1)) != Admission::Refuse)
            .count();
        assert_eq!(taken, 2501);
        let mut cookies = 0;
        for round in 0..200u32 {
            for last in 0..=255 {
                let from = SocketAddr::from(([10, 1, round as u8, last], 1));
                cookies += u32::from(budget.admit(0, from) == Admission::Cookie);
            }
        }
        assert!(cookies > 9000, "{cookies}");
        assert_eq!(budget.admit(0, from(9)), Admission::Refuse);
        assert_eq!(budget.admit(SECOND, from(9)), Admission::Take);
        budget.rest(2 * SECOND);
        assert_eq!(budget.sources.len(), SOURCES);
        budget.rest(5 * SECOND);
        assert_eq!(budget.sources.len(), 0);
    }
}
