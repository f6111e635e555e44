//! Large messages on their way: parts are laid into one buffer, in any order, each byte once.

use std::collections::BTreeMap;

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

struct Partial {
    buffer: Box<[u8]>,
    have: RangeSet,
    touched: u64,
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
}

/// Partly received messages, within a budget of bytes.
#[derive(Default)]
pub(crate) struct Reassembly {
    partials: BTreeMap<MessageKey, Partial>,
    bytes: usize,
    clock: u64,
}

impl Reassembly {
    /// Takes one part. A message whose place is taken by a newer one is pushed to `evicted`: it must be fetched again.
    pub(crate) fn put(
        &mut self,
        key: MessageKey,
        offset: u32,
        total: u32,
        part: &[u8],
        evicted: &mut Vec<MessageKey>,
    ) -> Part {
        let (offset, total) = (offset as usize, total as usize);
        if total > limits::MAX_MESSAGE_CAP
            || part.is_empty()
            || offset.checked_add(part.len()).is_none_or(|end| end > total)
        {
            return Part::Bad;
        }
        self.clock += 1;
        if !self.partials.contains_key(&key) {
            self.make_room(total, evicted);
            self.bytes += total;
            let partial = Partial {
                buffer: vec![0; total].into(),
                have: RangeSet::default(),
                touched: 0,
            };
            self.partials.insert(key, partial);
        }
        let partial = self.partials.get_mut(&key).expect("inserted above");
        if partial.buffer.len() != total {
            return Part::Bad;
        }
        partial.touched = self.clock;
        partial.buffer[offset..offset + part.len()].copy_from_slice(part);
        partial
            .have
            .insert(offset as u64, (offset + part.len()) as u64);
        if partial.have.count() < total as u64 {
            return Part::Taken;
        }
        self.bytes -= total;
        self.partials
            .remove(&key)
            .map_or(Part::Bad, |p| Part::Whole(p.buffer))
    }

    fn make_room(&mut self, bytes: usize, evicted: &mut Vec<MessageKey>) {
        while self.bytes + bytes > limits::REASSEMBLY {
            let Some(oldest) = self
                .partials
                .iter()
                .min_by_key(|(_, p)| p.touched)
                .map(|(key, _)| *key)
            else {
                return;
            };
            self.drop_partial(oldest);
            evicted.push(oldest);
        }
    }

    fn drop_partial(&mut self, key: MessageKey) {
        if let Some(partial) = self.partials.remove(&key) {
            self.bytes -= partial.buffer.len();
        }
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
        gone.into_iter().for_each(|key| self.drop_partial(key));
    }

    /// Forgets everything of a peer: its session ended.
    pub(crate) fn forget(&mut self, peer: PeerIx) {
        let keys: Vec<_> = self
            .partials
            .keys()
            .filter(|k| k.peer == peer)
            .copied()
            .collect();
        keys.into_iter().for_each(|key| self.drop_partial(key));
    }

    /// Bytes reserved.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seq: u64) -> MessageKey {
        MessageKey {
            peer: PeerIx(1),
            handle: 1,
            seq,
        }
    }

    #[test]
    fn parts_in_any_order_and_twice_make_the_message() {
        let mut r = Reassembly::default();
        let mut evicted = Vec::new();
        assert_eq!(r.put(key(0), 4, 6, b"ef", &mut evicted), Part::Taken);
        assert_eq!(r.put(key(0), 4, 6, b"ef", &mut evicted), Part::Taken);
        assert_eq!(
            r.put(key(0), 0, 6, b"abcd", &mut evicted),
            Part::Whole(b"abcdef".as_slice().into())
        );
        assert_eq!(r.bytes(), 0);
    }

    #[test]
    fn contradictions_are_refused() {
        let mut r = Reassembly::default();
        let mut evicted = Vec::new();
        assert_eq!(r.put(key(0), 5, 6, b"ef", &mut evicted), Part::Bad);
        assert_eq!(r.put(key(0), u32::MAX, 6, b"ef", &mut evicted), Part::Bad);
        assert_eq!(r.put(key(0), 0, u32::MAX, b"ef", &mut evicted), Part::Bad);
        assert_eq!(r.put(key(0), 0, 6, b"ab", &mut evicted), Part::Taken);
        assert_eq!(r.put(key(0), 2, 7, b"cd", &mut evicted), Part::Bad);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_makes_room() {
        let mut r = Reassembly::default();
        let mut evicted = Vec::new();
        for seq in 0..100 {
            r.put(key(seq), 0, 1 << 20, b"x", &mut evicted);
        }
        assert!(r.bytes() <= limits::REASSEMBLY);
        assert_eq!(evicted.len(), 100 - limits::REASSEMBLY / (1 << 20));
        assert_eq!(evicted[0], key(0));
    }
}
