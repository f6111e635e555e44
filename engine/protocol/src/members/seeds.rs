//! Addresses to join through: the configured seeds, for ever, and members remembered from an earlier life.

use std::net::SocketAddr;
use tidings_wire::mutants::{Mutant, mutant};

use super::table::Table;
use crate::peer::PeerIx;
use crate::rng::Rng;

/// Between two rounds over the seeds that are not alive members ...
const ROUND_NS: u64 = 2_000_000_000;
/// ... until this long after the start or the last change of the list ...
const EAGER_NS: u64 = 600_000_000_000;
/// ... and afterwards.
const LATER_ROUND_NS: u64 = 10_000_000_000;
/// Remembered addresses tried in one round while no member is known.
const CACHED_PER_ROUND: usize = 8;
/// Seeds tried in one round.
const SEEDS_PER_ROUND: usize = 64;

struct Seed {
    addr: SocketAddr,
    /// Who answered there last.
    peer: Option<PeerIx>,
    ourselves: bool,
}

/// The seeds and the cache.
#[derive(Default)]
pub(crate) struct Seeds {
    seeds: Vec<Seed>,
    cached: Vec<SocketAddr>,
    next_seed: usize,
    next_cached: usize,
    since: u64,
    rounds: u64,
}

impl Seeds {
    /// The configured seeds, resolved (anew): what is known of an address that stays is kept.
    pub(crate) fn set(&mut self, now: u64, addrs: &[SocketAddr]) {
        if self
            .seeds
            .iter()
            .map(|seed| seed.addr)
            .eq(addrs.iter().copied())
        {
            return;
        }
        let old = std::mem::take(&mut self.seeds);
        for addr in addrs {
            let known = old.iter().find(|seed| seed.addr == *addr);
            self.seeds.push(Seed {
                addr: *addr,
                peer: known.and_then(|seed| seed.peer),
                ourselves: known.is_some_and(|seed| seed.ourselves),
            });
        }
        self.since = now;
        self.next_seed = 0;
    }

    /// Addresses of members of an earlier life.
    pub(crate) fn set_cached(&mut self, addrs: &[SocketAddr]) {
        self.cached = addrs.to_vec();
        self.next_cached = 0;
    }

    /// Somebody answered at an address.
    pub(crate) fn met(&mut self, addr: SocketAddr, peer: PeerIx) {
        for seed in self.seeds.iter_mut().filter(|seed| seed.addr == addr) {
            seed.peer = Some(peer);
        }
    }

    /// We answered at an address ourselves.
    pub(crate) fn met_ourselves(&mut self, addr: SocketAddr) {
        for seed in self.seeds.iter_mut().filter(|seed| seed.addr == addr) {
            seed.ourselves = true;
        }
        self.cached.retain(|cached| *cached != addr);
    }

    /// A member's number is not used any more.
    pub(crate) fn forget(&mut self, peer: PeerIx) {
        for seed in self.seeds.iter_mut().filter(|seed| seed.peer == Some(peer)) {
            seed.peer = None;
        }
    }

    /// Members that answered at a seed's address.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerIx> + '_ {
        self.seeds.iter().filter_map(|seed| seed.peer)
    }

    /// The addresses to try in this round.
    pub(crate) fn round(&mut self, table: &Table) -> Vec<SocketAddr> {
        self.rounds += 1;
        if mutant(Mutant::SeedsOnce) && self.rounds > 1 {
            return Vec::new();
        }
        let count = self.seeds.len();
        let turns = (0..count).map(|step| &self.seeds[(self.next_seed + step) % count]);
        let absent = turns.filter(|seed| !seed.ourselves && !is_alive(table, seed));
        let mut out: Vec<SocketAddr> = absent.map(|seed| seed.addr).take(SEEDS_PER_ROUND).collect();
        self.next_seed = (self.next_seed + out.len()) % count.max(1);
        // The first round belongs to the seeds alone: most often they answer.
        let seeds_silent = self.rounds > 1 || count == 0;
        if table.live().is_empty() && seeds_silent {
            for _ in 0..CACHED_PER_ROUND.min(self.cached.len()) {
                out.push(self.cached[self.next_cached % self.cached.len()]);
                self.next_cached += 1;
            }
        }
        out
    }

    /// How long until the next round.
    pub(crate) fn wait(&self, now: u64, rng: &mut Rng) -> u64 {
        rng.jitter(if now < self.since + EAGER_NS {
            ROUND_NS
        } else {
            LATER_ROUND_NS
        })
    }
}

/// Whether the seed is an alive member: by who answered there, or by the addresses of those that were reached.
fn is_alive(table: &Table, seed: &Seed) -> bool {
    if let Some(entry) = seed.peer.and_then(|peer| table.get(peer)) {
        return entry.is_live();
    }
    let mut live = table.live().iter().filter_map(|peer| table.get(*peer));
    live.any(|entry| entry.is_reached() && entry.states(seed.addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn seeds_are_tried_every_round_and_the_cache_only_when_they_are_silent() {
        let mut seeds = Seeds::default();
        let table = Table::default();
        seeds.set(0, &[addr(1), addr(2)]);
        seeds.set_cached(&[addr(8), addr(9)]);
        seeds.met_ourselves(addr(2));
        assert_eq!(seeds.round(&table), [addr(1)]);
        assert_eq!(seeds.round(&table), [addr(1), addr(8), addr(9)]);
        seeds.set(0, &[addr(2), addr(3)]);
        assert_eq!(seeds.round(&table)[0], addr(3));
    }

    #[test]
    fn rounds_become_rarer_after_ten_minutes_and_never_end() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut seeds = Seeds::default();
        seeds.set(0, &[addr(1)]);
        assert!(seeds.wait(0, &mut rng) <= ROUND_NS * 3 / 2);
        assert!(seeds.wait(EAGER_NS, &mut rng) >= LATER_ROUND_NS / 2);
    }
}
