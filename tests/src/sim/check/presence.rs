//! What a node says of its members: each of the six words only where it can follow, and nothing that goes back.

use std::collections::BTreeMap;

use tidings_protocol::{Member, MemberState, PresenceKind};
use tidings_wire::NodeId;

struct Known {
    state: MemberState,
    stand: (u64, u64),
}

/// One life of one observer.
#[derive(Default)]
pub(crate) struct Presence {
    members: BTreeMap<NodeId, Known>,
    pub(crate) deaths: u64,
}

impl Presence {
    pub(crate) fn told(&mut self, kind: PresenceKind, node: NodeId) {
        use MemberState::{Alive, Dead, Left, Suspect};
        let before = self.members.get(&node).map(|known| known.state);
        let (legal, state) = match kind {
            PresenceKind::In => (matches!(before, None | Some(Left)), Some(Alive)),
            PresenceKind::Quarantine => (before == Some(Alive), Some(Suspect)),
            PresenceKind::Unreachable => (matches!(before, Some(Alive | Suspect)), Some(Dead)),
            PresenceKind::Rejoin => (matches!(before, Some(Suspect | Dead)), Some(Alive)),
            PresenceKind::Out => (matches!(before, Some(Alive | Suspect | Dead)), Some(Left)),
            PresenceKind::Drop => (matches!(before, Some(Dead | Left)), None),
        };
        assert!(legal, "{} of a member that was {before:?}", kind.label());
        self.deaths += u64::from(kind == PresenceKind::Unreachable);
        match state {
            Some(state) => {
                let known = self.members.entry(node).or_insert(Known {
                    state,
                    stand: (0, 0),
                });
                known.state = state;
            }
            None => drop(self.members.remove(&node)),
        }
    }

    /// The list of members agrees with what was told, and no member's stand goes back.
    pub(crate) fn audit(&mut self, members: &[Member]) {
        let others = members.iter().filter(|member| !member.is_self);
        assert!(
            others.clone().count() == self.members.len(),
            "every member was told"
        );
        for member in others {
            let known = self.members.get_mut(&member.node);
            let known = known.expect("every member was told");
            assert!(
                known.state == member.state,
                "{} was told {:?} and is {:?}",
                member.name,
                known.state,
                member.state
            );
            let stand = (member.generation, member.incarnation);
            assert!(
                stand >= known.stand,
                "{}: {:?} to {stand:?}",
                member.name,
                known.stand
            );
            known.stand = stand;
        }
    }
}
