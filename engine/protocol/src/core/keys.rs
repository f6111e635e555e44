//! Another keyring for an overlay that runs. Nothing that was accepted is lost by it: links get sessions of the key that seals now and
//! go on, streams follow their links, and what ends with a record that is removed goes by catch-up.

use std::collections::BTreeMap;

use tidings_wire::NodeId;

use super::*;

/// Datagrams that came this long ago do not show that a key is in use, in ns.
const LATELY_NS: u64 = 10_000_000_000;

/// Keys as they are used, by slot; one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// Installed: they open.
    pub installed: u8,
    /// The slot that seals; not a bit but its number.
    pub primary: u8,
    /// Some session to a peer, or some stream that is sent or was received lately, is derived from them.
    pub used: u8,
}

impl Core {
    /// Replaces the keyring by another of the same overlay; false, and nothing changed, if it is another's. Links change over to its
    /// primary key one by one, within a minute at most. Whatever is derived from a record that is not in it any more ends at once, and
    /// begins anew where both ends have a key in common: whether a record may go is the caller's to know, see [`Core::key_use`].
    pub fn set_keyring(&mut self, now: u64, keyring: Keyring) -> bool {
        if keyring.overlay() != self.keyring.overlay() {
            return false;
        }
        let gone = self.keyring.slots() & self.keyring.differing(&keyring);
        let (slots, primary) = (keyring.slots(), keyring.primary_slot());
        self.keyring = keyring;
        let publishers = self.streams.end_keys(gone);
        self.publish.set_primary(primary);
        self.publish.end_keys(gone, &mut self.links, now);
        self.links
            .on_keyring(now, gone, primary, &publishers, &mut self.rng);
        self.settle_links(now);
        self.members.change(|portrait| {
            portrait.keys = slots;
            portrait.primary = primary;
        });
        true
    }

    /// The keyring.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Which keys there are, and which of them something depends on.
    pub fn key_use(&self, now: u64) -> KeyUse {
        KeyUse {
            installed: self.keyring.slots(),
            primary: self.keyring.primary_slot(),
            used: self.keys_used(now).fold(0, |all, (_, bits)| all | bits),
        }
    }

    /// The same by node: whom there are sessions or streams with, and the slots of the keys that these depend on, one bit each. In the
    /// order of their ids.
    pub fn key_peers(&self, now: u64) -> Vec<(NodeId, u8)> {
        let mut nodes = BTreeMap::new();
        for (peer, bits) in self.keys_used(now) {
            *nodes.entry(self.peers.id(peer)).or_insert(0) |= bits;
        }
        nodes.into_iter().collect()
    }

    /// One of the two, a node more than once.
    fn keys_used(&self, now: u64) -> impl Iterator<Item = (PeerIx, u8)> + '_ {
        let since = now.saturating_sub(LATELY_NS);
        let sent = self.links.keys_used().chain(self.publish.keys_used());
        sent.chain(self.streams.keys_heard(since))
    }
}
