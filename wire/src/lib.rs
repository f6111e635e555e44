//! The wire protocol of Tidings: layouts, sealing and replay windows.
//!
//! Bytes in, borrowed views out. Called by the protocol core and by tools; it opens no socket, reads no
//! clock, draws no randomness and holds the only code that sees keys. `SPEC.md` is the normative text.
//!
//! A datagram is a [`Header`], a sealed body and a tag. The body is a run of digests, written with a
//! [`digest::Writer`] and read with [`digest::Digests`].
#![forbid(unsafe_code)]

mod aead;
mod epoch;
mod error;
mod fan;
mod header;
mod hello;
mod ids;
mod kdf;
mod keyring;
mod link;
mod session;
mod suite;
mod topic;
mod window;

pub mod client;
pub mod digest;
pub mod limits;
#[doc(hidden)]
pub mod mutants;

pub use error::{DecodeError, HeaderError, KeyringError, OpenError, SealError, TopicError};
pub use fan::{FanRx, FanTx};
pub use header::{
    Class, FAN_HEADER, FanHeader, HELLO_HEADER, Header, HelloHeader, LinkHeader, PAIR_HEADER, TAG,
    VERSION, index_boot_tag, index_of, index_slot,
};
pub use hello::{
    HelloKind, OpenedHello, address_cookie, hello_gate, hello_hash, hello_open, hello_seal,
    responder_nonce,
};
pub use ids::{Boot, NodeId, OverlayId, overlay_tag, steer};
pub use keyring::{KeyRecord, Keyring};
pub use limits::{MAX_DATAGRAM_SIZE, MIN_DATAGRAM_SIZE};
pub use link::{LinkRx, LinkTx, Opened};
pub use session::{PairIdentity, PairKeys, RestingKeys};
pub use suite::Suite;
pub use topic::{Pattern, pattern_matches, validate_pattern, validate_topic};
pub use window::{FloorWindow, ReplayWindow, Verdict};

#[cfg(test)]
mod tests {
    /// Fails to compile if `$type` implements `$trait`: then two candidates answer.
    macro_rules! never {
        ($($type:ty: $trait:path;)*) => { $({
            trait Ambiguous<A> {
                fn item() {}
            }
            struct Implements;
            impl<T: ?Sized> Ambiguous<()> for T {}
            impl<T: ?Sized + $trait> Ambiguous<Implements> for T {}
            <$type as Ambiguous<_>>::item();
        })* };
    }

    #[test]
    fn key_material_is_neither_printed_nor_copied() {
        never! {
            crate::KeyRecord: std::fmt::Debug;
            crate::KeyRecord: Clone;
            crate::Keyring: std::fmt::Debug;
            crate::Keyring: Clone;
            crate::PairKeys: std::fmt::Debug;
            crate::LinkTx: std::fmt::Debug;
            crate::LinkTx: Clone;
            crate::LinkRx: std::fmt::Debug;
            crate::FanTx: std::fmt::Debug;
            crate::FanTx: Clone;
            crate::FanRx: std::fmt::Debug;
            crate::kdf::Root: std::fmt::Debug;
            crate::kdf::SealingKey: std::fmt::Debug;
            crate::aead::AeadKey: std::fmt::Debug;
        }
    }

    #[test]
    fn everything_can_move_to_another_shard() {
        fn moves<T: Send>() {}
        moves::<crate::Keyring>();
        moves::<crate::PairKeys>();
        moves::<crate::FanTx>();
        moves::<crate::FanRx>();
    }
}
