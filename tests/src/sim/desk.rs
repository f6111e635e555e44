//! A node's owner: takes what the core hands over, as its clients would, and notes what the core says.

use std::collections::BTreeMap;

use tidings_protocol::{
    Delivery, Event, Outcome, Outlet, PresenceKind, PublisherId, SubSpec, Taken,
};
use tidings_wire::NodeId;

use crate::books::Handed;

/// How a client takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Acknowledges at once.
    Prompt,
    /// Acknowledges later.
    Later,
    /// As `Later`, and has room for so many messages only.
    Slow(u32),
}

/// The client of one subscription.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) spec: SubSpec,
    pub(crate) manner: Manner,
    pub(crate) attached: bool,
    pub(crate) room: u32,
    /// Taken and not acknowledged.
    pub(crate) kept: Vec<(PublisherId, u64)>,
    /// Taken and not to be acknowledged for as long as there are faults.
    pub(crate) ignored: Vec<(PublisherId, u64)>,
}

impl Client {
    pub(crate) fn new(spec: SubSpec, manner: Manner) -> Client {
        Client {
            spec,
            manner,
            attached: true,
            room: match manner {
                Manner::Slow(room) => room,
                _ => u32::MAX,
            },
            kept: Vec::new(),
            ignored: Vec::new(),
        }
    }

    fn take(&mut self, message: &Delivery<'_>) -> Taken {
        assert!(self.attached, "handed to a client that is gone");
        if self.room == 0 {
            return Taken::Full;
        }
        if self.room != u32::MAX {
            self.room -= 1;
        }
        if self.manner == Manner::Prompt {
            return Taken::Acked;
        }
        self.kept.push((message.publisher, message.seq));
        Taken::Kept
    }
}

/// Something that the core said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    Handed(Handed),
    Gap(u32, PublisherId, u64, u64),
    Outcome(u32, (NodeId, u32), u64, u64, Outcome),
    Presence(PresenceKind, NodeId),
    Generation(u64),
    Conflict,
}

/// What one life of a node has at hand.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) clients: BTreeMap<u32, Client>,
    /// A client whose subscription is being made: it may get messages before the call returns.
    pub(crate) coming: Option<Client>,
    pub(crate) said: Vec<Said>,
    /// Times that a client had no room.
    pub(crate) full: u64,
}

impl Outlet for Desk {
    fn deliver(&mut self, sub: u32, message: &Delivery<'_>) -> Taken {
        if let Some(client) = self.coming.take_if(|_| !self.clients.contains_key(&sub)) {
            self.clients.insert(sub, client);
        }
        let client = self.clients.get_mut(&sub);
        let client = client.expect("handed to a subscription that has a client");
        let taken = client.take(message);
        if taken == Taken::Full {
            self.full += 1;
        } else {
            self.said
                .push(Said::Handed(Handed::new(sub, message, taken)));
        }
        taken
    }

    fn event(&mut self, event: Event<'_>) {
        self.said.push(match event {
            Event::Presence { kind, node } => Said::Presence(kind, node),
            Event::Outcome {
                handle,
                node,
                sub,
                from,
                to,
                outcome,
            } => Said::Outcome(handle, (node, sub), from, to, outcome),
            Event::Gap {
                sub,
                publisher,
                from,
                to,
                ..
            } => Said::Gap(sub, publisher, from, to),
            Event::Generation(generation) => Said::Generation(generation),
            Event::IdConflict => Said::Conflict,
            _ => return,
        });
    }
}
