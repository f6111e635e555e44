//! SUB_DEL: a subscription ended.

use zerocopy::little_endian::U32;

digest! {
    /// SUB_DEL: between TABLE and TABLE_END.
    SubDel = 0x32, 8 bytes {
        /// Number of the subscription at its node.
        4 sub: U32,
    }
}
