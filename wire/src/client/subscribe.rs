//! The frames of subscribing: SUBSCRIBE, SUBSCRIBED, UNSUBSCRIBE, UNSUBSCRIBED, DELIVER, ACK, GAP.
//!
//! The client numbers its subscriptions itself, so that the number in a DELIVER indexes its own table.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codes::{AckMode, Order, Outcome, Policy};
use super::frame::{self, Fixed, FrameError, HEAD_SIZE, Kind, MAX_FRAME};
use super::records::{RECORD_HEAD, Records, put_record};
use crate::ids::{Boot, NodeId};

/// Flag of SUBSCRIBED: not every member applied the subscription within the time allowed; the tail names the others.
pub const FLAG_PARTIAL: u8 = 1;
/// Flag of DELIVER: an earlier session under this name may have seen these messages.
pub const FLAG_AGAIN: u8 = 1;

/// SUBSCRIBE. Tails: overlay name, pattern.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct SubscribeFixed {
    /// The client's number for it, below 2^31.
    pub sub: U32,
    /// One of [`AckMode`].
    pub ack: u8,
    /// One of [`Order`].
    pub order: u8,
    /// One of [`Policy`].
    pub policy: u8,
    /// Bytes of the overlay's name.
    pub overlay_len: u8,
    /// Attempts of redelivery; 0: without end.
    pub attempts: U32,
    /// Milliseconds between attempts; 0: attempts and period are the overlay's.
    pub every_ms: U32,
    /// Bytes of the pattern.
    pub pattern_len: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// SUBSCRIBED. Tail: `pending` names {u8 length, UTF-8} of members that have not applied it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct SubscribedFixed {
    /// The client's number.
    pub sub: U32,
    /// The node's number: what publishers see in outcomes.
    pub node_sub: U32,
    /// Names that follow.
    pub pending: U16,
    /// Zero.
    pub reserved: U16,
}

/// UNSUBSCRIBE: also forgets what a named client's subscription still holds.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct UnsubscribeFixed {
    /// The client's number.
    pub sub: U32,
}

/// UNSUBSCRIBED: the number is free again.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct UnsubscribedFixed {
    /// The client's number.
    pub sub: U32,
}

/// DELIVER: messages of one publisher with consecutive seqs. Tails: topic, `count` records {u32 length, payload}.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct DeliverFixed {
    /// The client's number of the subscription.
    pub sub: U32,
    /// The publisher's handle.
    pub handle: U32,
    /// The publisher's node.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// Seq of the first record.
    pub seq: U64,
    /// Records that follow.
    pub count: U32,
    /// Bytes of the topic.
    pub topic_len: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// ACK.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct AckFixed {
    /// The client's number of the subscription.
    pub sub: U32,
    /// The publisher's handle.
    pub handle: U32,
    /// The publisher's node.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// First message.
    pub from: U64,
    /// Last message. All between were delivered to this session.
    pub to: U64,
    /// The token of WELCOME.
    pub session_epoch: U64,
}

/// GAP: these messages will never come.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct GapFixed {
    /// The client's number of the subscription.
    pub sub: U32,
    /// The publisher's handle.
    pub handle: U32,
    /// The publisher's node.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// First seq.
    pub from: U64,
    /// How many.
    pub count: U64,
    /// One of [`Outcome`].
    pub reason: U32,
    /// Bytes of the topic, which is the tail.
    pub topic_len: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

macro_rules! fixed_kinds {
    ($($layout:ident $kind:ident,)*) => { $(impl Fixed for $layout { const KIND: Kind = Kind::$kind; })* };
}
fixed_kinds! {
    SubscribeFixed Subscribe, SubscribedFixed Subscribed, UnsubscribeFixed Unsubscribe,
    UnsubscribedFixed Unsubscribed, DeliverFixed Deliver, AckFixed Ack, GapFixed Gap,
}

/// A decoded SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The client's number for it.
    pub sub: u32,
    /// Who acknowledges.
    pub ack: AckMode,
    /// In which order.
    pub order: Order,
    /// What if it is slow.
    pub policy: Policy,
    /// Attempts of redelivery; 0: without end.
    pub attempts: u32,
    /// Milliseconds between attempts; 0: attempts and period are the overlay's.
    pub every_ms: u32,
    /// The overlay's name.
    pub overlay: &'a str,
    /// The pattern, not yet validated.
    pub pattern: &'a str,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(Kind::Subscribe as u8);
        let (fixed, tail) = frame::fixed::<SubscribeFixed>(body)?;
        let (overlay, tail) = frame::text(Kind::Subscribe, tail, fixed.overlay_len as usize)?;
        let (pattern, _) = frame::text(Kind::Subscribe, tail, fixed.pattern_len as usize)?;
        Ok(Self {
            sub: fixed.sub.get(),
            ack: AckMode::of(fixed.ack).ok_or(malformed)?,
            order: Order::of(fixed.order).ok_or(malformed)?,
            policy: Policy::of(fixed.policy).ok_or(malformed)?,
            attempts: fixed.attempts.get(),
            every_ms: fixed.every_ms.get(),
            overlay,
            pattern,
        })
    }

    /// Appends the frame. Names beyond 255 bytes are cut, and so refused by the daemon as unknown.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let overlay = frame::clip(self.overlay, u8::MAX as usize);
        let pattern = frame::clip(self.pattern, u8::MAX as usize);
        let fixed = SubscribeFixed {
            sub: U32::new(self.sub),
            ack: self.ack as u8,
            order: self.order as u8,
            policy: self.policy as u8,
            overlay_len: overlay.len() as u8,
            attempts: U32::new(self.attempts),
            every_ms: U32::new(self.every_ms),
            pattern_len: pattern.len() as u8,
            reserved: [0; 3],
        };
        frame::put(out, 0, &fixed, &[overlay.as_bytes(), pattern.as_bytes()]);
    }
}

/// A decoded SUBSCRIBED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed<'a> {
    /// The client's number.
    pub sub: u32,
    /// The node's number.
    pub node_sub: u32,
    /// Whether some members have not applied it yet.
    pub partial: bool,
    /// The members that have not.
    pub pending: Names<'a>,
}

impl<'a> Subscribed<'a> {
    pub(crate) fn decode(flags: u8, body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<SubscribedFixed>(body)?;
        let pending = Names::checked(tail, fixed.pending.get())
            .ok_or(FrameError::Malformed(Kind::Subscribed as u8))?;
        Ok(Self {
            sub: fixed.sub.get(),
            node_sub: fixed.node_sub.get(),
            partial: flags & FLAG_PARTIAL != 0,
            pending,
        })
    }

    /// Appends the frame; names as [`Names::pack`] made them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fixed = SubscribedFixed {
            sub: U32::new(self.sub),
            node_sub: U32::new(self.node_sub),
            pending: U16::new(self.pending.left),
            reserved: U16::ZERO,
        };
        let flags = if self.partial { FLAG_PARTIAL } else { 0 };
        frame::put(out, flags, &fixed, &[self.pending.rest]);
    }
}

/// Names in a tail, each {u8 length, UTF-8}.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Names<'a> {
    /// `count` names, checked whole.
    pub fn checked(bytes: &'a [u8], count: u16) -> Option<Self> {
        let mut rest = bytes;
        for _ in 0..count {
            let (&len, tail) = rest.split_first()?;
            let (name, tail) = tail.split_at_checked(len as usize)?;
            std::str::from_utf8(name).ok()?;
            rest = tail;
        }
        rest.is_empty().then_some(Self {
            rest: bytes,
            left: count,
        })
    }

    /// Packs names into `scratch`: at most 256 of them, each cut to 255 bytes.
    pub fn pack<S: AsRef<str>>(
        names: impl IntoIterator<Item = S>,
        scratch: &'a mut Vec<u8>,
    ) -> Self {
        scratch.clear();
        let mut left = 0;
        for name in names.into_iter().take(256) {
            let name = frame::clip(name.as_ref(), u8::MAX as usize);
            scratch.push(name.len() as u8);
            scratch.extend_from_slice(name.as_bytes());
            left += 1;
        }
        Self {
            rest: scratch,
            left,
        }
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.left == 0 {
            return None;
        }
        let (&len, tail) = self.rest.split_first()?;
        let (name, rest) = tail.split_at_checked(len as usize)?;
        self.rest = rest;
        self.left -= 1;
        std::str::from_utf8(name).ok()
    }
}

/// A decoded UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The client's number.
    pub sub: u32,
}

impl Unsubscribe {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        Ok(Self {
            sub: frame::fixed::<UnsubscribeFixed>(body)?.0.sub.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(
            out,
            0,
            &UnsubscribeFixed {
                sub: U32::new(self.sub),
            },
            &[],
        );
    }
}

/// A decoded UNSUBSCRIBED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    /// The client's number.
    pub sub: u32,
}

impl Unsubscribed {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        Ok(Self {
            sub: frame::fixed::<UnsubscribedFixed>(body)?.0.sub.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(
            out,
            0,
            &UnsubscribedFixed {
                sub: U32::new(self.sub),
            },
            &[],
        );
    }
}

/// A decoded DELIVER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// The client's number of the subscription.
    pub sub: u32,
    /// The publisher's handle.
    pub handle: u32,
    /// The publisher's node.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// Seq of the first payload; the others follow without a hole.
    pub seq: u64,
    /// Whether an earlier session under this name may have seen them.
    pub again: bool,
    /// The topic.
    pub topic: &'a str,
    /// The payloads.
    pub records: Records<'a>,
}

impl<'a> Deliver<'a> {
    pub(crate) fn decode(flags: u8, body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<DeliverFixed>(body)?;
        let (topic, tail) = frame::text(Kind::Deliver, tail, fixed.topic_len as usize)?;
        let records = Records::checked(tail, fixed.count.get())
            .ok_or(FrameError::Malformed(Kind::Deliver as u8))?;
        Ok(Self {
            sub: fixed.sub.get(),
            handle: fixed.handle.get(),
            node: fixed.node,
            boot: fixed.boot,
            seq: fixed.seq.get(),
            again: flags & FLAG_AGAIN != 0,
            topic,
            records,
        })
    }
}

/// What the messages of one DELIVER frame share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverKey {
    /// The client's number of the subscription.
    pub sub: u32,
    /// The publisher's handle.
    pub handle: u32,
    /// The publisher's node.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// Whether an earlier session under this name may have seen them.
    pub again: bool,
}

/// A DELIVER frame that is being filled at the end of a buffer.
#[derive(Clone, Copy, Debug)]
pub struct DeliverRun {
    start: usize,
    key: DeliverKey,
    next: u64,
    count: u32,
}

impl DeliverRun {
    /// Begins a frame at the end of `out` whose first message will be `seq`.
    pub fn begin(out: &mut Vec<u8>, key: DeliverKey, topic: &str, seq: u64) -> Self {
        let start = out.len();
        let topic = frame::clip(topic, u8::MAX as usize);
        let fixed = DeliverFixed {
            sub: U32::new(key.sub),
            handle: U32::new(key.handle),
            node: key.node,
            boot: key.boot,
            seq: U64::new(seq),
            count: U32::ZERO,
            topic_len: topic.len() as u8,
            reserved: [0; 3],
        };
        frame::put(
            out,
            if key.again { FLAG_AGAIN } else { 0 },
            &fixed,
            &[topic.as_bytes()],
        );
        Self {
            start,
            key,
            next: seq,
            count: 0,
        }
    }

    /// Where the frame begins in its buffer.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Messages in it.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether message `seq` of `key` with `len` bytes continues this frame.
    pub fn continues(&self, out: &[u8], key: &DeliverKey, seq: u64, len: usize) -> bool {
        seq == self.next
            && *key == self.key
            && out.len() - self.start + RECORD_HEAD + len <= MAX_FRAME
    }

    /// Appends a payload that [`continues`](Self::continues); the frame is whole again afterwards.
    pub fn push(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        const COUNT_AT: usize = HEAD_SIZE + 4 + 4 + 16 + 16 + 8;
        put_record(out, payload);
        self.count += 1;
        self.next += 1;
        let count_at = self.start + COUNT_AT;
        out[count_at..count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        frame::seal_length(out, self.start);
    }
}

/// A decoded ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The client's number of the subscription.
    pub sub: u32,
    /// The publisher's handle.
    pub handle: u32,
    /// The publisher's node.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// First message; 0 acknowledges all of the publisher up to `to`.
    pub from: u64,
    /// Last message.
    pub to: u64,
    /// The token of WELCOME.
    pub session_epoch: u64,
}

impl Ack {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (fixed, _) = frame::fixed::<AckFixed>(body)?;
        Ok(Self {
            sub: fixed.sub.get(),
            handle: fixed.handle.get(),
            node: fixed.node,
            boot: fixed.boot,
            from: fixed.from.get(),
            to: fixed.to.get(),
            session_epoch: fixed.session_epoch.get(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fixed = AckFixed {
            sub: U32::new(self.sub),
            handle: U32::new(self.handle),
            node: self.node,
            boot: self.boot,
            from: U64::new(self.from),
            to: U64::new(self.to),
            session_epoch: U64::new(self.session_epoch),
        };
        frame::put(out, 0, &fixed, &[]);
    }
}

/// A decoded GAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    /// The client's number of the subscription.
    pub sub: u32,
    /// The publisher's handle.
    pub handle: u32,
    /// The publisher's node.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// First seq.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// Why.
    pub reason: Outcome,
    /// The topic; empty when the node does not know it.
    pub topic: &'a str,
}

impl<'a> Gap<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<GapFixed>(body)?;
        let (topic, _) = frame::text(Kind::Gap, tail, fixed.topic_len as usize)?;
        Ok(Self {
            sub: fixed.sub.get(),
            handle: fixed.handle.get(),
            node: fixed.node,
            boot: fixed.boot,
            from: fixed.from.get(),
            count: fixed.count.get(),
            reason: Outcome::of(fixed.reason.get()).unwrap_or(Outcome::Unknown),
            topic,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let topic = frame::clip(self.topic, u8::MAX as usize);
        let fixed = GapFixed {
            sub: U32::new(self.sub),
            handle: U32::new(self.handle),
            node: self.node,
            boot: self.boot,
            from: U64::new(self.from),
            count: U64::new(self.count),
            reason: U32::new(self.reason as u32),
            topic_len: topic.len() as u8,
            reserved: [0; 3],
        };
        frame::put(out, 0, &fixed, &[topic.as_bytes()]);
    }
}
