//! BEACON: a node tells its network segment where it is reached.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use zerocopy::little_endian::U16;

use crate::error::DecodeError;
use crate::ids::{Boot, NodeId};

digest! {
    /// BEACON: who sent it and one unicast address of theirs, the one it was sent from.
    Beacon = 0x05, 56 bytes {
        /// UDP port of the sender, for unicast.
        4 port: U16,
        /// Zero.
        6 rsv: [u8; 2],
        /// The sender.
        8 id: NodeId,
        /// Its boot.
        24 boot: Boot,
        /// IPv6, or IPv4 as ::ffff:a.b.c.d.
        40 ip: [u8; 16],
    }
}

impl Beacon {
    /// A beacon of this node for one of its addresses.
    pub fn new(id: NodeId, boot: Boot, addr: SocketAddr) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self {
            port: U16::new(addr.port()),
            id,
            boot,
            ip: ip.octets(),
            ..Self::default()
        }
    }

    /// Where the sender says it is reached.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.ip).to_canonical(), self.port.get())
    }

    /// A node and a boot that are named, and an address that one host can have.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        let addr = self.addr();
        let is_one = !addr.ip().is_unspecified() && !addr.ip().is_multicast();
        if self.id != NodeId::ZERO && self.boot != Boot::ZERO && addr.port() != 0 && is_one {
            Ok(())
        } else {
            Err(DecodeError::Value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_and_one_that_no_host_has_is_refused() {
        let made = |text: &str| Beacon::new(NodeId([1; 16]), Boot([2; 16]), text.parse().unwrap());
        for text in ["10.1.2.3:4567", "[2001:db8::1]:9"] {
            assert_eq!(made(text).addr(), text.parse().unwrap());
            assert_eq!(made(text).check(), Ok(()));
        }
        for text in [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:0",
            "239.255.0.1:1",
            "[ff02::1]:1",
        ] {
            assert_eq!(made(text).check(), Err(DecodeError::Value), "{text}");
        }
        let mut nobody = made("10.1.2.3:4567");
        nobody.id = NodeId::ZERO;
        assert_eq!(nobody.check(), Err(DecodeError::Value));
    }
}
