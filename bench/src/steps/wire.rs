//! Steps of the wire crate on datagrams that are full of messages: header check, window, sealing, opening, encoding,
//! decoding.

use std::hint::black_box;

use tidings_wire::digest::{Digest, Digests, Message, Writer};
use tidings_wire::{
    Boot, FAN_HEADER, FanRx, FanTx, FloorWindow, Header, KeyRecord, Keyring, NodeId, OverlayId,
    Suite, TAG,
};

use super::{DATAGRAMS, Step, messages};

/// The publisher's number in the datagrams.
const HANDLE: u32 = 1;
const STEER: u8 = 9;
/// Bits of a stream's window.
const WINDOW_BITS: u64 = 8_192;

fn keyring() -> Keyring {
    let record = KeyRecord::new(0, Suite::Aes256Gcm, [7; 32]);
    Keyring::new(OverlayId::from_name("bench"), vec![record], 0).expect("a valid keyring")
}

fn sender() -> FanTx {
    FanTx::new(&keyring(), 0, NodeId([1; 16]), Boot([2; 16]), 3, 0).expect("slot 0 is there")
}

fn receiver() -> FanRx {
    FanRx::new(&keyring(), 0, NodeId([1; 16]), Boot([2; 16]), 3, 0, 0).expect("slot 0 is there")
}

/// The body of a datagram of messages of this size, the first with its number.
fn body(size: usize) -> Vec<u8> {
    let payload = vec![7; size];
    let mut body = vec![0; 8 + messages(size) * (8 + size.next_multiple_of(8))];
    let mut writer = Writer::new(&mut body);
    for at in 0..messages(size) {
        let seq = (at == 0).then_some(5);
        assert!(writer.put_message(HANDLE, seq, &payload), "it fits");
    }
    body
}

/// As many datagrams as one run takes, with room for header and tag, not sealed.
fn datagrams(size: usize) -> Vec<Vec<u8>> {
    let mut datagram = vec![0; FAN_HEADER];
    datagram.extend(body(size));
    datagram.extend([0; TAG]);
    vec![datagram; DATAGRAMS]
}

fn sealed(size: usize) -> Vec<Vec<u8>> {
    let mut tx = sender();
    let mut all = datagrams(size);
    for datagram in &mut all {
        tx.seal(STEER, datagram).expect("it can be sealed");
    }
    all
}

/// Class, length, fields: what is looked at before any key is.
pub struct HeaderCheck(Vec<Vec<u8>>);

impl HeaderCheck {
    /// Of FAN datagrams.
    pub fn new() -> Self {
        Self(sealed(64))
    }
}

impl Default for HeaderCheck {
    fn default() -> Self {
        Self::new()
    }
}

impl Step for HeaderCheck {
    fn units(&self) -> u64 {
        DATAGRAMS as u64
    }

    fn prepare(&mut self) {}

    fn run(&mut self) {
        for datagram in &self.0 {
            assert!(Header::parse(black_box(datagram)).is_ok());
        }
    }
}

/// A counter in order: checked before opening, marked after.
pub struct Window {
    window: FloorWindow,
    counter: u64,
}

impl Window {
    /// Of a stream.
    pub fn new() -> Self {
        Self {
            window: FloorWindow::new(WINDOW_BITS, 0),
            counter: 0,
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

impl Step for Window {
    fn units(&self) -> u64 {
        DATAGRAMS as u64
    }

    fn prepare(&mut self) {
        self.window.raise(self.counter);
    }

    fn run(&mut self) {
        for _ in 0..DATAGRAMS {
            black_box(self.window.check(black_box(self.counter)));
            assert!(self.window.mark(self.counter));
            self.counter += 1;
        }
    }
}

/// Sealing in place.
pub struct Seal {
    tx: FanTx,
    datagrams: Vec<Vec<u8>>,
}

impl Seal {
    /// Datagrams full of messages of this size.
    pub fn new(size: usize) -> Self {
        Self {
            tx: sender(),
            datagrams: datagrams(size),
        }
    }
}

impl Step for Seal {
    fn units(&self) -> u64 {
        DATAGRAMS as u64
    }

    fn prepare(&mut self) {}

    fn run(&mut self) {
        for datagram in &mut self.datagrams {
            assert!(self.tx.seal(STEER, black_box(datagram)).is_ok());
        }
    }
}

/// Opening in place, the check of the window included.
pub struct Open {
    rx: FanRx,
    sealed: Vec<Vec<u8>>,
    copies: Vec<Vec<u8>>,
}

impl Open {
    /// Datagrams full of messages of this size.
    pub fn new(size: usize) -> Self {
        let sealed = sealed(size);
        Self {
            rx: receiver(),
            copies: sealed.clone(),
            sealed,
        }
    }
}

impl Step for Open {
    fn units(&self) -> u64 {
        DATAGRAMS as u64
    }

    fn prepare(&mut self) {
        for (copy, sealed) in self.copies.iter_mut().zip(&self.sealed) {
            copy.copy_from_slice(sealed);
        }
    }

    fn run(&mut self) {
        for copy in &mut self.copies {
            assert!(self.rx.open(black_box(copy)).is_ok());
        }
    }
}

/// Encoding as a batch of messages is: the head of each and its payload into the place that it has in its datagram.
pub struct Encode {
    payload: Vec<u8>,
    body: Vec<u8>,
}

impl Encode {
    /// Datagrams full of messages of this size.
    pub fn new(size: usize) -> Self {
        Self {
            payload: vec![7; size],
            body: vec![0; messages(size) * (8 + size.next_multiple_of(8))],
        }
    }
}

impl Step for Encode {
    fn units(&self) -> u64 {
        DATAGRAMS as u64
    }

    fn prepare(&mut self) {}

    fn run(&mut self) {
        let place = 8 + self.payload.len().next_multiple_of(8);
        for _ in 0..DATAGRAMS {
            for place in black_box(&mut self.body).chunks_exact_mut(place) {
                let payload = black_box(&*self.payload);
                Message::encode_following(HANDLE, payload.len(), place).put(payload);
            }
        }
    }
}

/// Decoding an opened body: the first message by its digest, those that follow it by their place.
pub struct Decode(Vec<u8>);

impl Decode {
    /// Datagrams full of messages of this size.
    pub fn new(size: usize) -> Self {
        Self(body(size))
    }
}

impl Step for Decode {
    fn units(&self) -> u64 {
        DATAGRAMS as u64
    }

    fn prepare(&mut self) {}

    fn run(&mut self) {
        for _ in 0..DATAGRAMS {
            let mut digests = Digests::new(black_box(&self.0));
            let mut bytes = match digests.next() {
                Some(Ok(Digest::Message(first))) => first.payload.len(),
                other => panic!("a message stands first: {other:?}"),
            };
            while let Some(payload) = digests.next_message_of(HANDLE) {
                bytes += black_box(payload).len();
            }
            black_box(bytes);
        }
    }
}
