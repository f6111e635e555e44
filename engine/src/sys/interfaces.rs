//! The addresses of this host, for a node that is bound to all of them and told no better.

use std::net::{IpAddr, Ipv6Addr};

use super::addr::RawAddr;

/// Addresses that other hosts may reach: neither loopback nor link-local, IPv4 first, at most `max`.
pub(crate) fn reachable(max: usize) -> Vec<IpAddr> {
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
            found.push(ip);
        }
        next = entry.ifa_next;
    }
    // SAFETY: `list` came from `getifaddrs`, and nothing of it is used any more.
    unsafe { libc::freeifaddrs(list) };
    found.sort_by_key(IpAddr::is_ipv6);
    found.dedup();
    found.truncate(max);
    found
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
    let ip = raw.read()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified() && !is_link_local(ip)).then_some(ip)
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => Ipv6Addr::is_unicast_link_local(&ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_one_that_others_cannot_reach() {
        for ip in reachable(8) {
            assert!(!ip.is_loopback() && !is_link_local(ip), "{ip}");
        }
    }
}
