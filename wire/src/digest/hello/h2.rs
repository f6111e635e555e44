//! H2: the responder answers and remembers nothing.

use zerocopy::little_endian::U64;

use crate::ids::{Boot, NodeId};

digest! {
    /// H2: names the responder, echoes the initiator's nonce and the hash of its H1 datagram.
    H2 = 0x02, 120 bytes {
        /// Protocol version chosen from H1's range.
        4 ver: u8,
        /// Zero.
        5 rsv: [u8; 3],
        /// The responder.
        8 id: NodeId,
        /// Its boot.
        24 boot: Boot,
        /// From H1.
        40 nonce_i: [u8; 16],
        /// The responder's, bound to H1's fields.
        56 nonce_r: [u8; 16],
        /// SHA-256 of the H1 datagram as received.
        72 h1_hash: [u8; 32],
        /// Highest generation of the initiator that the responder knows, 0 if none.
        104 known_generation: U64,
        /// Low half: what the responder can do. High half: number of its link state, 0 if none.
        112 caps: U64,
    }
}
