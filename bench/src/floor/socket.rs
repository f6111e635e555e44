//! Sockets of the floor programs, on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use super::Fault;
use crate::sys::set_option;

/// Largest UDP payload over IPv4.
pub const DATAGRAM_MAX: usize = 65_507;
/// One send holds at most so many bytes and segments: as in the engine's limits.
const RUN_BYTES: usize = 65_400;
/// What a stream on loopback has under way.
pub const RING: usize = 4 << 20;
/// Runs of one call: more are not worth it.
pub const SENDS_MAX: usize = 64;
/// Segments of one send: kernels before 6.9 stop there.
pub const SEGMENTS_MAX: usize = 64;
/// Bytes that one receive may bring.
pub const SLOT_BYTES: usize = 1 << 16;
/// How long a receiver waits before it looks whether the run is over.
pub const LOOK: Duration = Duration::from_millis(50);
/// As large as the pipe's first version had it, so that figures stay comparable.
const BUFFER_BYTES: libc::c_int = 16 << 20;

/// A socket with large buffers, whose receives end after [`LOOK`].
pub fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Past the limit of net.core if we may, up to it otherwise.
    for (forced, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        set_option(&socket, libc::SOL_SOCKET, forced, BUFFER_BYTES)
            .or_else(|_| set_option(&socket, libc::SOL_SOCKET, plain, BUFFER_BYTES))?;
    }
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// Two sockets, each connected to the other.
pub fn connected() -> io::Result<(UdpSocket, UdpSocket)> {
    let (tx, rx) = (socket()?, socket()?);
    tx.connect(rx.local_addr()?)?;
    rx.connect(tx.local_addr()?)?;
    Ok((tx, rx))
}

/// Lets a socket cut what it sends into datagrams of this size.
pub fn segment(socket: &UdpSocket, datagram: usize) -> io::Result<()> {
    set_option(
        socket,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
        datagram as libc::c_int,
    )
}

/// Lets a socket receive runs of datagrams of one size in one piece.
pub fn coalesce(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// The IPv4 address of a socket of ours.
pub fn addr(socket: &UdpSocket) -> io::Result<SocketAddrV4> {
    match socket.local_addr()? {
        std::net::SocketAddr::V4(addr) => Ok(addr),
        std::net::SocketAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// How many datagrams of this size one send holds: `wanted`, or as many as fit.
pub fn segments(datagram: usize, wanted: Option<usize>) -> Result<usize, Fault> {
    if !(1..=DATAGRAM_MAX).contains(&datagram) {
        return Err(format!("datagrams of {datagram} B: give 1 to {DATAGRAM_MAX}").into());
    }
    let most = (RUN_BYTES / datagram).clamp(1, SEGMENTS_MAX);
    match wanted {
        None => Ok(most),
        Some(wanted) if (1..=most).contains(&wanted) => Ok(wanted),
        Some(wanted) => {
            Err(format!("--segments {wanted}: of {datagram} B one send holds 1 to {most}").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_holds_what_the_kernel_takes_in_one_piece() {
        let most = |datagram| segments(datagram, None).expect("a good size");
        assert_eq!(
            [64, 1_448, 8_972, 65_000, 65_507].map(most),
            [64, 45, 7, 1, 1]
        );
        assert_eq!(segments(1_448, Some(10)).ok(), Some(10));
        assert!(segments(1_448, Some(46)).is_err());
        assert!(segments(65_508, None).is_err() && segments(0, None).is_err());
    }
}
