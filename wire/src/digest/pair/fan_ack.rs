//! FAN_ACK: the full state of a stream at one receiver.

use zerocopy::little_endian::{U16, U32, U64};

use crate::digest::{cut, split};
use crate::error::DecodeError;
use crate::limits::MAX_ACK_WORDS;

digest! {
    /// FAN_ACK: the fixed part, then `words` bitmap words.
    FanAck = 0x1A, 48 bytes {
        /// Microseconds between the arrival of `recent` and this ack.
        4 delay_us: U32,
        /// The stream.
        8 session: U64,
        /// All counters below it are received.
        16 floor: U64,
        /// Bytes of the stream, counted from its opening, that the receiver takes in all.
        24 credit: U64,
        /// Counter of the datagram received last.
        32 recent: U64,
        /// Bitmap words in the tail; the writer fills it.
        40 words: U16,
        /// Zero.
        42 rsv: [u8; 6],
    }
}

impl FanAck {
    /// Head flag: answers a FAN_BEAT.
    pub const ANSWER: u8 = 1;
}

/// FAN_ACK with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanAckView<'a> {
    /// The fixed part.
    pub fixed: &'a FanAck,
    /// Bit i of word w: counter floor + 64 w + i is received.
    pub bitmap: &'a [U64],
}

impl<'a> FanAckView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, mut tail) = split::<FanAck>(digest)?;
        let bitmap = cut(&mut tail, usize::from(fixed.words.get()), MAX_ACK_WORDS)?;
        Ok(Self { fixed, bitmap })
    }
}
