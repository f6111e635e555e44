//! MEMBER: a full alive record, passed on exactly as its owner issued it.

use std::str;

use zerocopy::little_endian::{U16, U32, U64};

use crate::digest::{Addr, MemberState, cut, split};
use crate::error::DecodeError;
use crate::ids::{Boot, NodeId};
use crate::limits::{MAX_ADDRESSES, MAX_METADATA, MAX_NAME};

digest! {
    /// MEMBER: the fixed part, then name, rack, addresses and metadata.
    Member = 0x15, 80 bytes {
        /// Version of the application, as its owner counts it.
        4 app_ver: U32,
        /// The member.
        8 id: NodeId,
        /// Its boot.
        24 boot: Boot,
        /// Counts its lives.
        40 generation: U64,
        /// Counts its refutations and changes within a life.
        48 incarnation: U64,
        /// Version of its subscription table.
        56 table: U64,
        /// A [`MemberState`].
        64 state: u8,
        /// Zero.
        65 flags: u8,
        /// Highest protocol version that it speaks.
        66 proto_ver: u8,
        /// Bytes of the name; the writer fills it.
        67 name_len: u8,
        /// Bytes of the rack; the writer fills it.
        68 rack_len: u8,
        /// Number of addresses; the writer fills it.
        69 naddr: u8,
        /// Bytes of the metadata; the writer fills it.
        70 meta_len: U16,
        /// Installed key slots, one bit each.
        72 keys: u8,
        /// Slot of its primary key.
        73 primary: u8,
        /// Zero.
        74 rsv: [u8; 6],
    }
}

/// MEMBER with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView<'a> {
    /// The fixed part.
    pub fixed: &'a Member,
    /// Its label, not unique.
    pub name: &'a str,
    /// Its failure domain, may be empty.
    pub rack: &'a str,
    /// Where it is reached, best first.
    pub addrs: &'a [Addr],
    /// Opaque to the protocol.
    pub meta: &'a [u8],
    /// The whole digest as it came: what is passed on.
    pub encoded: &'a [u8],
}

impl<'a> MemberView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, mut tail) = split::<Member>(digest)?;
        MemberState::from_wire(fixed.state).ok_or(DecodeError::Value)?;
        if fixed.id == NodeId::ZERO || fixed.primary > 7 {
            return Err(DecodeError::Value);
        }
        let name = text(cut(&mut tail, usize::from(fixed.name_len), MAX_NAME)?)?;
        let rack = text(cut(&mut tail, usize::from(fixed.rack_len), MAX_NAME)?)?;
        let addrs = cut(&mut tail, usize::from(fixed.naddr), MAX_ADDRESSES)?;
        let meta = cut(&mut tail, usize::from(fixed.meta_len.get()), MAX_METADATA)?;
        Ok(Self {
            fixed,
            name,
            rack,
            addrs,
            meta,
            encoded: digest,
        })
    }

    /// Its state.
    pub fn state(&self) -> MemberState {
        MemberState::from_wire(self.fixed.state).expect("decode refuses other states")
    }
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = str::from_utf8(bytes).map_err(|_| DecodeError::Text)?;
    if text.chars().any(char::is_control) {
        Err(DecodeError::Text)
    } else {
        Ok(text)
    }
}
