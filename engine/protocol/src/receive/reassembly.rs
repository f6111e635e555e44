//! Large messages on their way: parts are laid into one buffer, in any order, each byte once.

use std::collections::BTreeMap;
use tidings_wire::mutants::{Mutant, mutant};

use super::intake::Intake;
use crate::limits;
use crate::peer::PeerIx;
use crate::ranges::RangeSet;

/// One message of one publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MessageKey {
    pub(crate) peer: PeerIx,
    pub(crate) handle: u32,
    pub(crate) seq: u64,
}

/// Where a part lies in its message, and which way it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lay {
    pub(crate) offset: u32,
    pub(crate) total: u32,
    /// By FETCH, not by the live stream.
    pub(crate) fetched: bool,
}

struct Partial {
    buffer: Box<[u8]>,
    have: RangeSet,
    touched: u64,
    // Begun by catch-up.
    fetched: bool,
}

/// What a part did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// More are needed.
    Taken,
    /// The message is whole.
    Whole(Box<[u8]>),
    /// The part contradicts the message or is beyond the cap: ignored.
    Bad,
    /// There is no room for the message now.
    NoRoom,
}

/// Partly received messages, within a budget of bytes. A message that finds no room waits for those that were begun: if they
/// made room for it, so many could be under way that none ends. The live stream leaves room for one message of any size, so
/// that what waits can be fetched whatever the live stream brings.
#[derive(Default)]
pub(crate) struct Reassembly {
    partials: BTreeMap<MessageKey, Partial>,
    bytes: usize,
    // Of these, what the live stream began.
    live: usize,
    // No partial is stale before this.
    stale_at: u64,
}

/// A message that got no part for so long, in ns, makes room for others: repair and catch-up take seconds at most.
const STALE: u64 = 10_000_000_000;

/// What a message of `total` bytes takes with the book of its parts, which are no shorter than 1 KiB on average.
const fn cost(total: usize) -> usize {
    total + total / 32 + 512
}

fn parts_max(total: usize) -> usize {
    total / 1024 + 8
}

const LARGEST: usize = cost(limits::MAX_MESSAGE_CAP);
const _: () = assert!(2 * LARGEST <= limits::REASSEMBLY);

impl Reassembly {
    /// Takes one part at `now`.
    pub(crate) fn put(&mut self, mut key: MessageKey, lay: Lay, part: &[u8], now: u64) -> Part {
        if mutant(Mutant::PartsMixed) {
            key.seq = 0;
        }
        let (offset, total) = (lay.offset as usize, lay.total as usize);
        if total > limits::MAX_MESSAGE_CAP
            || part.is_empty()
            || offset.checked_add(part.len()).is_none_or(|end| end > total)
        {
            return Part::Bad;
        }
        if !self.partials.contains_key(&key) {
            // Fetched parts come in order: without the first the others are of no use.
            if !self.has_room(total, lay.fetched) || (lay.fetched && offset > 0) {
                return Part::NoRoom;
            }
            self.begin(key, total, lay.fetched);
        }
        let Some(partial) = self.partials.get_mut(&key) else {
            return Part::Bad;
        };
        if partial.buffer.len() != total || partial.have.ranges() > parts_max(total) {
            return Part::Bad;
        }
        partial.touched = now;
        partial.buffer[offset..offset + part.len()].copy_from_slice(part);
        partial
            .have
            .insert(offset as u64, (offset + part.len()) as u64);
        if partial.have.count() < total as u64 {
            return Part::Taken;
        }
        self.take_out(key)
            .map_or(Part::Bad, |p| Part::Whole(p.buffer))
    }

    fn begin(&mut self, key: MessageKey, total: usize, fetched: bool) {
        self.bytes += cost(total);
        self.live += if fetched { 0 } else { cost(total) };
        let partial = Partial {
            buffer: vec![0; total].into(),
            have: RangeSet::default(),
            touched: 0,
            fetched,
        };
        self.partials.insert(key, partial);
    }

    fn take_out(&mut self, key: MessageKey) -> Option<Partial> {
        let partial = self.partials.remove(&key)?;
        let cost = cost(partial.buffer.len());
        self.bytes -= cost;
        self.live -= if partial.fetched { 0 } else { cost };
        Some(partial)
    }

    /// Whether a message of `total` bytes may be begun, live or by catch-up.
    pub(crate) fn has_room(&self, total: usize, fetched: bool) -> bool {
        let fits = self.bytes + cost(total) <= limits::REASSEMBLY;
        fits && (fetched || self.live + cost(total) <= limits::REASSEMBLY - LARGEST)
    }

    /// Whether a part of the message is here.
    pub(crate) fn has_begun(&self, key: MessageKey) -> bool {
        self.partials.contains_key(&key)
    }

    /// Drops the messages that got no part for long: they must be fetched again.
    pub(crate) fn drop_stale(&mut self, now: u64) -> Vec<MessageKey> {
        if now < self.stale_at {
            return Vec::new();
        }
        let is_stale = |p: &Partial| p.touched + STALE <= now;
        let stale = self.partials.iter().filter(|(_, p)| is_stale(p));
        let stale: Vec<MessageKey> = stale.map(|(key, _)| *key).collect();
        for &key in &stale {
            self.take_out(key);
        }
        let oldest = self.partials.values().map(|p| p.touched).min();
        self.stale_at = oldest.unwrap_or(now) + STALE;
        stale
    }

    /// Drops what there is of `from..to` of a publisher unless a subscription still wants it: it came whole by another way, or
    /// never will.
    pub(crate) fn discard(
        &mut self,
        peer: PeerIx,
        handle: u32,
        (from, to): (u64, u64),
        intakes: &[Intake],
    ) {
        if self.partials.is_empty() || from >= to {
            return;
        }
        let key = |seq| MessageKey { peer, handle, seq };
        let idle = |key: &&MessageKey| !intakes.iter().any(|i| i.wants(key.seq));
        let range = self.partials.range(key(from)..key(to)).map(|(key, _)| key);
        let gone: Vec<MessageKey> = range.filter(idle).copied().collect();
        gone.into_iter().for_each(|key| drop(self.take_out(key)));
    }

    /// Forgets everything of a publisher: it is gone.
    pub(crate) fn forget_handle(&mut self, peer: PeerIx, handle: u32) {
        self.discard(peer, handle, (0, u64::MAX), &[]);
    }

    /// Forgets everything of a peer: its session ended.
    pub(crate) fn forget(&mut self, peer: PeerIx) {
        let keys: Vec<_> = self
            .partials
            .keys()
            .filter(|k| k.peer == peer)
            .copied()
            .collect();
        keys.into_iter().for_each(|key| drop(self.take_out(key)));
    }

    /// Bytes reserved.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    fn key(seq: u64) -> MessageKey {
        MessageKey {
            peer: PeerIx(1),
            handle: 1,
            seq,
        }
    }

    fn live(offset: u32, total: u32) -> Lay {
        Lay {
            offset,
            total,
            fetched: false,
        }
    }

    fn fetched(offset: u32, total: u32) -> Lay {
        Lay {
            fetched: true,
            ..live(offset, total)
        }
    }

    #[test]
    fn parts_in_any_order_and_twice_make_the_message() {
        let mut r = Reassembly::default();
        assert_eq!(r.put(key(0), live(4, 6), b"ef", 0), Part::Taken);
        assert_eq!(r.put(key(0), live(4, 6), b"ef", 0), Part::Taken);
        assert_eq!(
            r.put(key(0), live(0, 6), b"abcd", 0),
            Part::Whole(b"abcdef".as_slice().into())
        );
        assert_eq!(r.bytes(), 0);
    }

    #[test]
    fn contradictions_are_refused() {
        let mut r = Reassembly::default();
        assert_eq!(r.put(key(0), live(5, 6), b"ef", 0), Part::Bad);
        assert_eq!(r.put(key(0), live(u32::MAX, 6), b"ef", 0), Part::Bad);
        assert_eq!(r.put(key(0), live(0, u32::MAX), b"ef", 0), Part::Bad);
        assert_eq!(r.put(key(0), live(0, 6), b"ab", 0), Part::Taken);
        assert_eq!(r.put(key(0), live(2, 7), b"cd", 0), Part::Bad);
    }

    #[test]
    fn what_was_begun_ends_and_what_finds_no_room_can_be_fetched() {
        let mut r = Reassembly::default();
        let begun = |r: &mut Reassembly| {
            let begin = |seq| r.put(key(seq), live(0, MIB), b"x", 0);
            (0..100).map(begin).filter(|p| *p == Part::Taken).count()
        };
        assert_eq!(begun(&mut r), 11);
        assert!(r.bytes() <= limits::REASSEMBLY - LARGEST);
        let most = limits::MAX_MESSAGE_CAP as u32;
        assert_eq!(r.put(key(100), fetched(0, most), b"x", 0), Part::Taken);
        assert_eq!(r.put(key(101), fetched(0, most), b"x", 0), Part::NoRoom);
        assert_eq!(r.put(key(100), fetched(1, most), b"x", 0), Part::Taken);
        assert_eq!(r.put(key(0), live(1, MIB), b"x", 0), Part::Taken);
    }

    #[test]
    fn only_a_message_that_got_nothing_for_long_makes_room() {
        let mut r = Reassembly::default();
        r.put(key(0), live(0, MIB), b"x", 0);
        r.put(key(1), live(0, MIB), b"x", 0);
        r.put(key(1), live(1, MIB), b"x", STALE / 2);
        assert_eq!(r.drop_stale(STALE), [key(0)]);
        assert_eq!(r.drop_stale(STALE + 1), []);
        assert_eq!(r.drop_stale(STALE * 2), [key(1)]);
        assert_eq!(r.bytes(), 0);
    }

    #[test]
    fn small_messages_and_small_parts_cannot_take_more_than_the_budget() {
        let mut r = Reassembly::default();
        let begin = |r: &mut Reassembly, seq| r.put(key(seq), live(0, 2), b"x", 0);
        let begun = (0..200_000).filter(|seq| begin(&mut r, *seq) == Part::Taken);
        assert!(begun.count() < limits::REASSEMBLY / 512);
        let mut r = Reassembly::default();
        let scattered = (0..MIB / 2).map(|n| r.put(key(0), live(n * 2, MIB), b"x", 0));
        assert!(scattered.filter(|p| *p == Part::Taken).count() < 2000);
    }
}
