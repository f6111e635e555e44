//! Streams as large as the paths of their nodes carry, under the key of their links: both are fixed, so another stream takes their place.

use tidings_wire::MIN_DATAGRAM_SIZE;

use super::node::Node;
use super::*;
use crate::links::Links;

impl Publish {
    /// The size of a new stream to `nodes`: what all those carry that have a link.
    pub(super) fn size_for(&self, nodes: &[PeerIx]) -> usize {
        let carried = nodes.iter().filter_map(|peer| self.nodes.get(peer));
        carried
            .map(|node| node.datagram)
            .filter(|size| *size > 0)
            .min()
            .unwrap_or(MIN_DATAGRAM_SIZE)
    }

    /// The key of a new stream to `nodes`: the one under which all those talk that have a link, which shows that they hold it. While
    /// some have changed over and others have not, it is the one that seals, and the others come by catch-up until they do.
    pub(super) fn key_for(&self, nodes: &[PeerIx]) -> Option<u8> {
        let linked = nodes.iter().filter_map(|peer| self.nodes.get(peer));
        let mut keys = linked.filter(|node| node.datagram > 0).map(|n| n.key);
        let first = keys.next()?;
        Some(match keys.all(|key| key == first) {
            true => first,
            false => self.primary,
        })
    }

    /// Another key seals.
    pub(crate) fn set_primary(&mut self, primary: u8) {
        self.primary = primary;
    }

    /// Records in these slots (one bit each) are no more: what streams under them hold goes by catch-up.
    pub(crate) fn end_keys(&mut self, gone: u8, links: &mut Links, now: u64) {
        let is_gone = |stream: &Stream| !stream.is_local() && gone & stream.key_bit() != 0;
        let ending: Vec<u32> = self
            .streams
            .iter()
            .flatten()
            .filter(|stream| is_gone(stream))
            .map(|s| s.ix)
            .collect();
        for ix in ending {
            self.retire(ix, links, now);
        }
    }

    /// To whom something is being sent, or will be, and the slot of the key that it is under as a bit; a node once for each stream.
    pub(crate) fn keys_used(&self) -> impl Iterator<Item = (PeerIx, u8)> + '_ {
        let streams = self.streams.iter().flatten();
        streams.filter(|s| !s.is_local()).flat_map(|stream| {
            let head = stream.head();
            let is_fed = move |n: &&Node| !n.is_out() && (!stream.is_replaced || n.floor < head);
            let nodes = stream.nodes.iter().filter(is_fed);
            nodes.map(|node| (node.peer, stream.key_bit()))
        })
    }

    /// Notes what the paths to these carry now; those to all others carry what they did. A node whose path carries less leaves the
    /// streams that are too large for it.
    pub(super) fn follow_paths(&mut self, peers: &[PeerIx], links: &mut Links, now: u64) {
        for &peer in peers {
            let carried = links.link(peer).map_or(0, |link| link.datagram);
            let key = links.link_key(peer);
            let settled = links.open_link(peer).is_some_and(|l| l.path.is_settled());
            let Some(node) = self.nodes.get_mut(&peer) else {
                continue;
            };
            if settled && now < node.probing_until {
                node.probing_until = now;
                self.refit_at = now;
            }
            if carried > 0 && node.key != key {
                node.key = key;
                self.refit_at = now;
            }
            if node.datagram == carried {
                continue;
            }
            let shrunk = carried > 0 && carried < node.datagram;
            node.datagram = carried;
            self.refit_at = now;
            if shrunk {
                node.probing_until = now;
                self.leave_larger(peer, carried, links, now);
            }
        }
        if self.refit_at > 0 && now >= self.refit_at {
            self.refit(now);
        }
    }

    fn leave_larger(&mut self, peer: PeerIx, size: usize, links: &mut Links, now: u64) {
        for ix in 0..self.streams.len() {
            let Some(mut stream) = self.streams[ix].take() else {
                continue;
            };
            let head = stream.head();
            if stream.size > size
                && let Some(node) = stream.node_mut(peer).filter(|node| !node.is_out())
            {
                self.part(node, head, links, now);
            }
            self.streams[ix] = Some(stream);
        }
    }

    // Replaces every stream that is smaller than its nodes' paths allow or larger than one of them does, and those to nodes that all
    // talk under another key. New links get some time to show what they carry: their nodes come by catch-up meanwhile.
    fn refit(&mut self, now: u64) {
        let known = |node: &&Subscribing| {
            node.datagram > 0 && (now >= node.probing_until || node.datagram >= self.datagram_max)
        };
        let fits = |stream: &Stream| {
            let nodes = stream.nodes.iter().filter_map(|n| self.nodes.get(&n.peer));
            let mut linked = nodes.clone().filter(|node| node.datagram > 0).peekable();
            let (slot, _) = stream.keying();
            let key = linked.peek().map_or(slot, |node| node.key);
            if key != slot && linked.all(|node| node.key == key) {
                return false;
            }
            let carried = nodes.filter(known).map(|node| node.datagram).min();
            carried.is_none_or(|carried| carried == stream.size)
        };
        let streams = self.streams.iter().flatten();
        let replaced: Vec<u32> = streams
            .filter(|s| !s.is_local() && !s.is_replaced && !fits(s))
            .map(|s| s.ix)
            .collect();
        let waits = self
            .nodes
            .values()
            .filter(|node| node.datagram > 0 && !known(node))
            .map(|node| node.probing_until);
        self.refit_at = waits.min().unwrap_or(0);
        for ix in replaced {
            self.replace(ix);
        }
    }

    // No new message goes there; the next one opens another stream to the same nodes.
    pub(super) fn replace(&mut self, ix: u32) {
        self.by_nodes.retain(|_, stream| *stream != ix);
        self.forget_routes(ix);
        if let Some(stream) = &mut self.streams[ix as usize] {
            stream.is_replaced = true;
        }
        self.replaced += 1;
    }

    /// Streams that were replaced and have nothing left to do end.
    pub(super) fn drop_replaced(&mut self) {
        if self.replaced == 0 {
            return;
        }
        let over: Vec<u32> = self
            .streams
            .iter()
            .flatten()
            .filter(|s| s.is_replaced && s.is_idle())
            .map(|s| s.ix)
            .collect();
        for ix in over {
            self.drop_stream(ix);
        }
        let left = self.streams.iter().flatten().filter(|s| s.is_replaced);
        self.replaced = left.count();
    }
}
