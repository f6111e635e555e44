//! The frames of presence: WATCH, UNWATCH, PRESENCE. A watch begins with a snapshot, one PRESENCE per member, the last
//! of them marked; then every change follows.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frame::{self, Fixed, FrameError, Kind};
use crate::ids::NodeId;

/// Flag of PRESENCE: part of the snapshot that a watch begins with.
pub const FLAG_SNAPSHOT: u8 = 1;
/// Flag of PRESENCE: the snapshot ends here; the frame describes no member.
pub const FLAG_END: u8 = 2;
/// Flag of PRESENCE: the member is this node itself.
pub const FLAG_SELF: u8 = 4;
/// Flag of PRESENCE: this node has talked with the member, not only heard of it.
pub const FLAG_REACHED: u8 = 8;

/// Longest metadata of a member.
pub const MAX_METADATA: usize = 512;

/// WATCH. Tail: overlay name.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct WatchFixed {
    /// The client's number for it.
    pub watch: U32,
    /// Bytes of the overlay's name.
    pub overlay_len: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// UNWATCH. What was on its way may still arrive.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct UnwatchFixed {
    /// The client's number.
    pub watch: U32,
}

/// PRESENCE. Tails: name, metadata.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct PresenceFixed {
    /// The client's number of the watch.
    pub watch: U32,
    /// One of [`Change`].
    pub change: u8,
    /// Bytes of the name.
    pub name_len: u8,
    /// Bytes of the metadata.
    pub metadata_len: U16,
    /// The member.
    pub node: NodeId,
    /// Its address, IPv4 as `::ffff:a.b.c.d`; zero if unknown.
    pub ip: [u8; 16],
    /// Its port.
    pub port: U16,
    /// Zero.
    pub reserved: U16,
}

impl Fixed for WatchFixed {
    const KIND: Kind = Kind::Watch;
}
impl Fixed for UnwatchFixed {
    const KIND: Kind = Kind::Unwatch;
}
impl Fixed for PresenceFixed {
    const KIND: Kind = Kind::Presence;
}

/// What happened to a member. In a snapshot it tells the state: in, quarantine, unreachable or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Change {
    /// It is alive, for the first time.
    In = 1,
    /// It is suspect.
    Quarantine = 2,
    /// It is held dead.
    Unreachable = 3,
    /// It is alive again.
    Rejoin = 4,
    /// It is forgotten.
    Drop = 5,
    /// It left.
    Out = 6,
}

impl Change {
    /// The change of a number, if it is one.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::In,
            2 => Self::Quarantine,
            3 => Self::Unreachable,
            4 => Self::Rejoin,
            5 => Self::Drop,
            6 => Self::Out,
            _ => return None,
        })
    }

    /// The name of the event.
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "member_in",
            Self::Quarantine => "member_quarantine",
            Self::Unreachable => "member_unreachable",
            Self::Rejoin => "member_rejoin",
            Self::Drop => "member_drop",
            Self::Out => "member_out",
        }
    }
}

/// A decoded WATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch<'a> {
    /// The client's number for it.
    pub watch: u32,
    /// The overlay's name.
    pub overlay: &'a str,
}

impl<'a> Watch<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<WatchFixed>(body)?;
        let (overlay, _) = frame::text(Kind::Watch, tail, fixed.overlay_len as usize)?;
        Ok(Self {
            watch: fixed.watch.get(),
            overlay,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let overlay = frame::clip(self.overlay, u8::MAX as usize);
        let fixed = WatchFixed {
            watch: U32::new(self.watch),
            overlay_len: overlay.len() as u8,
            reserved: [0; 3],
        };
        frame::put(out, 0, &fixed, &[overlay.as_bytes()]);
    }
}

/// A decoded UNWATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwatch {
    /// The client's number.
    pub watch: u32,
}

impl Unwatch {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        Ok(Self {
            watch: frame::fixed::<UnwatchFixed>(body)?.0.watch.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(
            out,
            0,
            &UnwatchFixed {
                watch: U32::new(self.watch),
            },
            &[],
        );
    }
}

/// A decoded PRESENCE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence<'a> {
    /// The client's number of the watch.
    pub watch: u32,
    /// What happened.
    pub change: Change,
    /// Bits of `FLAG_SNAPSHOT`, `FLAG_END`, `FLAG_SELF`, `FLAG_REACHED`.
    pub flags: u8,
    /// The member.
    pub node: NodeId,
    /// Its address, IPv4 mapped into IPv6; zero if unknown.
    pub ip: [u8; 16],
    /// Its port.
    pub port: u16,
    /// Its name.
    pub name: &'a str,
    /// Its metadata, opaque.
    pub metadata: &'a [u8],
}

impl<'a> Presence<'a> {
    pub(crate) fn decode(flags: u8, body: &'a [u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(Kind::Presence as u8);
        let (fixed, tail) = frame::fixed::<PresenceFixed>(body)?;
        let (name, tail) = frame::text(Kind::Presence, tail, fixed.name_len as usize)?;
        Ok(Self {
            watch: fixed.watch.get(),
            change: Change::of(fixed.change).ok_or(malformed)?,
            flags,
            node: fixed.node,
            ip: fixed.ip,
            port: fixed.port.get(),
            name,
            metadata: tail
                .get(..fixed.metadata_len.get() as usize)
                .ok_or(malformed)?,
        })
    }

    /// Appends the frame; metadata beyond 512 bytes is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let name = frame::clip(self.name, u8::MAX as usize);
        let metadata = &self.metadata[..self.metadata.len().min(MAX_METADATA)];
        let fixed = PresenceFixed {
            watch: U32::new(self.watch),
            change: self.change as u8,
            name_len: name.len() as u8,
            metadata_len: U16::new(metadata.len() as u16),
            node: self.node,
            ip: self.ip,
            port: U16::new(self.port),
            reserved: U16::ZERO,
        };
        frame::put(out, self.flags, &fixed, &[name.as_bytes(), metadata]);
    }
}
