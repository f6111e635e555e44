//! The rings between shards: one from each to each other, for datagrams that the kernel put on the wrong one.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::ring::{Consumer, Producer, ring};
use crate::limits::MESH_RING_BYTES;

/// Bytes of a source address before a forwarded datagram: address, port, scope.
const ADDR: usize = 16 + 2 + 4;
/// The one kind of record so far.
const DATAGRAM: u32 = 1;

/// One shard's ends of the mesh; the entry of the shard itself is empty.
#[derive(Default)]
pub(crate) struct MeshEnds {
    pub(crate) to: Vec<Option<Producer>>,
    pub(crate) from: Vec<Option<Consumer>>,
}

/// Makes the mesh for `shards` shards.
pub(crate) fn mesh(shards: usize) -> Vec<MeshEnds> {
    let mut ends: Vec<MeshEnds> = (0..shards).map(|_| MeshEnds::default()).collect();
    for from in 0..shards {
        for to in 0..shards {
            let (tx, rx) = if from == to {
                (None, None)
            } else {
                split(ring(MESH_RING_BYTES))
            };
            ends[from].to.push(tx);
            ends[to].from.push(rx);
        }
    }
    ends
}

fn split((tx, rx): (Producer, Consumer)) -> (Option<Producer>, Option<Consumer>) {
    (Some(tx), Some(rx))
}

/// Passes a datagram on. `false`: the ring is full, the datagram is lost like any other.
pub(crate) fn forward(to: &mut Producer, from: SocketAddr, datagram: &[u8]) -> bool {
    to.push(DATAGRAM, &[&encode(from), datagram])
}

/// The next forwarded datagram of a ring, to be opened in place; the caller advances and releases.
pub(crate) fn forwarded(from: &mut Consumer) -> Option<(SocketAddr, &mut [u8])> {
    let (_, bytes) = from.peek()?;
    let (head, datagram) = bytes.split_at_mut(ADDR);
    Some((decode(head), datagram))
}

fn encode(addr: SocketAddr) -> [u8; ADDR] {
    let (ip, scope) = match addr {
        SocketAddr::V4(addr) => (addr.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(addr) => (*addr.ip(), addr.scope_id()),
    };
    let mut bytes = [0; ADDR];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..18].copy_from_slice(&addr.port().to_le_bytes());
    bytes[18..].copy_from_slice(&scope.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> SocketAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[..16]);
    let port = u16::from_le_bytes([bytes[16], bytes[17]]);
    let scope = u32::from_le_bytes([bytes[18], bytes[19], bytes[20], bytes[21]]);
    let ip = Ipv6Addr::from(octets);
    match ip.to_ipv4_mapped() {
        Some(plain) => SocketAddr::new(IpAddr::V4(plain), port),
        None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_datagram_keeps_its_source() {
        let mut ends = mesh(3);
        assert!(ends[0].to[0].is_none() && ends[2].from[2].is_none());
        for addr in ["10.0.0.1:7", "[fe80::1%3]:65535"] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert!(forward(ends[0].to[2].as_mut().unwrap(), addr, b"sealed"));
            let from = ends[2].from[0].as_mut().unwrap();
            let (source, bytes) = forwarded(from).unwrap();
            assert_eq!((source, &*bytes), (addr, b"sealed".as_slice()));
            from.advance();
            from.release();
            assert!(forwarded(from).is_none());
        }
    }
}
