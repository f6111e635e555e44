//! CATCHUP: a message, or a part of one, that a subscription fetched.

use zerocopy::little_endian::{U32, U64};

use crate::digest::{check_seq, split};
use crate::error::DecodeError;
use crate::limits::MAX_MESSAGE;

digest! {
    /// CATCHUP: the fixed part, then the bytes from `offset` on.
    Catchup = 0x37, 32 bytes {
        /// Subscription, of the digest's receiver.
        4 sub: U32,
        /// Publisher, of the digest's sender.
        8 handle: U32,
        /// Where these bytes lie in the message.
        12 offset: U32,
        /// The message.
        16 seq: U64,
        /// Bytes of the whole message.
        24 total: U32,
        /// Zero.
        28 rsv: [u8; 4],
    }
}

/// CATCHUP with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchupView<'a> {
    /// The fixed part.
    pub fixed: &'a Catchup,
    /// These bytes of the message.
    pub payload: &'a [u8],
}

impl<'a> CatchupView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, payload) = split::<Catchup>(digest)?;
        check_seq(fixed.seq.get())?;
        check_part(fixed.offset.get(), fixed.total.get(), payload)?;
        Ok(Self { fixed, payload })
    }
}

/// A part lies within its message, which lies within the cap; only an empty message has an empty part.
pub(crate) fn check_part(offset: u32, total: u32, payload: &[u8]) -> Result<(), DecodeError> {
    let (offset, total) = (offset as usize, total as usize);
    if total > MAX_MESSAGE {
        return Err(DecodeError::Limit);
    }
    if offset + payload.len() > total || (payload.is_empty() && total > 0) {
        return Err(DecodeError::Value);
    }
    Ok(())
}
