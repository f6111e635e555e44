//! Digests: the fixed-layout records of a sealed body, viewed in place. One file each, grouped by where they travel.
//!
//! A digest begins with a [`Head`]; the next begins at the next multiple of 8 from the start of the body.
//! Unknown kinds are skipped, known ones may be longer than this version knows.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Ref, Unaligned};

use crate::error::DecodeError;
use crate::limits::SEQ_END;

/// The first four bytes of every digest.
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
pub struct Head {
    /// What follows. 0 never names a digest.
    pub kind: u8,
    /// Bits whose meaning belongs to the kind.
    pub flags: u8,
    /// Bytes of the whole digest, this head included, padding excluded.
    pub len: U16,
}

impl Head {
    /// A head with `flags`; the writer fills kind and length.
    pub fn flagged(flags: u8) -> Self {
        Self {
            flags,
            ..Self::default()
        }
    }
}

/// A fixed layout that begins with a head.
pub trait Layout: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned + Copy {
    /// The kind that its head carries.
    const KIND: u8;
}

/// Declares a digest's fixed part: the struct, its kind, and compile-time proof of every offset and the size.
macro_rules! digest {
    (
        $(#[$meta:meta])* $name:ident = $kind:literal, $size:literal bytes {
            $($(#[$doc:meta])* $at:literal $field:ident: $ty:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, zerocopy::FromBytes, zerocopy::IntoBytes,
            zerocopy::KnownLayout, zerocopy::Immutable, zerocopy::Unaligned,
        )]
        #[repr(C)]
        pub struct $name {
            /// Kind, flags, length.
            pub head: $crate::digest::Head,
            $($(#[$doc])* pub $field: $ty,)*
        }

        impl $crate::digest::Layout for $name {
            const KIND: u8 = $kind;
        }

        const _: () = {
            assert!(size_of::<$name>() == $size);
            $(assert!(std::mem::offset_of!($name, $field) == $at);)*
        };
    };
}

mod addr;
mod bulk;
mod ctl;
mod fan;
mod hello;
mod pair;
mod read;
mod values;
mod write;

pub use addr::Addr;
pub use bulk::*;
pub use ctl::*;
pub use fan::*;
pub use hello::*;
pub use pair::*;
pub use read::{Digest, Digests};
pub use values::{AckMode, FailReason, MemberState, OrderMode, SlowPolicy};
pub use write::Writer;

/// The fixed part at the front of a digest and what follows it.
fn split<T: Layout>(digest: &[u8]) -> Result<(&T, &[u8]), DecodeError> {
    let (fixed, tail) = Ref::<_, T>::from_prefix(digest).map_err(|_| DecodeError::Short)?;
    Ok((Ref::into_ref(fixed), tail))
}

/// The fixed part alone: what follows it belongs to a later version.
fn fixed<T: Layout>(digest: &[u8]) -> Result<&T, DecodeError> {
    split(digest).map(|(fixed, _)| fixed)
}

/// Cuts `count` elements off the front of `tail`.
fn cut<'a, T: FromBytes + KnownLayout + Immutable + Unaligned>(
    tail: &mut &'a [u8],
    count: usize,
    max: usize,
) -> Result<&'a [T], DecodeError> {
    if count > max {
        return Err(DecodeError::Limit);
    }
    let (items, rest) =
        <[T]>::ref_from_prefix_with_elems(tail, count).map_err(|_| DecodeError::Short)?;
    *tail = rest;
    Ok(items)
}

/// Refuses a run `from..from + count` that is empty or reaches beyond the last seq.
fn check_run(from: u64, count: u32) -> Result<(), DecodeError> {
    let end = from.checked_add(u64::from(count));
    if count == 0 || end.is_none_or(|end| end > SEQ_END) {
        return Err(DecodeError::Value);
    }
    Ok(())
}

/// Refuses a number that no message has.
fn check_seq(seq: u64) -> Result<(), DecodeError> {
    if seq < SEQ_END {
        Ok(())
    } else {
        Err(DecodeError::Value)
    }
}
