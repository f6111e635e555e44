//! Everything that one node sends to another, recorded frame by frame at its receiver, and sent once more: from the
//! host of its sender, so that addresses, ports and all else are what they were.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{PORT, sys};
use crate::host::Host;
use crate::lab::set_receive_buffer;

/// Bytes of Ethernet, IPv4 and UDP headers in front of a payload.
const HEADERS: usize = 14 + 20 + 8;
/// Bytes of the largest payload on the wire; a longer one is a batch that was kept in one piece.
const DATAGRAM_MAX: usize = 1500 - 20 - 8;
/// Bytes that may wait in the kernel while the machine is busy.
const BUFFER: usize = 64 << 20;
/// Frames sent in one go, which the switch and the receiver's socket hold.
const BATCH: usize = 32;
/// Pause after such a batch.
const BREATH: Duration = Duration::from_millis(5);

/// Records one direction between two hosts, from its making on.
#[derive(Debug)]
pub struct Recorder {
    frames: Arc<Mutex<Vec<Vec<u8>>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Begins to record what arrives at `to` from `from`, over IPv4.
    ///
    /// # Panics
    /// If the kernel refuses a packet socket.
    pub fn between(from: &Host, to: &Host) -> Recorder {
        let socket = to.inside(sys::packet_socket).expect("a packet socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout");
        set_receive_buffer(&socket, BUFFER).expect("a large buffer");
        let (source, target) = (from.ip4().octets(), to.ip4().octets());
        let frames = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let (kept, ends) = (frames.clone(), over.clone());
        let record = move || {
            let mut frame = vec![0; 1 << 16];
            while !ends.load(Relaxed) {
                let Ok(length) = sys::receive(&socket, &mut frame) else {
                    continue;
                };
                let frame = &frame[..length];
                let is_udp4 = length > HEADERS && frame[12..14] == [8, 0] && frame[23] == 17;
                if is_udp4
                    && frame[26..30] == source
                    && frame[30..34] == target
                    && frame[36..38] == PORT.to_be_bytes()
                {
                    kept.lock()
                        .expect("nobody panics with it")
                        .push(frame.to_vec());
                }
            }
        };
        Recorder {
            frames,
            over,
            thread: Some(std::thread::spawn(record)),
        }
    }

    /// What was recorded so far, in order.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.frames.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // A panic there has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// How many of the frames carry a datagram of each class, by the nibble of the class.
pub fn classes(frames: &[Vec<u8>]) -> [usize; 16] {
    let mut counts = [0; 16];
    for frame in frames {
        counts[usize::from(frame[HEADERS] & 0x0f)] += 1;
    }
    counts
}

/// The datagrams of the size that most bytes among the frames are of; batches are passed over.
pub fn commonest(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let payloads = || frames.iter().map(|frame| &frame[HEADERS..]);
    let datagrams = || payloads().filter(|payload| payload.len() <= DATAGRAM_MAX);
    let count = |len: usize| datagrams().filter(|d| d.len() == len).count();
    let len = datagrams()
        .map(<[u8]>::len)
        .max_by_key(|len| len * count(*len));
    let alike = datagrams().filter(|d| Some(d.len()) == len);
    alike.map(<[u8]>::to_vec).collect()
}

/// Sends the frames from `host`, in order, in pieces that nothing on the way drops.
///
/// # Panics
/// If the kernel refuses one.
pub fn replay(host: &Host, frames: &[Vec<u8>]) {
    host.inside(|| {
        let socket = sys::packet_socket().expect("a packet socket");
        for batch in frames.chunks(BATCH) {
            for frame in batch {
                sys::send_frame(&socket, frame).expect("a frame is sent");
            }
            std::thread::sleep(BREATH);
        }
    });
}
