//! PING: are you there?

use zerocopy::little_endian::U32;

use crate::ids::NodeId;

digest! {
    /// PING: answered by ACK with the same number.
    Ping = 0x11, 24 bytes {
        /// Number of the probe, chosen by its sender.
        4 no: U32,
        /// Whom it is for; another node does not answer.
        8 target: NodeId,
    }
}
