//! YOU_ARE_DEAD: told to a member that speaks while it is held dead, so that it refutes.

use zerocopy::little_endian::U64;

digest! {
    /// YOU_ARE_DEAD: at which generation and incarnation its sender holds the receiver dead.
    YouAreDead = 0x1C, 24 bytes {
        /// Zero.
        4 rsv: [u8; 4],
        /// Of the receiver.
        8 generation: U64,
        /// Of the receiver.
        16 incarnation: U64,
    }
}
