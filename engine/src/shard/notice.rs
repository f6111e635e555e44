//! What a shard has to tell the control thread: generations to keep on disk, trouble worth a line in the log.

use std::net::SocketAddr;

use crossbeam::queue::ArrayQueue;
use tidings_wire::OverlayId;

use crate::limits::NOTICES_MAX;
use crate::queue::notify::Notify;

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The overlay settled on this generation; it was put on disk where there is one.
    Generation(u64),
    /// Subscription tables of all members are here, or waiting for them ended by time.
    Synced {
        /// All of them.
        complete: bool,
    },
    /// Another live node uses this node's id. This one was taken out of the overlay.
    IdConflict,
    /// Somebody with another key or overlay speaks to this address.
    Foreign {
        /// Counter label of the refusal.
        reason: &'static str,
        /// Who.
        from: SocketAddr,
    },
}

/// The queue of notices of a whole node. When nobody reads, the oldest give way: each is told again or merely informs,
/// but for generations, which the keeper thread reads at once.
pub(crate) struct Notices {
    queue: ArrayQueue<(OverlayId, Notice)>,
    pub(crate) notify: Notify,
}

impl Notices {
    pub(crate) fn new() -> Self {
        Self {
            queue: ArrayQueue::new(NOTICES_MAX),
            notify: Notify::new(),
        }
    }

    pub(crate) fn push(&self, overlay: OverlayId, notice: Notice) {
        self.queue.force_push((overlay, notice));
        self.notify.notify();
    }

    pub(crate) fn pop(&self) -> Option<(OverlayId, Notice)> {
        self.queue.pop()
    }
}
