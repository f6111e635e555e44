//! TABLE: a change of the sender's subscription table begins.

use zerocopy::little_endian::{U32, U64};

digest! {
    /// TABLE: followed by `count` SUB_ADD and SUB_DEL, then TABLE_END.
    Table = 0x30, 24 bytes {
        /// Digests between TABLE and TABLE_END.
        4 count: U32,
        /// Version once all are applied.
        8 version: U64,
        /// Version that the change builds on; 0 replaces the whole table.
        16 base: U64,
    }
}
