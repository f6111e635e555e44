//! Junk, or what was recorded, from one whole core: batches of datagrams by segmentation offload, as fast as the kernel takes them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::lab::set_udp_segment;

/// What the datagrams are.
#[derive(Clone, Debug)]
pub enum Junk {
    /// Random bytes.
    Random,
    /// Random bytes behind this first byte.
    FirstByte(u8),
    /// This header, then random bytes.
    Header(Vec<u8>),
    /// These datagrams, all of one size, in turn.
    Again(Vec<Vec<u8>>),
}

/// Floods one address.
#[derive(Debug)]
pub struct Flood;

/// Bytes of each datagram that is made up.
const SIZE: usize = 1200;
/// Datagrams of a batch at most; the kernel takes 64.
const BATCH: usize = 48;
/// Bytes of a batch at most.
const BATCH_BYTES: usize = 65_507;

impl Flood {
    /// Sends junk from `host` to `target` for `lasting` and gives the number of datagrams.
    ///
    /// # Panics
    /// If the kernel does not segment.
    pub fn run(host: &Host, target: SocketAddr, junk: &Junk, lasting: Duration) -> u64 {
        let any: SocketAddr = if target.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0; 16], 0).into()
        };
        let socket = host
            .inside(|| std::net::UdpSocket::bind(any))
            .expect("a socket");
        let size = match junk {
            Junk::Again(datagrams) => datagrams[0].len(),
            _ => SIZE,
        };
        set_udp_segment(&socket, size as u16).expect("UDP_SEGMENT");
        socket.connect(target).expect("connected");
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let count = BATCH.min(BATCH_BYTES / size);
        let mut batch = vec![0; count * size];
        let began = Instant::now();
        let mut sent = 0;
        while began.elapsed() < lasting {
            fill(&mut batch, size, junk, &mut state);
            for _ in 0..16 {
                // A full queue or an ICMP answer is nothing to a flood.
                if socket.send(&batch).is_ok() {
                    sent += count as u64;
                }
            }
        }
        sent
    }

    /// Runs `body` while `junk` floods `target` without end; gives what `body` gave and the number of datagrams.
    pub fn during<T>(
        host: &Host,
        target: SocketAddr,
        junk: &Junk,
        body: impl FnOnce() -> T,
    ) -> (T, u64) {
        let over = AtomicBool::new(false);
        let sent = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    let more = Flood::run(host, target, junk, Duration::from_millis(50));
                    sent.fetch_add(more, Relaxed);
                }
            });
            let _end = End(&over);
            let result = body();
            over.store(true, Relaxed);
            (result, sent.load(Relaxed))
        })
    }
}

/// Ends the flood also when the body panics: the scope waits for its thread.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn fill(batch: &mut [u8], size: usize, junk: &Junk, state: &mut u64) {
    for word in batch.chunks_mut(8) {
        // xorshift64*
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        word.copy_from_slice(&random[..word.len()]);
    }
    for datagram in batch.chunks_mut(size) {
        match junk {
            Junk::Again(datagrams) => {
                *state = state.wrapping_add(1);
                datagram.copy_from_slice(&datagrams[*state as usize % datagrams.len()]);
            }
            Junk::Random => {}
            Junk::FirstByte(byte) => datagram[0] = *byte,
            Junk::Header(header) => datagram[..header.len()].copy_from_slice(header),
        }
    }
}
