//! The engine of Tidings: shards on io_uring, their sockets, the queues between threads and the embedding API.
//! It drives the sans-IO core of `tidings-protocol`; the daemon and embedders drive it.

#[cfg(not(loom))]
pub mod gateway;
#[cfg(not(loom))]
pub mod limits;
#[allow(dead_code)]
pub(crate) mod queue;
#[cfg(not(loom))]
#[allow(dead_code)]
pub(crate) mod sys;
