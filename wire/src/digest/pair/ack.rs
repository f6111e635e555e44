//! ACK: I am, or my target is.

use zerocopy::little_endian::U32;

digest! {
    /// ACK: answers PING, or PING_REQ once the target answered.
    Ack = 0x12, 8 bytes {
        /// Number of the probe.
        4 no: U32,
    }
}
