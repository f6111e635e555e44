//! How another thread gets a session to look at its mail: a command to the session's shard, at most one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::shard::door::Door;

/// The session has no number yet: it looks at everything when it gets its first turn.
const UNBORN: u32 = u32::MAX;

/// Wakes one session.
pub(crate) struct Wake {
    door: Arc<Door>,
    session: AtomicU32,
    called: AtomicBool,
}

impl Wake {
    pub(crate) fn new(door: Arc<Door>) -> Self {
        Self {
            door,
            session: AtomicU32::new(UNBORN),
            called: AtomicBool::new(false),
        }
    }

    /// By the session, as soon as it has a number.
    pub(crate) fn born(&self, session: u32) {
        self.session.store(session, Ordering::Release);
    }

    /// By the session, before it looks at its mail.
    pub(crate) fn answer(&self) {
        // SeqCst, as in `call`: the reader's look at its mail comes after this store, the writer's look at the flag after its
        // mail is there; one of the two sees the other.
        self.called.store(false, Ordering::SeqCst);
    }

    /// Mail is there.
    pub(crate) fn call(&self) {
        if self.called.swap(true, Ordering::SeqCst) {
            return;
        }
        match self.session.load(Ordering::Acquire) {
            UNBORN => self.called.store(false, Ordering::SeqCst),
            session => self.door.call(session),
        }
    }
}
