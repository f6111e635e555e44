//! When a node that joins knows the subscriptions of all members: before that its publishers wait. Design section 7.2.

use crate::limits;
use tidings_wire::mutants::{Mutant, mutant};

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    /// Every alive member's table is held.
    Complete,
    /// Time ran out: publishers go on, and what they publish is marked as unsynced.
    ByTime,
}

/// How far a node is with the subscriptions of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStage {
    /// Nobody was met yet: publishers wait for that, for 5 s at most.
    Seeking,
    /// A member was met, and not all subscriptions are here yet: publishers wait for them, for 5 s at most.
    Joining,
    /// Nobody was met in time: publishers go on, and wait again once somebody is.
    Alone,
    /// Subscriptions of some member did not come in time: publishers go on without them.
    Late,
    /// Those of every live member were known once. This does not end but by [`crate::Core::begin_joining`].
    Synced,
}

impl SyncStage {
    /// Whether publishers go on, with all subscriptions or without some.
    pub fn may_publish(self) -> bool {
        match self {
            Self::Seeking | Self::Joining => false,
            Self::Alone | Self::Late | Self::Synced => true,
        }
    }
}

/// How far the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody was met yet.
    Alone { until: u64 },
    /// A member was met; its tables and those of the others are on their way.
    Joining { until: u64 },
    /// A wait ended by time.
    Late { met: bool },
    /// Every alive member's table was held once; from then on subscriptions become effective one by one.
    Synced,
}

/// The wait after joining.
#[derive(Debug)]
pub(crate) struct Sync(State);

impl Sync {
    /// A node without anybody to join, or to look for, has nothing to wait for.
    pub(crate) fn new(now: u64, joins: bool) -> Self {
        Sync(if joins {
            State::Alone {
                until: now + limits::SYNC_WAIT,
            }
        } else {
            State::Synced
        })
    }

    /// Whether publishers may go on.
    pub(crate) fn may_publish(&self) -> bool {
        self.stage().may_publish() || mutant(Mutant::PublishedUnsynced)
    }

    /// How far it is.
    pub(crate) fn stage(&self) -> SyncStage {
        match self.0 {
            State::Alone { .. } => SyncStage::Seeking,
            State::Joining { .. } => SyncStage::Joining,
            State::Late { met: false } => SyncStage::Alone,
            State::Late { met: true } => SyncStage::Late,
            State::Synced => SyncStage::Synced,
        }
    }

    /// Whether every alive member's table is held.
    pub(crate) fn is_synced(&self) -> bool {
        self.0 == State::Synced
    }

    /// A member was met. The first one begins the wait, also where publishers went on for want of anybody.
    pub(crate) fn on_met(&mut self, now: u64) {
        if let State::Alone { .. } | State::Late { met: false } = self.0 {
            self.0 = State::Joining {
                until: now + limits::SYNC_WAIT,
            };
        }
    }

    /// Looks anew; tells once how a wait ended.
    pub(crate) fn check(&mut self, now: u64, complete: bool) -> Option<Synced> {
        let (state, told) = match self.0 {
            State::Synced => return None,
            _ if complete => (State::Synced, Synced::Complete),
            State::Alone { until } if now >= until => (State::Late { met: false }, Synced::ByTime),
            State::Joining { until } if now >= until => (State::Late { met: true }, Synced::ByTime),
            _ => return None,
        };
        self.0 = state;
        Some(told)
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        match self.0 {
            State::Alone { until } | State::Joining { until } => Some(until),
            State::Late { .. } | State::Synced => None,
        }
    }
}
