//! Presence: what listeners are told of members, in gossiperl's six words, and two facts for the core alone.

use super::MemberCounters;
use crate::event::PresenceKind;
use crate::peer::PeerIx;

/// Something happened to a member. Drained by the core after every call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MemberEvent {
    /// `member_in`: a member that was not known, or had left, is alive.
    In { peer: PeerIx },
    /// `member_quarantine`: it is suspect.
    Quarantine { peer: PeerIx },
    /// `member_unreachable`: it is held dead. Its link is gone.
    Unreachable { peer: PeerIx },
    /// `member_rejoin`: suspect or dead, it is alive after all, or again.
    Rejoin { peer: PeerIx },
    /// `member_drop`: its tombstone expired. Its number is free once the core has released it.
    Drop { peer: PeerIx },
    /// `member_out`: it left. Its link is gone.
    Out { peer: PeerIx },
    /// Its record is a newer one: another table version, other addresses or metadata, another boot.
    Changed { peer: PeerIx },
    /// Another node runs under our id and stays; this one must stop.
    Conflict { generation: u64 },
}

impl MemberCounters {
    /// Counts what listeners are told.
    pub(crate) fn count(&mut self, kind: PresenceKind) {
        match kind {
            PresenceKind::In => self.to_alive += 1,
            PresenceKind::Rejoin => {
                self.to_alive += 1;
                self.flaps += 1;
            }
            PresenceKind::Quarantine => self.to_suspect += 1,
            PresenceKind::Unreachable => self.to_dead += 1,
            PresenceKind::Out => self.to_left += 1,
            // It was dead or had left before.
            PresenceKind::Drop => {}
        }
    }
}
