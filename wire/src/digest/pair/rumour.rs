//! RUMOUR: what somebody holds a member to be, without its record.

use zerocopy::little_endian::U64;

use crate::digest::MemberState;
use crate::error::DecodeError;
use crate::ids::NodeId;

digest! {
    /// RUMOUR: state of a member at a generation and incarnation.
    Rumour = 0x16, 56 bytes {
        /// A [`MemberState`].
        4 state: u8,
        /// Zero.
        5 rsv: [u8; 3],
        /// The member.
        8 id: NodeId,
        /// Of the member, as known to the accuser.
        24 generation: U64,
        /// Of the member, as known to the accuser.
        32 incarnation: U64,
        /// Who first said so; the member itself for alive and left.
        40 accuser: NodeId,
    }
}

impl Rumour {
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        MemberState::from_wire(self.state)
            .map(|_| ())
            .ok_or(DecodeError::Value)
    }
}
