//! How another thread gets a session to look at its mail: a command to the session's shard, at most one at a time. A session that
//! moves to another shard is born anew there, and looks at its mail: what was called for just before finds nobody where it was.

use std::sync::Arc;

use crate::queue::call::Call;
use crate::seat::Seat;
use crate::shard::door::Door;

/// Wakes one session.
pub(crate) struct Wake {
    doors: Arc<[Arc<Door>]>,
    /// Of the session: shard << 32 | number there.
    call: Call,
}

impl Wake {
    /// `doors`: of all shards.
    pub(crate) fn new(doors: &Arc<[Arc<Door>]>) -> Self {
        Self {
            doors: Arc::clone(doors),
            call: Call::new(),
        }
    }

    /// By the session, as soon as it has a seat.
    pub(crate) fn born(&self, seat: &Seat<'_>) {
        self.sits(seat.shard(), seat.me.index);
    }

    pub(super) fn sits(&self, shard: usize, session: u32) {
        self.call.born((shard as u64) << 32 | u64::from(session));
    }

    /// By the session, before it looks at its mail.
    pub(crate) fn answer(&self) {
        self.call.answer();
    }

    /// Mail is there.
    pub(crate) fn call(&self) {
        if let Some(session) = self.call.call() {
            self.doors[(session >> 32) as usize].call(session as u32);
        }
    }
}
