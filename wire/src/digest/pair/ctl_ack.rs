//! CTL_ACK: what arrived of the control channel.

use zerocopy::little_endian::{U32, U64};

digest! {
    /// CTL_ACK: all chunks below the floor, and those above whose bit is set.
    CtlAck = 0x18, 16 bytes {
        /// The next chunk expected.
        4 floor: U32,
        /// Bit i: chunk floor + i arrived. Bit 0 is always 0.
        8 bits: U64,
    }
}

impl CtlAck {
    /// Head flag: sent some time after the newest chunk came; the round trip is not to be measured by it.
    pub const LATE: u8 = 1;
}
