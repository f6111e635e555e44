//! BULK_ACK: what arrived of the bulk channel.

use zerocopy::little_endian::{U16, U32, U64};

use crate::digest::{cut, split};
use crate::error::DecodeError;
use crate::limits::MAX_ACK_WORDS;

digest! {
    /// BULK_ACK: the fixed part, then `words` bitmap words.
    BulkAck = 0x19, 24 bytes {
        /// The next chunk expected.
        4 floor: U32,
        /// Microseconds between the newest chunk's arrival and this ack.
        8 delay_us: U32,
        /// Bitmap words in the tail; the writer fills it.
        12 words: U16,
        /// Zero.
        14 rsv: U16,
        /// Bytes of chunks, counted from the link's opening, that the receiver takes in all; 0 states no limit.
        16 credit: U64,
    }
}

impl BulkAck {
    /// Head flag: sent at once, not delayed; its time is good for the round trip.
    pub const IMMEDIATE: u8 = 1;
}

/// BULK_ACK with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkAckView<'a> {
    /// The fixed part.
    pub fixed: &'a BulkAck,
    /// Bit i of word w: chunk floor + 64 w + i arrived.
    pub bitmap: &'a [U64],
}

impl<'a> BulkAckView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, mut tail) = split::<BulkAck>(digest)?;
        let bitmap = cut(&mut tail, usize::from(fixed.words.get()), MAX_ACK_WORDS)?;
        Ok(Self { fixed, bitmap })
    }
}
