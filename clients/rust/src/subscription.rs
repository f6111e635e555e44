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

/// A message that came, named for its acknowledgement. It is worth nothing to another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The subscription that it came for.
    pub subscription: Subscription,
    /// Who published it.
    pub publisher: PublisherId,
    /// Its place among the messages of its publisher.
    pub seq: u64,
    pub(crate) session_epoch: u64,
}

pub(crate) struct SubscriptionState {
    pub(crate) overlay: String,
    pub(crate) pattern: String,
    pub(crate) options: SubscribeOptions,
    /// Whether SUBSCRIBED came on this connection.
    pub(crate) stands: bool,
    /// Whether UNSUBSCRIBE was sent.
    pub(crate) ending: bool,
}
