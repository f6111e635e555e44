//! What all parts of one client's session share: who it is, what it may do, and how its end is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::grant::Rights;

/// One client's session, shared by its connection and its agents on other shards.
pub(crate) struct Client {
    /// Its name; empty for an unnamed one.
    pub(crate) name: String,
    pub(crate) rights: Rights,
    /// Fencing token.
    pub(crate) epoch: u64,
    /// A newer login under this name took over.
    fenced: AtomicBool,
    /// Its connection and agents that have not let go of their subscriptions.
    parts: AtomicUsize,
}

impl Client {
    pub(crate) fn new(name: String, rights: Rights, epoch: u64) -> Self {
        Self {
            name,
            rights,
            epoch,
            fenced: AtomicBool::new(false),
            parts: AtomicUsize::new(0),
        }
    }

    pub(crate) fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Whether every part has let go: nothing of this session changes a subscription any more.
    pub(crate) fn is_over(&self) -> bool {
        self.parts.load(Ordering::Acquire) == 0
    }
}

/// One part's share of a client; it counts from the moment at which the part is decided upon.
pub(crate) struct Part(Arc<Client>);

impl Part {
    pub(crate) fn new(client: &Arc<Client>) -> Self {
        client.parts.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(client))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.0.parts.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::ops::Deref for Part {
    type Target = Arc<Client>;

    fn deref(&self) -> &Arc<Client> {
        &self.0
    }
}
