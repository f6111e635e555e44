//! What a message carries: its number, two marks, and when it was due.

/// Bytes that every message needs.
pub(crate) const STAMP_BYTES: usize = 8;
/// Bytes that a message with a due time needs.
pub(crate) const STAMP_DUE_BYTES: usize = 16;

const LAST: u64 = 1 << 63;
const NUMBER: u64 = LAST - 1;

/// What stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Position among the messages of the run, from 0.
    pub(crate) number: u64,
    /// No further one comes.
    pub(crate) last: bool,
    /// When it was due, in ns of [`crate::clock`]; 0: its latency does not count.
    pub(crate) due: u64,
}

impl Stamp {
    /// Writes it into a payload; the due time only if there is room.
    pub(crate) fn write(self, payload: &mut [u8]) {
        let word = self.number | if self.last { LAST } else { 0 };
        payload[..STAMP_BYTES].copy_from_slice(&word.to_le_bytes());
        if let Some(due) = payload.get_mut(STAMP_BYTES..STAMP_DUE_BYTES) {
            due.copy_from_slice(&self.due.to_le_bytes());
        }
    }

    /// Reads it; `None` if the payload is none of ours.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (word, rest) = payload.split_first_chunk::<STAMP_BYTES>()?;
        let word = u64::from_le_bytes(*word);
        let due = rest.first_chunk().map_or(0, |due| u64::from_le_bytes(*due));
        Some(Self {
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
                number: 12,
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
