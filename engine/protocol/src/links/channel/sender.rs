//! The sending end of a channel: packs digests into chunks, keeps each until acknowledged, decides what is lost.
//!
//! Loss is judged by time (RFC 8985): a chunk sent before one that was acknowledged is lost once a reordering window
//! has passed as well. When nothing comes back at all, the oldest chunk alone is repeated, with doubling waits.

use std::collections::VecDeque;

use tidings_wire::digest::Writer;

use super::{Size, widen};
use crate::links::congestion::Congestion;
use crate::links::rtt::Rtt;

/// What a datagram adds to a chunk: 16 B header, 16 B tag, 8 B chunk head.
const OVERHEAD: u64 = 40;
/// The least that a digest takes.
const DIGEST_MIN: usize = 8;
/// This part of the window is for chunks that are not full.
const PARTIAL_SHARE: u64 = 4;
/// The reordering window is at least this, or one scheduling delay would look like loss.
const REORDER_NS_MIN: u64 = 200_000;
/// The reordering window grows from 1/4 to 4/4 of the smoothed RTT with every repeat that proves spurious.
const REORDER_STEPS_MAX: u64 = 4;
/// Timeouts double at most this many times.
const BACKOFF_MAX: u32 = 6;
/// The longest wait between repeats to a silent peer.
const TIMEOUT_NS_MAX: u64 = 5_000_000_000;
/// From this timeout in a row on the path counts as dead, not as lossy.
const BLACKOUT_TIMEOUTS: u32 = 2;
/// Buffers kept for reuse: as many as a busy channel has under way. One that never was busy has few.
const SPARE_MAX: usize = 256;

/// An acknowledgement as it came: all below `floor`, and those whose bits are set from there on.
pub(crate) struct Ack<'a> {
    pub(crate) floor: u32,
    pub(crate) words: &'a [u64],
    /// Nanoseconds that the receiver let the acknowledgement wait; `None` if it did not say: no measure of the round trip.
    pub(crate) delay: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Unsent,
    InFlight,
    Lost,
    Acked,
}

struct Chunk {
    bytes: Vec<u8>,
    state: State,
    sends: u32,
    sent_at: u64,
    /// The sending before the last one: what a spurious repeat repeated.
    sent_before: u64,
}

impl Chunk {
    fn cost(&self) -> u64 {
        self.bytes.len() as u64 + OVERHEAD
    }
}

/// One sending end.
pub(crate) struct Sender {
    size: Size,
    /// Chunks from `base` on; all but the unsent ones at the back have been sent.
    chunks: VecDeque<Chunk>,
    base: u64,
    unsent: u64,
    open: Vec<u8>,
    scratch: Vec<u8>,
    queued: usize,
    spare: Vec<Vec<u8>>,
    /// (sent at, seq) of the latest sending known to have arrived.
    newest: Option<(u64, u64)>,
    lost: usize,
    in_flight: usize,
    /// The oldest chunk may be repeated whatever the window says.
    probe: bool,
    timer_start: u64,
    timeouts: u32,
    reorder_steps: u64,
    reorder_at: Option<u64>,
}

impl Sender {
    /// An empty queue; the first chunk will be 0.
    pub(crate) fn new(size: Size) -> Self {
        Self::at(size, 0)
    }

    /// An empty queue; the first chunk will be `next`.
    pub(crate) fn at(size: Size, next: u64) -> Self {
        Self {
            size,
            chunks: VecDeque::new(),
            base: next,
            unsent: next,
            open: Vec::new(),
            scratch: Vec::new(),
            queued: 0,
            spare: Vec::new(),
            newest: None,
            lost: 0,
            in_flight: 0,
            probe: false,
            timer_start: 0,
            timeouts: 0,
            reorder_steps: 1,
            reorder_at: None,
        }
    }

    /// Queues one encoded digest; false if it does not fit.
    pub(crate) fn push(&mut self, digest: &[u8]) -> bool {
        let padded = digest.len().next_multiple_of(8);
        if padded > self.size.chunk || padded > self.room() {
            return false;
        }
        if !self.open.is_empty() && self.open.len() + padded > self.size.fill {
            self.close_open();
        }
        self.open.extend_from_slice(digest);
        let filled = self.open.len() + padded - digest.len();
        self.open.resize(filled, 0);
        self.queued += padded;
        true
    }

    /// Queues what `write` puts into a writer with room for one whole chunk; nothing if it answers false.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Writer<'_>) -> bool) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(self.size.chunk, 0);
        let mut writer = Writer::new(&mut scratch);
        let written = write(&mut writer);
        let len = writer.len();
        let pushed = written && self.push(&scratch[..len]);
        self.scratch = scratch;
        pushed
    }

    /// The chunk after the last one that anything was pushed into.
    pub(crate) fn pushed_to(&self) -> u64 {
        self.end() + u64::from(!self.open.is_empty())
    }

    /// All chunks below this one have arrived.
    pub(crate) fn arrived_to(&self) -> u64 {
        self.base
    }

    /// Bytes of digests queued or in flight.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Bytes that all of it takes on the path, at most.
    pub(crate) fn queued_on_path(&self) -> u64 {
        self.queued as u64 + OVERHEAD * (self.chunks.len() as u64 + 1)
    }

    /// Bytes of digests that fit the queue.
    pub(crate) fn room(&self) -> usize {
        self.size.queue.saturating_sub(self.queued)
    }

    /// Whether everything pushed was acknowledged.
    pub(crate) fn rests(&self) -> bool {
        self.chunks.is_empty() && self.open.is_empty()
    }

    /// Whether anything waits to be sent, window permitting.
    pub(crate) fn has_unsent(&self) -> bool {
        self.lost > 0 || !self.open.is_empty() || self.unsent < self.end()
    }

    /// Whether something would be sent if there were room for it on the path.
    pub(crate) fn wants_room(&self) -> bool {
        let may_send = self.unsent < self.base + self.size.window;
        self.lost > 0 || may_send && (self.unsent < self.end() || self.is_worth_closing())
    }

    /// The next chunk to send if it fits `allowance` bytes: a lost one first, then the next new one within the window.
    pub(crate) fn next(&mut self, allowance: u64) -> Option<u64> {
        let seq = self.first_lost().or_else(|| self.first_unsent(allowance))?;
        let chunk = &self.chunks[(seq - self.base) as usize];
        let probing = self.probe && chunk.state == State::Lost;
        (probing || chunk.cost() <= allowance).then_some(seq)
    }

    /// The digests of a chunk that `next` named.
    pub(crate) fn chunk(&self, seq: u64) -> &[u8] {
        &self.chunks[(seq - self.base) as usize].bytes
    }

    /// The chunk went out.
    pub(crate) fn sent(&mut self, seq: u64, now: u64, congestion: Option<&mut Congestion>) {
        if self.in_flight == 0 && !self.probe {
            self.timer_start = now;
        }
        self.in_flight += 1;
        let chunk = &mut self.chunks[(seq - self.base) as usize];
        if chunk.state == State::Lost {
            self.lost -= 1;
            self.probe = false;
        } else {
            self.unsent += 1;
        }
        chunk.state = State::InFlight;
        chunk.sends += 1;
        chunk.sent_before = chunk.sent_at;
        chunk.sent_at = now;
        if let Some(congestion) = congestion {
            congestion.on_sent(chunk.cost());
        }
    }

    /// Takes an acknowledgement. Numbers that were never sent are ignored. True if it told anything new.
    pub(crate) fn on_ack(
        &mut self,
        ack: &Ack<'_>,
        now: u64,
        rtt: &mut Rtt,
        mut congestion: Option<&mut Congestion>,
    ) -> bool {
        let floor = widen(ack.floor, self.base);
        if floor > self.unsent {
            return false;
        }
        let mut newest: Option<(u64, u64)> = None;
        let mut progress = false;
        for seq in self.base..floor {
            progress |= self.mark_acked(seq, now, rtt, &mut congestion, &mut newest);
        }
        for (at, word) in ack.words.iter().enumerate() {
            let mut bits = *word;
            while bits != 0 {
                let seq = floor + at as u64 * 64 + u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                progress |= self.mark_acked(seq, now, rtt, &mut congestion, &mut newest);
            }
        }
        if let (Some((sent_at, _)), Some(delay)) = (newest, ack.delay) {
            let measured = now.saturating_sub(sent_at).saturating_sub(delay);
            // After a timeout it may be an earlier acknowledgement that was lost, not the path that is slow: such a
            // measurement may raise the estimate step by step, or a lossy path would never be called fast again.
            let doubtful = self.timeouts > 0;
            rtt.sample(if doubtful {
                measured.min(rtt.rto())
            } else {
                measured
            });
        }
        if progress {
            self.timer_start = now;
            self.timeouts = 0;
            self.drop_acked();
            self.detect_loss(now, rtt, congestion);
        }
        progress
    }

    /// When `on_timeout` has something to do.
    pub(crate) fn deadline(&self, rtt: &Rtt) -> Option<u64> {
        let timeout = self.waits().then(|| self.timer_start + self.timeout(rtt));
        match (timeout, self.reorder_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Judges anew what is lost.
    pub(crate) fn on_timeout(
        &mut self,
        now: u64,
        rtt: &Rtt,
        mut congestion: Option<&mut Congestion>,
    ) {
        if self.reorder_at.is_some_and(|at| at <= now) {
            self.detect_loss(now, rtt, congestion.as_deref_mut());
        }
        if !self.waits() || now < self.timer_start + self.timeout(rtt) {
            return;
        }
        self.timeouts += 1;
        self.timer_start = now;
        self.probe = true;
        let oldest = (self.base..self.unsent).find(|seq| self.state(*seq) == State::InFlight);
        if let Some(seq) = oldest.filter(|_| self.lost == 0) {
            self.mark_lost(seq, now, &mut congestion);
        }
        if self.timeouts == BLACKOUT_TIMEOUTS
            && let Some(congestion) = congestion
        {
            congestion.on_blackout(now);
        }
    }

    /// The peer speaks: what it did not acknowledge is sent again now if the last try was so long ago, not when a timeout ends that
    /// grew while it could not answer.
    pub(crate) fn retry(&mut self, now: u64, wait: u64) {
        if self.timeouts > 0 && now >= self.timer_start + wait {
            self.timer_start = 0;
        }
    }

    /// Timeouts in a row without any acknowledgement.
    pub(crate) fn timeouts(&self) -> u32 {
        self.timeouts
    }

    /// Whether anything is in flight, and with it the timer running.
    fn waits(&self) -> bool {
        self.in_flight > 0
    }

    fn timeout(&self, rtt: &Rtt) -> u64 {
        (rtt.rto() << self.timeouts.min(BACKOFF_MAX)).min(TIMEOUT_NS_MAX)
    }

    fn end(&self) -> u64 {
        self.base + self.chunks.len() as u64
    }

    fn state(&self, seq: u64) -> State {
        self.chunks[(seq - self.base) as usize].state
    }

    fn close_open(&mut self) {
        let fresh = self.spare.pop();
        let fresh = fresh.unwrap_or_else(|| Vec::with_capacity(self.size.chunk));
        let bytes = std::mem::replace(&mut self.open, fresh);
        self.chunks.push_back(Chunk {
            bytes,
            state: State::Unsent,
            sends: 0,
            sent_at: 0,
            sent_before: 0,
        });
    }

    fn first_lost(&self) -> Option<u64> {
        if self.lost == 0 {
            return None;
        }
        (self.base..self.unsent).find(|seq| self.state(*seq) == State::Lost)
    }

    /// Closes the open chunk only if it can go out now: until then it takes more digests. Of chunks that are not full only few are
    /// under way, or on a long path each acknowledgement lets go one more with a digest or two, and they stay so for ever.
    fn first_unsent(&mut self, allowance: u64) -> Option<u64> {
        if self.unsent >= self.base + self.size.window {
            return None;
        }
        let fits = self.open.len() as u64 + OVERHEAD <= allowance;
        if self.unsent == self.end() && fits && self.is_worth_closing() {
            self.close_open();
        }
        (self.unsent < self.end()).then_some(self.unsent)
    }

    fn is_worth_closing(&self) -> bool {
        let is_full = self.open.len() + DIGEST_MIN > self.size.fill;
        let is_early = self.unsent - self.base < self.size.window / PARTIAL_SHARE;
        is_full || is_early && !self.open.is_empty()
    }

    /// Marks one chunk; `newest` becomes its sending if that was unambiguous and the latest of this acknowledgement.
    fn mark_acked(
        &mut self,
        seq: u64,
        now: u64,
        rtt: &Rtt,
        congestion: &mut Option<&mut Congestion>,
        newest: &mut Option<(u64, u64)>,
    ) -> bool {
        if seq < self.base || seq >= self.unsent {
            return false;
        }
        let chunk = &mut self.chunks[(seq - self.base) as usize];
        let was = std::mem::replace(&mut chunk.state, State::Acked);
        if was == State::Acked {
            return false;
        }
        let (cost, sent_at) = (chunk.cost(), chunk.sent_at);
        let too_soon = rtt
            .min()
            .is_some_and(|min| now.saturating_sub(sent_at) < min * 3 / 4);
        let spurious = was == State::Lost || (chunk.sends > 1 && too_soon);
        let spurious_of = if was == State::Lost {
            sent_at
        } else {
            chunk.sent_before
        };
        match was {
            State::Lost => self.lost -= 1,
            _ => self.in_flight -= 1,
        }
        if chunk.sends == 1 {
            *newest = (*newest).max(Some((sent_at, seq)));
        }
        if !spurious {
            self.newest = self.newest.max(Some((sent_at, seq)));
        } else {
            self.reorder_steps = (self.reorder_steps + 1).min(REORDER_STEPS_MAX);
        }
        if let Some(congestion) = congestion {
            if was == State::InFlight {
                congestion.on_acked(cost, now, sent_at, rtt);
            }
            if spurious {
                congestion.on_spurious(spurious_of);
            }
        }
        true
    }

    fn mark_lost(&mut self, seq: u64, now: u64, congestion: &mut Option<&mut Congestion>) {
        let chunk = &mut self.chunks[(seq - self.base) as usize];
        chunk.state = State::Lost;
        self.lost += 1;
        self.in_flight -= 1;
        if let Some(congestion) = congestion {
            congestion.on_lost(chunk.cost(), chunk.sent_at, now);
        }
    }

    fn drop_acked(&mut self) {
        while self
            .chunks
            .front()
            .is_some_and(|chunk| chunk.state == State::Acked)
        {
            let Some(mut chunk) = self.chunks.pop_front() else {
                return;
            };
            self.base += 1;
            self.queued -= chunk.bytes.len();
            if self.spare.len() < SPARE_MAX {
                chunk.bytes.clear();
                self.spare.push(chunk.bytes);
            }
        }
    }

    /// RFC 8985: what was sent before the newest arrival and is a round trip plus the reordering window old, is lost.
    fn detect_loss(&mut self, now: u64, rtt: &Rtt, mut congestion: Option<&mut Congestion>) {
        self.reorder_at = None;
        let Some(newest) = self.newest else {
            return;
        };
        let window = (rtt.smoothed() * self.reorder_steps / 4).max(REORDER_NS_MIN);
        let wait = rtt.latest().unwrap_or(0).max(rtt.smoothed()) + window;
        for seq in self.base..self.unsent {
            let chunk = &self.chunks[(seq - self.base) as usize];
            if chunk.state != State::InFlight || (chunk.sent_at, seq) >= newest {
                continue;
            }
            let lost_at = chunk.sent_at + wait;
            if lost_at <= now {
                self.mark_lost(seq, now, &mut congestion);
            } else {
                self.reorder_at = Some(self.reorder_at.map_or(lost_at, |at| at.min(lost_at)));
            }
        }
    }
}
