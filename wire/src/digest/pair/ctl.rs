//! CTL: a chunk of the reliable, ordered control channel.

use zerocopy::little_endian::U32;

use crate::digest::{Digests, split};
use crate::error::DecodeError;

digest! {
    /// CTL: the fixed part, then digests.
    Ctl = 0x17, 8 bytes {
        /// Number of the chunk in this link and direction, from 0.
        4 seq: U32,
    }
}

/// CTL with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtlView<'a> {
    /// The fixed part.
    pub fixed: &'a Ctl,
    /// The chunk: a run of digests.
    pub content: &'a [u8],
}

impl<'a> CtlView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, content) = split(digest)?;
        Ok(Self { fixed, content })
    }

    /// The digests of the chunk.
    pub fn digests(&self) -> Digests<'a> {
        Digests::new(self.content)
    }
}
