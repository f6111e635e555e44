//! TABLE_END: the change is complete and may be applied.

use zerocopy::little_endian::U64;

digest! {
    /// TABLE_END: applied as a whole or not at all.
    TableEnd = 0x33, 16 bytes {
        /// Zero.
        4 rsv: [u8; 4],
        /// As in TABLE.
        8 version: U64,
    }
}
