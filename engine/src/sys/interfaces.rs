//! The addresses of this host, for a node that is bound to all of them and told no better, and for `tidings doctor`.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

use super::addr::RawAddr;

/// Addresses that other hosts may reach: neither loopback nor link-local, IPv4 first, at most `max`.
pub(crate) fn reachable(max: usize) -> Vec<IpAddr> {
    let is_far = |ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified() && !is_link_local(*ip);
    let mut found: Vec<IpAddr> = all().into_iter().map(|(_, ip)| ip).filter(is_far).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found.dedup();
    found.truncate(max);
    found
}

/// One address of an interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name of the interface.
    pub(crate) name: String,
    /// Its number.
    pub(crate) index: u32,
    /// The address.
    pub(crate) ip: IpAddr,
    /// Whether the interface carries multicast.
    pub(crate) is_multicast: bool,
}

/// Every address of every interface that is up, with the interface's name.
pub(crate) fn all() -> Vec<(String, IpAddr)> {
    let places = places().into_iter();
    places.map(|place| (place.name, place.ip)).collect()
}

/// Every address of every interface that is up, and what is known of the interface.
pub(crate) fn places() -> Vec<Place> {
    let mut found = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the kernel's answer is put into `list`, which is freed below by its counterpart.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return found;
    }
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is an entry of the list, valid until `freeifaddrs`.
        let entry = unsafe { &*next };
        if let Some(ip) = address(entry) {
            // SAFETY: the name of an entry is a string that ends, valid until `freeifaddrs`.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            found.push(Place {
                // SAFETY: the call reads the name, which ends.
                index: unsafe { libc::if_nametoindex(entry.ifa_name) },
                name: name.to_string_lossy().into_owned(),
                ip,
                is_multicast: entry.ifa_flags & libc::IFF_MULTICAST as libc::c_uint != 0,
            });
        }
        next = entry.ifa_next;
    }
    // SAFETY: `list` came from `getifaddrs`, and nothing of it is used any more.
    unsafe { libc::freeifaddrs(list) };
    found
}

/// The largest packet that an interface sends, in bytes.
pub(crate) fn mtu(name: &str) -> io::Result<u32> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    // SAFETY: all zeros is a valid `ifreq`: an empty name and numbers.
    let mut asked: libc::ifreq = unsafe { std::mem::zeroed() };
    // Its last byte stays zero.
    if name.len() >= asked.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in asked.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request reads a name that ends and writes into the union behind it, which lives through the call.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &mut asked) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just written this part of the union.
    let mtu = unsafe { asked.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(io::Error::other)
}

fn address(entry: &libc::ifaddrs) -> Option<IpAddr> {
    if entry.ifa_addr.is_null() || entry.ifa_flags & libc::IFF_UP as libc::c_uint == 0 {
        return None;
    }
    // SAFETY: not null, so a socket address whose family says how long it is.
    let family = libc::c_int::from(unsafe { (*entry.ifa_addr).sa_family });
    let len = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    let mut raw = RawAddr::EMPTY;
    // SAFETY: the source has `len` bytes by its family, the target has room for either, and they do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(
            entry.ifa_addr.cast::<u8>(),
            std::ptr::from_mut(&mut raw).cast(),
            len,
        )
    };
    Some(raw.read()?.ip())
}

/// Whether an address means something on its own link only.
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => Ipv6Addr::is_unicast_link_local(&ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mtu_of_an_interface_is_told_by_its_name() {
        assert!(mtu("lo").unwrap() >= 1_280);
        assert!(mtu("none-such").is_err());
        assert!(mtu(&"x".repeat(64)).is_err());
    }

    #[test]
    fn no_address_is_one_that_others_cannot_reach() {
        for ip in reachable(8) {
            assert!(!ip.is_loopback() && !is_link_local(ip), "{ip}");
        }
    }
}
