//! PATH_ACK: a datagram of this size arrived.

use zerocopy::little_endian::U32;

digest! {
    /// PATH_ACK: answers PATH_PROBE.
    PathAck = 0x1E, 16 bytes {
        /// Number of the probe.
        4 no: U32,
        /// Bytes of the datagram that arrived.
        8 size: U32,
        /// Zero.
        12 rsv: [u8; 4],
    }
}
