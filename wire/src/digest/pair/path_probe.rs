//! PATH_PROBE: does a datagram of this size arrive?

use zerocopy::little_endian::U32;

digest! {
    /// PATH_PROBE: alone in its datagram, whose body is padded to the size under test.
    PathProbe = 0x1D, 16 bytes {
        /// Number of the probe, chosen by its sender.
        4 no: U32,
        /// Bytes of the whole datagram.
        8 size: U32,
        /// Zero.
        12 rsv: [u8; 4],
    }
}
