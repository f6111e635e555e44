//! What the client knows of each of its subscriptions, and how messages are named for acknowledgements.

use tidings_wire::{Boot, NodeId};

use crate::options::SubscribeOptions;

/// A subscription of a [`Client`](crate::Client).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription(pub(crate) u32);

/// One open publisher anywhere in the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublisherId {
    /// The publisher's node.
    pub node: NodeId,
    /// That node's boot.
    pub boot: Boot,
    /// Unique within the boot.
    pub handle: u32,
}

/// Messages of one publisher that came, named for their acknowledgement. Worth nothing to another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The subscription that they came for.
    pub subscription: Subscription,
    /// Who published them.
    pub publisher: PublisherId,
    /// Seq of the first; 0 stands for everything of the publisher up to the last.
    pub from: u64,
    /// Seq of the last.
    pub to: u64,
    pub(crate) session_epoch: u64,
}

impl Delivered {
    /// These and all of the publisher before them. Right for an ordered subscription, or when nothing that came is
    /// untaken.
    pub fn and_before(self) -> Self {
        Self { from: 0, ..self }
    }

    /// Takes `next` in, if it continues these.
    pub fn join(&mut self, next: &Self) -> bool {
        let joins = next.from == self.to + 1
            && (next.subscription, next.publisher, next.session_epoch)
                == (self.subscription, self.publisher, self.session_epoch);
        if joins {
            self.to = next.to;
        }
        joins
    }
}

pub(crate) struct SubscriptionState {
    pub(crate) overlay: String,
    pub(crate) pattern: String,
    pub(crate) options: SubscribeOptions,
    /// Whether SUBSCRIBED came on this connection.
    pub(crate) stands: bool,
    /// Whether UNSUBSCRIBE was sent.
    pub(crate) ending: bool,
    /// As that of a publisher.
    pub(crate) ended: bool,
}
