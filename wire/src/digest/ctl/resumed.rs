//! RESUMED: a subscription is level and takes live messages again.

use zerocopy::little_endian::U32;

digest! {
    /// RESUMED: ends what DEFERRED began.
    Resumed = 0x25, 8 bytes {
        /// Subscription, of the digest's sender.
        4 sub: U32,
    }
}
