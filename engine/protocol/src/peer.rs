//! Peers by small numbers: a dense slab of the node ids known in one overlay, so that every other table is an array.

use hashbrown::HashTable;
use tidings_wire::NodeId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The number of a node id within one core. Never leaves the core; reused after `release`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PeerIx(pub(crate) u32);

impl PeerIx {
    /// This node itself, where it is one subscriber node among others. Never given to a peer.
    pub(crate) const LOCAL: PeerIx = PeerIx(u32::MAX);

    /// As an index into an array.
    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

/// Lengthens a table with an entry for each peer until it has one for `peer`. Where there is no room, an eighth more is made: of room that
/// doubles up to half would be empty, which with thousands of members is as much as what they tell of themselves.
pub(crate) fn reach<T>(table: &mut Vec<T>, peer: PeerIx, empty: impl FnMut() -> T) {
    let len = table.len().max(peer.at() + 1);
    if len > table.capacity() {
        table.reserve_exact(len + len / 8 + 4 - table.len());
    }
    table.resize_with(len, empty);
}

/// Every node id known here, each with its number.
pub(crate) struct Peers {
    ids: Vec<Option<NodeId>>,
    free: Vec<PeerIx>,
    by_id: HashTable<PeerIx>,
    seed: u64,
}

impl Peers {
    /// Nobody. A seed that others cannot guess keeps them from choosing ids that are found slowly.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            ids: Vec::new(),
            free: Vec::new(),
            by_id: HashTable::new(),
            seed,
        }
    }

    /// The number of `id`, given now if it has none.
    pub(crate) fn intern(&mut self, id: NodeId) -> PeerIx {
        if let Some(peer) = self.find(&id) {
            return peer;
        }
        let peer = self.free.pop().unwrap_or_else(|| {
            let peer = PeerIx(self.ids.len() as u32);
            reach(&mut self.ids, peer, || None);
            peer
        });
        self.ids[peer.at()] = Some(id);
        let Self {
            ids, by_id, seed, ..
        } = self;
        let of = |peer: &PeerIx| ids[peer.at()].map_or(0, |id| hash(*seed, &id));
        by_id.insert_unique(hash(*seed, &id), peer, of);
        peer
    }

    /// The number of `id`, if it has one.
    pub(crate) fn find(&self, id: &NodeId) -> Option<PeerIx> {
        let is_it = |peer: &PeerIx| self.ids[peer.at()] == Some(*id);
        self.by_id.find(hash(self.seed, id), is_it).copied()
    }

    /// The id behind a number that is in use.
    pub(crate) fn id(&self, peer: PeerIx) -> NodeId {
        self.ids
            .get(peer.at())
            .copied()
            .flatten()
            .expect("a PeerIx is kept only as long as its peer is interned")
    }

    /// Gives the number back. The caller has dropped everything that is filed under it.
    pub(crate) fn release(&mut self, peer: PeerIx) {
        let Some(id) = self.ids.get_mut(peer.at()).and_then(Option::take) else {
            return;
        };
        let at = hash(self.seed, &id);
        if let Ok(held) = self.by_id.find_entry(at, |held| *held == peer) {
            held.remove();
        }
        self.free.push(peer);
    }

    /// Numbers in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

fn hash(seed: u64, id: &NodeId) -> u64 {
    xxh3_64_with_seed(&id.0, seed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn an_id_keeps_its_number_until_released() {
        let mut peers = Peers::new(3);
        let a = peers.intern(NodeId([1; 16]));
        let b = peers.intern(NodeId([2; 16]));
        assert_ne!(a, b);
        assert_eq!(peers.intern(NodeId([1; 16])), a);
        assert_eq!(peers.id(b), NodeId([2; 16]));
        peers.release(a);
        peers.release(a);
        assert_eq!(peers.find(&NodeId([1; 16])), None);
        assert_eq!(peers.intern(NodeId([3; 16])), a);
        assert_eq!(peers.len(), 2);
    }

    #[test]
    fn numbers_are_what_a_map_says_after_any_comings_and_goings() {
        let mut peers = Peers::new(7);
        let mut map = BTreeMap::new();
        let mut rng = Rng::from_seed([5; 32]);
        for _ in 0..20_000 {
            let mut id = [0; 16];
            id[15] = rng.below(200) as u8;
            let id = NodeId(id);
            if rng.below(3) == 0 {
                if let Some(peer) = map.remove(&id) {
                    peers.release(peer);
                }
            } else {
                let peer = peers.intern(id);
                assert_eq!(*map.entry(id).or_insert(peer), peer);
                assert_eq!(peers.id(peer), id);
            }
            assert_eq!(
                (peers.find(&id), peers.len()),
                (map.get(&id).copied(), map.len())
            );
        }
    }
}
