//! The answering side of ping-pong, by each way to attach: publishes every request again, on the other topic.

pub(super) mod any_thread;
pub(super) mod daemon;
pub(super) mod on_shard;
