//! STREAM_READY: the receiver installed a stream, or refused it.

use zerocopy::little_endian::{U32, U64};

digest! {
    /// STREAM_READY: answers STREAM_OPEN.
    StreamReady = 0x21, 16 bytes {
        /// [`READY`](StreamReady::READY) or [`REFUSED`](StreamReady::REFUSED).
        4 result: U32,
        /// The stream.
        8 session: U64,
    }
}

impl StreamReady {
    /// Installed.
    pub const READY: u32 = 0;
    /// The session is known from another sender, or the key is not installed here: draw another.
    pub const REFUSED: u32 = 1;
}
