//! What a message carries: its stream, its number in it, a mark, and when it was due.

/// Bytes that every message needs.
pub(crate) const STAMP_BYTES: usize = 8;
/// Bytes that a message with a due time needs.
pub(crate) const STAMP_DUE_BYTES: usize = 16;
/// Messages of one topic of one publisher: 12 hours at 25 million a second.
const NUMBER_BITS: u32 = 40;
/// Streams of a run: publishers times topics.
pub(crate) const STREAMS_MAX: usize = 1 << 20;

const LAST: u64 = 1 << 63;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

/// What stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Publisher times topics plus topic: each stream has a numbering of its own.
    pub stream: usize,
    /// Position among the messages of its stream, from 0.
    pub number: u64,
    /// Its publisher publishes no further one.
    pub last: bool,
    /// When it was due, in ns of [`crate::clock`]; 0: its latency does not count.
    pub due: u64,
}

/// Stream and number in one word; without a mark it is less than [`LAST`].
#[inline]
pub(crate) fn word(stream: usize, number: u64) -> u64 {
    number | (stream as u64) << NUMBER_BITS
}

/// What [`word`] made into one.
#[inline]
pub(crate) fn unword(word: u64) -> (usize, u64) {
    (((word & !LAST) >> NUMBER_BITS) as usize, word & NUMBER)
}

/// Word, with the mark if it is the last, and due time into a payload.
#[inline]
pub(crate) fn write(word: u64, last: bool, due: u64, payload: &mut [u8]) {
    let stamp = bytes(word, last, due);
    let len = stamped(payload.len());
    payload[..len].copy_from_slice(&stamp[..len]);
}

/// The bytes of word, with the mark if it is the last, and due time.
#[inline]
pub(crate) fn bytes(word: u64, last: bool, due: u64) -> [u8; STAMP_DUE_BYTES] {
    let word = if last { word | LAST } else { word };
    let mut bytes = [0; STAMP_DUE_BYTES];
    bytes[..STAMP_BYTES].copy_from_slice(&word.to_le_bytes());
    bytes[STAMP_BYTES..].copy_from_slice(&due.to_le_bytes());
    bytes
}

/// How many of [`bytes`] stand in a payload of this length.
#[inline]
pub(crate) fn stamped(payload: usize) -> usize {
    if payload < STAMP_DUE_BYTES {
        STAMP_BYTES
    } else {
        STAMP_DUE_BYTES
    }
}

/// Word, mark included, and due time.
#[inline]
pub(crate) fn read(payload: &[u8]) -> Option<(u64, u64)> {
    let (word, rest) = payload.split_first_chunk::<STAMP_BYTES>()?;
    let due = rest.first_chunk().map_or(0, |due| u64::from_le_bytes(*due));
    Some((u64::from_le_bytes(*word), due))
}

impl Stamp {
    /// Writes it into a payload of at least 8 bytes; the due time only if there is room for 8 more.
    pub fn write(self, payload: &mut [u8]) {
        write(word(self.stream, self.number), self.last, self.due, payload);
    }

    /// Reads it; `None` if the payload is too short to be one of ours.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (marked, due) = read(payload)?;
        let (stream, number) = unword(marked);
        Some(Self {
            stream,
            number,
            last: marked & LAST != 0,
            due,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        for (len, due) in [(8, 0), (16, 77), (64, 77)] {
            let stamp = Stamp {
                stream: STREAMS_MAX - 1,
                number: NUMBER,
                last: true,
                due,
            };
            let mut payload = vec![0; len];
            stamp.write(&mut payload);
            assert_eq!(Stamp::read(&payload), Some(stamp));
        }
        assert_eq!(Stamp::read(&[0; 7]), None);
    }
}
