//! The error queue of a socket: what ICMP said about datagrams of ours, with the destination and the beginning of the
//! datagram it quotes. An error that stays in the queue fails the next send or receive, so the queue is drained.

use std::net::SocketAddr;

use super::addr::{RAW_ADDR_LEN, RawAddr};
use super::socket::UdpSocket;
use crate::limits::{ERRORS_PER_TURN_MAX, QUOTED_BYTES_MAX};

/// What the network said about one of our datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// Nobody listens at that port.
    Refused,
    /// Anything else: host or network unreachable, prohibited, too big for the path, which probing finds out by itself.
    Other,
}

/// Room for one extended error (16 bytes) with the offender's address behind it and the control header before.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Drains a bounded part of the queue; `each` gets the destination, the complaint and the quoted beginning of our
/// datagram. Returns how many entries were read.
pub(crate) fn drain(
    socket: &UdpSocket,
    mut each: impl FnMut(SocketAddr, Complaint, &[u8]),
) -> usize {
    for read in 0..ERRORS_PER_TURN_MAX {
        let mut quoted = [0u8; QUOTED_BYTES_MAX];
        let mut name = RawAddr::EMPTY;
        let mut control = Control([0; 128]);
        let mut vector = libc::iovec {
            iov_base: quoted.as_mut_ptr().cast(),
            iov_len: quoted.len(),
        };
        // SAFETY: an all-zero msghdr is valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = std::ptr::from_mut(&mut name).cast();
        header.msg_namelen = RAW_ADDR_LEN;
        header.msg_iov = &mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len();
        // SAFETY: all pointers of the header lead to locals of the stated lengths.
        let n = unsafe {
            libc::recvmsg(
                socket.raw(),
                &mut header,
                libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
            )
        };
        let Ok(len) = usize::try_from(n) else {
            return read;
        };
        let filled = header.msg_controllen.min(control.0.len());
        if let (Some(to), Some(complaint)) = (name.read(), complaint(&control.0[..filled])) {
            each(to, complaint, &quoted[..len.min(QUOTED_BYTES_MAX)]);
        }
    }
    ERRORS_PER_TURN_MAX
}

/// Finds the extended error among the control messages.
fn complaint(mut rest: &[u8]) -> Option<Complaint> {
    const HEAD: usize = size_of::<libc::cmsghdr>();
    while rest.len() >= HEAD {
        let len = usize::from_ne_bytes(rest[..8].try_into().ok()?);
        let level = libc::c_int::from_ne_bytes(rest[8..12].try_into().ok()?);
        let kind = libc::c_int::from_ne_bytes(rest[12..16].try_into().ok()?);
        let is_error = (level, kind) == (libc::IPPROTO_IP, libc::IP_RECVERR)
            || (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR);
        if is_error {
            // struct sock_extended_err: errno u32, origin, type, code, pad u8 each, info u32, data u32.
            let errno = u32::from_ne_bytes(rest.get(HEAD..HEAD + 4)?.try_into().ok()?);
            return Some(match errno as libc::c_int {
                libc::ECONNREFUSED => Complaint::Refused,
                _ => Complaint::Other,
            });
        }
        rest = rest.get(len.max(HEAD).next_multiple_of(8)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::addr::Family;
    use crate::sys::send::{Datagrams, Sender};
    use tidings_wire::Class;

    #[test]
    fn a_closed_port_is_told_with_destination_and_quoted_payload_and_sending_goes_on() {
        for (family, any) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
            let socket = UdpSocket::open(family).unwrap();
            socket.bind(any.parse().unwrap()).unwrap();
            socket.keep_errors().unwrap();
            let closed = std::net::UdpSocket::bind(any)
                .unwrap()
                .local_addr()
                .unwrap();
            let mut sender = Sender::new();
            let run = Datagrams {
                to: closed,
                class: Class::Fan,
                segment: 26,
                bytes: b"abcdefghijklmnopqrstuvwxyz",
            };
            sender.send(&socket, 0, [run]);
            let mut heard = Vec::new();
            UdpSocket::wait_any([&socket]);
            drain(&socket, |to, complaint, quoted| {
                heard.push((to, complaint, quoted.to_vec()))
            });
            assert_eq!(heard, [(closed, Complaint::Refused, run.bytes.to_vec())]);

            // Undrained, the error fails the next call once; the sender tries again and says that there is an error.
            sender.send(&socket, 0, [run]);
            UdpSocket::wait_any([&socket]);
            let sent = sender.send(&socket, 0, [run]);
            assert_eq!((sent.datagrams, sent.errors), (1, true));
            let mut told = drain(&socket, |_, _, _| ());
            if told < 2 {
                UdpSocket::wait_any([&socket]);
                told += drain(&socket, |_, _, _| ());
            }
            assert_eq!(told, 2);
        }
    }

    #[test]
    fn on_a_dual_stack_socket_ipv4_errors_are_told_as_well() {
        let socket = UdpSocket::open(Family::V6).unwrap();
        socket.bind("[::]:0".parse().unwrap()).unwrap();
        socket.keep_errors().unwrap();
        let closed = std::net::UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        Sender::new().send(
            &socket,
            0,
            [Datagrams {
                to: closed,
                class: Class::Fan,
                segment: 4,
                bytes: b"ping",
            }],
        );
        let mut heard = Vec::new();
        UdpSocket::wait_any([&socket]);
        drain(&socket, |to, complaint, _| heard.push((to, complaint)));
        assert_eq!(heard, [(closed, Complaint::Refused)]);
    }
}
