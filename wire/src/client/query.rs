//! The frames of asking and telling: QUERY, LEAVE, ANSWER. Answers are JSON, so that they can grow without a new
//! layout.

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frame::{self, Fixed, FrameError, HEAD_SIZE, Kind, MAX_FRAME};

/// QUERY. Tail: overlay name, empty for all.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct QueryFixed {
    /// The client's number for the question.
    pub request: U32,
    /// One of [`Topic`].
    pub what: u8,
    /// Bytes of the overlay's name.
    pub overlay_len: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// LEAVE. Tail: overlay name, empty to leave all and stop the daemon.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct LeaveFixed {
    /// The client's number for the command.
    pub request: U32,
    /// Bytes of the overlay's name.
    pub overlay_len: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// ANSWER. Tail: JSON.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct AnswerFixed {
    /// The client's number of the question or command.
    pub request: U32,
}

impl Fixed for QueryFixed {
    const KIND: Kind = Kind::Query;
}
impl Fixed for LeaveFixed {
    const KIND: Kind = Kind::Leave;
}
impl Fixed for AnswerFixed {
    const KIND: Kind = Kind::Answer;
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Topic {
    /// The members of one overlay: an array of objects.
    Members = 1,
    /// The overlays that the node runs: an array of objects.
    Overlays = 2,
    /// Counters and gauges.
    Stats = 3,
    /// The node itself: an object.
    Node = 4,
}

impl Topic {
    /// The topic of a number, if it is one.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Members,
            2 => Self::Overlays,
            3 => Self::Stats,
            4 => Self::Node,
            _ => return None,
        })
    }
}

/// A decoded QUERY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The client's number for the question.
    pub request: u32,
    /// What is asked for.
    pub what: Topic,
    /// The overlay's name, empty for all.
    pub overlay: &'a str,
}

impl<'a> Query<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<QueryFixed>(body)?;
        let (overlay, _) = frame::text(Kind::Query, tail, fixed.overlay_len as usize)?;
        let what = Topic::of(fixed.what).ok_or(FrameError::Malformed(Kind::Query as u8))?;
        Ok(Self {
            request: fixed.request.get(),
            what,
            overlay,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let overlay = frame::clip(self.overlay, u8::MAX as usize);
        let fixed = QueryFixed {
            request: U32::new(self.request),
            what: self.what as u8,
            overlay_len: overlay.len() as u8,
            reserved: [0; 2],
        };
        frame::put(out, 0, &fixed, &[overlay.as_bytes()]);
    }
}

/// A decoded LEAVE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave<'a> {
    /// The client's number for the command.
    pub request: u32,
    /// The overlay's name, empty to leave all and stop the daemon.
    pub overlay: &'a str,
}

impl<'a> Leave<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<LeaveFixed>(body)?;
        let (overlay, _) = frame::text(Kind::Leave, tail, fixed.overlay_len as usize)?;
        Ok(Self {
            request: fixed.request.get(),
            overlay,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let overlay = frame::clip(self.overlay, u8::MAX as usize);
        let fixed = LeaveFixed {
            request: U32::new(self.request),
            overlay_len: overlay.len() as u8,
            reserved: [0; 3],
        };
        frame::put(out, 0, &fixed, &[overlay.as_bytes()]);
    }
}

/// Longest JSON of an ANSWER.
pub const MAX_ANSWER: usize = MAX_FRAME - HEAD_SIZE - size_of::<AnswerFixed>();

/// A decoded ANSWER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The client's number of the question or command.
    pub request: u32,
    /// The answer.
    pub json: &'a str,
}

impl<'a> Answer<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<AnswerFixed>(body)?;
        let (json, _) = frame::text(Kind::Answer, tail, tail.len())?;
        Ok(Self {
            request: fixed.request.get(),
            json,
        })
    }

    /// Appends the frame. The JSON is no longer than [`MAX_ANSWER`]; whoever makes it answers with an error instead.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            self.json.len() <= MAX_ANSWER,
            "answers are bounded by their maker"
        );
        frame::put(
            out,
            0,
            &AnswerFixed {
                request: U32::new(self.request),
            },
            &[self.json.as_bytes()],
        );
    }
}
