//! DEFINE: which topic a handle publishes, and from which seq on.

use std::str;

use zerocopy::little_endian::{U32, U64};

use crate::digest::{check_seq, split};
use crate::error::DecodeError;
use crate::topic::validate_topic;

digest! {
    /// DEFINE: the fixed part, then the topic. Precedes the handle's messages in the stream.
    Define = 0x40, 16 bytes {
        /// The publisher.
        4 handle: U32,
        /// Seq of its next message.
        8 seq: U64,
    }
}

/// DEFINE with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefineView<'a> {
    /// The fixed part.
    pub fixed: &'a Define,
    /// Its topic.
    pub topic: &'a str,
}

impl<'a> DefineView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, tail) = split::<Define>(digest)?;
        check_seq(fixed.seq.get())?;
        let topic = str::from_utf8(tail).map_err(|_| DecodeError::Text)?;
        validate_topic(topic).map_err(|_| DecodeError::Text)?;
        Ok(Self { fixed, topic })
    }
}
