//! What must hold of every delivery and every outcome, whatever a test is about: checked as it happens.
//!
//! * What a subscriber gets was published, on that topic, with that payload.
//! * No message twice within one session of a client, and in a later session only if flagged.
//! * An ordered subscription sees increasing numbers without an untold hole after the first.
//! * Each (message, subscription) has at most one outcome; Delivered only if the subscriber acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use tidings_protocol::{AckMode, Outcome, PublisherId, SubSpec};
use tidings_wire::NodeId;
use xxhash_rust::xxh3::xxh3_64;

use super::seen::{Got, Told};

/// A subscription anywhere.
type SubId = (NodeId, u32);

struct Message {
    topic: String,
    len: usize,
    hash: u64,
    owed: u32,
    outcomes: Vec<SubId>,
}

#[derive(Default)]
struct Session {
    got: BTreeSet<(PublisherId, u64)>,
    // Number expected next of each publisher.
    next: BTreeMap<PublisherId, u64>,
}

struct Sub {
    ordered: bool,
    ack: AckMode,
    open: bool,
    session: Session,
    ever: BTreeSet<(PublisherId, u64)>,
    acked: BTreeSet<(PublisherId, u64)>,
}

/// The books of the whole network.
#[derive(Default)]
pub(super) struct Check {
    messages: BTreeMap<(PublisherId, u64), Message>,
    subs: BTreeMap<SubId, Sub>,
    // Outcomes not told yet, of each node's present boot.
    owing: BTreeMap<PublisherId, u64>,
}

impl Check {
    pub(super) fn published(
        &mut self,
        id: (PublisherId, u64),
        topic: &str,
        payload: &[u8],
        owed: u32,
    ) {
        let message = Message {
            topic: topic.to_owned(),
            len: payload.len(),
            hash: xxh3_64(payload),
            owed,
            outcomes: Vec::new(),
        };
        *self.owing.entry(id.0).or_default() += u64::from(owed);
        let twice = self.messages.insert(id, message).is_some();
        assert!(!twice, "number {} was given twice", id.1);
    }

    pub(super) fn subscribed(&mut self, id: SubId, spec: &SubSpec) {
        let sub = self.subs.entry(id).or_insert_with(|| Sub {
            ordered: spec.ordered,
            ack: spec.ack,
            open: true,
            session: Session::default(),
            ever: BTreeSet::new(),
            acked: BTreeSet::new(),
        });
        (sub.ordered, sub.ack, sub.open) = (spec.ordered, spec.ack, true);
        sub.session = Session::default();
    }

    /// The client of the subscription is another from now on.
    pub(super) fn renewed(&mut self, id: SubId) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.session = Session::default();
        }
    }

    pub(super) fn unsubscribed(&mut self, id: SubId) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.open = false;
        }
    }

    pub(super) fn open_at(&self, node: NodeId) -> Vec<u32> {
        let range = self.subs.range((node, 0)..=(node, u32::MAX));
        range
            .filter(|(_, sub)| sub.open)
            .map(|(id, _)| id.1)
            .collect()
    }

    /// The node died: nothing that it still owed its own publishers will be told.
    pub(super) fn died(&mut self, node: NodeId) {
        self.owing.retain(|publisher, _| publisher.node != node);
        for (_, sub) in self.subs.iter_mut().filter(|(id, _)| id.0 == node) {
            (sub.open, sub.session) = (false, Session::default());
        }
    }

    pub(super) fn acknowledged(&mut self, id: SubId, publisher: PublisherId, seq: u64, upto: bool) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let from = if upto { 0 } else { seq };
        let range = (publisher, from)..=(publisher, seq);
        let got: Vec<_> = sub.session.got.range(range).copied().collect();
        sub.acked.extend(got);
    }

    /// Outcomes that a node's publishers wait for.
    pub(super) fn owing(&self, node: NodeId) -> u64 {
        let own = self.owing.iter().filter(|(id, _)| id.node == node);
        own.map(|(_, count)| count).sum()
    }

    pub(super) fn got(&mut self, node: NodeId, got: &Got) {
        let key = (got.publisher, got.seq);
        let message = self.messages.get(&key);
        let message = message.expect("what is delivered was published");
        assert!(message.topic == got.topic, "delivered under its topic");
        let whole = message.len == got.payload.len() && message.hash == xxh3_64(&got.payload);
        assert!(whole, "number {} is delivered as published", got.seq);
        let sub = self.subs.get_mut(&(node, got.sub));
        let sub = sub.expect("delivered to a subscription");
        assert!(sub.open, "delivered after the end of the subscription");
        let new = sub.session.got.insert(key);
        assert!(new, "number {} came twice in one session", got.seq);
        let known = !sub.ever.insert(key);
        assert!(
            !known || got.again,
            "number {} came again unflagged",
            got.seq
        );
        if got.acked || sub.ack == AckMode::Node {
            sub.acked.insert(key);
        }
        sub.step(got.publisher, got.seq, got.seq + 1);
    }

    pub(super) fn told(
        &mut self,
        node: NodeId,
        publisher: impl Fn(u32) -> PublisherId,
        told: &Told,
    ) {
        match *told {
            Told::Gap(sub, publisher, from, to, _) => {
                assert!(from < to, "a gap is not empty");
                let sub = self.subs.get_mut(&(node, sub));
                sub.expect("a gap is told to a subscription")
                    .step(publisher, from, to);
            }
            Told::Outcome(handle, peer, sub, from, to, outcome) => {
                assert!(from < to, "a range of outcomes is not empty");
                for seq in from..to {
                    self.outcome((publisher(handle), seq), (peer, sub), outcome);
                }
            }
            _ => {}
        }
    }

    fn outcome(&mut self, id: (PublisherId, u64), sub: SubId, outcome: Outcome) {
        let message = self.messages.get_mut(&id);
        let message = message.expect("an outcome is of a published message");
        let again = message.outcomes.contains(&sub);
        assert!(!again, "a second outcome {outcome:?} of number {}", id.1);
        message.outcomes.push(sub);
        let fits = message.outcomes.len() <= message.owed as usize;
        assert!(fits, "no more outcomes than were owed");
        *self.owing.entry(id.0).or_default() -= 1;
        if outcome == Outcome::Delivered {
            let acked = self.subs.get(&sub).is_some_and(|s| s.acked.contains(&id));
            assert!(
                acked,
                "number {} is delivered without being acknowledged",
                id.1
            );
        }
    }
}

impl Sub {
    // The subscription sees `from..to` of the publisher, as a message or as a gap.
    fn step(&mut self, publisher: PublisherId, from: u64, to: u64) {
        if !self.ordered {
            return;
        }
        if let Some(&next) = self.session.next.get(&publisher) {
            assert!(from >= next, "number {from} comes after {}", next - 1);
            // What an earlier session acknowledged does not come again.
            let hole = (next..from).find(|seq| !self.acked.contains(&(publisher, *seq)));
            assert!(
                hole.is_none(),
                "a hole at {hole:?} before {from} was not told"
            );
        }
        self.session.next.insert(publisher, to);
    }
}
