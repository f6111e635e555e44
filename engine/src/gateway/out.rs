//! What waits to be written to one client: frames in a bounded buffer, the last of each sort open for more of the same.
//! The core fills it from within a delivery, so nothing here calls anything.

use std::collections::{HashMap, VecDeque};

use tidings_protocol::{Delivery, Event, Outcome, PresenceKind, Taken};
use tidings_wire::NodeId;
use tidings_wire::client::auth::Refusal;
use tidings_wire::client::publish::{Accepted, OutcomeRange};
use tidings_wire::client::subscribe::{DeliverKey, DeliverRun, Gap};
use tidings_wire::client::{self, ErrorCode, HEAD_SIZE, Kind, RECORD_HEAD};

use super::limits::{OUTPUT_HARD, OUTPUT_KEEP, OUTPUT_SOFT};

/// Bytes that a message may take beside its payload and topic.
const MESSAGE_OVERHEAD: usize = HEAD_SIZE + 64 + RECORD_HEAD;

/// A subscription, as deliveries need it.
#[derive(Clone, Copy)]
struct Sub {
    number: u32,
    acked_by_node: bool,
}

/// Something that must be looked up in the overlay before it can be told.
pub(crate) enum Later {
    /// A subscription stands; these members are missing.
    Subscribed(u32, Vec<NodeId>),
    /// A member changed.
    Presence(PresenceKind, NodeId),
}

/// What waits for one client from one overlay.
#[derive(Default)]
pub(crate) struct Out {
    bytes: Vec<u8>,
    written: usize,
    /// The DELIVER frame at the end of the buffer, its subscription, and the node's number of that.
    deliver: Option<(u32, Sub, DeliverRun)>,
    /// Acceptances and outcomes that the next ones may join.
    accepted: Option<Accepted>,
    outcome: Option<OutcomeRange>,
    /// By the node's number.
    subs: HashMap<u32, Sub>,
    /// The subscription that is being made: its first messages come before its number is known.
    making: Option<Sub>,
    /// Client's number by handle.
    publishers: HashMap<u32, u32>,
    /// Subscriptions that were answered `Full`.
    starved: Vec<u32>,
    pub(crate) later: VecDeque<Later>,
    /// Publishers that found no room may try again.
    pub(crate) writable: bool,
    overrun: bool,
}

impl Out {
    /// The buffer, for a frame of its own.
    pub(crate) fn frame(&mut self) -> &mut Vec<u8> {
        self.settle();
        &mut self.bytes
    }

    /// Frames of another shard's overlay.
    pub(crate) fn append(&mut self, frames: &[u8]) {
        self.frame().extend_from_slice(frames);
    }

    /// Tells of a refusal.
    pub(crate) fn refuse(&mut self, code: ErrorCode, refused: Kind, number: u32, text: &str) {
        let refusal = Refusal {
            code,
            fatal: false,
            refused: refused as u8,
            number,
            text,
        };
        refusal.encode(self.frame());
    }

    /// Tells of a refusal that ends the connection.
    pub(crate) fn refuse_all(&mut self, code: ErrorCode, text: &str) {
        let number = client::auth::NO_NUMBER;
        Refusal {
            code,
            fatal: true,
            refused: 0,
            number,
            text,
        }
        .encode(self.frame());
    }

    /// Ends the frames that are open for more.
    fn settle(&mut self) {
        self.deliver = None;
        if let Some(accepted) = self.accepted.take() {
            accepted.encode(&mut self.bytes);
        }
        if let Some(outcome) = self.outcome.take() {
            outcome.encode(&mut self.bytes);
        }
    }

    /// Bytes that wait.
    pub(crate) fn backlog(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether subscriptions that were refused may be filled again.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog() < OUTPUT_SOFT / 2
    }

    /// Whether the client leaves more unread than anybody who is there would.
    pub(crate) fn is_overrun(&self) -> bool {
        self.overrun || self.backlog() > OUTPUT_HARD
    }

    /// Everything that is to be written now. What is not taken is there next time.
    pub(crate) fn take_with(&mut self, mut write: impl FnMut(&[u8]) -> usize) {
        self.settle();
        while self.written < self.bytes.len() {
            match write(&self.bytes[self.written..]) {
                0 => break,
                written => self.written += written,
            }
        }
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
            if self.bytes.capacity() > OUTPUT_KEEP {
                self.bytes.shrink_to(OUTPUT_KEEP);
            }
        } else if self.written > OUTPUT_SOFT {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    pub(crate) fn take_starved(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.starved)
    }

    // Publishers.

    pub(crate) fn add_publisher(&mut self, handle: u32, number: u32) {
        self.publishers.insert(handle, number);
    }

    pub(crate) fn remove_publisher(&mut self, handle: u32) {
        self.publishers.remove(&handle);
    }

    /// A message is in the store.
    pub(crate) fn accept(&mut self, publisher: u32, seq: u64, owed: u32, unsynced: bool) {
        if let Some(last) = &mut self.accepted
            && last.publisher == publisher
            && last.from + u64::from(last.count) == seq
            && (last.owed, last.unsynced) == (owed, unsynced)
            && last.count < u32::MAX
        {
            last.count += 1;
            return;
        }
        self.settle();
        self.accepted = Some(Accepted {
            publisher,
            owed,
            from: seq,
            count: 1,
            unsynced,
        });
    }

    fn outcome(
        &mut self,
        handle: u32,
        node: NodeId,
        sub: u32,
        from: u64,
        to: u64,
        outcome: Outcome,
    ) {
        let Some(&publisher) = self.publishers.get(&handle) else {
            return;
        };
        let result = client::Outcome::of(outcome as u32).unwrap_or(client::Outcome::Unknown);
        let mut from = from;
        if let Some(last) = &mut self.outcome
            && (last.publisher, last.sub, last.node, last.result) == (publisher, sub, node, result)
            && last.from + u64::from(last.count) == from
            && let Some(count) = u32::try_from(to - from)
                .ok()
                .and_then(|more| last.count.checked_add(more))
        {
            last.count = count;
            return;
        }
        while from < to {
            // An acceptance goes before the outcome that a local subscriber gave it at once.
            self.settle();
            let count = u32::try_from(to - from).unwrap_or(u32::MAX);
            self.outcome = Some(OutcomeRange {
                publisher,
                sub,
                node,
                from,
                count,
                result,
            });
            from += u64::from(count);
        }
        self.overrun |= self.backlog() > OUTPUT_HARD;
    }

    // Subscriptions.

    /// A subscription is about to be made.
    pub(crate) fn begin_sub(&mut self, number: u32, acked_by_node: bool) {
        self.making = Some(Sub {
            number,
            acked_by_node,
        });
    }

    /// It was made, under the node's number; or it was not.
    pub(crate) fn end_sub(&mut self, node_sub: Option<u32>) {
        let making = self.making.take();
        if let (Some(node_sub), Some(sub)) = (node_sub, making) {
            self.subs.insert(node_sub, sub);
        }
    }

    pub(crate) fn remove_sub(&mut self, node_sub: u32) {
        self.subs.remove(&node_sub);
        self.starved.retain(|sub| *sub != node_sub);
    }

    pub(crate) fn number_of(&self, node_sub: u32) -> Option<u32> {
        self.sub(node_sub).map(|sub| sub.number)
    }

    fn sub(&self, node_sub: u32) -> Option<Sub> {
        self.subs.get(&node_sub).copied().or(self.making)
    }

    /// Takes a message in, if there is room.
    pub(crate) fn deliver(&mut self, node_sub: u32, message: &Delivery<'_>) -> Taken {
        let len = message.payload.len();
        let backlog = self.backlog();
        let last = self
            .deliver
            .as_ref()
            .filter(|(last, ..)| *last == node_sub)
            .map(|(_, sub, _)| *sub);
        let Some(sub) = last.or_else(|| self.sub(node_sub)) else {
            return Taken::Full;
        };
        if backlog > 0 && backlog + len + message.topic.len() + MESSAGE_OVERHEAD > OUTPUT_SOFT {
            if !self.starved.contains(&node_sub) {
                self.starved.push(node_sub);
            }
            return Taken::Full;
        }
        let key = DeliverKey {
            sub: sub.number,
            handle: message.publisher.handle,
            node: message.publisher.node,
            boot: message.publisher.boot,
            again: message.again,
        };
        match &mut self.deliver {
            Some((.., run)) if run.continues(&self.bytes, &key, message.seq, len) => {
                run.push(&mut self.bytes, message.payload);
            }
            _ => {
                self.settle();
                let mut run = DeliverRun::begin(&mut self.bytes, key, message.topic, message.seq);
                run.push(&mut self.bytes, message.payload);
                self.deliver = Some((node_sub, sub, run));
            }
        }
        if sub.acked_by_node {
            Taken::Acked
        } else {
            Taken::Kept
        }
    }

    /// Takes an event in.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match *event {
            Event::Outcome {
                handle,
                node,
                sub,
                from,
                to,
                outcome,
            } => {
                self.outcome(handle, node, sub, from, to, outcome);
            }
            Event::Gap {
                sub,
                publisher,
                topic,
                from,
                to,
                reason,
            } => {
                let Some(number) = self.number_of(sub) else {
                    return;
                };
                let gap = Gap {
                    sub: number,
                    handle: publisher.handle,
                    node: publisher.node,
                    boot: publisher.boot,
                    from,
                    count: to - from,
                    reason: client::Outcome::of(reason as u32).unwrap_or(client::Outcome::Unknown),
                    topic,
                };
                gap.encode(self.frame());
                self.overrun |= self.backlog() > OUTPUT_HARD;
            }
            Event::Subscribed { sub, missing } => {
                self.later
                    .push_back(Later::Subscribed(sub, missing.to_vec()));
            }
            Event::Presence { kind, node } => self.later.push_back(Later::Presence(kind, node)),
            Event::Writable => self.writable = true,
            Event::Routes
            | Event::Synced { .. }
            | Event::Generation(_)
            | Event::IdConflict
            | Event::Foreign { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_protocol::PublisherId;
    use tidings_wire::Boot;
    use tidings_wire::client::Reply;
    use tidings_wire::client::frame::split;

    const PUBLISHER: PublisherId = PublisherId {
        node: NodeId([1; 16]),
        boot: Boot([2; 16]),
        handle: 3,
    };

    fn message(seq: u64, payload: &[u8]) -> Delivery<'_> {
        Delivery {
            publisher: PUBLISHER,
            seq,
            topic: "a.b",
            payload,
            again: false,
        }
    }

    fn written(out: &mut Out) -> Vec<u8> {
        let mut bytes = Vec::new();
        out.take_with(|frames| {
            bytes.extend_from_slice(frames);
            frames.len()
        });
        bytes
    }

    fn replies(bytes: &[u8]) -> Vec<Reply<'_>> {
        let mut rest = bytes;
        let mut found = Vec::new();
        while let Some((raw, used)) = split(rest).unwrap() {
            found.push(Reply::decode(raw).unwrap());
            rest = &rest[used..];
        }
        found
    }

    fn subscribed(acked_by_node: bool) -> Out {
        let mut out = Out::default();
        out.begin_sub(7, acked_by_node);
        out.end_sub(Some(70));
        out
    }

    #[test]
    fn messages_in_a_row_share_a_frame_and_others_do_not() {
        let mut out = subscribed(false);
        for (seq, payload) in [(0, b"a".as_slice()), (1, b"bb"), (5, b"c")] {
            assert_eq!(out.deliver(70, &message(seq, payload)), Taken::Kept);
        }
        let bytes = written(&mut out);
        let frames = replies(&bytes);
        assert_eq!(frames.len(), 2);
        let Reply::Deliver(first) = frames[0] else {
            panic!("not a delivery: {frames:?}")
        };
        assert_eq!((first.sub, first.seq, first.topic), (7, 0, "a.b"));
        assert_eq!(first.records.collect::<Vec<_>>(), [b"a".as_slice(), b"bb"]);
        assert_eq!(out.backlog(), 0);
    }

    #[test]
    fn a_message_after_a_partial_write_begins_a_frame_of_its_own() {
        let mut out = subscribed(true);
        assert_eq!(out.deliver(70, &message(0, b"a")), Taken::Acked);
        let mut left = 10;
        out.take_with(|frames| std::mem::take(&mut left).min(frames.len()));
        out.deliver(70, &message(1, b"b"));
        let bytes = [vec![0; 0], written(&mut out)].concat();
        let mut whole = Vec::new();
        let mut again = subscribed(true);
        again.deliver(70, &message(0, b"a"));
        whole.extend_from_slice(&written(&mut again)[..10]);
        whole.extend_from_slice(&bytes);
        assert_eq!(replies(&whole).len(), 2);
    }

    #[test]
    fn a_full_buffer_refuses_but_an_empty_one_takes_any_message() {
        let mut out = subscribed(false);
        let large = vec![0; OUTPUT_SOFT * 2];
        assert_eq!(out.deliver(70, &message(0, &large)), Taken::Kept);
        assert_eq!(out.deliver(70, &message(1, b"x")), Taken::Full);
        assert!(!out.has_room());
        written(&mut out);
        assert!(out.has_room());
        assert_eq!(out.take_starved(), [70]);
        assert_eq!(
            out.deliver(99, &message(0, b"x")),
            Taken::Full,
            "nobody's subscription"
        );
    }

    #[test]
    fn acceptances_and_outcomes_join_and_keep_their_order() {
        let mut out = Out::default();
        out.add_publisher(3, 30);
        let outcome = |from, to| Event::Outcome {
            handle: 3,
            node: NodeId([1; 16]),
            sub: 5,
            from,
            to,
            outcome: Outcome::Delivered,
        };
        out.accept(30, 0, 1, false);
        out.accept(30, 1, 1, false);
        out.event(&outcome(0, 1));
        out.event(&outcome(1, 2));
        out.accept(30, 2, 2, false);
        let bytes = written(&mut out);
        let frames = replies(&bytes);
        let Reply::Accepted(accepted) = frames[0] else {
            panic!("{frames:?}")
        };
        assert_eq!((accepted.from, accepted.count, accepted.owed), (0, 2, 1));
        let Reply::Outcome(outcome) = frames[1] else {
            panic!("{frames:?}")
        };
        assert_eq!((outcome.publisher, outcome.from, outcome.count), (30, 0, 2));
        assert!(
            matches!(frames[2], Reply::Accepted(accepted) if accepted.from == 2 && accepted.owed == 2)
        );
        assert_eq!(frames.len(), 3);
    }

    #[test]
    fn messages_that_come_while_a_subscription_is_made_find_it() {
        let mut out = Out::default();
        out.begin_sub(7, false);
        assert_eq!(out.deliver(70, &message(0, b"a")), Taken::Kept);
        out.end_sub(Some(70));
        assert_eq!(out.number_of(70), Some(7));
    }
}
