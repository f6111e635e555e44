//! How whoever added something gets a session on another shard to look: one call at a time, none lost.
//!
//! The session answers before it looks, the other side calls after it added. Both change the one flag by a swap, so of two that
//! meet one sees what the other did before: either the caller finds the flag down and calls, or the session finds it raised and
//! with it what was added.

use super::sync::{AtomicBool, AtomicU64, Ordering};

/// The session has no number yet: it looks at everything when it gets its first turn.
const UNBORN: u64 = u64::MAX;

/// Calls for one session.
pub(crate) struct Call {
    session: AtomicU64,
    called: AtomicBool,
}

impl Call {
    pub(crate) fn new() -> Self {
        Self {
            session: AtomicU64::new(UNBORN),
            called: AtomicBool::new(false),
        }
    }

    /// By the session, as soon as it has a number, and when it gets another. An answer and a look follow.
    pub(crate) fn born(&self, session: u64) {
        self.session.store(session, Ordering::Release);
    }

    /// By the session, before it looks.
    pub(crate) fn answer(&self) {
        // Not a store: a store would not see what the caller added before its swap.
        self.called.swap(false, Ordering::AcqRel);
    }

    /// By the other side, after it added something: the session that must be called, if it does not look anyway.
    pub(crate) fn call(&self) -> Option<u64> {
        if self.called.swap(true, Ordering::AcqRel) {
            return None;
        }
        match self.session.load(Ordering::Acquire) {
            UNBORN => {
                self.called.swap(false, Ordering::AcqRel);
                None
            }
            session => Some(session),
        }
    }
}
