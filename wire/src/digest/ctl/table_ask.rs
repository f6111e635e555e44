//! TABLE_ASK: send me your subscription table.

use zerocopy::little_endian::U64;

digest! {
    /// TABLE_ASK: answered by TABLE on the bulk channel.
    TableAsk = 0x2A, 16 bytes {
        /// Zero.
        4 rsv: [u8; 4],
        /// Version that the digest's sender has, 0 if none.
        8 have: U64,
    }
}
