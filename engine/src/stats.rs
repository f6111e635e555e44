//! What a node can tell about itself at one moment.

use std::time::Duration;

use tidings_protocol::latency::Latency;
use tidings_protocol::{
    MemberCounters, PeerStats, PublishCounters, ReceiveCounters, Refusals, SyncStage,
};
use tidings_wire::OverlayId;

use crate::discovery::DiscoveryStats;
use crate::metrics::ShardCounters;
use crate::shard::overlay::ShardOverlay;
use crate::wait::Waiting;

/// The whole node.
#[derive(Clone, Debug, Default)]
pub struct EngineStats {
    /// Panics of threads beside the shards, each started again since.
    pub panics: u64,
    /// Discovery.
    pub discovery: DiscoveryStats,
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
    /// Slots of 64 KiB into which it receives: they grow while batches come full.
    pub receive_slots: usize,
    /// What waits for it.
    pub queued: ShardQueues,
    /// How long its turns took in which there was something to do: what came meanwhile had to wait that long, at most. Their sum is the
    /// time for which it was busy.
    pub lag: Box<Latency>,
    /// CPU time of its thread.
    pub cpu: Duration,
    /// Sessions on it: connections of local clients, agents of connections on other shards, handlers.
    pub sessions: usize,
    /// Connections of local clients that it serves. One that has named no overlay yet is on no shard.
    pub clients: usize,
    /// Its counters.
    pub counters: ShardCounters,
}

/// What waits for a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardQueues {
    /// Commands of other threads; at most [`COMMANDS_MAX`](crate::limits::COMMANDS_MAX).
    pub commands: usize,
    /// Bells of publishers and subscribers of other threads; at most [`BELLS_MAX`](crate::limits::BELLS_MAX).
    pub bells: usize,
    /// Such publishers and subscribers that it is to look at.
    pub ports: usize,
}

impl ShardQueues {
    /// All of it.
    pub fn total(&self) -> usize {
        self.commands + self.bells + self.ports
    }
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
    /// Addresses that beacons told of lately.
    pub found: usize,
    /// Whether the subscriptions of all members held alive were known once, see [`crate::Engine::is_synced`].
    pub synced: bool,
    /// How far it is with them.
    pub sync: SyncStage,
    /// Publishers and subscribers of other threads.
    pub ports: usize,
    /// Bytes kept for messages: accepted ones in the store; held back or partly received ones.
    pub bytes: (usize, usize),
    /// The most bytes that the store may take.
    pub store_limit: usize,
    /// Streams: to publish, open here for receiving.
    pub streams: (usize, usize),
    /// Subscriptions of this node, and the version of their table.
    pub subscriptions: (usize, u64),
    /// Membership.
    pub membership: MemberCounters,
    /// The publishing side.
    pub publish: PublishCounters,
    /// How old delivered messages were when their acknowledgements came.
    pub latency: Box<Latency>,
    /// The receiving side.
    pub receive: ReceiveCounters,
    /// Datagrams refused, by reason.
    pub refusals: Refusals,
    /// The way to each other member, and the traffic on it.
    pub peers: Vec<PeerStats>,
}

impl OverlayStats {
    pub(crate) fn new(shard: usize, overlay: &ShardOverlay) -> Self {
        Self {
            id: overlay.shared.id,
            name: overlay.shared.name.clone(),
            shard,
            members: overlay.members().len(),
            found: overlay.core.found_len(),
            synced: overlay.is_synced(),
            sync: overlay.core.sync_stage(),
            ports: overlay.port_count(),
            bytes: overlay.core.memory(),
            store_limit: overlay.core.store_limit(),
            streams: overlay.core.stream_counts(),
            subscriptions: {
                let (version, count) = overlay.core.table();
                (count, version)
            },
            membership: overlay.core.member_counters(),
            publish: overlay.core.publish_counters(),
            latency: Box::new(overlay.core.latency().clone()),
            receive: overlay.core.receive_counters(),
            refusals: overlay.core.refusals().clone(),
            peers: overlay.core.peers(),
        }
    }
}
