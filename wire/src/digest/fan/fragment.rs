//! FRAGMENT: a part of a message that does not fit one datagram.

use zerocopy::little_endian::{U32, U64};

use crate::digest::bulk::check_part;
use crate::digest::split;
use crate::error::DecodeError;

digest! {
    /// FRAGMENT: the fixed part, then the bytes from `offset` on.
    Fragment = 0x42, 24 bytes {
        /// The publisher.
        4 handle: U32,
        /// The message.
        8 seq: U64,
        /// Where these bytes lie in the message.
        16 offset: U32,
        /// Bytes of the whole message.
        20 total: U32,
    }
}

/// FRAGMENT with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentView<'a> {
    /// The fixed part.
    pub fixed: &'a Fragment,
    /// These bytes of the message.
    pub payload: &'a [u8],
}

impl<'a> FragmentView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, payload) = split::<Fragment>(digest)?;
        check_part(fixed.offset.get(), fixed.total.get(), payload)?;
        Ok(Self { fixed, payload })
    }
}
