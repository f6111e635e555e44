//! Addresses to join through: the configured seeds, for ever; members remembered from an earlier life; and what beacons tell of,
//! as long as they do.

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

/// Addresses that beacons told of which are kept: the segment's nodes of one overlay that are not members yet, or parted.
pub(crate) const FOUND_MAX: usize = 64;
/// Addresses found that are tried at once: with [`FOUND_GAP_NS`] between them, replayed beacons cause no more than 16 handshakes a
/// second, and as many in a round.
const FOUND_AT_ONCE: usize = 16;
/// Between two tries of what was just found.
pub(super) const FOUND_GAP_NS: u64 = 1_000_000_000;
/// An address of which no beacon told for this long is forgotten: as many as 36 beacons were lost.
const FOUND_NS: u64 = 180_000_000_000;

struct Seed {
    addr: SocketAddr,
    /// Who answered there last.
    peer: Option<PeerIx>,
    ourselves: bool,
}

/// An address that a beacon told of.
struct Found {
    seed: Seed,
    heard_at: u64,
    /// Not tried yet.
    is_new: bool,
}

/// The seeds, the cache and what was found.
#[derive(Default)]
pub(crate) struct Seeds {
    seeds: Vec<Seed>,
    cached: Vec<SocketAddr>,
    found: Vec<Found>,
    next_seed: usize,
    next_found: usize,
    found_tried_at: Option<u64>,
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

    /// A beacon told of an address, and of who is there, if that is a member. When to try it: `None` if nothing is new about it,
    /// or it is that of an alive member. The one not heard for longest makes room for a new one.
    pub(crate) fn hear(
        &mut self,
        now: u64,
        addr: SocketAddr,
        peer: Option<PeerIx>,
        table: &Table,
    ) -> Option<u64> {
        if let Some(known) = self.found.iter_mut().find(|found| found.seed.addr == addr) {
            known.heard_at = now;
            known.seed.peer = peer.or(known.seed.peer);
            return None;
        }
        if self.found.len() >= FOUND_MAX {
            let oldest = (0..self.found.len()).min_by_key(|at| self.found[*at].heard_at);
            self.found.remove(oldest.unwrap_or(0));
        }
        let seed = Seed {
            addr,
            peer,
            ourselves: false,
        };
        let is_new = !is_alive(table, &seed);
        self.found.push(Found {
            seed,
            heard_at: now,
            is_new,
        });
        let gap = |tried_at: u64| now.max(tried_at + FOUND_GAP_NS);
        is_new.then(|| self.found_tried_at.map_or(now, gap))
    }

    /// What was found and not tried yet, at most 16 of them, and whether more is left.
    pub(crate) fn new_found(&mut self, now: u64, table: &Table) -> (Vec<SocketAddr>, bool) {
        self.found_tried_at = Some(now);
        let mut out = Vec::new();
        for found in self.found.iter_mut().filter(|found| found.is_new) {
            if out.len() == FOUND_AT_ONCE {
                return (out, true);
            }
            found.is_new = false;
            if !found.seed.ourselves && !is_alive(table, &found.seed) {
                out.push(found.seed.addr);
            }
        }
        (out, false)
    }

    /// Forgets what no beacon told of for long.
    pub(crate) fn forget_silent(&mut self, now: u64) {
        self.found
            .retain(|found| now < found.heard_at.saturating_add(FOUND_NS));
    }

    /// Addresses that beacons told of lately.
    pub(crate) fn found_len(&self) -> usize {
        self.found.len()
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Seed> {
        let found = self.found.iter_mut().map(|found| &mut found.seed);
        self.seeds.iter_mut().chain(found)
    }

    /// Somebody answered at an address.
    pub(crate) fn met(&mut self, addr: SocketAddr, peer: PeerIx) {
        for seed in self.each_mut().filter(|seed| seed.addr == addr) {
            seed.peer = Some(peer);
        }
    }

    /// We answered at an address ourselves.
    pub(crate) fn met_ourselves(&mut self, addr: SocketAddr) {
        for seed in self.each_mut().filter(|seed| seed.addr == addr) {
            seed.ourselves = true;
        }
        self.cached.retain(|cached| *cached != addr);
    }

    /// A member's number is not used any more.
    pub(crate) fn forget(&mut self, peer: PeerIx) {
        for seed in self.each_mut().filter(|seed| seed.peer == Some(peer)) {
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
        self.found_round(table, &mut out);
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

    fn found_round(&mut self, table: &Table, out: &mut Vec<SocketAddr>) {
        let count = self.found.len();
        let turns = (0..count).map(|step| &self.found[(self.next_found + step) % count]);
        let absent = turns.filter(|found| !found.seed.ourselves && !is_alive(table, &found.seed));
        let before = out.len();
        out.extend(absent.map(|found| found.seed.addr).take(FOUND_AT_ONCE));
        self.next_found = (self.next_found + out.len() - before) % count.max(1);
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

    fn hear(seeds: &mut Seeds, now: u64, port: u16) -> Option<u64> {
        seeds.hear(now, addr(port), None, &Table::default())
    }

    #[test]
    fn what_a_beacon_tells_of_is_tried_at_once_and_in_every_round_until_it_is_silent() {
        let mut seeds = Seeds::default();
        let table = Table::default();
        assert_eq!(hear(&mut seeds, 5, 1), Some(5));
        assert_eq!(hear(&mut seeds, 6, 1), None);
        assert_eq!(seeds.new_found(7, &table), (vec![addr(1)], false));
        assert_eq!(seeds.new_found(8, &table), (vec![], false));
        assert_eq!(hear(&mut seeds, 9, 2), Some(8 + FOUND_GAP_NS));
        assert_eq!(seeds.round(&table).len(), 2);
        seeds.met_ourselves(addr(2));
        assert_eq!(seeds.round(&table), [addr(1)]);
        seeds.forget_silent(6 + FOUND_NS);
        assert_eq!(seeds.round(&table), []);
        assert_eq!(seeds.found_len(), 1);
    }

    #[test]
    fn beacons_take_bounded_room_and_cause_bounded_tries() {
        let mut seeds = Seeds::default();
        let table = Table::default();
        let ports = 1..=1000u16;
        let at_once: Vec<_> = ports
            .map(|port| hear(&mut seeds, u64::from(port), port))
            .collect();
        assert!(at_once.iter().all(Option::is_some));
        assert_eq!(seeds.found_len(), FOUND_MAX);
        // Those heard last stay.
        let (tried, more) = seeds.new_found(2000, &table);
        assert_eq!((tried.len(), more), (FOUND_AT_ONCE, true));
        assert!(tried.iter().all(|addr| addr.port() > 1000 - 64));
        assert_eq!(hear(&mut seeds, 2001, 5000), Some(2000 + FOUND_GAP_NS));
        // The rounds come around to all of them.
        let mut met = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let round = seeds.round(&table);
            assert_eq!(round.len(), FOUND_AT_ONCE);
            met.extend(round);
        }
        assert_eq!(met.len(), FOUND_MAX);
    }
}
