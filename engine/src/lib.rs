//! The engine of Tidings: shards on io_uring, their sockets, the queues between threads and the embedding API.
//! It drives the sans-IO core of `tidings-protocol`; the daemon and embedders drive it.
//!
//! Begin with [`Engine::builder`]. A message's way: [`Publisher::publish`] copies it into a ring, the overlay's shard
//! (`shard/turn.rs`) hands it to the core, the core's plan goes out by `shard/net.rs`; on the other node the same turn
//! receives it, the core opens and delivers it through `shard/outlet.rs` into the ring that [`Subscriber`] reads.

#[cfg(all(any(test, feature = "bench"), not(loom)))]
pub mod bench;
#[cfg(not(loom))]
mod builder;
#[cfg(not(loom))]
mod change;
#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
mod discovery;
#[cfg(not(loom))]
mod engine;
#[cfg(not(loom))]
pub mod entropy;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod gaps;
#[cfg(not(loom))]
pub mod gateway;
#[cfg(not(loom))]
pub mod host;
#[cfg(not(loom))]
mod join;
#[cfg(not(loom))]
mod keeper;
#[cfg(not(loom))]
pub mod limits;
#[cfg(not(loom))]
pub mod metrics;
#[cfg(not(loom))]
mod moves;
#[cfg(not(loom))]
mod number_map;
#[cfg(not(loom))]
mod on_shard;
#[cfg(not(loom))]
mod open;
#[cfg(not(loom))]
mod overlay_config;
#[cfg(not(loom))]
mod placement;
#[cfg(not(loom))]
mod presence;
#[cfg(not(loom))]
mod publisher;
#[cfg_attr(loom, allow(dead_code))]
mod queue;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod resolver;
#[cfg(not(loom))]
mod routes;
#[cfg(not(loom))]
mod seat;
#[cfg(not(loom))]
mod session;
#[cfg(not(loom))]
mod shard;
#[cfg(not(loom))]
mod srv;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod storage;
#[cfg(not(loom))]
mod subscriber;
#[cfg(not(loom))]
mod supervise;
#[cfg(not(loom))]
mod sys;
#[cfg(not(loom))]
mod tuning;
#[cfg(not(loom))]
mod wait;
#[cfg(not(loom))]
mod whereabouts;

#[cfg(not(loom))]
pub use sys::memory;
pub use tidings_protocol::latency;

#[cfg(not(loom))]
pub use crate::{
    builder::EngineBuilder,
    discovery::{DiscoverySettings, DiscoveryStats},
    engine::Engine,
    error::{EngineError, StartError},
    join::{BadSeed, Seed},
    on_shard::{Desk, Outbox},
    overlay_config::{OverlayConfig, OverlayEntry},
    presence::{Presence, PresenceEvent},
    publisher::{PublishRefusal, Published, Publisher, PublisherOptions},
    record::{Gap, OutcomeRange},
    seat::Seat,
    session::{Departed, Flushed, Session, Verdict},
    shard::notice::Notice,
    shard::outlet::OutcomeWish,
    stats::{EngineStats, OverlayStats, ShardQueues, ShardStats},
    storage::StorageError,
    subscriber::{Message, MessageId, Received, Subscriber, SubscriberOptions},
    tuning::Tuning,
    wait::Waiting,
    wait::polling::Poll,
};

/// What applications meet of the protocol.
#[cfg(not(loom))]
pub use tidings_protocol::{
    Accepted, AckMode, Batch, CommandError, Delivery, Event, Health, KeyUse, Member,
    MemberCounters, Outcome, PeerCounters, PeerStats, Policy, PresenceKind, Profile,
    PublishCounters, PublishError, PublisherId, ReceiveCounters, Redelivery, Refusals, Run,
    SlowPolicy, Standing, SubSpec, Subscription, SyncStage, Taken, Trace, TraceNode, TraceWay,
};
/// What applications meet of the wire.
#[cfg(not(loom))]
pub use tidings_wire::{
    Boot, KeyRecord, Keyring, NodeId, OverlayId, Suite,
    digest::{MemberState, Payload},
};
