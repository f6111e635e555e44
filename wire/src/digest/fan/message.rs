//! MESSAGE: a whole message.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::digest::{Head, Layout, split};
use crate::error::DecodeError;
use crate::limits::MAX_DIGEST;

digest! {
    /// MESSAGE: the fixed part, with flag SEQ eight bytes of seq, then the payload.
    Message = 0x41, 8 bytes {
        /// The publisher.
        4 handle: U32,
    }
}

impl Message {
    /// Head flag: seq follows the fixed part. Without it the record just before it is of the same handle and seq is
    /// one above that record's, or what its DEFINE says comes next.
    pub const SEQ: u8 = 1;

    /// Encodes a message without a number of its own, of `bytes` bytes, into `place`, which is as long as fixed part, payload
    /// and padding to the next multiple of 8. The payload is the caller's to write.
    ///
    /// # Panics
    /// If it is not, or if the digest would be too long to state its length.
    #[inline]
    pub fn encode_following(handle: u32, bytes: usize, place: &mut [u8]) -> Payload<'_> {
        let len = size_of::<Self>() + bytes;
        assert!(
            place.len() == (len + 7) & !7 && len <= MAX_DIGEST,
            "a place of its length"
        );
        let head = Head {
            kind: Self::KIND,
            flags: 0,
            len: U16::new(len as u16),
        };
        let (fixed, rest) = place.split_at_mut(size_of::<Self>());
        fixed.copy_from_slice(
            Self {
                head,
                handle: U32::new(handle),
            }
            .as_bytes(),
        );
        let (payload, padding) = rest.split_at_mut(bytes);
        // A call of no length would be one all the same.
        if !padding.is_empty() {
            padding.fill(0);
        }
        Payload(payload)
    }
}

/// Where a message's payload goes, written one part after the other.
#[derive(Debug)]
pub struct Payload<'a>(&'a mut [u8]);

impl<'a> Payload<'a> {
    /// A payload of the length of `place`.
    pub fn new(place: &'a mut [u8]) -> Self {
        Self(place)
    }

    /// Bytes that are still to be written.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// Writes the next bytes.
    ///
    /// # Panics
    /// If there are more than are [left](Self::left).
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.0.len(), "a payload of its length");
        let place = std::mem::take(&mut self.0);
        let (next, rest) = place.split_at_mut(bytes.len());
        copy(next, bytes);
        self.0 = rest;
    }

    /// Nothing more is written: what is left becomes zero, for what lay there before is nobody's business.
    #[inline]
    pub fn finish(self) {
        if !self.0.is_empty() {
            self.0.fill(0);
        }
    }
}

/// Copies a payload. Where it is small, calling `memcpy` takes longer than copying: its first and its last bytes, which overlap.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        8..=16 => copy_ends::<8>(to, from),
        17..=32 => copy_ends::<16>(to, from),
        33..=64 => copy_ends::<32>(to, from),
        65..=128 => copy_ends::<64>(to, from),
        _ => to.copy_from_slice(from),
    }
}

#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *to = *from;
    }
}

/// MESSAGE with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageView<'a> {
    /// The fixed part.
    pub fixed: &'a Message,
    /// Its seq, where it is stated.
    pub seq: Option<u64>,
    /// The message.
    pub payload: &'a [u8],
}

impl<'a> MessageView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, tail) = split::<Message>(digest)?;
        if fixed.head.flags & Message::SEQ == 0 {
            return Ok(Self {
                fixed,
                seq: None,
                payload: tail,
            });
        }
        let (seq, payload) =
            zerocopy::Ref::<_, U64>::from_prefix(tail).map_err(|_| DecodeError::Short)?;
        Ok(Self {
            fixed,
            seq: Some(seq.get()),
            payload,
        })
    }
}
