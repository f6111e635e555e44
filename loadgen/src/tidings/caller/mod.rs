//! The calling side of ping-pong, by each way to attach: publishes requests and takes the answers.

pub(super) mod any_thread;
pub(super) mod daemon;
pub(super) mod on_shard;
