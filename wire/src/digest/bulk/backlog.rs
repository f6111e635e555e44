//! BACKLOG: the publisher still holds these messages for a subscription.

use std::str;

use zerocopy::little_endian::{U32, U64};

use crate::digest::{check_run, split};
use crate::error::DecodeError;
use crate::topic::validate_topic;

digest! {
    /// BACKLOG: the fixed part, then the topic. The subscriber fetches what it lacks.
    Backlog = 0x36, 24 bytes {
        /// Subscription, of the digest's receiver.
        4 sub: U32,
        /// Publisher, of the digest's sender.
        8 handle: U32,
        /// Messages in the run.
        12 count: U32,
        /// First of the run.
        16 from: U64,
    }
}

impl Backlog {
    /// Head flag: messages of the run may have been delivered before.
    pub const AGAIN: u8 = 1;
}

/// BACKLOG with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogView<'a> {
    /// The fixed part.
    pub fixed: &'a Backlog,
    /// The publisher's topic.
    pub topic: &'a str,
}

impl<'a> BacklogView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, tail) = split::<Backlog>(digest)?;
        check_run(fixed.from.get(), fixed.count.get())?;
        let topic = str::from_utf8(tail).map_err(|_| DecodeError::Text)?;
        validate_topic(topic).map_err(|_| DecodeError::Text)?;
        Ok(Self { fixed, topic })
    }
}
