//! Real datagrams from the wire of a host, to be damaged and sent again.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::sys;
use crate::host::Host;

/// Bytes of Ethernet, IPv4 and UDP headers in front of a payload.
const HEADERS: usize = 14 + 20 + 8;

/// A datagram's payload as it was on the wire. The last of a coalesced run may follow it.
pub type Sniffed = Vec<u8>;

/// Listens on a host's interface.
#[derive(Debug)]
pub struct Sniffer {
    socket: UdpSocket,
}

impl Sniffer {
    /// Begins to listen on `eth0` of `host`.
    ///
    /// # Panics
    /// If the kernel refuses a packet socket.
    pub fn on(host: &Host) -> Sniffer {
        let socket = host.inside(sys::packet_socket).expect("a packet socket");
        let timeout = Duration::from_millis(50);
        socket.set_read_timeout(Some(timeout)).expect("a timeout");
        Sniffer { socket }
    }

    /// The next UDP payload of this class to `port`, over IPv4.
    pub fn next(&self, class: u8, port: u16, within: Duration) -> Option<Sniffed> {
        let until = Instant::now() + within;
        let mut frame = vec![0; 1 << 16];
        while Instant::now() < until {
            let Ok(length) = sys::receive(&self.socket, &mut frame) else {
                continue;
            };
            let frame = &frame[..length];
            let is_udp4 = length > HEADERS && frame[12..14] == [8, 0] && frame[23] == 17;
            if is_udp4 && frame[36..38] == port.to_be_bytes() && frame[HEADERS] & 0x0f == class {
                return Some(frame[HEADERS..].to_vec());
            }
        }
        None
    }
}
