//! What an overlay is told when it is added to a running node.

use tidings_protocol::Policy;
use tidings_wire::{Keyring, OverlayId};

use crate::join::Seed;

/// Settings of one overlay.
pub struct OverlayConfig {
    /// Its name; the overlay's id is hashed from it.
    pub name: String,
    /// Its keys, bound to the id of that name.
    pub keyring: Keyring,
    /// Where to join.
    pub join: Vec<Seed>,
    /// Whether beacons tell the network segment that this node is there, and those of others are heard: see
    /// [`Engine::set_discovery`](crate::Engine::set_discovery).
    pub discovery: bool,
    /// What may change while it runs: see [`Engine::set_policy`](crate::Engine::set_policy).
    pub policy: Policy,
    /// This node's tags in it; `None`: the node's.
    pub metadata: Option<Vec<u8>>,
    /// This node's rack in it, 64 bytes at most; `None`: the node's.
    pub rack: Option<String>,
    /// The shard to run on; by default the one with the fewest overlays.
    pub shard: Option<usize>,
}

impl OverlayConfig {
    /// An overlay with every default.
    pub fn new(name: &str, keyring: Keyring) -> Self {
        Self {
            name: name.to_owned(),
            keyring,
            join: Vec::new(),
            discovery: false,
            policy: Policy::default(),
            metadata: None,
            rack: None,
            shard: None,
        }
    }

    /// Adds where to join.
    pub fn join(mut self, seeds: impl IntoIterator<Item = Seed>) -> Self {
        self.join.extend(seeds);
        self
    }

    /// The id.
    pub fn id(&self) -> OverlayId {
        self.keyring.overlay()
    }
}

/// A running overlay, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayEntry {
    /// Its id.
    pub id: OverlayId,
    /// Its name.
    pub name: String,
    /// The shard that owns it.
    pub shard: usize,
}
