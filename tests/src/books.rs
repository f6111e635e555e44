//! What must hold of every delivery and every outcome, whatever a test is about: checked as it happens.
//!
//! * What a subscriber gets was published, on that topic, with that payload, and matches its pattern.
//! * No message twice within one session of a client, and in a later session only if flagged.
//! * An ordered subscription sees increasing numbers without an untold hole after the first.
//! * Each (message, subscription) has at most one outcome; Delivered only if the subscriber acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use tidings_protocol::{AckMode, Delivery, Outcome, PublisherId, SubSpec, Taken};
use tidings_wire::{Boot, NodeId, pattern_matches};
use xxhash_rust::xxh3::xxh3_64;

/// A subscription anywhere.
pub(crate) type SubId = (NodeId, u32);

/// A range of one publisher's numbers, `from..to`.
pub(crate) type Run = (PublisherId, u64, u64);

/// A message as it was handed to a subscription, without its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) sub: u32,
    pub(crate) publisher: PublisherId,
    pub(crate) seq: u64,
    pub(crate) again: bool,
    pub(crate) acked: bool,
    len: usize,
    topic: u64,
    hash: u64,
}

impl Handed {
    pub(crate) fn new(sub: u32, message: &Delivery<'_>, taken: Taken) -> Handed {
        Handed {
            sub,
            publisher: message.publisher,
            seq: message.seq,
            again: message.again,
            acked: taken == Taken::Acked,
            len: message.payload.len(),
            topic: xxh3_64(message.topic.as_bytes()),
            hash: xxh3_64(message.payload),
        }
    }
}

struct Message {
    topic: String,
    topic_hash: u64,
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
    spec: SubSpec,
    open: bool,
    session: Session,
    ever: BTreeSet<(PublisherId, u64)>,
    // Of these, what somebody passed on that was not sent there: nobody knows that it came.
    passed: BTreeSet<(PublisherId, u64)>,
    acked: BTreeSet<(PublisherId, u64)>,
    // Told as gaps, in whatever session: that is not repeated.
    skipped: BTreeSet<(PublisherId, u64)>,
}

/// The books of the whole network.
#[derive(Default)]
pub(crate) struct Books {
    messages: BTreeMap<(PublisherId, u64), Message>,
    subs: BTreeMap<SubId, Sub>,
    // Outcomes not told yet, of each node's present boot.
    owing: BTreeMap<PublisherId, u64>,
    strangers: BTreeSet<NodeId>,
    passing: bool,
}

impl Books {
    /// What this member publishes and acknowledges is its own affair: it is not one of ours.
    pub(crate) fn stranger(&mut self, node: NodeId) {
        self.strangers.insert(node);
    }

    /// Whether what is delivered from now on comes of a datagram that its publisher sent to others.
    pub(crate) fn pass_on(&mut self, passing: bool) {
        self.passing = passing;
    }

    pub(crate) fn published(
        &mut self,
        id: (PublisherId, u64),
        topic: &str,
        payload: &[u8],
        owed: u32,
    ) {
        let message = Message {
            topic: topic.to_owned(),
            topic_hash: xxh3_64(topic.as_bytes()),
            len: payload.len(),
            hash: xxh3_64(payload),
            owed,
            outcomes: Vec::new(),
        };
        *self.owing.entry(id.0).or_default() += u64::from(owed);
        let twice = self.messages.insert(id, message).is_some();
        assert!(!twice, "number {} was given twice", id.1);
    }

    pub(crate) fn subscribed(&mut self, id: SubId, spec: &SubSpec) {
        let sub = self.subs.entry(id).or_insert_with(|| Sub {
            spec: spec.clone(),
            open: true,
            session: Session::default(),
            ever: BTreeSet::new(),
            passed: BTreeSet::new(),
            acked: BTreeSet::new(),
            skipped: BTreeSet::new(),
        });
        // Made again by a client that never left, it goes on with other options, and what was handed over stays so.
        match std::mem::replace(&mut sub.open, true) {
            true => sub.session.next.clear(),
            false => sub.session = Session::default(),
        }
        sub.spec = spec.clone();
    }

    /// The client of the subscription is another from now on.
    pub(crate) fn renewed(&mut self, id: SubId) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.session = Session::default();
        }
    }

    pub(crate) fn unsubscribed(&mut self, id: SubId) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.open = false;
        }
    }

    /// Open subscriptions of a node that a topic matches.
    pub(crate) fn matching(&self, node: NodeId, topic: &str) -> impl Iterator<Item = u32> {
        let range = self.subs.range((node, 0)..=(node, u32::MAX));
        let open = range.filter(|(_, sub)| sub.open && pattern_matches(&sub.spec.pattern, topic));
        open.map(|(id, _)| id.1)
    }

    /// Whether a subscription acknowledged a message and its publisher was told.
    pub(crate) fn is_done(&self, id: (PublisherId, u64), sub: SubId) -> bool {
        let told = self
            .messages
            .get(&id)
            .is_some_and(|m| m.outcomes.contains(&sub));
        told && self
            .subs
            .get(&sub)
            .is_some_and(|sub| sub.acked.contains(&id))
    }

    /// Whether a message was given up for a subscription.
    pub(crate) fn is_given_up(&self, id: (PublisherId, u64), sub: SubId) -> bool {
        let message = self.messages.get(&id);
        message.is_some_and(|m| m.outcomes.contains(&sub)) && !self.is_done(id, sub)
    }

    /// Outcomes that publishers of a node's life wait for, not counting what subscriptions of dead nodes may be owed.
    pub(crate) fn unsettled(&self, (node, boot): (NodeId, Boot), dead: &[NodeId]) -> u64 {
        let own = |id: &PublisherId| id.node == node && id.boot == boot;
        let owing = self
            .owing
            .iter()
            .filter(|(id, owing)| own(id) && **owing > 0);
        let owing = owing.flat_map(|(id, _)| self.messages.range((*id, 0)..=(*id, u64::MAX)));
        let late = owing.map(|(_, message)| {
            let owed = message.owed as usize - message.outcomes.len();
            if owed == 0 {
                return 0;
            }
            let mut gone = 0;
            for dead in dead {
                let subs = self.subs.range((*dead, 0)..=(*dead, u32::MAX));
                gone += subs
                    .filter(|(id, sub)| {
                        pattern_matches(&sub.spec.pattern, &message.topic)
                            && !message.outcomes.contains(id)
                    })
                    .count();
            }
            owed.saturating_sub(gone) as u64
        });
        late.sum()
    }

    pub(crate) fn open_at(&self, node: NodeId) -> Vec<u32> {
        let range = self.subs.range((node, 0)..=(node, u32::MAX));
        range
            .filter(|(_, sub)| sub.open)
            .map(|(id, _)| id.1)
            .collect()
    }

    /// The node died: nothing that it still owed its own publishers will be told.
    pub(crate) fn died(&mut self, node: NodeId) {
        self.owing.retain(|publisher, _| publisher.node != node);
        for (_, sub) in self.subs.iter_mut().filter(|(id, _)| id.0 == node) {
            (sub.open, sub.session) = (false, Session::default());
        }
    }

    /// The subscriber's application acknowledged what it has of this range.
    pub(crate) fn acknowledged(
        &mut self,
        id: SubId,
        publisher: PublisherId,
        (from, to): (u64, u64),
    ) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let range = (publisher, from)..(publisher, to);
        let got: Vec<_> = sub.session.got.range(range).copied().collect();
        sub.acked.extend(got);
    }

    /// Outcomes that a node's publishers wait for.
    pub(crate) fn owing(&self, node: NodeId) -> u64 {
        let own = self.owing.iter().filter(|(id, _)| id.node == node);
        own.map(|(_, count)| count).sum()
    }

    pub(crate) fn handed(&mut self, node: NodeId, got: &Handed) {
        let key = (got.publisher, got.seq);
        if self.strangers.contains(&got.publisher.node) {
            return;
        }
        let message = self.messages.get(&key);
        let message = message.expect("what is delivered was published");
        assert!(message.topic_hash == got.topic, "delivered under its topic");
        let whole = message.len == got.len && message.hash == got.hash;
        assert!(whole, "number {} is delivered as published", got.seq);
        let sub = self.subs.get_mut(&(node, got.sub));
        let sub = sub.expect("delivered to a subscription");
        assert!(sub.open, "delivered after the end of the subscription");
        let matches = pattern_matches(&sub.spec.pattern, &message.topic);
        assert!(
            matches,
            "{} does not match {}",
            message.topic, sub.spec.pattern
        );
        let new = sub.session.got.insert(key);
        assert!(new, "number {} came twice in one session", got.seq);
        let known = !sub.ever.insert(key) && !sub.passed.contains(&key);
        if self.passing {
            sub.passed.insert(key);
        }
        assert!(
            !known || got.again,
            "number {} came again unflagged",
            got.seq
        );
        if got.acked || sub.spec.ack == AckMode::Node {
            sub.acked.insert(key);
        }
        sub.step(got.publisher, got.seq, got.seq + 1);
    }

    /// A subscription is told that it will not get these.
    pub(crate) fn gap(&mut self, id: SubId, (publisher, from, to): Run) {
        assert!(from < to, "a gap is not empty");
        if self.strangers.contains(&publisher.node) {
            return;
        }
        let sub = self.subs.get_mut(&id);
        let sub = sub.expect("a gap is told to a subscription");
        sub.skipped.extend((from..to).map(|seq| (publisher, seq)));
        sub.step(publisher, from, to);
    }

    /// A publisher is told what became of these for a subscription.
    pub(crate) fn outcomes(&mut self, (publisher, from, to): Run, sub: SubId, outcome: Outcome) {
        assert!(from < to, "a range of outcomes is not empty");
        for seq in from..to {
            self.outcome((publisher, seq), sub, outcome);
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
        if outcome == Outcome::Delivered && !self.strangers.contains(&sub.0) {
            let sub = self.subs.get(&sub).expect("Delivered to a subscription");
            let (handed, spec) = (sub.ever.contains(&id), &sub.spec);
            assert!(
                sub.acked.contains(&id),
                "number {} is delivered without being acknowledged (handed over: {handed}; {spec:?})",
                id.1
            );
        }
    }
}

impl Sub {
    // The subscription sees `from..to` of the publisher, as a message or as a gap.
    fn step(&mut self, publisher: PublisherId, from: u64, to: u64) {
        if !self.spec.ordered {
            return;
        }
        if let Some(&next) = self.session.next.get(&publisher) {
            assert!(from >= next, "number {from} comes after {}", next - 1);
            // What an earlier session acknowledged, or was told, does not come again.
            let known = |seq: &u64| {
                let id = (publisher, *seq);
                self.acked.contains(&id) || self.skipped.contains(&id)
            };
            let hole = (next..from).find(|seq| !known(seq));
            assert!(
                hole.is_none(),
                "a hole at {hole:?} before {from} was not told ({publisher:?})"
            );
        }
        self.session.next.insert(publisher, to);
    }
}
