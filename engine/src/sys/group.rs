//! The sockets of one node: one UDP port, per shard a control and a data socket, on shard 0 a hello socket besides.
//!
//! The kernel numbers the sockets of a reuseport group in the order in which they bind, and the steering program answers
//! with such a number. So they bind in one fixed order and none is ever closed singly or connected; the number of shards
//! changes by restart.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::addr::Family;
use super::bpf::{self, SteerTable};
use super::socket::UdpSocket;
use crate::limits::{RCVBUF_CONTROL_BYTES, RCVBUF_DATA_BYTES, RCVBUF_HELLO_BYTES, SNDBUF_BYTES};

/// Differentiated services code point of control datagrams (AF41): a class of its own is what keeps the kernel from
/// merging acks with payload; the exact value is a guess that no router on our test paths objects to.
const CONTROL_DSCP: u8 = 34;

/// The sockets that one shard owns.
#[derive(Debug)]
pub(crate) struct ShardSockets {
    pub(crate) control: UdpSocket,
    pub(crate) data: UdpSocket,
    /// On shard 0 only.
    pub(crate) hello: Option<UdpSocket>,
}

/// A handle by which the control thread replaces the steering program of the group.
#[derive(Debug)]
pub(crate) struct Steering {
    fd: OwnedFd,
    shards: usize,
}

/// A bound group, before its sockets are handed to the shards.
#[derive(Debug)]
pub(crate) struct SocketGroup {
    pub(crate) local: SocketAddr,
    pub(crate) steering: Steering,
    pub(crate) shards: Vec<ShardSockets>,
}

impl SocketGroup {
    /// Binds the whole group to `addr` (port 0: a free one). A port that anybody holds is refused, also when the holder
    /// would share it: the first socket binds without SO_REUSEPORT.
    pub(crate) fn bind(
        addr: SocketAddr,
        shards: usize,
        boot_tag: u16,
        table: &SteerTable,
    ) -> io::Result<Self> {
        let first = control_socket(Family::of(addr), boot_tag)?;
        first.bind(addr)?;
        first.share_port()?;
        let local = first.local_addr()?;
        let mut first = Some(first);
        let mut sockets = Vec::with_capacity(shards);
        for _ in 0..shards {
            let control = match first.take() {
                Some(bound) => bound,
                None => join(control_socket(Family::of(local), boot_tag)?, local)?,
            };
            let data = data_socket(Family::of(local), boot_tag)?;
            sockets.push(ShardSockets {
                control,
                data: join(data, local)?,
                hello: None,
            });
        }
        sockets[0].hello = Some(join(hello_socket(Family::of(local))?, local)?);
        let steering = Steering {
            fd: sockets[0].control.as_fd().try_clone_to_owned()?,
            shards,
        };
        steering.replace(table)?;
        Ok(Self {
            local,
            steering,
            shards: sockets,
        })
    }
}

impl Steering {
    /// Compiles and attaches a new placement; datagrams that arrive from now on follow it.
    pub(crate) fn replace(&self, table: &SteerTable) -> io::Result<()> {
        bpf::attach_steering(self.fd.as_fd(), &bpf::steering(table, self.shards))
    }
}

fn join(socket: UdpSocket, local: SocketAddr) -> io::Result<UdpSocket> {
    socket.share_port()?;
    socket.bind(local)?;
    Ok(socket)
}

fn control_socket(family: Family, boot_tag: u16) -> io::Result<UdpSocket> {
    let mut socket = UdpSocket::open(family)?;
    socket.size_buffers(RCVBUF_CONTROL_BYTES, SNDBUF_BYTES)?;
    socket.probe_path_mtu()?;
    socket.keep_errors()?;
    socket.mark(CONTROL_DSCP)?;
    socket.coalesce();
    bpf::attach_filter(socket.as_fd(), &bpf::control_filter(boot_tag))?;
    Ok(socket)
}

fn data_socket(family: Family, boot_tag: u16) -> io::Result<UdpSocket> {
    let mut socket = UdpSocket::open(family)?;
    socket.size_buffers(RCVBUF_DATA_BYTES, SNDBUF_BYTES)?;
    socket.probe_path_mtu()?;
    // A kernel that cannot hands over single datagrams, which are received all the same.
    socket.coalesce();
    bpf::attach_filter(socket.as_fd(), &bpf::data_filter(boot_tag))?;
    Ok(socket)
}

fn hello_socket(family: Family) -> io::Result<UdpSocket> {
    let mut socket = UdpSocket::open(family)?;
    socket.size_buffers(RCVBUF_HELLO_BYTES, SNDBUF_BYTES)?;
    socket.probe_path_mtu()?;
    bpf::attach_filter(socket.as_fd(), &bpf::hello_filter())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SLOT_BYTES_GRO, STEERS};
    use crate::sys::recv::{Received, Receiver};
    use std::net::UdpSocket as StdSocket;

    const TAG: u16 = 0x5a7;

    fn datagram(class: u8, steer: u8, tag: u16) -> Vec<u8> {
        let mut bytes = vec![0u8; 64];
        bytes[0] = 0x10 | class;
        bytes[3] = steer;
        bytes[4..8].copy_from_slice(&(u32::from(tag) << 20 | 7).to_le_bytes());
        bytes
    }

    /// The same, once one does.
    fn arrived_soon(group: &SocketGroup) -> Vec<(usize, char)> {
        let shards = group.shards.iter();
        UdpSocket::wait_any(shards.flat_map(|shard| {
            let both = [&shard.control, &shard.data];
            both.into_iter().chain(&shard.hello)
        }));
        arrived(group)
    }

    /// Which sockets of the group hold a datagram: (shard, 'c' | 'd' | 'h').
    fn arrived(group: &SocketGroup) -> Vec<(usize, char)> {
        let mut found = Vec::new();
        let mut receiver = Receiver::new(SLOT_BYTES_GRO, 2, 2);
        for (shard, sockets) in group.shards.iter().enumerate() {
            let named = [
                (Some(&sockets.control), 'c'),
                (Some(&sockets.data), 'd'),
                (sockets.hello.as_ref(), 'h'),
            ];
            for (socket, name) in named {
                let Some(socket) = socket else { continue };
                while let Received::Batch { .. } = receiver.recv(socket, usize::MAX) {
                    receiver.take(|_, _| found.push((shard, name)));
                }
            }
        }
        found
    }

    fn table(shards: usize) -> SteerTable {
        let mut table = [0; STEERS];
        for (steer, shard) in table.iter_mut().enumerate() {
            *shard = (steer % shards) as u8;
        }
        table
    }

    #[test]
    fn class_and_steer_pick_the_socket_and_a_new_program_takes_over_at_run_time() {
        for addr in ["127.0.0.1:0", "[::]:0", "[::1]:0"] {
            let group = SocketGroup::bind(addr.parse().unwrap(), 3, TAG, &table(3)).unwrap();
            let ip = if addr.starts_with("[::1]") {
                "::1"
            } else {
                "127.0.0.1"
            };
            let sender = StdSocket::bind((ip, 0)).unwrap();
            let to = (ip, group.local.port());
            for steer in [0u8, 1, 2, 100, 255] {
                let shard = usize::from(steer) % 3;
                for (class, name) in [(2, 'c'), (3, 'd'), (4, 'd')] {
                    sender.send_to(&datagram(class, steer, TAG), to).unwrap();
                    assert_eq!(
                        arrived_soon(&group),
                        [(shard, name)],
                        "{addr} class {class} steer {steer}"
                    );
                }
                sender.send_to(&datagram(1, steer, TAG), to).unwrap();
                assert_eq!(arrived_soon(&group), [(0, 'h')]);
            }
            group.steering.replace(&[2; STEERS]).unwrap();
            sender.send_to(&datagram(4, 1, TAG), to).unwrap();
            assert_eq!(arrived_soon(&group), [(2, 'd')]);
        }
    }

    #[test]
    fn junk_and_datagrams_of_another_boot_never_enter_a_queue() {
        let group =
            SocketGroup::bind("127.0.0.1:0".parse().unwrap(), 1, TAG, &[0; STEERS]).unwrap();
        let sender = StdSocket::bind("127.0.0.1:0").unwrap();
        for junk in [
            datagram(2, 0, TAG ^ 1),
            datagram(3, 0, TAG ^ 0x800),
            datagram(9, 0, TAG),
            vec![0x12],
            vec![],
        ] {
            sender.send_to(&junk, group.local).unwrap();
        }
        assert_eq!(arrived(&group), []);
    }

    #[test]
    fn a_held_port_fails_loudly_even_when_its_holder_shares_it() {
        let group =
            SocketGroup::bind("127.0.0.1:0".parse().unwrap(), 2, TAG, &[0; STEERS]).unwrap();
        let again = SocketGroup::bind(group.local, 2, TAG, &[0; STEERS]).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn receive_buffers_are_reported_as_granted() {
        let group =
            SocketGroup::bind("127.0.0.1:0".parse().unwrap(), 1, TAG, &[0; STEERS]).unwrap();
        assert!(group.shards[0].data.rcvbuf() >= 64 << 10);
        assert!(group.shards[0].control.rcvbuf() >= 32 << 10);
    }
}
