//! The head that every frame begins with, and how frames are cut out of a byte stream. The length is checked before
//! anybody allocates for it.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the head: u32 length of the rest, u8 kind, u8 flags, u16 reserved.
pub const HEAD_SIZE: usize = 8;

/// Bytes of the length field, which does not count itself.
const LENGTH_SIZE: usize = 4;

/// Largest value of the length field: a message of the hard cap (4 MiB) with room for everything around it.
pub const MAX_FRAME: usize = (4 << 20) + (64 << 10);

/// The head of a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Head {
    /// Bytes that follow this field.
    pub len: U32,
    /// One of [`Kind`].
    pub kind: u8,
    /// Meaning by kind; unknown bits are ignored.
    pub flags: u8,
    /// Zero.
    pub reserved: U16,
}

const _: () = assert!(size_of::<Head>() == HEAD_SIZE);

/// Why bytes are not a frame. The connection that sent them is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length field exceeds [`MAX_FRAME`].
    TooLong,
    /// The length field does not even cover the head.
    TooShort,
    /// The reserved bytes of the head are not zero.
    Reserved,
    /// The kind is not known in this direction.
    UnknownKind(u8),
    /// The body is shorter than its fixed part and tails demand, or a field holds what it must not.
    Malformed(u8),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => write!(f, "frame is longer than {MAX_FRAME} bytes"),
            Self::TooShort => write!(f, "frame is shorter than its head"),
            Self::Reserved => write!(f, "reserved bytes of the frame head are not zero"),
            Self::UnknownKind(kind) => write!(f, "unknown frame kind 0x{kind:02x}"),
            Self::Malformed(kind) => write!(f, "malformed frame of kind 0x{kind:02x}"),
        }
    }
}

impl std::error::Error for FrameError {}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// What a frame is. The high bit is set in what the daemon sends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $value,)* }

        impl Kind {
            /// Every kind, in the order of their values.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// The kind of a byte, if it is one.
            pub const fn of(byte: u8) -> Option<Kind> {
                match byte { $($value => Some(Kind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// First frame of a connection: who the client is.
    Hello = 0x01,
    /// The client proves that it holds its secret.
    Proof = 0x02,
    /// Asks for a subscription.
    Subscribe = 0x10,
    /// Ends a subscription.
    Unsubscribe = 0x11,
    /// Acknowledges delivered messages.
    Ack = 0x12,
    /// Opens a publisher on a topic.
    Open = 0x20,
    /// Closes a publisher.
    Close = 0x21,
    /// Messages to publish.
    Publish = 0x22,
    /// Asks how many subscriptions a message would be owed to now.
    AskOwed = 0x23,
    /// Asks for the members of an overlay and every change of them.
    Watch = 0x30,
    /// Ends a watch.
    Unwatch = 0x31,
    /// Asks for members, overlays, statistics or the node itself, as JSON.
    Query = 0x32,
    /// Tells the daemon to leave one overlay, or all and stop.
    Leave = 0x33,
    /// The daemon proves that it knows the client's secret.
    Challenge = 0x81,
    /// The session stands.
    Welcome = 0x82,
    /// Something was refused.
    Error = 0x83,
    /// A subscription stands.
    Subscribed = 0x90,
    /// A subscription ended.
    Unsubscribed = 0x91,
    /// Messages of one publisher for one subscription.
    Deliver = 0x92,
    /// Messages that a subscription will never get.
    Gap = 0x93,
    /// A publisher stands.
    Opened = 0xA0,
    /// A publisher is closed.
    Closed = 0xA1,
    /// Messages that are in the node's store now.
    Accepted = 0xA2,
    /// What became of messages at one subscription.
    Outcome = 0xA3,
    /// How much more the client may publish.
    Credit = 0xA4,
    /// How many subscriptions a message would be owed to now.
    Owed = 0xA5,
    /// A member, or a change of one.
    Presence = 0xB0,
    /// The answer to a query or a leave.
    Answer = 0xB2,
}

/// A whole frame, not yet decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    /// The kind as it came.
    pub kind: u8,
    /// The flags as they came.
    pub flags: u8,
    /// What follows the head.
    pub body: &'a [u8],
}

/// How many bytes the frame at the start of `input` takes, head included; `None` while its length is not known yet.
pub fn frame_size(input: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(field) = input.first_chunk::<LENGTH_SIZE>() else {
        return Ok(None);
    };
    let len = u32::from_le_bytes(*field) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong);
    }
    if len < HEAD_SIZE - LENGTH_SIZE {
        return Err(FrameError::TooShort);
    }
    Ok(Some(LENGTH_SIZE + len))
}

/// Cuts the frame at the start of `input`: it and the number of bytes that it took, or `None` while it is incomplete.
pub fn split(input: &[u8]) -> Result<Option<(Raw<'_>, usize)>, FrameError> {
    let Some(size) = frame_size(input)? else {
        return Ok(None);
    };
    if input.len() < size {
        return Ok(None);
    }
    let (head, rest) = Head::ref_from_prefix(input).map_err(|_| FrameError::TooShort)?;
    if head.reserved.get() != 0 {
        return Err(FrameError::Reserved);
    }
    Ok(Some((
        Raw {
            kind: head.kind,
            flags: head.flags,
            body: &rest[..size - HEAD_SIZE],
        },
        size,
    )))
}

/// The fixed part of a frame: a layout without padding whose kind is known.
pub trait Fixed: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned {
    /// The kind of the frame that begins with it.
    const KIND: Kind;
}

/// Splits a body into its fixed part and what follows.
pub(crate) fn fixed<F: Fixed>(body: &[u8]) -> Result<(&F, &[u8]), FrameError> {
    F::ref_from_prefix(body).map_err(|_| FrameError::Malformed(F::KIND as u8))
}

/// Splits `len` bytes of UTF-8 off a tail.
pub(crate) fn text(kind: Kind, tail: &[u8], len: usize) -> Result<(&str, &[u8]), FrameError> {
    let malformed = FrameError::Malformed(kind as u8);
    let (head, rest) = tail.split_at_checked(len).ok_or(malformed)?;
    Ok((std::str::from_utf8(head).map_err(|_| malformed)?, rest))
}

/// Appends one whole frame to `out`. The sum of `tails` must leave the frame below [`MAX_FRAME`]; the encoders bound
/// theirs.
pub(crate) fn put<F: Fixed>(out: &mut Vec<u8>, flags: u8, fixed: &F, tails: &[&[u8]]) {
    let tail: usize = tails.iter().map(|tail| tail.len()).sum();
    let len = HEAD_SIZE - LENGTH_SIZE + size_of::<F>() + tail;
    debug_assert!(len <= MAX_FRAME, "a frame never exceeds its bound");
    let head = Head {
        len: U32::new(len as u32),
        kind: F::KIND as u8,
        flags,
        reserved: U16::ZERO,
    };
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(fixed.as_bytes());
    for tail in tails {
        out.extend_from_slice(tail);
    }
}

/// Writes the length of the frame that began at `start` and reaches to the end of `out`.
pub(crate) fn seal_length(out: &mut [u8], start: usize) {
    let len = out.len() - start - LENGTH_SIZE;
    debug_assert!(len <= MAX_FRAME, "a frame never exceeds its bound");
    out[start..start + LENGTH_SIZE].copy_from_slice(&(len as u32).to_le_bytes());
}

/// `text` cut to at most `max` bytes at a character boundary.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
