//! Sockets for multicast: ears, which hear a group, and mouths, which speak to one from one address of this host. Used
//! by discovery alone. All are non-blocking.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdSocket};
use std::os::fd::AsFd;

use super::addr::Family;
use super::option;
use super::socket::UdpSocket;

// Linux numbers that the `libc` crate lacks or that only newer versions of it have.
const IP_MULTICAST_ALL: libc::c_int = 49;
const IPV6_MULTICAST_ALL: libc::c_int = 29;

/// A socket that hears what is sent to an IPv4 group at `port` on the interfaces where it is joined with [`join_v4`].
/// Bound to the group, so that nothing reaches it that was sent to this host alone; several processes hear the same.
pub(crate) fn ear_v4(group: Ipv4Addr, port: u16) -> io::Result<StdSocket> {
    let socket = UdpSocket::open(Family::V4)?;
    let fd = socket.as_fd();
    option::set_int(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    // Else it would hear what any process of this host has joined on any interface.
    option::set_int(fd, libc::IPPROTO_IP, IP_MULTICAST_ALL, 0)?;
    socket.bind(SocketAddr::from((group, port)))?;
    Ok(socket.into_std())
}

/// Joins an IPv4 group on one interface. One that is joined already stays so.
pub(crate) fn join_v4(ear: &StdSocket, group: Ipv4Addr, index: u32) -> io::Result<()> {
    let wish = membership_v4(group, Ipv4Addr::UNSPECIFIED, index);
    joined(option::set(
        ear.as_fd(),
        libc::IPPROTO_IP,
        libc::IP_ADD_MEMBERSHIP,
        &wish,
    ))
}

/// Leaves an IPv4 group on one interface; one that is gone has been left.
pub(crate) fn part_v4(ear: &StdSocket, group: Ipv4Addr, index: u32) {
    let wish = membership_v4(group, Ipv4Addr::UNSPECIFIED, index);
    // It fails where the interface is gone.
    let _ = option::set(
        ear.as_fd(),
        libc::IPPROTO_IP,
        libc::IP_DROP_MEMBERSHIP,
        &wish,
    );
}

/// A socket that hears what is sent to an IPv6 group at `port` on one interface. A group of link-local scope is one for
/// each link, so that each has its socket.
pub(crate) fn ear_v6(group: Ipv6Addr, port: u16, index: u32) -> io::Result<StdSocket> {
    let socket = UdpSocket::open(Family::V6)?;
    let fd = socket.as_fd();
    option::set_int(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    // Kernels before 4.20 lack it; then it hears what others of this host joined, which is refused like anything else.
    let _ = option::set_int(fd, libc::IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
    socket.bind(SocketAddr::V6(SocketAddrV6::new(group, port, 0, index)))?;
    let wish = libc::ipv6_mreq {
        ipv6mr_multiaddr: libc::in6_addr {
            s6_addr: group.octets(),
        },
        ipv6mr_interface: index,
    };
    joined(option::set(
        socket.as_fd(),
        libc::IPPROTO_IPV6,
        libc::IPV6_ADD_MEMBERSHIP,
        &wish,
    ))?;
    Ok(socket.into_std())
}

/// A socket that sends to groups from `ip` on the interface that has it: not beyond the segment, and to this host as
/// well.
pub(crate) fn mouth(ip: IpAddr, index: u32) -> io::Result<StdSocket> {
    let socket = match ip {
        IpAddr::V4(ip) => {
            let socket = UdpSocket::open(Family::V4)?;
            let fd = socket.as_fd();
            let from = membership_v4(Ipv4Addr::UNSPECIFIED, ip, index);
            option::set(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &from)?;
            option::set_int(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, 1)?;
            option::set_int(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, 1)?;
            socket
        }
        IpAddr::V6(_) => {
            let socket = UdpSocket::open(Family::V6)?;
            let fd = socket.as_fd();
            let from = libc::c_int::try_from(index).map_err(io::Error::other)?;
            option::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, from)?;
            option::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, 1)?;
            option::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, 1)?;
            socket
        }
    };
    socket.bind(SocketAddr::new(ip, 0))?;
    Ok(socket.into_std())
}

fn membership_v4(group: Ipv4Addr, from: Ipv4Addr, index: u32) -> libc::ip_mreqn {
    let raw = |ip: Ipv4Addr| libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    };
    libc::ip_mreqn {
        imr_multiaddr: raw(group),
        imr_address: raw(from),
        // Numbers of interfaces are positive in 31 bits; 0 lets the kernel choose.
        imr_ifindex: libc::c_int::try_from(index).unwrap_or(0),
    }
}

fn joined(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn heard(ear: &StdSocket, wanted: &[u8]) -> Option<SocketAddr> {
        let until = Instant::now() + Duration::from_secs(20);
        let mut room = [0; 64];
        while Instant::now() < until {
            match ear.recv_from(&mut room) {
                Ok((len, from)) if &room[..len] == wanted => return Some(from),
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        None
    }

    #[test]
    fn two_ears_of_one_host_hear_a_mouth_of_it_with_the_address_it_speaks_from() {
        // Loopback is on every machine; tests on one machine tell each other's datagrams apart by what is in them.
        let here = super::super::interfaces::places();
        let lo = here
            .iter()
            .find(|place| place.ip.is_loopback() && place.ip.is_ipv4());
        let index = lo.expect("loopback").index;
        let group = Ipv4Addr::new(239, 255, 84, 69);
        let ears = [(); 2].map(|()| ear_v4(group, 7399).unwrap());
        for ear in &ears {
            join_v4(ear, group, index).unwrap();
            join_v4(ear, group, index).unwrap();
        }
        let mouth = mouth(IpAddr::V4(Ipv4Addr::LOCALHOST), index).unwrap();
        let said = format!("beacon test {}", std::process::id());
        mouth.send_to(said.as_bytes(), (group, 7399)).unwrap();
        for ear in &ears {
            let from = heard(ear, said.as_bytes()).expect("heard");
            assert_eq!(from, mouth.local_addr().unwrap());
        }
    }
}
