//! A socket address: 16 bytes of IPv6 or mapped IPv4, then the port.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An address as members advertise it: 18 bytes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Addr {
    /// IPv6, or IPv4 as ::ffff:a.b.c.d.
    pub ip: [u8; 16],
    /// UDP port.
    pub port: U16,
}

const _: () = assert!(size_of::<Addr>() == 18);

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self {
            ip: ip.octets(),
            port: U16::new(addr.port()),
        }
    }
}

impl From<Addr> for SocketAddr {
    fn from(addr: Addr) -> Self {
        Self::new(Ipv6Addr::from(addr.ip).to_canonical(), addr.port.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_come_back_as_they_were() {
        for text in ["10.1.2.3:4567", "[2001:db8::1]:9"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Addr::from(addr)), addr);
        }
    }
}
