//! When a node that joins knows the subscriptions of all members: before that its publishers wait. Design section 7.2.

use crate::limits;

/// How the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    /// Every alive member's table is held.
    Complete,
    /// Time ran out.
    ByTime,
}

/// The wait after joining.
#[derive(Debug)]
pub(crate) struct Sync {
    until: u64,
    done: bool,
}

impl Sync {
    /// A node without anybody to join has nothing to wait for.
    pub(crate) fn new(now: u64, joins: bool) -> Self {
        Sync {
            until: now + limits::SYNC_WAIT,
            done: !joins,
        }
    }

    /// Whether publishers may go on.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Looks anew; tells once when the wait ends.
    pub(crate) fn check(&mut self, now: u64, complete: bool) -> Option<Synced> {
        if self.done || !(complete || now >= self.until) {
            return None;
        }
        self.done = true;
        Some(if complete {
            Synced::Complete
        } else {
            Synced::ByTime
        })
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        (!self.done).then_some(self.until)
    }
}
