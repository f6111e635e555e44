//! What a client is told. Borrowed from its input buffer: copy what must outlive the next call.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tidings_wire::client::presence::Change;
use tidings_wire::client::subscribe::Names;
use tidings_wire::client::{ErrorCode, Outcome, Records};
use tidings_wire::{Boot, NodeId};

use crate::publisher::Publisher;
use crate::subscription::{Delivered, PublisherId, Subscription};

/// The node that the client is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its id.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// Its name.
    pub name: String,
}

/// Messages of one publisher for one subscription, with consecutive seqs.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    /// The subscription.
    pub subscription: Subscription,
    /// Who published them.
    pub publisher: PublisherId,
    /// Seq of the first.
    pub seq: u64,
    /// Whether an earlier session may have seen them.
    pub again: bool,
    /// The topic.
    pub topic: &'a str,
    /// The payloads.
    pub payloads: Records<'a>,
    pub(crate) session_epoch: u64,
}

impl Messages<'_> {
    /// All of them, to acknowledge.
    pub fn all(&self) -> Delivered {
        self.range(0, self.payloads.len() as u64)
    }

    /// The first `n` of them.
    pub fn first(&self, n: u64) -> Delivered {
        self.range(0, n)
    }

    /// The `n`th of them, from 0.
    pub fn nth(&self, n: u64) -> Delivered {
        self.range(n, 1)
    }

    fn range(&self, skip: u64, count: u64) -> Delivered {
        Delivered {
            subscription: self.subscription,
            publisher: self.publisher,
            from: self.seq + skip,
            to: (self.seq + skip + count).saturating_sub(1),
            session_epoch: self.session_epoch,
        }
    }
}

/// A member of an overlay, or a change of it.
#[derive(Clone, Copy, Debug)]
pub struct PresenceEvent<'a> {
    /// The number that [`Client::watch`](crate::Client::watch) gave.
    pub watch: u32,
    /// What happened; in a snapshot the state.
    pub change: Change,
    /// Whether it is part of the snapshot that a watch begins with.
    pub snapshot: bool,
    /// Whether it is this node itself.
    pub this_node: bool,
    /// Whether this node has talked with the member, not only heard of it.
    pub reached: bool,
    /// The member.
    pub node: NodeId,
    /// Its address, if known.
    pub address: Option<SocketAddr>,
    /// Its name.
    pub name: &'a str,
    /// Its metadata.
    pub metadata: &'a [u8],
}

/// The address of a PRESENCE frame.
pub(crate) fn address(ip: [u8; 16], port: u16) -> Option<SocketAddr> {
    let ip = Ipv6Addr::from(ip);
    let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
    (!ip.is_unspecified()).then_some(SocketAddr::new(ip, port))
}

/// What a client is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// Messages came.
    Messages(Messages<'a>),
    /// Messages that will never come.
    Gap {
        /// The subscription.
        subscription: Subscription,
        /// Who published them.
        publisher: PublisherId,
        /// The topic, empty if unknown.
        topic: &'a str,
        /// Seq of the first.
        from: u64,
        /// How many.
        count: u64,
        /// Why.
        reason: Outcome,
    },
    /// Messages are in the node's store.
    Accepted {
        /// The publisher.
        publisher: Publisher,
        /// Seq of the first.
        from: u64,
        /// How many.
        count: u32,
        /// Subscriptions that each is owed to.
        owed: u32,
        /// Whether the node did not know every member's subscriptions yet.
        unsynced: bool,
    },
    /// What became of messages at one subscription.
    Outcome {
        /// The publisher.
        publisher: Publisher,
        /// The subscriber's node.
        node: NodeId,
        /// The subscription on that node.
        sub: u32,
        /// Seq of the first.
        from: u64,
        /// How many.
        count: u32,
        /// What became of them.
        outcome: Outcome,
    },
    /// A subscription stands: at every member held alive, or at all but those named.
    Subscribed {
        /// The subscription.
        subscription: Subscription,
        /// Whether members are missing.
        partial: bool,
        /// Their names.
        pending: Names<'a>,
    },
    /// A member, or a change of one.
    Presence(PresenceEvent<'a>),
    /// The snapshot of a watch is complete.
    PresenceSnapshotEnd {
        /// The watch.
        watch: u32,
    },
    /// Something that was asked for earlier was refused.
    Refused {
        /// Why.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// The daemon was lost. What is not settled is unknown: these events follow one [`Event::Unknown`] per publisher.
    Lost {
        /// Why.
        why: String,
    },
    /// What a lost daemon did not tell of one publisher.
    Unknown {
        /// The publisher.
        publisher: Publisher,
        /// Messages that were sent and not accepted.
        messages: u64,
        /// Outcomes of accepted messages that will not come.
        outcomes: u64,
    },
    /// Attached again. Subscriptions and publishers are asked for again already.
    Attached(Attached),
}
