//! The protocol core of Tidings: membership, links, subscriptions, delivery, without a clock, a socket or a thread.
//!
//! One [`Core`] is one overlay on one node. Its owner (the engine's shards, or a simulation) feeds it datagrams, commands and
//! the time, and sends what [`Core::flush`] plans. Same inputs and seed, same bytes.
#![forbid(unsafe_code)]

mod config;
mod core;
mod counters;
mod encode;
mod event;
mod fan;
pub mod latency;
pub mod limits;
mod links;
mod members;
mod peer;
#[cfg(any(test, feature = "props"))]
pub mod props;
mod publish;
mod ranges;
mod receive;
mod rng;
mod tables;
mod timers;
mod tx;

pub use crate::core::{
    Batch, Core, Health, KeyUse, Member, PeerStats, Refusals, Standing, Subscription, SyncStage,
    Trace, TraceNode, TraceWay, Transmit,
};
pub use config::{AckMode, CoreConfig, Policy, Profile, Redelivery, SlowPolicy, SubSpec};
pub use event::{
    Accepted, CommandError, Delivery, Event, Outcome, Outlet, PresenceKind, PublishError,
    PublisherId, Taken,
};
pub use links::budget::Bucket;
pub use links::traffic::PeerCounters;
pub use members::MemberCounters;
pub use publish::PublishCounters;
pub use receive::ReceiveCounters;
pub use receive::run::Run;
pub use tidings_wire::digest::{MemberState, Payload};
