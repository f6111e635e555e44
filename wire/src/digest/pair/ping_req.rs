//! PING_REQ: please probe this member for me.

use zerocopy::little_endian::U32;

use crate::ids::NodeId;

digest! {
    /// PING_REQ: answered by ACK if the target answered, by NACK if it did not in time.
    PingReq = 0x13, 24 bytes {
        /// Number of the probe, chosen by its sender.
        4 no: U32,
        /// The member to probe.
        8 target: NodeId,
    }
}
