//! COOKIE: a responder under load asks for proof of address first.

use zerocopy::little_endian::U64;

digest! {
    /// COOKIE: the initiator repeats its H1, in a new HELLO that carries the cookie in its header.
    Cookie = 0x04, 32 bytes {
        /// Zero.
        4 rsv: [u8; 4],
        /// To be put into the header.
        8 cookie: U64,
        /// From H1.
        16 nonce_i: [u8; 16],
    }
}
