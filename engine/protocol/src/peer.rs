//! Peers by small numbers: a dense slab of the node ids known in one overlay, so that every other table is an array.

use std::collections::BTreeMap;

use tidings_wire::NodeId;

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
#[derive(Default)]
pub(crate) struct Peers {
    ids: Vec<Option<NodeId>>,
    free: Vec<PeerIx>,
    by_id: BTreeMap<NodeId, PeerIx>,
}

impl Peers {
    /// The number of `id`, given now if it has none.
    pub(crate) fn intern(&mut self, id: NodeId) -> PeerIx {
        if let Some(&peer) = self.by_id.get(&id) {
            return peer;
        }
        let peer = self.free.pop().unwrap_or_else(|| {
            let peer = PeerIx(self.ids.len() as u32);
            reach(&mut self.ids, peer, || None);
            peer
        });
        self.ids[peer.at()] = Some(id);
        self.by_id.insert(id, peer);
        peer
    }

    /// The number of `id`, if it has one.
    pub(crate) fn find(&self, id: &NodeId) -> Option<PeerIx> {
        self.by_id.get(id).copied()
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
        if let Some(id) = self.ids.get_mut(peer.at()).and_then(Option::take) {
            self.by_id.remove(&id);
            self.free.push(peer);
        }
    }

    /// Numbers in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_number_until_released() {
        let mut peers = Peers::default();
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
}
