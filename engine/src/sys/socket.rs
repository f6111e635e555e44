//! One non-blocking UDP socket of the node's group, with the options that all of them share.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::addr::{Family, RAW_ADDR_LEN, RawAddr};
use super::option;

/// A UDP socket, never connected.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    fd: OwnedFd,
    family: Family,
    /// Receive buffer in bytes as the kernel granted it.
    rcvbuf: usize,
}

impl UdpSocket {
    /// Opens a socket for `family`, non-blocking and closed on exec.
    pub(crate) fn open(family: Family) -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: plain system call without pointers.
        let fd = unsafe { libc::socket(family.raw(), kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was returned by the kernel just now and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            family,
            rcvbuf: 0,
        })
    }

    pub(crate) fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        if self.family == Family::V6 {
            // [::] serves both families; a specific IPv6 address can only serve its own.
            let only = libc::c_int::from(!addr.ip().is_unspecified());
            option::set_int(self.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only)?;
        }
        let mut raw = RawAddr::EMPTY;
        let len = raw
            .write(addr, self.family)
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: `raw` holds a valid address of `len` bytes and lives through the call.
        let rc = unsafe { libc::bind(self.raw(), std::ptr::from_ref(&raw).cast(), len) };
        if rc == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        let mut raw = RawAddr::EMPTY;
        let mut len = RAW_ADDR_LEN;
        // SAFETY: `raw` has room for `len` bytes, the kernel writes no more.
        let rc =
            unsafe { libc::getsockname(self.raw(), std::ptr::from_mut(&mut raw).cast(), &mut len) };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
        raw.read().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Lets further sockets of this user join the port.
    pub(crate) fn share_port(&self) -> io::Result<()> {
        option::set_int(self.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
    }

    /// Never fragment, and never believe a router about the path MTU: probing measures it (RFC 8899).
    pub(crate) fn probe_path_mtu(&self) -> io::Result<()> {
        self.both_levels(
            (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
            (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
        )
    }

    /// Keep ICMP errors with the datagram that caused them on the error queue.
    pub(crate) fn keep_errors(&self) -> io::Result<()> {
        self.both_levels((libc::IP_RECVERR, 1), (libc::IPV6_RECVERR, 1))
    }

    /// Marks what this socket sends with a differentiated services code point.
    pub(crate) fn mark(&self, dscp: u8) -> io::Result<()> {
        let class = libc::c_int::from(dscp) << 2;
        self.both_levels((libc::IP_TOS, class), (libc::IPV6_TCLASS, class))
    }

    /// Sets an option on the IP level of the socket's family, and on the IPv4 level of a dual-stack socket as well.
    fn both_levels(
        &self,
        v4: (libc::c_int, libc::c_int),
        v6: (libc::c_int, libc::c_int),
    ) -> io::Result<()> {
        let on_v4 = option::set_int(self.as_fd(), libc::IPPROTO_IP, v4.0, v4.1);
        match self.family {
            Family::V4 => on_v4,
            Family::V6 => option::set_int(self.as_fd(), libc::IPPROTO_IPV6, v6.0, v6.1),
        }
    }

    /// Lets the kernel hand over runs of equal datagrams in one piece. `false`: this kernel cannot.
    pub(crate) fn coalesce(&self) -> bool {
        option::set_int(self.as_fd(), libc::IPPROTO_UDP, option::UDP_GRO, 1).is_ok()
    }

    pub(crate) fn size_buffers(&mut self, rcv_bytes: usize, snd_bytes: usize) -> io::Result<()> {
        self.rcvbuf = option::buffer(
            self.as_fd(),
            libc::SO_RCVBUFFORCE,
            libc::SO_RCVBUF,
            rcv_bytes,
        )?;
        option::buffer(
            self.as_fd(),
            libc::SO_SNDBUFFORCE,
            libc::SO_SNDBUF,
            snd_bytes,
        )?;
        Ok(())
    }

    /// The same socket with the standard library's calls.
    pub(crate) fn into_std(self) -> std::net::UdpSocket {
        self.fd.into()
    }

    pub(crate) fn rcvbuf(&self) -> usize {
        self.rcvbuf
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
impl UdpSocket {
    /// Waits until one of them has something to receive or to complain of, at most 10 s: on a busy machine the kernel may
    /// pass a datagram on after it was sent.
    pub(crate) fn wait_any<'a>(sockets: impl IntoIterator<Item = &'a Self>) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let fds = sockets
            .into_iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN));
        let mut fds: Vec<_> = fds.collect();
        let time = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&time)).unwrap();
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
