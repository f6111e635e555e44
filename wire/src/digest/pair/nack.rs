//! NACK: your target did not answer me, but I did hear you.

use zerocopy::little_endian::U32;

digest! {
    /// NACK: answers PING_REQ, so that its sender knows that its own path works.
    Nack = 0x14, 8 bytes {
        /// Number of the probe.
        4 no: U32,
    }
}
