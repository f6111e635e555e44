//! What a node would find on this host, for whoever looks before one starts, as `tidings doctor` does. Nothing here is
//! called by a running node.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use crate::discovery::{self, DiscoverySettings};
use crate::sys::interfaces;
use crate::wait;

/// Every address of every interface that is up, with the interface's name, loopback included.
pub fn addresses() -> Vec<(String, IpAddr)> {
    interfaces::all()
}

/// The largest packet that an interface sends, in bytes.
pub fn mtu(interface: &str) -> io::Result<u32> {
    interfaces::mtu(interface)
}

/// Whether a node bound to `local` could find others on its network segments: for each address from which it would send beacons the
/// name of its interface, and what came of joining the group there and of sending an empty datagram to it, which nobody takes for
/// anything. None: there is no such address.
pub fn try_discovery(
    settings: &DiscoverySettings,
    local: SocketAddr,
) -> Vec<(String, IpAddr, io::Result<()>)> {
    discovery::probe(settings, local)
}

/// Whether a shard could sleep on an io_uring: makes what it would make, on a thread of its own, and lets it go again.
/// An error says in words why the system refuses; shards then wait with epoll.
pub fn try_io_uring() -> Result<(), String> {
    let tried = thread::Builder::new()
        .name("tidings-try".into())
        .spawn(wait::try_io_uring)
        .map_err(|error: io::Error| error.to_string())?;
    tried
        .join()
        .unwrap_or_else(|_| Err("the attempt panicked".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_listed_with_its_name() {
        let all = addresses();
        let is_loopback = |(name, ip): &(String, IpAddr)| name == "lo" && ip.is_loopback();
        assert!(all.iter().any(is_loopback), "{all:?}");
    }

    #[test]
    fn trying_io_uring_answers_and_may_be_done_again() {
        assert_eq!(try_io_uring().is_ok(), try_io_uring().is_ok());
    }
}
