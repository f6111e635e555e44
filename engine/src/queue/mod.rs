//! What crosses threads: byte rings with one producer and one consumer, the wake-ups that go with them, and tables that
//! one thread replaces while all others read. Nothing here blocks a shard; every queue is bounded.

pub(crate) mod bell;
pub(crate) mod call;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(not(loom))]
pub(crate) mod mesh;
pub(crate) mod notify;
pub(crate) mod positions;
#[cfg(not(loom))]
pub(crate) mod rcu;
#[cfg(not(loom))]
pub(crate) mod ring;
pub(crate) mod sync;
