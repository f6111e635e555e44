//! What a core tells its owner during a call: messages for local subscribers and events. Nothing is kept for later.

use tidings_wire::{Boot, NodeId};

use crate::receive::run::Run;

/// The owner's side of a core. Called from within the core's methods; must not block.
pub trait Outlet {
    /// Hands over a message for the local subscription `sub`.
    fn deliver(&mut self, sub: u32, message: &Delivery<'_>) -> Taken;
    /// The same for several messages at once: [`Run::each`] is to be called, or they find no room. An owner that looks up where
    /// they go does so once for all of them. Another subscription gets its copies before or after all of these.
    fn deliver_run(&mut self, sub: u32, run: &mut Run<'_, '_>) {
        run.each(|message| self.deliver(sub, message));
    }
    /// Tells of something that happened.
    fn event(&mut self, event: Event<'_>);
}

/// One message on its way to a local subscriber. Borrowed from the datagram: copy what must outlive the call.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Who published it; together with `seq` the message's id.
    pub publisher: PublisherId,
    /// Position among the messages of its publisher, from 0.
    pub seq: u64,
    /// The topic that it was published on.
    pub topic: &'a str,
    /// What was published.
    pub payload: &'a [u8],
    /// The subscription may have seen it before (a client died before its acknowledgement, or a node restarted).
    pub again: bool,
}

/// One open publisher anywhere in the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherId {
    /// The publisher's node.
    pub node: NodeId,
    /// That node's boot.
    pub boot: Boot,
    /// Unique within the boot.
    pub handle: u32,
}

/// What became of a message handed to a local subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Consumed and acknowledged within the call.
    Acked,
    /// Queued for the application, which acknowledges later.
    Kept,
    /// No room: the core asks the publisher for it again once [`Core::ready`](crate::Core::ready) is called.
    Full,
}

/// Result of a message for one subscription. `Failed` means "not known delivered".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Outcome {
    /// Acknowledged in the subscription's sense.
    Delivered = 0,
    /// Every attempt passed without acknowledgement.
    MaxAttempts = 1,
    /// The subscriber's node stayed dead.
    NodeDead = 2,
    /// The subscription ended first.
    Unsubscribed = 3,
    /// Its lifetime passed.
    Expired = 4,
    /// The store was full, and only subscriptions in catch-up needed it.
    Overflow = 5,
    /// The subscription's own policy refused it.
    Rejected = 6,
    /// The subscriber's node left.
    Left = 7,
    /// The subscriber's node cannot take a message of this size.
    TooLarge = 8,
}

impl Outcome {
    /// The outcome for a code from the wire; an unknown one is a plain refusal.
    pub fn from_code(code: u32) -> Outcome {
        match code {
            0 => Outcome::Delivered,
            1 => Outcome::MaxAttempts,
            2 => Outcome::NodeDead,
            3 => Outcome::Unsubscribed,
            4 => Outcome::Expired,
            5 => Outcome::Overflow,
            7 => Outcome::Left,
            8 => Outcome::TooLarge,
            _ => Outcome::Rejected,
        }
    }

    /// Name in JSON, logs and counters.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::MaxAttempts => "max_attempts",
            Outcome::NodeDead => "node_dead",
            Outcome::Unsubscribed => "unsubscribed",
            Outcome::Expired => "expired",
            Outcome::Overflow => "overflow",
            Outcome::Rejected => "rejected",
            Outcome::Left => "left",
            Outcome::TooLarge => "too_large",
        }
    }
}

/// Changes in who is there; gossiperl's six names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PresenceKind {
    /// `member_in`: joined.
    In,
    /// `member_quarantine`: suspect.
    Quarantine,
    /// `member_unreachable`: held dead.
    Unreachable,
    /// `member_rejoin`: back after being held dead or having left.
    Rejoin,
    /// `member_drop`: forgotten.
    Drop,
    /// `member_out`: left by itself.
    Out,
}

impl PresenceKind {
    /// gossiperl's name.
    pub fn label(self) -> &'static str {
        match self {
            PresenceKind::In => "member_in",
            PresenceKind::Quarantine => "member_quarantine",
            PresenceKind::Unreachable => "member_unreachable",
            PresenceKind::Rejoin => "member_rejoin",
            PresenceKind::Drop => "member_drop",
            PresenceKind::Out => "member_out",
        }
    }
}

/// What happened. Ranges are half open: `from..to`.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A member's state changed; its record is in [`Core::members`](crate::Core::members).
    Presence {
        /// What changed.
        kind: PresenceKind,
        /// The member.
        node: NodeId,
    },
    /// One terminal result for each message of the range and this subscription.
    Outcome {
        /// The local publisher.
        handle: u32,
        /// Node of the subscription.
        node: NodeId,
        /// The subscription on that node.
        sub: u32,
        /// First sequence number.
        from: u64,
        /// One past the last.
        to: u64,
        /// The result.
        outcome: Outcome,
    },
    /// A local subscription is effective at every member held alive, but for those named.
    Subscribed {
        /// The subscription.
        sub: u32,
        /// Members that had not confirmed after 2 s; empty = all have.
        missing: &'a [NodeId],
    },
    /// An ordered subscription will not get these.
    Gap {
        /// The local subscription.
        sub: u32,
        /// Their publisher.
        publisher: PublisherId,
        /// Topic of the publisher.
        topic: &'a str,
        /// First sequence number.
        from: u64,
        /// One past the last.
        to: u64,
        /// Why.
        reason: Outcome,
    },
    /// A publisher that was refused with `WouldBlock` may try again.
    Writable,
    /// The set of effective subscriptions changed: routing tables derived from it are stale.
    Routes,
    /// The table version of every alive member is held (or was not within 5 s of joining: `complete` is false).
    Synced {
        /// False if the wait ended by time.
        complete: bool,
    },
    /// The generation to persist before the node is next started.
    Generation(u64),
    /// Another live node uses this node's id: this one must stop.
    IdConflict,
    /// Someone uses another key or overlay; each reason is told at most once in ten minutes.
    Foreign {
        /// Counter label of the refusal.
        reason: &'static str,
        /// Where it came from.
        from: std::net::SocketAddr,
    },
}

/// A message was taken for delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its sequence number.
    pub seq: u64,
    /// Number of subscriptions that are owed it.
    pub owed: u32,
}

/// Why `publish` refused. Nothing was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The store is full, too much waits for the slowest live node, or tables are not synced yet: wait for [`Event::Writable`].
    WouldBlock,
    /// Larger than `max_message`.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// No such publisher.
    Closed,
}

/// Why a command was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Not a valid topic or pattern.
    BadTopic,
    /// A bound of `limits.rs` is reached.
    TooMany,
    /// No such subscription or publisher.
    Unknown,
    /// Metadata longer than 512 bytes.
    TooLong,
    /// The node is leaving.
    Leaving,
}
