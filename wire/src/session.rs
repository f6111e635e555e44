//! The keys of one link: four directions, from the identities and nonces that the handshake agreed on.

use crate::mutants::{Mutant, mutant};
use std::sync::Arc;

use crate::epoch::Lineage;
use crate::error::SealError;
use crate::header::Class;
use crate::ids::{Boot, NodeId};
use crate::kdf::Root;
use crate::keyring::Keyring;
use crate::link::{LinkRx, LinkTx};

const FORWARD: u8 = 0;
const BACK: u8 = 1;

/// What both ends know of each other after H2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairIdentity {
    /// Who sent H1.
    pub initiator: NodeId,
    /// Its boot.
    pub initiator_boot: Boot,
    /// Who sent H2.
    pub responder: NodeId,
    /// Its boot.
    pub responder_boot: Boot,
    /// The initiator's nonce.
    pub nonce_i: [u8; 16],
    /// The responder's nonce.
    pub nonce_r: [u8; 16],
}

/// The four directions of a link.
pub struct PairKeys {
    /// PAIR, from us.
    pub pair_tx: LinkTx,
    /// PAIR, to us.
    pub pair_rx: LinkRx,
    /// BULK, from us.
    pub bulk_tx: LinkTx,
    /// BULK, to us.
    pub bulk_rx: LinkRx,
}

impl PairKeys {
    /// Derives all four under the record in `slot`.
    pub fn derive(
        ring: &Keyring,
        slot: u8,
        who: &PairIdentity,
        we_are_initiator: bool,
    ) -> Result<Self, SealError> {
        let root = ring.root(slot).ok_or(SealError::UnknownSlot)?;
        Ok(Self::of(root, who, we_are_initiator))
    }

    fn of(root: &Arc<Root>, who: &PairIdentity, we_are_initiator: bool) -> Self {
        let (tx, rx) = if we_are_initiator {
            (FORWARD, BACK)
        } else {
            (BACK, FORWARD)
        };
        Self {
            pair_tx: LinkTx::new(Class::Pair, lineage(root, "pair", tx, who)),
            pair_rx: LinkRx::new(Class::Pair, lineage(root, "pair", rx, who)),
            bulk_tx: LinkTx::new(Class::Bulk, lineage(root, "bulk", tx, who)),
            bulk_rx: LinkRx::new(Class::Bulk, lineage(root, "bulk", rx, who)),
        }
    }
}

/// What must be remembered of the keys of a link over which nothing is said: counters go on, and nothing that came before is
/// taken again. A tenth of the keys' size.
pub struct RestingKeys {
    root: Arc<Root>,
    // Of pair_tx, pair_rx, bulk_tx, bulk_rx: one past the highest used.
    counters: [u64; 4],
    // Of pair_rx and bulk_rx.
    forgeries: [u64; 2],
}

impl PairKeys {
    /// Puts the keys away.
    pub fn rest(&self) -> RestingKeys {
        RestingKeys {
            root: Arc::clone(self.pair_tx.root()),
            counters: [
                self.pair_tx.next_counter(),
                self.pair_rx.next_counter(),
                self.bulk_tx.next_counter(),
                self.bulk_rx.next_counter(),
            ],
            forgeries: [self.pair_rx.forgeries(), self.bulk_rx.forgeries()],
        }
    }
}

impl RestingKeys {
    /// The keys again, of the same two ends. What was sent before they were put away is stale now.
    pub fn wake(&self, who: &PairIdentity, we_are_initiator: bool) -> PairKeys {
        let mut keys = PairKeys::of(&self.root, who, we_are_initiator);
        let [pair_tx, pair_rx, bulk_tx, bulk_rx] = self.counters;
        let [pair_forgeries, bulk_forgeries] = self.forgeries;
        keys.pair_tx = keys.pair_tx.at_counter(pair_tx);
        keys.pair_rx = keys.pair_rx.at_counter(pair_rx).after(pair_forgeries);
        keys.bulk_tx = keys.bulk_tx.at_counter(bulk_tx);
        keys.bulk_rx = keys.bulk_rx.at_counter(bulk_rx).after(bulk_forgeries);
        keys
    }
}

fn lineage(root: &Arc<Root>, label: &'static str, direction: u8, who: &PairIdentity) -> Lineage {
    let direction = direction * u8::from(!mutant(Mutant::OneDirection));
    let unbound = mutant(Mutant::BootUnbound);
    let parts: [&[u8]; 7] = [
        &[direction],
        &who.initiator.0,
        &who.initiator_boot.0,
        &who.responder.0,
        if unbound {
            &[0; 16]
        } else {
            &who.responder_boot.0
        },
        &who.nonce_i,
        &who.nonce_r,
    ];
    Lineage::new(root, label, &parts)
}
