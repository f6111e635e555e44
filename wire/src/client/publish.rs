//! The frames of publishing: OPEN, OPENED, CLOSE, CLOSED, PUBLISH, ACCEPTED, OUTCOME, CREDIT, ASK_OWED, OWED.
//!
//! The client numbers its publishers itself, so that it need not wait for an answer before it uses the number.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codes::Outcome;
use super::frame::{self, Fixed, FrameError, HEAD_SIZE, Kind, MAX_FRAME};
use super::records::{RECORD_HEAD, Records, put_record};
use crate::ids::NodeId;

/// Number in a CREDIT that means the connection as a whole.
pub const CONNECTION: u32 = u32::MAX;
/// Flag of ACCEPTED: the node does not know every member's subscriptions yet.
pub const FLAG_UNSYNCED: u8 = 1;

/// OPEN: a publisher on a topic. Tails: overlay name, topic.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct OpenFixed {
    /// The client's number for it, below 2^31.
    pub publisher: U32,
    /// Bytes of the overlay's name.
    pub overlay_len: u8,
    /// Bytes of the topic.
    pub topic_len: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// OPENED: the publisher stands. Sent again, unasked, whenever the overlay's largest message changes while it does.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct OpenedFixed {
    /// The client's number.
    pub publisher: U32,
    /// The node's handle: part of every message id.
    pub handle: U32,
    /// Largest payload that the overlay takes from now on.
    pub max_message: U32,
    /// Subscriptions that a message would be owed to now.
    pub owed: U32,
    /// Bytes of records that the client may send on this publisher in all, until a CREDIT says more.
    pub credit: U64,
}

/// CLOSE and CLOSED: the publisher's number is free again after CLOSED.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct CloseFixed {
    /// The client's number.
    pub publisher: U32,
}

/// The same layout, sent by the daemon.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct ClosedFixed {
    /// The client's number.
    pub publisher: U32,
}

/// PUBLISH: messages with consecutive seqs, the first of a publisher is 0. Tail: `count` records {u32 length, payload}.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct PublishFixed {
    /// The client's number.
    pub publisher: U32,
    /// Records that follow.
    pub count: U32,
}

/// ACCEPTED: messages that sit in the node's store.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct AcceptedFixed {
    /// The client's number.
    pub publisher: U32,
    /// Subscriptions that each of them is owed to.
    pub owed: U32,
    /// First seq.
    pub from: U64,
    /// How many.
    pub count: U32,
    /// Zero.
    pub reserved: U32,
}

/// OUTCOME: what became of messages at one subscription.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct OutcomeFixed {
    /// The client's number.
    pub publisher: U32,
    /// The subscription, unique within its node.
    pub sub: U32,
    /// The subscriber's node.
    pub node: NodeId,
    /// First seq.
    pub from: U64,
    /// How many.
    pub count: U32,
    /// One of [`Outcome`].
    pub result: U32,
}

/// CREDIT: an absolute limit. It never falls.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct CreditFixed {
    /// The client's number, or [`CONNECTION`].
    pub publisher: U32,
    /// Zero.
    pub reserved: U32,
    /// Bytes that the client may have sent in all: records of a publisher, whole PUBLISH frames of the connection.
    pub credit: U64,
}

/// ASK_OWED: how many subscriptions would a message be owed to now?
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct AskOwedFixed {
    /// The client's number.
    pub publisher: U32,
}

/// OWED: the answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct OwedFixed {
    /// The client's number.
    pub publisher: U32,
    /// Subscriptions that a message would be owed to.
    pub owed: U32,
}

macro_rules! fixed_kinds {
    ($($layout:ident $kind:ident,)*) => { $(impl Fixed for $layout { const KIND: Kind = Kind::$kind; })* };
}
fixed_kinds! {
    OpenFixed Open, OpenedFixed Opened, CloseFixed Close, ClosedFixed Closed, PublishFixed Publish,
    AcceptedFixed Accepted, OutcomeFixed Outcome, CreditFixed Credit, AskOwedFixed AskOwed, OwedFixed Owed,
}

/// A decoded OPEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// The client's number for the publisher.
    pub publisher: u32,
    /// The overlay's name.
    pub overlay: &'a str,
    /// The topic, not yet validated.
    pub topic: &'a str,
}

impl<'a> Open<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<OpenFixed>(body)?;
        let (overlay, tail) = frame::text(Kind::Open, tail, fixed.overlay_len as usize)?;
        let (topic, _) = frame::text(Kind::Open, tail, fixed.topic_len as usize)?;
        Ok(Self {
            publisher: fixed.publisher.get(),
            overlay,
            topic,
        })
    }

    /// Appends the frame. Names beyond 255 bytes are cut, and so refused by the daemon as unknown.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let overlay = frame::clip(self.overlay, u8::MAX as usize);
        let topic = frame::clip(self.topic, u8::MAX as usize);
        let fixed = OpenFixed {
            publisher: U32::new(self.publisher),
            overlay_len: overlay.len() as u8,
            topic_len: topic.len() as u8,
            reserved: [0; 2],
        };
        frame::put(out, 0, &fixed, &[overlay.as_bytes(), topic.as_bytes()]);
    }
}

/// A decoded OPENED. One for a publisher that stands already replaces what the one before said: another `max_message`, the
/// `owed` of now, the same `handle`, and a `credit` that is no less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The client's number.
    pub publisher: u32,
    /// The node's handle.
    pub handle: u32,
    /// Largest payload that the overlay takes from now on, in bytes. What was sent under a larger one is taken.
    pub max_message: u32,
    /// Subscriptions that a message would be owed to now.
    pub owed: u32,
    /// Bytes of records that the client may send in all.
    pub credit: u64,
}

impl Opened {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (fixed, _) = frame::fixed::<OpenedFixed>(body)?;
        Ok(Self {
            publisher: fixed.publisher.get(),
            handle: fixed.handle.get(),
            max_message: fixed.max_message.get(),
            owed: fixed.owed.get(),
            credit: fixed.credit.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fixed = OpenedFixed {
            publisher: U32::new(self.publisher),
            handle: U32::new(self.handle),
            max_message: U32::new(self.max_message),
            owed: U32::new(self.owed),
            credit: U64::new(self.credit),
        };
        frame::put(out, 0, &fixed, &[]);
    }
}

/// A decoded CLOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The client's number.
    pub publisher: u32,
}

impl Close {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        Ok(Self {
            publisher: frame::fixed::<CloseFixed>(body)?.0.publisher.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(
            out,
            0,
            &CloseFixed {
                publisher: U32::new(self.publisher),
            },
            &[],
        );
    }
}

/// A decoded CLOSED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The client's number.
    pub publisher: u32,
}

impl Closed {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        Ok(Self {
            publisher: frame::fixed::<ClosedFixed>(body)?.0.publisher.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(
            out,
            0,
            &ClosedFixed {
                publisher: U32::new(self.publisher),
            },
            &[],
        );
    }
}

/// A decoded PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The client's number.
    pub publisher: u32,
    /// The payloads.
    pub records: Records<'a>,
    /// Bytes of all records with their heads: what counts against the publisher's credit.
    pub bytes: usize,
}

impl<'a> Publish<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<PublishFixed>(body)?;
        let records = Records::checked(tail, fixed.count.get())
            .ok_or(FrameError::Malformed(Kind::Publish as u8))?;
        Ok(Self {
            publisher: fixed.publisher.get(),
            records,
            bytes: tail.len(),
        })
    }
}

/// Bytes of a PUBLISH frame before its records.
pub const PUBLISH_OVERHEAD: usize = HEAD_SIZE + size_of::<PublishFixed>();

/// A PUBLISH frame that is being filled at the end of a buffer.
#[derive(Clone, Copy, Debug)]
pub struct PublishRun {
    start: usize,
    publisher: u32,
    count: u32,
}

impl PublishRun {
    /// Begins a frame at the end of `out`.
    pub fn begin(out: &mut Vec<u8>, publisher: u32) -> Self {
        let start = out.len();
        frame::put(
            out,
            0,
            &PublishFixed {
                publisher: U32::new(publisher),
                count: U32::ZERO,
            },
            &[],
        );
        Self {
            start,
            publisher,
            count: 0,
        }
    }

    /// Where the frame begins in its buffer.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The publisher whose messages it holds.
    pub fn publisher(&self) -> u32 {
        self.publisher
    }

    /// Whether a payload of `len` bytes still fits.
    pub fn fits(&self, out: &[u8], len: usize) -> bool {
        out.len() - self.start + RECORD_HEAD + len <= MAX_FRAME
    }

    /// Appends a payload that [`fits`](Self::fits); the frame is whole again afterwards.
    pub fn push(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        put_record(out, payload);
        self.count += 1;
        let count_at = self.start + HEAD_SIZE + 4;
        out[count_at..count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        frame::seal_length(out, self.start);
    }
}

/// A decoded ACCEPTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The client's number.
    pub publisher: u32,
    /// Subscriptions that each of them is owed to.
    pub owed: u32,
    /// First seq.
    pub from: u64,
    /// How many.
    pub count: u32,
    /// Whether the node did not know every member's subscriptions yet.
    pub unsynced: bool,
}

impl Accepted {
    pub(crate) fn decode(flags: u8, body: &[u8]) -> Result<Self, FrameError> {
        let (fixed, _) = frame::fixed::<AcceptedFixed>(body)?;
        Ok(Self {
            publisher: fixed.publisher.get(),
            owed: fixed.owed.get(),
            from: fixed.from.get(),
            count: fixed.count.get(),
            unsynced: flags & FLAG_UNSYNCED != 0,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fixed = AcceptedFixed {
            publisher: U32::new(self.publisher),
            owed: U32::new(self.owed),
            from: U64::new(self.from),
            count: U32::new(self.count),
            reserved: U32::ZERO,
        };
        frame::put(
            out,
            if self.unsynced { FLAG_UNSYNCED } else { 0 },
            &fixed,
            &[],
        );
    }
}

/// A decoded OUTCOME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeRange {
    /// The client's number.
    pub publisher: u32,
    /// The subscription, unique within its node.
    pub sub: u32,
    /// The subscriber's node.
    pub node: NodeId,
    /// First seq.
    pub from: u64,
    /// How many.
    pub count: u32,
    /// What became of them.
    pub result: Outcome,
}

impl OutcomeRange {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (fixed, _) = frame::fixed::<OutcomeFixed>(body)?;
        Ok(Self {
            publisher: fixed.publisher.get(),
            sub: fixed.sub.get(),
            node: fixed.node,
            from: fixed.from.get(),
            count: fixed.count.get(),
            result: Outcome::of(fixed.result.get()).unwrap_or(Outcome::Unknown),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fixed = OutcomeFixed {
            publisher: U32::new(self.publisher),
            sub: U32::new(self.sub),
            node: self.node,
            from: U64::new(self.from),
            count: U32::new(self.count),
            result: U32::new(self.result as u32),
        };
        frame::put(out, 0, &fixed, &[]);
    }
}

/// A decoded CREDIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// The client's number, or [`CONNECTION`].
    pub publisher: u32,
    /// Bytes that the client may have sent in all.
    pub credit: u64,
}

impl Credit {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (fixed, _) = frame::fixed::<CreditFixed>(body)?;
        Ok(Self {
            publisher: fixed.publisher.get(),
            credit: fixed.credit.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fixed = CreditFixed {
            publisher: U32::new(self.publisher),
            reserved: U32::ZERO,
            credit: U64::new(self.credit),
        };
        frame::put(out, 0, &fixed, &[]);
    }
}

/// A decoded ASK_OWED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskOwed {
    /// The client's number.
    pub publisher: u32,
}

impl AskOwed {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        Ok(Self {
            publisher: frame::fixed::<AskOwedFixed>(body)?.0.publisher.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(
            out,
            0,
            &AskOwedFixed {
                publisher: U32::new(self.publisher),
            },
            &[],
        );
    }
}

/// A decoded OWED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The client's number.
    pub publisher: u32,
    /// Subscriptions that a message would be owed to.
    pub owed: u32,
}

impl Owed {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (fixed, _) = frame::fixed::<OwedFixed>(body)?;
        Ok(Self {
            publisher: fixed.publisher.get(),
            owed: fixed.owed.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(
            out,
            0,
            &OwedFixed {
                publisher: U32::new(self.publisher),
                owed: U32::new(self.owed),
            },
            &[],
        );
    }
}
