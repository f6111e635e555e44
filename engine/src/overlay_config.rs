//! What an overlay is told when it is added to a running node.

use tidings_protocol::{Profile, limits};
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
    /// Largest message in bytes.
    pub max_message: usize,
    /// Largest UDP payload in bytes that paths are probed for, up to 64,992; one that does not carry so much is used for what it
    /// carries. 1,200 or less: no probes.
    pub max_datagram: usize,
    /// Bound of the message store in bytes.
    pub retain: usize,
    /// How long an indefinite message waits for a dead node, in ns.
    pub park_max: u64,
    /// How long a named client's subscriptions outlive it, in ns.
    pub client_grace: u64,
    /// Timing of failure detection, if other than the node's.
    pub profile: Option<Profile>,
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
            max_message: limits::MAX_MESSAGE_DEFAULT,
            max_datagram: limits::DATAGRAM_MAX,
            retain: limits::RETAIN_DEFAULT,
            park_max: 24 * 3_600 * crate::limits::SECOND_NS,
            client_grace: 600 * crate::limits::SECOND_NS,
            profile: None,
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
