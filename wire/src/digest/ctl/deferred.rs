//! DEFERRED: a subscription's queue is full, or its client is gone; it goes to catch-up.

use zerocopy::little_endian::{U32, U64};

digest! {
    /// DEFERRED: from this message on the subscription will fetch.
    Deferred = 0x24, 24 bytes {
        /// Subscription, of the digest's sender.
        4 sub: U32,
        /// Publisher, of the digest's receiver.
        8 handle: U32,
        /// Zero.
        12 rsv: [u8; 4],
        /// First message that it did not take.
        16 from: U64,
    }
}

impl Deferred {
    /// Head flag: the subscription's client is gone.
    pub const GONE: u8 = 1;
}
