//! One stream of a publisher as a subscriber node receives it: window, and when to acknowledge.

use tidings_wire::{Boot, FanRx, MIN_DATAGRAM_SIZE};

use crate::limits;
use crate::peer::PeerIx;

/// The receiver's end of one stream.
pub(crate) struct StreamRx {
    pub(crate) peer: PeerIx,
    // The start of the publisher node that it is of.
    pub(crate) boot: Boot,
    pub(crate) session: u64,
    pub(crate) keys: FanRx,
    // Bytes of distinct datagrams since opening.
    received: u64,
    recent: u64,
    recent_at: u64,
    // Datagrams since the last acknowledgement and their bytes, and datagrams since the stream was opened or idle.
    unacked: u32,
    unacked_bytes: u64,
    // So many bytes are acknowledged together.
    batch: u64,
    fresh: u32,
    // Counter expected next if nothing is lost or reordered.
    expected: u64,
    ack: Ack,
    answer: bool,
    early: Vec<Early>,
}

/// A datagram, opened, that overtook a definition it needs.
pub(crate) struct Early {
    pub(crate) counter: u64,
    /// Its length on the wire.
    pub(crate) len: usize,
    pub(crate) body: Box<[u8]>,
}

/// When an acknowledgement is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    None,
    By(u64),
    Now,
}

/// What an acknowledgement says.
pub(crate) struct AckState {
    pub(crate) floor: u64,
    pub(crate) credit: u64,
    pub(crate) recent: u64,
    pub(crate) delay_us: u32,
    /// It answers a heartbeat.
    pub(crate) answer: bool,
}

/// Datagrams of one stream that may wait for a definition.
const EARLY: usize = 32;
/// Bytes that they may have.
const EARLY_BYTES: usize = 256 << 10;
/// So many datagrams after opening or a pause are acknowledged in the same turn.
const FRESH: u32 = 64;
/// A pause after which they are counted anew, in ns.
const IDLE: u64 = 10_000_000;
/// Otherwise so many datagrams are acknowledged together: a quarter of the credit in the smallest ones. Their bytes are bounded by as
/// much and by half of what the publisher may have in flight.
const BATCH: u32 = (BATCH_BYTES / MIN_DATAGRAM_SIZE as u64) as u32;
const BATCH_BYTES: u64 = limits::CREDIT / 4;
/// ... or after srtt/4, within these bounds in ns.
const DELAY: (u64, u64) = (500_000, 25_000_000);

impl StreamRx {
    /// `share` is how much of the receive buffer its publisher may fill.
    pub(crate) fn new(peer: PeerIx, boot: Boot, session: u64, keys: FanRx, share: u64) -> Self {
        let expected = keys.floor();
        StreamRx {
            peer,
            boot,
            session,
            keys,
            received: 0,
            recent: expected,
            recent_at: 0,
            unacked: 0,
            unacked_bytes: 0,
            batch: (share / 2).min(BATCH_BYTES),
            fresh: 0,
            expected,
            ack: Ack::None,
            answer: false,
            early: Vec::new(),
        }
    }

    /// Keeps a datagram until the definition comes that it overtook; if there are too many, its repair will do.
    pub(crate) fn keep_early(&mut self, counter: u64, len: usize, body: &[u8]) {
        let known = self.early.iter().any(|e| e.counter == counter);
        let bytes: usize = self.early.iter().map(|e| e.len).sum();
        if !known && self.early.len() < EARLY && bytes + len <= EARLY_BYTES {
            let body = body.into();
            self.early.push(Early { counter, len, body });
        }
    }

    pub(crate) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// The datagrams that may be taken now, perhaps.
    pub(crate) fn take_early(&mut self) -> Vec<Early> {
        std::mem::take(&mut self.early)
    }

    /// The publisher opened the stream anew at a higher floor.
    pub(crate) fn reopen(&mut self, floor: u64) {
        self.keys.raise_floor(floor);
        (self.received, self.fresh) = (0, 0);
        self.expected = self.expected.max(floor);
    }

    /// A new datagram of `len` bytes was taken.
    pub(crate) fn on_datagram(&mut self, counter: u64, len: usize, srtt: u64, now: u64) {
        self.received += len as u64;
        if now > self.recent_at + IDLE {
            self.fresh = 0;
        }
        (self.recent, self.recent_at) = (counter, now);
        self.unacked += 1;
        self.unacked_bytes += len as u64;
        self.fresh = self.fresh.saturating_add(1);
        let in_order = counter == self.expected;
        self.expected = self.expected.max(counter + 1);
        let batch = self.unacked >= BATCH || self.unacked_bytes >= self.batch;
        if !in_order || self.fresh <= FRESH || batch {
            self.ack = Ack::Now;
        } else if self.ack == Ack::None {
            self.ack = Ack::By(now + (srtt / 4).clamp(DELAY.0, DELAY.1));
        }
    }

    /// A datagram came twice, or one that could not be taken: its acknowledgement may have been lost.
    pub(crate) fn on_duplicate(&mut self) {
        self.ack = Ack::Now;
    }

    /// The publisher asks for the full state.
    pub(crate) fn on_beat(&mut self) {
        (self.ack, self.answer) = (Ack::Now, true);
    }

    /// When a datagram last came, in ns.
    pub(crate) fn last_heard(&self) -> u64 {
        self.recent_at
    }

    /// Whether an acknowledgement is due; `None` never, `Some(0)` at once.
    pub(crate) fn due(&self) -> Option<u64> {
        match self.ack {
            Ack::None => None,
            Ack::By(at) => Some(at),
            Ack::Now => Some(0),
        }
    }

    /// The peer gets no more PAIR datagrams before `until`: the acknowledgement waits, and says all that came meanwhile.
    pub(crate) fn postpone(&mut self, until: u64) {
        self.ack = Ack::By(until);
    }

    /// Nothing is acknowledged until something new comes.
    pub(crate) fn hush(&mut self) {
        (self.ack, self.answer) = (Ack::None, false);
    }

    /// Whether a heartbeat waits for its answer.
    pub(crate) fn is_asked(&self) -> bool {
        self.answer
    }

    /// What was sent before the heartbeat that waits is read now, or lost.
    pub(crate) fn answer(&mut self) {
        self.ack = Ack::Now;
    }

    /// What an acknowledgement says that leaves now. While some of what came is unread it answers no heartbeat: what is missing
    /// would be held lost.
    pub(crate) fn ack_state(&self, now: u64, unread: bool) -> AckState {
        AckState {
            floor: self.keys.floor(),
            credit: self.received + limits::CREDIT,
            recent: self.recent,
            delay_us: u32::try_from(now.saturating_sub(self.recent_at) / 1000).unwrap_or(u32::MAX),
            answer: self.answer && !unread,
        }
    }

    /// It left.
    pub(crate) fn acked(&mut self, unread: bool) {
        (self.ack, self.unacked, self.unacked_bytes) = (Ack::None, 0, 0);
        self.answer &= unread;
    }
}
