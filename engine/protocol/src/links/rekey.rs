//! Another key for links that are there: sessions of the one that seals now follow those of others, and what is derived from a
//! record that is gone ends.

use super::link::Link;
use super::{Kept, Links};
use crate::peer::PeerIx;
use crate::rng::Rng;

/// Handshakes for a new key are spread so that a node begins one in this time on average, but all within [`SPREAD_NS_MAX`].
const SPREAD_NS: u64 = 50_000_000;
const SPREAD_NS_MAX: u64 = 60_000_000_000;
/// A link that nobody wants, and over which nothing came for this long, is not worth another session.
const FORGOTTEN_NS: u64 = 10_000_000_000;
/// A peer that did not answer under the new key is asked again after this.
const AGAIN_NS: u64 = 30_000_000_000;

impl Link {
    /// Whether a session is to be opened besides: that in use is soon at the end of its counters, or is of a key that does not
    /// seal any more.
    pub(super) fn wants_session(&mut self, now: u64, primary: u8, since: u64) -> bool {
        let used = self.sessions.used_ref();
        if !used.is_stale(primary, since) {
            self.rekey_at = None;
        } else if *self.rekey_at.get_or_insert(now) <= now {
            self.rekey_at = Some(now + AGAIN_NS);
            return true;
        }
        used.is_worn()
    }
}

impl Links {
    /// The keyring is another: records in the slots `gone` (one bit each) are no more, or are others now, and `primary` seals.
    /// Links with a session of a record that is gone end, as do those to `besides`; who is wanted is dialled again.
    pub(crate) fn on_keyring(
        &mut self,
        now: u64,
        gone: u8,
        primary: u8,
        besides: &[PeerIx],
        rng: &mut Rng,
    ) {
        self.now = now;
        let is_gone = |slot: u8| gone & (1 << slot) != 0;
        if self.primary != primary || is_gone(primary) {
            (self.primary, self.primary_since) = (primary, now);
        }
        for (no, dial) in &mut self.dials {
            if is_gone(dial.key_slot()) || (dial.key_slot() != primary && !dial.is_confirming()) {
                dial.start_over();
                self.due_dials.push(*no);
            }
        }
        let all = (0..self.links.len()).map(|at| PeerIx(at as u32));
        let (ending, staying): (Vec<PeerIx>, Vec<PeerIx>) = all
            .filter(|peer| self.is_up(*peer))
            .partition(|peer| self.key_slots(*peer) & gone != 0 || besides.contains(peer));
        for peer in ending {
            self.drop_link(now, peer);
            if self.wants.contains_key(&peer) {
                self.redial(peer, false);
            }
        }
        let stale: Vec<PeerIx> = staying
            .into_iter()
            .filter(|peer| self.key_slots(*peer) != 1 << primary)
            .collect();
        let spread = (SPREAD_NS * stale.len() as u64).min(SPREAD_NS_MAX);
        for peer in stale {
            let is_forgotten = !self.wants.contains_key(&peer)
                && self
                    .link(peer)
                    .is_some_and(|l| now >= l.last_heard + FORGOTTEN_NS);
            if is_forgotten {
                self.drop_idle(now, peer);
            } else if let Some(link) = self.link_mut(peer) {
                link.rekey_at = Some(now + rng.below(spread.max(1)));
            }
        }
    }

    /// Whom there are sessions with, and the slots of the key records that these are derived from, one bit each.
    pub(crate) fn keys_used(&self) -> impl Iterator<Item = (PeerIx, u8)> + '_ {
        let all = (0..self.links.len()).map(|at| PeerIx(at as u32));
        let bits = all.map(|peer| (peer, self.key_slots(peer)));
        bits.filter(|(_, bits)| *bits != 0)
    }

    /// The same of the sessions of one link.
    fn key_slots(&self, peer: PeerIx) -> u8 {
        match self.links.get(peer.at()) {
            Some(Kept::Open(link)) => link.sessions.key_slots(),
            Some(Kept::Folded(folded)) => 1 << folded.key_slot(),
            _ => 0,
        }
    }

    /// The key slot of the session that is used for sending to a peer; 0 without a link.
    pub(crate) fn link_key(&self, peer: PeerIx) -> u8 {
        match self.links.get(peer.at()) {
            Some(Kept::Open(link)) => link.sessions.used_ref().key_slot,
            Some(Kept::Folded(folded)) => folded.key_slot(),
            _ => 0,
        }
    }
}
