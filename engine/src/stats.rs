//! What a node can tell about itself at one moment.

use tidings_protocol::{PublishCounters, ReceiveCounters, Refusals};
use tidings_wire::OverlayId;

use crate::metrics::ShardCounters;
use crate::shard::overlay::ShardOverlay;
use crate::wait::Waiting;

/// The whole node.
#[derive(Clone, Debug, Default)]
pub struct EngineStats {
    /// By index.
    pub shards: Vec<ShardStats>,
    /// Every overlay.
    pub overlays: Vec<OverlayStats>,
}

/// One shard.
#[derive(Clone, Debug)]
pub struct ShardStats {
    /// How it sleeps.
    pub waiting: Option<Waiting>,
    /// Receive buffer of its data socket in bytes, as the kernel granted it.
    pub rcvbuf: usize,
    /// Sessions on it.
    pub sessions: usize,
    /// Its counters.
    pub counters: ShardCounters,
}

/// One overlay.
#[derive(Clone, Debug)]
pub struct OverlayStats {
    /// Its id.
    pub id: OverlayId,
    /// Its name.
    pub name: String,
    /// Its shard.
    pub shard: usize,
    /// Members listed, this node included.
    pub members: usize,
    /// Whether the subscriptions of all members held alive are known.
    pub synced: bool,
    /// The publishing side.
    pub publish: PublishCounters,
    /// The receiving side.
    pub receive: ReceiveCounters,
    /// Datagrams refused, by reason.
    pub refusals: Refusals,
}

impl OverlayStats {
    pub(crate) fn new(shard: usize, overlay: &ShardOverlay) -> Self {
        Self {
            id: overlay.shared.id,
            name: overlay.shared.name.clone(),
            shard,
            members: overlay.members().len(),
            synced: overlay.is_synced(),
            publish: overlay.core.publish_counters(),
            receive: overlay.core.receive_counters(),
            refusals: overlay.core.refusals().clone(),
        }
    }
}
