//! TABLE_ACK: a subscription table is applied up to this version.

use zerocopy::little_endian::U64;

digest! {
    /// TABLE_ACK: makes the subscriptions of that version effective at the digest's sender.
    TableAck = 0x29, 16 bytes {
        /// Zero.
        4 rsv: [u8; 4],
        /// Version of the digest receiver's table.
        8 version: U64,
    }
}
