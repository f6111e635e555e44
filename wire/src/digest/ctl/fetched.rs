//! FETCHED: the answer to a FETCH is complete.

use zerocopy::little_endian::{U32, U64};

use crate::error::DecodeError;

digest! {
    /// FETCHED: on the bulk channel, after the messages themselves.
    Fetched = 0x27, 24 bytes {
        /// Subscription, of the digest's receiver.
        4 sub: U32,
        /// Publisher, of the digest's sender.
        8 handle: U32,
        /// Messages that the answer covered; fewer than asked for if `max_bytes` ended it.
        12 count: U32,
        /// First message asked for.
        16 from: U64,
    }
}

impl Fetched {
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        let end = self.from.get().checked_add(u64::from(self.count.get()));
        end.map(|_| ()).ok_or(DecodeError::Value)
    }
}
