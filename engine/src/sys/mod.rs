//! The operating system: sockets, packet filters, descriptors. Called by the shards; knows nothing of the protocol but
//! the header bytes by which the kernel steers. Almost all `unsafe` of this crate lives here, each call wrapped once.

pub(crate) mod addr;
pub(crate) mod affinity;
pub(crate) mod bpf;
pub(crate) mod epoll;
pub(crate) mod errqueue;
pub(crate) mod eventfd;
pub(crate) mod group;
pub(crate) mod interfaces;
pub mod memory;
pub(crate) mod multicast;
pub(crate) mod option;
pub(crate) mod recv;
pub(crate) mod send;
pub(crate) mod socket;
pub(crate) mod timerfd;
