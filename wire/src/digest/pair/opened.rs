//! OPENED: the responder's first PAIR digest, the fourth step of the handshake.

use zerocopy::little_endian::{U32, U64};

digest! {
    /// OPENED: how the initiator reaches the responder from now on.
    LinkOpened = 0x10, 32 bytes {
        /// Index of PAIR and BULK towards the responder.
        4 rx_index: U32,
        /// Bytes of its data socket's buffer that the peer may fill.
        8 rcvbuf: U32,
        /// Steer of PAIR and BULK towards the responder.
        12 steer: u8,
        /// Zero.
        13 rsv: [u8; 3],
        /// Low half: what the responder can do. High half: number of its link state, 0 if none.
        16 caps: U64,
        /// Its generation.
        24 generation: U64,
    }
}
