//! What went to and came from each peer.

use std::collections::BTreeMap;

use crate::peer::PeerIx;

crate::counters! {
    /// Traffic with one peer, over all links to it since it became known, or since a link to it was last dropped for want of use.
    PeerCounters {
        datagrams_out: "Datagrams planned for it, repairs included",
        bytes_out: "Bytes of them",
        datagrams_in: "Datagrams of it that were opened",
        bytes_in: "Bytes of them",
        duplicates: "Datagrams of it that had come before",
        open_failed: "Datagrams on its sessions and streams that did not open",
        repairs: "Datagrams of streams sent to it again",
        lost: "Datagrams of streams to it judged lost",
        spurious: "Repairs to it that proved needless",
        links: "Links to it that began",
    }
}

/// What earlier links to each peer counted.
#[derive(Default)]
pub(super) struct Past(BTreeMap<PeerIx, PeerCounters>);

impl Past {
    /// A link ended.
    pub(super) fn add(&mut self, peer: PeerIx, counters: &PeerCounters) {
        self.0.entry(peer).or_default().add(counters);
    }

    pub(super) fn of(&self, peer: PeerIx) -> PeerCounters {
        self.0.get(&peer).copied().unwrap_or_default()
    }

    /// The peer is forgotten.
    pub(super) fn forget(&mut self, peer: PeerIx) {
        self.0.remove(&peer);
    }
}
