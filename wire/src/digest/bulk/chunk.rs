//! BULK: a chunk of the reliable, ordered bulk channel; the one digest of a BULK datagram.

use zerocopy::little_endian::U32;

use crate::digest::{Digests, split};
use crate::error::DecodeError;

digest! {
    /// BULK: the fixed part, then digests.
    Bulk = 0x2F, 8 bytes {
        /// Number of the chunk in this link and direction, from 0.
        4 seq: U32,
    }
}

/// BULK with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkView<'a> {
    /// The fixed part.
    pub fixed: &'a Bulk,
    /// The chunk: a run of digests.
    pub content: &'a [u8],
}

impl<'a> BulkView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, content) = split(digest)?;
        Ok(Self { fixed, content })
    }

    /// The digests of the chunk.
    pub fn digests(&self) -> Digests<'a> {
        Digests::new(self.content)
    }
}
