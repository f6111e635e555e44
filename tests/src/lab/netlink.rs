//! Interfaces and addresses by rtnetlink, so that the lab needs no `ip` program. One `Netlink` speaks for the namespace
//! in which it was opened. It never waits for anything but the kernel's answer to the request just made.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use serde::Serialize;

use super::sys;

const RTM_NEWLINK: u16 = libc::RTM_NEWLINK;
const RTM_GETLINK: u16 = libc::RTM_GETLINK;
const RTM_NEWADDR: u16 = libc::RTM_NEWADDR;
const RTM_DELADDR: u16 = libc::RTM_DELADDR;
const RTM_NEWNEIGH: u16 = libc::RTM_NEWNEIGH;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

const IFLA_INFO_DATA: u16 = 2;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;
const IFLA_INET_CONF: u16 = 1;
const PROMOTE_SECONDARIES: u16 = 20;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// `IFF_RUNNING | IFF_LOWER_UP`: the kernel knows that there is a carrier and sends.
const RUNNING: u32 = libc::IFF_RUNNING as u32 | 1 << 16;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
const NESTED: u16 = 0x8000;

/// An rtnetlink socket.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: File,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What to change at an interface; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkChange {
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: Option<u32>,
    pub(crate) queue: Option<u32>,
    pub(crate) bridge: Option<u32>,
    pub(crate) up: bool,
}

/// An interface as the kernel sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkView {
    pub(crate) index: u32,
    pub(crate) running: bool,
    pub(crate) counts: InterfaceCounts,
}

/// The kernel's counters of one interface, seen from its host: `tx` leaves the host. A GSO batch counts once on a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InterfaceCounts {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that the host refused to take.
    pub rx_dropped: u64,
    /// Packets that never left the host, because its queue to the switch was full.
    pub tx_dropped: u64,
}

/// One request being written: a header, a fixed part and nested attributes.
struct Request(Vec<u8>);

impl Request {
    fn link(kind: u16, flags: u16, index: u32, change: u32) -> Request {
        let mut request = Request::header(kind, flags);
        request.link_part(index, change);
        request
    }

    fn header(kind: u16, flags: u16) -> Request {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Request(bytes)
    }

    /// struct ifinfomsg; `change` is the set of flags to raise.
    fn link_part(&mut self, index: u32, change: u32) {
        self.0.extend_from_slice(&[0; 4]);
        for word in [index, change, change] {
            self.0.extend_from_slice(&word.to_ne_bytes());
        }
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        let length = 4 + value.len() as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    fn put_name(&mut self, name: &str) {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.put(libc::IFLA_IFNAME, &bytes);
    }

    fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Request)) {
        let at = self.0.len();
        self.put(kind | NESTED, &[]);
        inside(self);
        let length = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Netlink> {
        Ok(Netlink {
            socket: sys::netlink_socket()?,
            sequence: 0,
            buffer: vec![0; 32 * 1024],
        })
    }

    /// Sends a request; hands every message of the answer to `see` and returns the kernel's verdict.
    fn ask(&mut self, mut request: Request, mut see: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.sequence += 1;
        let length = request.0.len() as u32;
        request.0[..4].copy_from_slice(&length.to_ne_bytes());
        request.0[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.socket.write_all(&request.0)?;
        loop {
            let got = self.socket.read(&mut self.buffer)?;
            let mut rest = &self.buffer[..got];
            while rest.len() >= 16 {
                let length = (u32_at(rest, 0) as usize).clamp(16, rest.len());
                let (message, next) = rest.split_at(length.next_multiple_of(4).min(rest.len()));
                let ours = u32_at(message, 8) == self.sequence;
                let kind = u16_at(message, 4);
                if ours && kind == libc::NLMSG_ERROR as u16 {
                    let code = u32_at(message, 16) as i32;
                    return if code == 0 {
                        Ok(())
                    } else {
                        Err(io::Error::from_raw_os_error(-code))
                    };
                }
                if ours {
                    see(kind, &message[16..]);
                }
                rest = next;
            }
        }
    }

    fn order(&mut self, request: Request) -> io::Result<()> {
        self.ask(request, |_, _| {})
    }

    /// Index, state and counters of the interface `name`.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<LinkView> {
        let mut request = Request::link(RTM_GETLINK, REQUEST | ACK, 0, 0);
        request.put_name(name);
        let mut view = LinkView::default();
        self.ask(request, |kind, body| {
            if kind == RTM_NEWLINK && body.len() >= 16 {
                view.index = u32_at(body, 4);
                view.running = u32_at(body, 8) & RUNNING == RUNNING;
                attributes(&body[16..], |kind, value| match kind {
                    libc::IFLA_STATS64 if value.len() >= 64 => {
                        view.counts = interface_counts(value)
                    }
                    _ => {}
                });
            }
        })?;
        Ok(view)
    }

    /// Changes an interface. It never gets a link-local address, hence no duplicate detection and no router solicitation.
    pub(crate) fn set_link(&mut self, index: u32, change: LinkChange) -> io::Result<()> {
        // A kernel without IPv6 refuses the request that speaks of link-local addresses.
        self.order(change_request(index, change, true))
            .or_else(|_| self.order(change_request(index, change, false)))?;
        if change.up {
            // By itself, because the kernel would raise the interface before it reads the rest.
            self.order(Request::link(
                RTM_NEWLINK,
                REQUEST | ACK,
                index,
                libc::IFF_UP as u32,
            ))?;
        }
        Ok(())
    }

    /// Makes a veth pair: `name` here, `peer` in the other namespace.
    pub(crate) fn add_veth(
        &mut self,
        name: &str,
        peer: &str,
        other: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut request = Request::link(RTM_NEWLINK, REQUEST | ACK | CREATE, 0, 0);
        request.put_name(name);
        request.nest(libc::IFLA_LINKINFO, |r| {
            r.put(libc::IFLA_INFO_KIND, b"veth");
            r.nest(IFLA_INFO_DATA, |r| {
                r.nest(VETH_INFO_PEER, |r| {
                    r.link_part(0, 0);
                    r.put_name(peer);
                    r.put_u32(libc::IFLA_NET_NS_FD, other.as_raw_fd() as u32);
                });
            });
        });
        self.order(request)
    }

    /// Makes a bridge that floods multicast.
    pub(crate) fn add_bridge(&mut self, name: &str) -> io::Result<()> {
        let mut request = Request::link(RTM_NEWLINK, REQUEST | ACK | CREATE, 0, 0);
        request.put_name(name);
        request.nest(libc::IFLA_LINKINFO, |r| {
            r.put(libc::IFLA_INFO_KIND, b"bridge");
            r.nest(IFLA_INFO_DATA, |r| r.put(IFLA_BR_MCAST_SNOOPING, &[0]));
        });
        self.order(request)
    }

    /// Gives the interface an address, usable at once.
    pub(crate) fn add_address(
        &mut self,
        index: u32,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<()> {
        self.order(address_request(
            RTM_NEWADDR,
            REQUEST | ACK | CREATE,
            index,
            address,
            prefix,
        ))
    }

    /// Takes an address from the interface.
    pub(crate) fn remove_address(
        &mut self,
        index: u32,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<()> {
        self.order(address_request(
            RTM_DELADDR,
            REQUEST | ACK,
            index,
            address,
            prefix,
        ))
    }

    /// Lets the interface know a neighbour for ever, so that nobody is asked for it.
    pub(crate) fn add_neighbour(
        &mut self,
        index: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> io::Result<()> {
        let (family, bytes) = octets(address);
        let mut request = Request::header(RTM_NEWNEIGH, REQUEST | ACK | CREATE);
        request.0.extend_from_slice(&[family, 0, 0, 0]);
        request.0.extend_from_slice(&index.to_ne_bytes());
        request.0.extend_from_slice(&NUD_PERMANENT.to_ne_bytes());
        request.0.extend_from_slice(&[0, 0]);
        request.put(NDA_DST, &bytes);
        request.put(NDA_LLADDR, &mac);
        self.order(request)
    }
}

fn change_request(index: u32, change: LinkChange, ip6: bool) -> Request {
    let mut request = Request::link(RTM_NEWLINK, REQUEST | ACK, index, 0);
    if let Some(mac) = change.mac {
        request.put(libc::IFLA_ADDRESS, &mac);
    }
    let words = [
        (libc::IFLA_MTU, change.mtu),
        (libc::IFLA_TXQLEN, change.queue),
        (libc::IFLA_MASTER, change.bridge),
    ];
    for (kind, value) in words {
        if let Some(value) = value {
            request.put_u32(kind, value);
        }
    }
    request.nest(IFLA_AF_SPEC, |r| {
        // Or removing a host's first address would remove the others of its network.
        r.nest(libc::AF_INET as u16, |r| {
            r.nest(IFLA_INET_CONF, |r| r.put_u32(PROMOTE_SECONDARIES, 1));
        });
        if ip6 {
            r.nest(libc::AF_INET6 as u16, |r| {
                r.put(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_NONE]);
            });
        }
    });
    request
}

/// Address family and bytes.
fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(ip) => (libc::AF_INET as u8, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6 as u8, ip.octets().to_vec()),
    }
}

fn address_request(kind: u16, flags: u16, index: u32, address: IpAddr, prefix: u8) -> Request {
    let (family, bytes) = octets(address);
    let mut request = Request::header(kind, flags);
    request
        .0
        .extend_from_slice(&[family, prefix, libc::IFA_F_NODAD as u8, 0]);
    request.0.extend_from_slice(&index.to_ne_bytes());
    request.put(IFA_LOCAL, &bytes);
    request.put(IFA_ADDRESS, &bytes);
    request.put_u32(IFA_FLAGS, libc::IFA_F_NODAD);
    request
}

/// struct rtnl_link_stats64: u64 each, rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors rx_dropped tx_dropped.
fn interface_counts(value: &[u8]) -> InterfaceCounts {
    let word = |i: usize| {
        value[8 * i..8 * i + 8]
            .try_into()
            .map_or(0, u64::from_ne_bytes)
    };
    InterfaceCounts {
        rx_packets: word(0),
        tx_packets: word(1),
        rx_bytes: word(2),
        tx_bytes: word(3),
        rx_dropped: word(6),
        tx_dropped: word(7),
    }
}

fn attributes(mut rest: &[u8], mut see: impl FnMut(u16, &[u8])) {
    while rest.len() >= 4 {
        let length = usize::from(u16_at(rest, 0)).clamp(4, rest.len());
        see(u16_at(rest, 2) & !NESTED, &rest[4..length]);
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
