//! The records in the rings between a shard and the embedder's threads: messages and gaps one way, acknowledgements the
//! other, outcomes to publishers. One process writes and reads them, so the layout is nobody else's business.

use tidings_protocol::{Delivery, Outcome, PublisherId};
use tidings_wire::{Boot, NodeId};

/// Kinds of records towards a subscriber: a message, with a bit if it may have been seen before and one if it brings its source.
pub(crate) const MESSAGE: u32 = 1;
pub(crate) const AGAIN: u32 = 1 << 8;
pub(crate) const SOURCE: u32 = 1 << 9;
pub(crate) const GAP: u32 = 2;
pub(crate) const PRESENCE: u32 = 3;
/// Kind of a record from a publisher.
pub(crate) const PUBLISH: u32 = 1;
/// Kind of a record from a subscriber.
pub(crate) const ACK: u32 = 1;
/// Kind of a record towards a publisher.
pub(crate) const OUTCOME: u32 = 1;

/// What a published message costs beside its bytes, for the budget of a turn: a record's head.
pub(crate) const PUBLISH_HEAD: usize = 8;

/// What the record of a message may have beside its payload: its number, and its source with the longest topic.
pub(crate) const HEAD_BYTES_MAX: usize = MESSAGE_HEAD + SOURCE_HEAD + 255;

/// Bytes of a message record before the payload: seq.
const MESSAGE_HEAD: usize = 8;
/// Bytes of a source before the topic: publisher 36, sub 4, topic length 1.
const SOURCE_HEAD: usize = 41;

/// Reads and writes fixed fields one after the other. Lengths are ours, so slicing cannot fail.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .expect("records are written and read by the same code");
        self.0 = rest;
        *head
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    fn publisher(&mut self) -> PublisherId {
        PublisherId {
            node: NodeId(self.take()),
            boot: Boot(self.take()),
            handle: self.u32(),
        }
    }

    /// Into a source that is there already, whose memory is used again.
    fn source(&mut self, source: &mut Option<Source>) {
        let (publisher, sub) = (self.publisher(), self.u32());
        let len = usize::from(self.u8());
        let (topic, rest) = self.0.split_at(len);
        self.0 = rest;
        // The core checks topics when it learns them; a bad one would be a bug of ours, not a reason to stop.
        let topic = std::str::from_utf8(topic).unwrap_or_default();
        let known = source.get_or_insert_with(|| Source {
            sub,
            publisher,
            topic: String::new(),
        });
        (known.sub, known.publisher) = (sub, publisher);
        known.topic.clear();
        known.topic.push_str(topic);
    }
}

struct Pen<'a>(&'a mut [u8]);

impl Pen<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (head, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.0 = rest;
    }

    fn publisher(&mut self, publisher: PublisherId) {
        self.put(&publisher.node.0);
        self.put(&publisher.boot.0);
        self.put(&publisher.handle.to_ne_bytes());
    }
}

/// Where a message in a ring comes from, and those behind it until one brings another: what they have in common is written
/// once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) sub: u32,
    pub(crate) publisher: PublisherId,
    pub(crate) topic: String,
}

/// Bytes of the record of a message; `with_source`: it brings its source.
pub(crate) fn message_bytes(message: &Delivery<'_>, with_source: bool) -> usize {
    let source = if with_source {
        SOURCE_HEAD + message.topic.len()
    } else {
        0
    };
    MESSAGE_HEAD + source + message.payload.len()
}

/// The kind of such a record.
pub(crate) fn message_kind(message: &Delivery<'_>, with_source: bool) -> u32 {
    let again = if message.again { AGAIN } else { 0 };
    let source = if with_source { SOURCE } else { 0 };
    MESSAGE | again | source
}

/// Writes a message into a record of [`message_bytes`], with its source if it came by a subscription `sub`.
#[inline]
pub(crate) fn write_message(record: &mut [u8], message: &Delivery<'_>, sub: Option<u32>) {
    let mut pen = Pen(record);
    pen.put(&message.seq.to_ne_bytes());
    if let Some(sub) = sub {
        pen.publisher(message.publisher);
        pen.put(&sub.to_ne_bytes());
        pen.put(&[message.topic.len() as u8]);
        pen.put(message.topic.as_bytes());
    }
    pen.0.copy_from_slice(message.payload);
}

/// A message's number and payload, read in place; a source that it brings goes into `source`.
#[inline]
pub(crate) fn read_message<'a>(
    kind: u32,
    record: &'a [u8],
    source: &mut Option<Source>,
) -> (u64, &'a [u8]) {
    let mut cursor = Cursor(record);
    let seq = cursor.u64();
    if kind & SOURCE != 0 {
        cursor.source(source);
    }
    (seq, cursor.0)
}

/// A hole in an ordered subscription. Whoever leaves thousands of them unread finds wider ones of each publisher, which take
/// in what an earlier session of the same client had acknowledged between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The subscription.
    pub sub: u32,
    /// Whose messages are missing.
    pub publisher: PublisherId,
    /// Their topic.
    pub topic: String,
    /// First missing sequence number.
    pub from: u64,
    /// One past the last.
    pub to: u64,
    /// Why they never come.
    pub reason: Outcome,
}

pub(crate) fn gap_bytes(gap: &Gap) -> Vec<u8> {
    let mut record = vec![0; 36 + 4 + 8 + 8 + 4 + gap.topic.len()];
    let mut pen = Pen(&mut record);
    pen.publisher(gap.publisher);
    pen.put(&gap.sub.to_ne_bytes());
    pen.put(&gap.from.to_ne_bytes());
    pen.put(&gap.to.to_ne_bytes());
    pen.put(&(gap.reason as u32).to_ne_bytes());
    pen.put(gap.topic.as_bytes());
    record
}

pub(crate) fn read_gap(record: &[u8]) -> Gap {
    let mut cursor = Cursor(record);
    let publisher = cursor.publisher();
    let sub = cursor.u32();
    let (from, to) = (cursor.u64(), cursor.u64());
    let reason = Outcome::from_code(cursor.u32());
    Gap {
        sub,
        publisher,
        topic: String::from_utf8_lossy(cursor.0).into_owned(),
        from,
        to,
        reason,
    }
}

/// An acknowledgement: of `from..=to`, or with `upto` of everything up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) sub: u32,
    pub(crate) publisher: PublisherId,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) upto: bool,
}

const ACK_BYTES: usize = 36 + 4 + 8 + 8 + 1;

pub(crate) fn ack_bytes(ack: &Ack) -> [u8; ACK_BYTES] {
    let mut record = [0; ACK_BYTES];
    let mut pen = Pen(&mut record);
    pen.publisher(ack.publisher);
    pen.put(&ack.sub.to_ne_bytes());
    pen.put(&ack.from.to_ne_bytes());
    pen.put(&ack.to.to_ne_bytes());
    pen.put(&[u8::from(ack.upto)]);
    record
}

pub(crate) fn read_ack(record: &[u8]) -> Ack {
    let mut cursor = Cursor(record);
    let publisher = cursor.publisher();
    let sub = cursor.u32();
    Ack {
        sub,
        publisher,
        from: cursor.u64(),
        to: cursor.u64(),
        upto: cursor.u8() != 0,
    }
}

/// One terminal result for a range of a publisher's messages and one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeRange {
    /// Node of the subscription.
    pub node: NodeId,
    /// The subscription on that node.
    pub sub: u32,
    /// First sequence number.
    pub from: u64,
    /// One past the last.
    pub to: u64,
    /// The result.
    pub outcome: Outcome,
}

const OUTCOME_BYTES: usize = 16 + 4 + 8 + 8 + 4;

pub(crate) fn outcome_bytes(range: &OutcomeRange) -> [u8; OUTCOME_BYTES] {
    let mut record = [0; OUTCOME_BYTES];
    let mut pen = Pen(&mut record);
    pen.put(&range.node.0);
    pen.put(&range.sub.to_ne_bytes());
    pen.put(&range.from.to_ne_bytes());
    pen.put(&range.to.to_ne_bytes());
    pen.put(&(range.outcome as u32).to_ne_bytes());
    record
}

pub(crate) fn read_outcome(record: &[u8]) -> OutcomeRange {
    let mut cursor = Cursor(record);
    let node = NodeId(cursor.take());
    let sub = cursor.u32();
    OutcomeRange {
        node,
        sub,
        from: cursor.u64(),
        to: cursor.u64(),
        outcome: Outcome::from_code(cursor.u32()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher() -> PublisherId {
        PublisherId {
            node: NodeId([1; 16]),
            boot: Boot([2; 16]),
            handle: 0x0304_0506,
        }
    }

    #[test]
    fn every_record_reads_back_as_written() {
        let message = Delivery {
            publisher: publisher(),
            seq: 1 << 40,
            topic: "a.b",
            payload: b"payload",
            again: true,
        };
        let mut known = None;
        for sub in [Some(9), None] {
            let kind = message_kind(&message, sub.is_some());
            assert_eq!((kind & 0xff, kind & AGAIN), (MESSAGE, AGAIN));
            let mut record = vec![0; message_bytes(&message, sub.is_some())];
            write_message(&mut record, &message, sub);
            let read = read_message(kind, &record, &mut known);
            assert_eq!(read, (1 << 40, b"payload".as_slice()));
        }
        let source = Source {
            sub: 9,
            publisher: publisher(),
            topic: "a.b".into(),
        };
        assert_eq!(known, Some(source));

        let gap = Gap {
            sub: 3,
            publisher: publisher(),
            topic: "a.b".into(),
            from: 5,
            to: 9,
            reason: Outcome::Overflow,
        };
        assert_eq!(read_gap(&gap_bytes(&gap)), gap);

        let ack = Ack {
            sub: 3,
            publisher: publisher(),
            from: 5,
            to: 9,
            upto: true,
        };
        assert_eq!(read_ack(&ack_bytes(&ack)), ack);

        let range = OutcomeRange {
            node: NodeId([7; 16]),
            sub: 3,
            from: 5,
            to: 9,
            outcome: Outcome::NodeDead,
        };
        assert_eq!(read_outcome(&outcome_bytes(&range)), range);
    }
}
