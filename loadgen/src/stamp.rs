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

impl Stamp {
    /// Writes it into a payload of at least 8 bytes; the due time only if there is room for 8 more.
    #[inline]
    pub fn write(self, payload: &mut [u8]) {
        let mark = if self.last { LAST } else { 0 };
        let word = self.number | (self.stream as u64) << NUMBER_BITS | mark;
        payload[..STAMP_BYTES].copy_from_slice(&word.to_le_bytes());
        if let Some(due) = payload.get_mut(STAMP_BYTES..STAMP_DUE_BYTES) {
            due.copy_from_slice(&self.due.to_le_bytes());
        }
    }

    /// Reads it; `None` if the payload is too short to be one of ours.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (word, rest) = payload.split_first_chunk::<STAMP_BYTES>()?;
        let word = u64::from_le_bytes(*word);
        let due = rest.first_chunk().map_or(0, |due| u64::from_le_bytes(*due));
        Some(Self {
            stream: ((word & !LAST) >> NUMBER_BITS) as usize,
            number: word & NUMBER,
            last: word & LAST != 0,
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
