//! STREAM_OPEN: a publisher installs a stream at a receiver, or returns it to the live stream.

use zerocopy::little_endian::{U32, U64};

digest! {
    /// STREAM_OPEN: the keys of the stream follow from its sender's id and boot and from these fields.
    StreamOpen = 0x20, 32 bytes {
        /// Bytes of the stream's largest datagram.
        4 size: U32,
        /// The stream: 64 random bits.
        8 session: U64,
        /// The counter from which on the receiver is owed datagrams.
        16 floor: U64,
        /// Slot of the key record.
        24 slot: u8,
        /// Suite of the key record.
        25 suite: u8,
        /// The lane.
        26 lane: u8,
        /// Zero.
        27 rsv: [u8; 5],
    }
}
