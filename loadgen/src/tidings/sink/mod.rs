//! The subscribing side, by each way to attach.

pub(super) mod any_thread;
pub(super) mod daemon;
pub(super) mod on_shard;
