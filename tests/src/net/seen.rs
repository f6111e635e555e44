//! What the owner of a node in the in-process network sees, and how its subscribers behave.

use std::collections::BTreeMap;

use tidings_protocol::{Delivery, Event, Outcome, Outlet, PresenceKind, PublisherId, Taken};
use tidings_wire::NodeId;

use crate::books::Handed;

/// What a local subscriber does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes and acknowledges at once.
    Ack,
    /// Takes, and leaves the acknowledgement to the test.
    Keep,
    /// Takes and acknowledges this many more, then has no room.
    Room(u32),
    /// Takes this many more without acknowledging, then has no room.
    Hold(u32),
}

/// A message as a subscriber got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// When.
    pub at: u64,
    /// The local subscription.
    pub sub: u32,
    /// Its publisher.
    pub publisher: PublisherId,
    /// Its number.
    pub seq: u64,
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// It may have been seen before.
    pub again: bool,
    /// It was acknowledged within the call.
    pub acked: bool,
}

/// An event as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// See [`Event::Presence`].
    Presence(PresenceKind, NodeId),
    /// Handle, subscriber node and subscription, range, result.
    Outcome(u32, NodeId, u32, u64, u64, Outcome),
    /// Subscription and the members that had not confirmed.
    Subscribed(u32, Vec<NodeId>),
    /// Subscription, publisher, range, reason.
    Gap(u32, PublisherId, u64, u64, Outcome),
    /// See [`Event::Writable`].
    Writable,
    /// See [`Event::Synced`].
    Synced(bool),
}

/// One thing that the owner saw, in the order in which it happened. What was told is an index into `told`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Got(Handed),
    Told(usize),
}

/// What a node's owner saw.
#[derive(Default)]
pub struct Seen {
    /// Messages, in the order of delivery.
    pub got: Vec<Got>,
    /// Events with their times.
    pub told: Vec<(u64, Told)>,
    /// How local subscriptions behave; [`Manner::Ack`] if not listed.
    pub manners: BTreeMap<u32, Manner>,
    /// The generation to be persisted.
    pub generation: Option<u64>,
    pub(super) now: u64,
    pub(super) steps: Vec<Step>,
}

impl Outlet for Seen {
    fn deliver(&mut self, sub: u32, m: &Delivery<'_>) -> Taken {
        let manner = self.manners.entry(sub).or_insert(Manner::Ack);
        let taken = match manner {
            Manner::Ack => Taken::Acked,
            Manner::Keep => Taken::Kept,
            Manner::Room(0) | Manner::Hold(0) => return Taken::Full,
            Manner::Room(n) => {
                *n -= 1;
                Taken::Acked
            }
            Manner::Hold(n) => {
                *n -= 1;
                Taken::Kept
            }
        };
        self.steps.push(Step::Got(Handed::new(sub, m, taken)));
        self.got.push(Got {
            at: self.now,
            sub,
            publisher: m.publisher,
            seq: m.seq,
            topic: m.topic.to_owned(),
            payload: m.payload.to_vec(),
            again: m.again,
            acked: taken == Taken::Acked,
        });
        taken
    }

    fn event(&mut self, event: Event<'_>) {
        let told = match event {
            Event::Presence { kind, node } => Told::Presence(kind, node),
            Event::Outcome {
                handle,
                node,
                sub,
                from,
                to,
                outcome,
            } => Told::Outcome(handle, node, sub, from, to, outcome),
            Event::Subscribed { sub, missing } => Told::Subscribed(sub, missing.to_vec()),
            Event::Gap {
                sub,
                publisher,
                from,
                to,
                reason,
                ..
            } => Told::Gap(sub, publisher, from, to, reason),
            Event::Writable => Told::Writable,
            Event::Synced { complete } => Told::Synced(complete),
            Event::Generation(generation) => {
                self.generation = Some(generation);
                return;
            }
            _ => return,
        };
        self.steps.push(Step::Told(self.told.len()));
        self.told.push((self.now, told));
    }
}
