//! FAN_BEAT: the publisher asks for the full state of a stream.

use zerocopy::little_endian::U64;

digest! {
    /// FAN_BEAT: answered by FAN_ACK.
    FanBeat = 0x1B, 32 bytes {
        /// Zero.
        4 rsv: [u8; 4],
        /// The stream.
        8 session: U64,
        /// Counter that the next datagram will have: all below were sent.
        16 next: U64,
        /// Bytes of the stream sent since its opening.
        24 bytes: U64,
    }
}
