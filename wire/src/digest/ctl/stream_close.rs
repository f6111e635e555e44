//! STREAM_CLOSE: a stream ends at this receiver.

use zerocopy::little_endian::U64;

digest! {
    /// STREAM_CLOSE: the receiver forgets keys and window.
    StreamClose = 0x22, 16 bytes {
        /// Zero.
        4 rsv: [u8; 4],
        /// The stream.
        8 session: U64,
    }
}
