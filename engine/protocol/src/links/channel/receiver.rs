//! The receiving end of a channel: puts chunks in order, keeps what came early, says what to acknowledge.

use std::collections::BTreeMap;
use tidings_wire::mutants::{Mutant, mutant};

use super::{Size, widen};

/// The first chunks of a link are acknowledged one by one, so that the sender's window opens fast.
const EAGER_CHUNKS: u64 = 64;
/// Buffers kept for reuse.
const SPARE_MAX: usize = 8;

/// What became of a chunk that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// It is the next in order: handle it now, then whatever `pop` yields.
    Next,
    /// Kept until the chunks before it have come.
    Early,
    /// Known already; it will be acknowledged again.
    Duplicate,
    /// Further ahead than any honest sender goes; dropped.
    Beyond,
    /// Longer than any honest sender makes one; dropped.
    TooLong,
}

/// One receiving end.
pub(crate) struct Receiver {
    expected: u64,
    early: BTreeMap<u64, Vec<u8>>,
    spare: Vec<Vec<u8>>,
    size: Size,
    /// When the latest chunk came, and whether its acknowledgement may wait.
    newest_at: u64,
    newest_waits: bool,
    ack_at: Option<u64>,
}

impl Receiver {
    /// Expects chunk 0; keeps up to `size.window` chunks ahead of a hole.
    pub(crate) fn new(size: Size) -> Self {
        Self::at(size, 0)
    }

    /// Expects chunk `expected`.
    pub(crate) fn at(size: Size, expected: u64) -> Self {
        Self {
            expected,
            early: BTreeMap::new(),
            spare: Vec::new(),
            size,
            newest_at: 0,
            newest_waits: false,
            ack_at: None,
        }
    }

    /// Whether nothing came early and nothing waits for an acknowledgement.
    pub(crate) fn rests(&self) -> bool {
        self.early.is_empty() && self.ack_at.is_none()
    }

    /// The next chunk in order.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    /// Takes a chunk; `srtt` sets how long its acknowledgement may wait.
    pub(crate) fn receive(&mut self, now: u64, seq: u32, bytes: &[u8], srtt: u64) -> Arrival {
        if bytes.len() > self.size.chunk {
            return Arrival::TooLong;
        }
        let seq = widen(seq, self.expected);
        if seq >= self.expected.saturating_add(self.size.window) {
            return Arrival::Beyond;
        }
        let known = seq < self.expected || self.early.contains_key(&seq);
        self.note_for_ack(now, seq, known, srtt);
        if known {
            return Arrival::Duplicate;
        }
        if seq == self.expected || mutant(Mutant::ChannelSkips) {
            self.expected = seq + 1;
            return Arrival::Next;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        self.early.insert(seq, copy);
        Arrival::Early
    }

    /// The next chunk in order of those that came early.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let bytes = self.early.remove(&self.expected)?;
        self.expected += 1;
        Some(bytes)
    }

    /// Takes back a buffer that `pop` gave.
    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(buffer);
        }
    }

    /// The low bits of the next number expected.
    pub(crate) fn floor(&self) -> u32 {
        self.expected as u32
    }

    /// Writes which numbers from the floor on have come, bit 0 being the floor; returns the words used.
    pub(crate) fn bitmap(&self, words: &mut [u64]) -> usize {
        words.fill(0);
        let mut used = 0;
        for seq in self.early.keys() {
            let bit = (seq - self.expected) as usize;
            let Some(word) = words.get_mut(bit / 64) else {
                break;
            };
            *word |= 1 << (bit % 64);
            used = bit / 64 + 1;
        }
        used
    }

    /// Whether an acknowledgement should go out in this flush.
    pub(crate) fn ack_due(&self, now: u64) -> bool {
        self.ack_at.is_some_and(|at| at <= now)
    }

    /// When an acknowledgement must go out at the latest.
    pub(crate) fn ack_at(&self) -> Option<u64> {
        self.ack_at
    }

    /// What was acknowledged already is acknowledged again in this turn.
    pub(crate) fn repeat_ack(&mut self, now: u64) {
        self.newest_at = now;
        self.newest_waits = true;
        self.ack_at = Some(now);
    }

    /// Whether the acknowledgement that waits may come some time after the latest chunk.
    pub(crate) fn ack_is_late(&self) -> bool {
        self.newest_waits
    }

    /// How long the latest chunk has waited for its acknowledgement: no part of the round trip.
    pub(crate) fn ack_delay(&self, now: u64) -> u64 {
        match self.ack_at {
            Some(_) => now.saturating_sub(self.newest_at),
            None => 0,
        }
    }

    /// Whether any chunk waits for an acknowledgement, due or not.
    pub(crate) fn ack_pending(&self) -> bool {
        self.ack_at.is_some()
    }

    /// An acknowledgement was written.
    pub(crate) fn acked(&mut self) {
        self.ack_at = None;
    }

    fn note_for_ack(&mut self, now: u64, seq: u64, known: bool, srtt: u64) {
        let is_alone = now >= self.newest_at.saturating_add(self.size.alone);
        // One that came before tells nothing of how long the newest waits.
        let renews = !known || self.ack_at.is_none();
        let at_once = known
            || is_alone
            || seq != self.expected
            || !self.early.is_empty()
            || seq < EAGER_CHUNKS
            || seq.is_multiple_of(self.size.per_ack);
        if renews {
            (self.newest_at, self.newest_waits) = (now, !at_once);
        }
        let at = if at_once {
            now
        } else {
            let (least, most) = self.size.ack_wait;
            now + (srtt / 4).clamp(least, most)
        };
        self.ack_at = Some(self.ack_at.map_or(at, |earlier| earlier.min(at)));
    }
}
