//! FETCH: a subscription asks for messages that it is owed.

use zerocopy::little_endian::{U32, U64};

use crate::digest::check_run;
use crate::error::DecodeError;

digest! {
    /// FETCH: answered by CATCHUP and GAP, then FETCHED, on the bulk channel.
    Fetch = 0x26, 32 bytes {
        /// Subscription, of the digest's sender.
        4 sub: U32,
        /// Publisher, of the digest's receiver.
        8 handle: U32,
        /// Messages wanted at most.
        12 count: U32,
        /// First message wanted.
        16 from: U64,
        /// Payload bytes wanted at most; one message always comes.
        24 max_bytes: U32,
        /// Zero.
        28 rsv: [u8; 4],
    }
}

impl Fetch {
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        check_run(self.from.get(), self.count.get())
    }
}
