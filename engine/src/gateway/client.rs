//! What all parts of one client's session share: who it is, what it may do, and how its end is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tidings_wire::client::ErrorCode;

use super::grant::Rights;

/// Why the control thread ends a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A newer login under its name took over.
    Newer = 1,
    /// What the name may do, or its secret, is not what it was.
    Changed = 2,
}

impl Ending {
    /// What the client is told.
    pub(crate) fn word(self) -> (ErrorCode, &'static str) {
        match self {
            Self::Newer => (ErrorCode::Fenced, "a newer login under this name took over"),
            // It comes again, if it may.
            Self::Changed => (
                ErrorCode::Leaving,
                "what this client may do was changed; log in again",
            ),
        }
    }
}

/// One client's session, shared by its connection and its agents on other shards.
pub(crate) struct Client {
    /// Its name; empty for an unnamed one.
    pub(crate) name: String,
    pub(crate) rights: Rights,
    /// Fencing token.
    pub(crate) epoch: u64,
    /// An [`Ending`], or 0.
    ending: AtomicU8,
    /// Its connection and agents that have not let go of their subscriptions.
    parts: AtomicUsize,
}

impl Client {
    pub(crate) fn new(name: String, rights: Rights, epoch: u64) -> Self {
        Self {
            name,
            rights,
            epoch,
            ending: AtomicU8::new(0),
            parts: AtomicUsize::new(0),
        }
    }

    /// Ends the session; the first reason counts.
    pub(crate) fn end(&self, why: Ending) {
        // If it ends already, the first reason stays.
        let _ = self
            .ending
            .compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Why it ends, if it does.
    pub(crate) fn ending(&self) -> Option<Ending> {
        match self.ending.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Ending::Newer),
            _ => Some(Ending::Changed),
        }
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
