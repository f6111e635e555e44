//! How another thread gets a session to look at its mail: a command to the session's shard, at most one at a time.

use std::sync::Arc;

use crate::queue::call::Call;
use crate::shard::door::Door;

/// Wakes one session.
pub(crate) struct Wake {
    door: Arc<Door>,
    call: Call,
}

impl Wake {
    pub(crate) fn new(door: Arc<Door>) -> Self {
        Self {
            door,
            call: Call::new(),
        }
    }

    /// By the session, as soon as it has a number.
    pub(crate) fn born(&self, session: u32) {
        self.call.born(session);
    }

    /// By the session, before it looks at its mail.
    pub(crate) fn answer(&self) {
        self.call.answer();
    }

    /// Mail is there.
    pub(crate) fn call(&self) {
        if let Some(session) = self.call.call() {
            self.door.call(session);
        }
    }
}
