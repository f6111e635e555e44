//! H3: the initiator confirms; once it verifies the session exists.

use crate::digest::{Addr, Introduction, cut, split};
use crate::error::DecodeError;
use crate::ids::{Boot, NodeId};
use crate::limits::MAX_ADDRESSES;

digest! {
    /// H3: H1's introduction again, the responder as H2 named it, then `naddr` addresses and a sealed PAIR datagram.
    H3 = 0x03, 152 bytes {
        /// The sender, equal to H1's.
        4 who: Introduction,
        /// From H2.
        104 responder: NodeId,
        /// From H2.
        120 responder_boot: Boot,
        /// From H2.
        136 nonce_r: [u8; 16],
    }
}

/// H3 with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H3View<'a> {
    /// The fixed part.
    pub fixed: &'a H3,
    /// Where the sender says it is reached.
    pub addrs: &'a [Addr],
    /// A PAIR datagram at counter 0 and index 0 under the new keys: proof that the sender holds them.
    pub inner: &'a [u8],
}

impl<'a> H3View<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, mut tail) = split::<H3>(digest)?;
        fixed.who.check()?;
        let addrs = cut(&mut tail, usize::from(fixed.who.naddr), MAX_ADDRESSES)?;
        Ok(Self {
            fixed,
            addrs,
            inner: tail,
        })
    }
}
