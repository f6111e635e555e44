//! Socket addresses in the kernel's form and in ours. A dual-stack socket speaks IPv6 only, so IPv4 peers are mapped on
//! the way out and unmapped on the way in: everything above sees plain IPv4 and IPv6 addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(addr: SocketAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(crate) fn raw(self) -> libc::c_int {
        match self {
            Self::V4 => libc::AF_INET,
            Self::V6 => libc::AF_INET6,
        }
    }
}

/// Room for one address of either family, as `recvmmsg` and `sendmmsg` want it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawAddr {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// Bytes of a [`RawAddr`].
pub(crate) const RAW_ADDR_LEN: libc::socklen_t = size_of::<RawAddr>() as libc::socklen_t;

impl RawAddr {
    pub(crate) const EMPTY: Self = Self {
        v6: libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
    };

    /// Writes `addr` for a socket of `family` and returns the length. `None`: an IPv6 address for an IPv4 socket.
    pub(crate) fn write(&mut self, addr: SocketAddr, family: Family) -> Option<libc::socklen_t> {
        match (addr, family) {
            (SocketAddr::V4(addr), Family::V4) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: addr.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(addr.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                Some(size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            (SocketAddr::V4(addr), Family::V6) => {
                let mapped = SocketAddrV6::new(addr.ip().to_ipv6_mapped(), addr.port(), 0, 0);
                Some(self.write_v6(mapped))
            }
            (SocketAddr::V6(addr), Family::V6) => Some(self.write_v6(addr)),
            (SocketAddr::V6(addr), Family::V4) => {
                let plain = addr.ip().to_ipv4_mapped()?;
                self.write(
                    SocketAddr::V4(SocketAddrV4::new(plain, addr.port())),
                    family,
                )
            }
        }
    }

    fn write_v6(&mut self, addr: SocketAddrV6) -> libc::socklen_t {
        self.v6 = libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as libc::sa_family_t,
            sin6_port: addr.port().to_be(),
            sin6_flowinfo: addr.flowinfo(),
            sin6_addr: libc::in6_addr {
                s6_addr: addr.ip().octets(),
            },
            sin6_scope_id: addr.scope_id(),
        };
        size_of::<libc::sockaddr_in6>() as libc::socklen_t
    }

    /// What the kernel wrote here, IPv4-mapped addresses unmapped. `None`: neither IPv4 nor IPv6.
    pub(crate) fn read(&self) -> Option<SocketAddr> {
        // SAFETY: all variants begin with the family, every bit pattern is valid for all of them, and `EMPTY` or the
        // kernel initialised every byte that the chosen variant covers.
        unsafe {
            match libc::c_int::from(self.family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    Some(SocketAddr::new(
                        IpAddr::V4(ip),
                        u16::from_be(self.v4.sin_port),
                    ))
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    let port = u16::from_be(self.v6.sin6_port);
                    Some(match ip.to_ipv4_mapped() {
                        Some(plain) => SocketAddr::new(IpAddr::V4(plain), port),
                        None => SocketAddr::V6(SocketAddrV6::new(
                            ip,
                            port,
                            self.v6.sin6_flowinfo,
                            self.v6.sin6_scope_id,
                        )),
                    })
                }
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_both_ways_and_ipv4_is_mapped_on_an_ipv6_socket() {
        for (text, family) in [
            ("10.1.2.3:700", Family::V4),
            ("10.1.2.3:700", Family::V6),
            ("[fe80::7]:9", Family::V6),
        ] {
            let addr: SocketAddr = text.parse().unwrap();
            let mut raw = RawAddr::EMPTY;
            assert!(raw.write(addr, family).is_some());
            assert_eq!(raw.read(), Some(addr), "{text} on {family:?}");
        }
        assert!(RawAddr::EMPTY.read().is_none());
        assert!(
            RawAddr::EMPTY
                .clone()
                .write("[::1]:1".parse().unwrap(), Family::V4)
                .is_none()
        );
    }
}
