//! H1: the initiator introduces itself.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::digest::{Addr, cut, split};
use crate::error::DecodeError;
use crate::ids::{Boot, NodeId};
use crate::limits::MAX_ADDRESSES;

/// What H1 and H3 say of their sender: 100 bytes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Introduction {
    /// Lowest protocol version that it speaks.
    pub ver_min: u8,
    /// Highest protocol version that it speaks.
    pub ver_max: u8,
    /// Steer of PAIR and BULK towards it.
    pub steer: u8,
    /// Addresses in the tail; the writer fills it.
    pub naddr: u8,
    /// Index of PAIR and BULK towards it.
    pub rx_index: U32,
    /// Bytes of its data socket's buffer that the peer may fill.
    pub rcvbuf: U32,
    /// Its node.
    pub id: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// New for every try.
    pub nonce: [u8; 16],
    /// The node that it wants, zero if it knows only an address.
    pub target: NodeId,
    /// Its handshake counter: strictly increasing per boot.
    pub hs: U64,
    /// Its generation.
    pub generation: U64,
    /// Low half: what it can do. High half: number of its link state, 0 if none.
    pub caps: U64,
}

digest! {
    /// H1: introduction, then `naddr` addresses. Padded so that its datagram is at least 256 B and no smaller than H2's.
    H1 = 0x01, 104 bytes {
        /// The sender.
        4 who: Introduction,
    }
}

const _: () = {
    assert!(size_of::<Introduction>() == 100);
    assert!(std::mem::offset_of!(Introduction, rx_index) == 4);
    assert!(std::mem::offset_of!(Introduction, id) == 12);
    assert!(std::mem::offset_of!(Introduction, boot) == 28);
    assert!(std::mem::offset_of!(Introduction, nonce) == 44);
    assert!(std::mem::offset_of!(Introduction, target) == 60);
    assert!(std::mem::offset_of!(Introduction, hs) == 76);
    assert!(std::mem::offset_of!(Introduction, generation) == 84);
    assert!(std::mem::offset_of!(Introduction, caps) == 92);
};

/// H1 with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H1View<'a> {
    /// The fixed part.
    pub fixed: &'a H1,
    /// Where the sender says it is reached.
    pub addrs: &'a [Addr],
}

impl<'a> H1View<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, mut tail) = split::<H1>(digest)?;
        fixed.who.check()?;
        let addrs = cut(&mut tail, usize::from(fixed.who.naddr), MAX_ADDRESSES)?;
        Ok(Self { fixed, addrs })
    }
}

impl Introduction {
    /// A range of versions that is one, a node and a boot that are named.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        let named = self.id != NodeId::ZERO && self.boot != Boot::ZERO;
        if named && self.ver_min <= self.ver_max {
            Ok(())
        } else {
            Err(DecodeError::Value)
        }
    }
}
