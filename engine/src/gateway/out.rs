//! What waits to be written to one client: frames in a bounded buffer, the last of each sort open for more of the same.
//! The core fills it from within a delivery, so nothing here calls anything.

use std::collections::{HashMap, VecDeque};

use tidings_protocol::{Delivery, Event, Outcome, PresenceKind, Taken};
use tidings_wire::NodeId;
use tidings_wire::client::auth::Refusal;
use tidings_wire::client::publish::{Accepted, OutcomeRange};
use tidings_wire::client::subscribe::{self, DeliverKey, DeliverRun};
use tidings_wire::client::{self, ErrorCode, HEAD_SIZE, Kind, RECORD_HEAD};

use super::limits::{
    OUTPUT_CHOKE, OUTPUT_DRAIN, OUTPUT_HARD, OUTPUT_KEEP, OUTPUT_PRESSED, OUTPUT_SOFT,
};
use crate::gaps::Gaps;
use crate::record::Gap;

/// Bytes that a message may take beside its payload and topic.
const MESSAGE_OVERHEAD: usize = HEAD_SIZE + 64 + RECORD_HEAD;
/// Bytes that something takes which is to be told later, beside the ids of members that it names.
const LATER_BYTES: usize = size_of::<Later>();

/// A subscription, as deliveries need it.
#[derive(Clone, Copy)]
struct Sub {
    number: u32,
    acked_by_node: bool,
    /// It was answered `Full` and is in the list of those.
    starved: bool,
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
    /// Gaps that the next ones may extend; they go into the buffer when it is written, or before a message.
    gaps: Gaps,
    /// By the node's number.
    subs: HashMap<u32, Sub>,
    /// The subscription that is being made: its first messages come before its number is known.
    making: Option<Sub>,
    /// Client's number by handle.
    publishers: HashMap<u32, u32>,
    /// Subscriptions that were answered `Full`.
    starved: Vec<u32>,
    later: VecDeque<Later>,
    later_bytes: usize,
    /// Publishers that found no room may try again.
    pub(crate) writable: bool,
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

    fn settle_gaps(&mut self) {
        if self.gaps.is_empty() {
            return;
        }
        self.settle();
        while let Some(gap) = self.gaps.pop() {
            let Some(sub) = self.number_of(gap.sub) else {
                continue;
            };
            let reason = client::Outcome::of(gap.reason as u32);
            subscribe::Gap {
                sub,
                handle: gap.publisher.handle,
                node: gap.publisher.node,
                boot: gap.publisher.boot,
                from: gap.from,
                count: gap.to - gap.from,
                reason: reason.unwrap_or(client::Outcome::Unknown),
                topic: &gap.topic,
            }
            .encode(&mut self.bytes);
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

    /// Whether the next turn may bring more than there is room for.
    pub(crate) fn is_pressed(&self) -> bool {
        self.backlog() > OUTPUT_PRESSED
    }

    /// Whether the client leaves more unread than anybody who is there would.
    pub(crate) fn is_overrun(&self) -> bool {
        self.backlog() + self.gaps.bytes() + self.later_bytes > OUTPUT_HARD
    }

    /// Whether so much waits that nothing shall be asked which adds to it.
    pub(crate) fn is_choked(&self) -> bool {
        self.backlog() > OUTPUT_CHOKE
    }

    /// What is to be looked up before it can be told.
    pub(crate) fn take_later(&mut self) -> VecDeque<Later> {
        self.later_bytes = 0;
        std::mem::take(&mut self.later)
    }

    fn tell_later(&mut self, later: Later) {
        let named = match &later {
            Later::Subscribed(_, missing) => size_of_val(missing.as_slice()),
            Later::Presence(..) => 0,
        };
        self.later_bytes += LATER_BYTES + named;
        self.later.push_back(later);
    }

    /// Everything that is to be written now. What is not taken is there next time.
    pub(crate) fn take_with(&mut self, mut write: impl FnMut(&[u8]) -> usize) {
        loop {
            // While much waits they rather grow together.
            if self.backlog() <= OUTPUT_SOFT {
                self.settle_gaps();
            }
            self.settle();
            while self.written < self.bytes.len() {
                match write(&self.bytes[self.written..]) {
                    0 => break,
                    written => self.written += written,
                }
            }
            if self.written < self.bytes.len() || self.gaps.is_empty() {
                break;
            }
        }
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
            if self.bytes.capacity() > OUTPUT_KEEP {
                self.bytes.shrink_to(OUTPUT_KEEP);
            }
        } else if self.written > OUTPUT_DRAIN {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    pub(crate) fn take_starved(&mut self) -> Vec<u32> {
        let mut starved = std::mem::take(&mut self.starved);
        // One that ended meanwhile, and began again under its number, is not starved.
        starved.retain(|sub| {
            let sub = self.subs.get_mut(sub);
            sub.is_some_and(|sub| std::mem::take(&mut sub.starved))
        });
        starved
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
    }

    // Subscriptions.

    /// A subscription is about to be made.
    pub(crate) fn begin_sub(&mut self, number: u32, acked_by_node: bool) {
        self.making = Some(Sub {
            number,
            acked_by_node,
            starved: false,
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
        self.settle_gaps();
        self.subs.remove(&node_sub);
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
            let sub = self.subs.get_mut(&node_sub).or(self.making.as_mut());
            if sub.is_some_and(|sub| !std::mem::replace(&mut sub.starved, true)) {
                self.starved.push(node_sub);
            }
            return Taken::Full;
        }
        self.settle_gaps();
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
                let gap = Gap {
                    sub,
                    publisher,
                    topic: topic.into(),
                    from,
                    to,
                    reason,
                };
                self.gaps.push(gap, usize::MAX);
            }
            Event::Subscribed { sub, missing } => {
                self.tell_later(Later::Subscribed(sub, missing.to_vec()));
            }
            Event::Presence { kind, node } => self.tell_later(Later::Presence(kind, node)),
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
        let large = vec![0; OUTPUT_SOFT];
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

    fn gap(from: u64, reason: Outcome) -> Event<'static> {
        Event::Gap {
            sub: 70,
            publisher: PUBLISHER,
            topic: "a.b",
            from,
            to: from + 1,
            reason,
        }
    }

    #[test]
    fn gaps_of_a_client_that_does_not_read_are_one_and_stay_before_what_follows() {
        let mut out = subscribed(false);
        assert_eq!(out.deliver(70, &message(0, b"a")), Taken::Kept);
        // The socket takes nothing: all of them adjoin.
        for seq in 1..2_000_000 {
            out.event(&gap(seq, Outcome::Overflow));
        }
        assert!(!out.is_overrun() && out.backlog() < 1000);
        assert_eq!(out.deliver(70, &message(2_000_000, b"b")), Taken::Kept);
        out.event(&gap(2_000_001, Outcome::Overflow));
        let bytes = written(&mut out);
        let frames = replies(&bytes);
        assert_eq!(frames.len(), 4, "{frames:?}");
        assert!(matches!(frames[0], Reply::Deliver(it) if it.seq == 0));
        assert!(
            matches!(frames[1], Reply::Gap(it) if (it.sub, it.from, it.count) == (7, 1, 1_999_999))
        );
        assert!(matches!(frames[2], Reply::Deliver(it) if it.seq == 2_000_000));
        assert!(matches!(frames[3], Reply::Gap(it) if (it.from, it.count) == (2_000_001, 1)));
    }

    #[test]
    fn gaps_and_changes_that_cannot_be_joined_overrun_a_client_that_does_not_read() {
        let mut out = subscribed(false);
        let mut count = 0;
        while !out.is_overrun() {
            out.event(&gap(2 * count, Outcome::Overflow));
            count += 1;
        }
        assert!(count as usize > (16 << 20) / 100);
        let mut out = Out::default();
        let change = Event::Presence {
            kind: PresenceKind::In,
            node: NodeId([1; 16]),
        };
        (0..OUTPUT_HARD / LATER_BYTES + 1).for_each(|_| out.event(&change));
        assert!(out.is_overrun());
        assert!(!out.take_later().is_empty() && !out.is_overrun());
    }

    #[test]
    fn a_subscription_that_finds_no_room_is_starved_once() {
        let mut out = subscribed(false);
        let large = vec![0; OUTPUT_SOFT];
        assert_eq!(out.deliver(70, &message(0, &large)), Taken::Kept);
        for _ in 0..3 {
            assert_eq!(out.deliver(70, &message(1, &large)), Taken::Full);
        }
        assert_eq!(out.take_starved(), [70]);
        assert_eq!(out.deliver(70, &message(1, &large)), Taken::Full);
        out.remove_sub(70);
        assert!(out.take_starved().is_empty());
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
