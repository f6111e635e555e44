//! Digests that go out once, in the PAIR datagrams of this turn: probes, gossip, stream acknowledgements.

use tidings_wire::digest::Writer;
use tidings_wire::limits::MAX_ACK_WORDS;
use tidings_wire::{MIN_DATAGRAM_SIZE, PAIR_HEADER, TAG};

/// Body of a PAIR datagram of the smallest size that every path carries.
pub(crate) const PAIR_BODY: usize = MIN_DATAGRAM_SIZE - PAIR_HEADER - TAG;
/// Most bytes of streams' states that wait for one peer: of six streams at their largest.
const STATES_MAX: usize = 6 * (48 + MAX_ACK_WORDS * 8);
/// Most bytes in all: states, which go in a later turn if need be, leave room for a datagram of what does not.
const QUEUE_MAX: usize = STATES_MAX + PAIR_BODY;

/// A queue of encoded digests, each padded to 8 bytes.
#[derive(Default)]
pub(crate) struct Loose {
    bytes: Vec<u8>,
    read: usize,
}

impl Loose {
    /// Appends encoded digests whose each begins at a multiple of 8. False if there is no room.
    pub(crate) fn push(&mut self, digests: &[u8]) -> bool {
        self.push_within(QUEUE_MAX, digests)
    }

    /// Appends an encoded digest that can wait for the next turn, unless it would take the room of those that cannot.
    pub(crate) fn push_state(&mut self, digest: &[u8]) -> bool {
        self.push_within(STATES_MAX, digest)
    }

    fn push_within(&mut self, most: usize, digests: &[u8]) -> bool {
        let padded = digests.len().next_multiple_of(8);
        if padded == 0 || padded > PAIR_BODY || self.bytes.len() + padded > most {
            return false;
        }
        self.bytes.extend_from_slice(digests);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        true
    }

    /// Appends what `write` puts, unless it answers false.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Writer<'_>) -> bool) -> bool {
        if self.bytes.len() >= QUEUE_MAX {
            return false;
        }
        // Not written in place: most of the time it is a probe of 24 bytes, in one of thousands of queues.
        let mut body = [0; PAIR_BODY];
        let mut writer = Writer::new(&mut body);
        let len = if write(&mut writer) { writer.len() } else { 0 };
        self.bytes.extend_from_slice(&body[..len]);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        len > 0
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.read >= self.bytes.len()
    }

    /// Moves as many digests as fit into `writer`.
    pub(crate) fn write_into(&mut self, writer: &mut Writer<'_>) {
        while let Some(digest) = self.first() {
            let len = digest.len();
            if !writer.put_encoded(digest) {
                return;
            }
            self.read += len.next_multiple_of(8);
        }
        self.bytes.clear();
        self.read = 0;
    }

    /// Takes everything over from another queue, as far as it fits.
    pub(crate) fn append(&mut self, mut other: Self) {
        while let Some(digest) = other.first() {
            let len = digest.len();
            if !self.push(digest) {
                return;
            }
            other.read += len.next_multiple_of(8);
        }
    }

    fn first(&self) -> Option<&[u8]> {
        let rest = self.bytes.get(self.read..)?;
        let len = usize::from(u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?]));
        (len >= 4).then(|| rest.get(..len)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_wire::digest::{Digests, Nack};
    use zerocopy::little_endian::U32;

    fn nack(no: u32) -> Nack {
        Nack {
            no: U32::new(no),
            ..Default::default()
        }
    }

    #[test]
    fn digests_leave_in_order_and_whole() {
        let mut loose = Loose::default();
        for no in 0..200 {
            assert!(loose.push_with(|writer| writer.put(&nack(no))));
        }
        let mut seen = 0;
        while !loose.is_empty() {
            let mut body = [0; 100];
            let mut writer = Writer::new(&mut body);
            loose.write_into(&mut writer);
            seen += Digests::new(writer.as_bytes()).map(Result::unwrap).count();
        }
        assert_eq!(seen, 200);
    }

    #[test]
    fn states_leave_room_for_probes_and_gossip() {
        let mut loose = Loose::default();
        while loose.push_state(&[0; 56]) {}
        assert!(loose.push(&[0; PAIR_BODY - 56]));
        assert!(!loose.push_state(&[0; 56]));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut loose = Loose::default();
        let taken = (0..10_000)
            .filter(|no| loose.push_with(|writer| writer.put(&nack(*no))))
            .count();
        assert!(taken < 10_000);
        assert!(!loose.push(&[]));
        assert!(!loose.push_with(|_| false));
    }
}
