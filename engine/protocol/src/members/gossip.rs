//! What is told on: records and rumours, each a bounded number of times, the least told first.

use std::collections::BTreeMap;

use tidings_wire::NodeId;
use tidings_wire::digest::{MemberState, Rumour};

use super::record::Record;
use super::table::Stand;

/// Statements queued at once; beyond it the most told one goes.
const QUEUE_MAX: usize = 2048;
/// Statements passed over in one draw because they do not fit.
const MISFITS_MAX: usize = 16;
/// Tellings of one statement per decade of members.
const TELLINGS_PER_DECADE: u32 = 4;

/// A statement about a member: everything that orders it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct About {
    pub(crate) subject: NodeId,
    pub(crate) stand: Stand,
    pub(crate) state: MemberState,
    /// Who says so; the subject itself for records and departures.
    pub(crate) accuser: NodeId,
}

impl About {
    /// Whether a newer statement about the same subject makes this one pointless.
    fn is_superseded_by(&self, other: &About) -> bool {
        let order = |about: &About| (about.stand, about.state as u8);
        let newer = order(self) < order(other);
        let same = order(self) == order(other) && self.accuser == other.accuser;
        self.subject == other.subject && (newer || same)
    }
}

struct Statement {
    about: About,
    bytes: Record,
}

/// Where a statement is in the queue: how often it was told, whether it is larger than a rumour, and its number.
type Place = (u32, bool, u64);

/// The queue of statements: the least told first, of those the rumours, which fit everywhere, and of those the oldest. After the start of
/// thousands it is full for minutes, and every datagram of membership draws from it.
#[derive(Default)]
pub(crate) struct Gossip {
    queue: BTreeMap<Place, Statement>,
    /// By subject and number, the rest of each statement's place.
    told: BTreeMap<(NodeId, u64), (u32, bool)>,
    last_no: u64,
}

impl Gossip {
    /// Queues an encoded statement; older ones about the same subject are dropped.
    pub(crate) fn tell(&mut self, about: About, bytes: &[u8]) {
        let same = (about.subject, 0)..=(about.subject, u64::MAX);
        let places = self
            .told
            .range(same)
            .map(|(&(_, no), &(told, large))| (told, large, no));
        let superseded = |place: &Place| {
            let queued = self.queue.get(place);
            queued.is_some_and(|statement| statement.about.is_superseded_by(&about))
        };
        let old: Vec<Place> = places.filter(superseded).collect();
        for place in old {
            self.remove(place);
        }
        if self.queue.len() >= QUEUE_MAX
            && let Some((most, _)) = self.queue.last_key_value()
        {
            self.remove(*most);
        }
        self.last_no += 1;
        let bytes = Record::new(bytes);
        let large = bytes.len() > size_of::<Rumour>();
        self.insert((0, large, self.last_no), Statement { about, bytes });
    }

    fn insert(&mut self, place: Place, statement: Statement) {
        let (told, large, no) = place;
        self.told
            .insert((statement.about.subject, no), (told, large));
        self.queue.insert(place, statement);
    }

    fn remove(&mut self, place: Place) -> Option<Statement> {
        let statement = self.queue.remove(&place)?;
        self.told.remove(&(statement.about.subject, place.2));
        Some(statement)
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Hands the least told statements that fit `room` bytes to `put`, until it refuses one, in a view of `live` members.
    pub(crate) fn draw(&mut self, room: usize, live: usize, mut put: impl FnMut(&[u8]) -> bool) {
        let (mut left, mut misfits) = (room, 0);
        let mut drawn = Vec::new();
        for (place, statement) in &self.queue {
            let len = statement.bytes.len().next_multiple_of(8);
            if len > left {
                misfits += 1;
                if misfits > MISFITS_MAX {
                    break;
                }
                continue;
            }
            if !put(&statement.bytes) {
                break;
            }
            left -= len;
            drawn.push(*place);
        }
        for place in drawn {
            if let Some(statement) = self.remove(place) {
                self.insert((place.0 + 1, place.1, place.2), statement);
            }
        }
        let limit = tellings(live);
        while let Some((most, _)) = self.queue.last_key_value()
            && most.0 >= limit
        {
            self.remove(*most);
        }
        if self.queue.is_empty() {
            // An empty map keeps a node for its next entries.
            (self.queue, self.told) = Default::default();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.queue.len(), self.told.len());
        self.queue.len()
    }
}

/// 4 x ceil(log10(live + 1)).
fn tellings(live: usize) -> u32 {
    TELLINGS_PER_DECADE * (live.max(1).ilog10() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(subject: u8, incarnation: u64, state: MemberState, accuser: u8) -> About {
        About {
            subject: NodeId([subject; 16]),
            stand: Stand {
                generation: 1,
                incarnation,
            },
            state,
            accuser: NodeId([accuser; 16]),
        }
    }

    fn drawn(gossip: &mut Gossip, room: usize, live: usize) -> Vec<u8> {
        let mut out = Vec::new();
        gossip.draw(room, live, |bytes| {
            out.push(bytes[0]);
            true
        });
        out
    }

    #[test]
    fn a_statement_is_told_a_bounded_number_of_times_and_the_least_told_first() {
        let mut gossip = Gossip::default();
        gossip.tell(about(1, 0, MemberState::Alive, 1), &[1; 8]);
        for _ in 0..3 {
            assert_eq!(drawn(&mut gossip, 8, 5), [1]);
        }
        gossip.tell(about(2, 0, MemberState::Alive, 2), &[2; 8]);
        for _ in 0..3 {
            assert_eq!(drawn(&mut gossip, 8, 5), [2]);
        }
        assert_eq!(drawn(&mut gossip, 16, 5).len(), 2);
        assert!(gossip.is_empty());
        assert_eq!([1, 9, 10, 99, 100].map(tellings), [4, 4, 8, 8, 12]);
    }

    #[test]
    fn a_newer_statement_replaces_older_ones_and_other_accusers_stand_beside() {
        let mut gossip = Gossip::default();
        gossip.tell(about(1, 0, MemberState::Alive, 1), &[1; 8]);
        gossip.tell(about(1, 0, MemberState::Suspect, 7), &[2; 8]);
        gossip.tell(about(1, 0, MemberState::Suspect, 8), &[3; 8]);
        gossip.tell(about(1, 0, MemberState::Suspect, 8), &[4; 8]);
        assert_eq!(drawn(&mut gossip, 100, 5), [2, 4]);
        gossip.tell(about(1, 1, MemberState::Alive, 1), &[5; 8]);
        assert_eq!(drawn(&mut gossip, 100, 5), [5]);
    }

    #[test]
    fn many_records_that_do_not_fit_hide_no_rumour() {
        let mut gossip = Gossip::default();
        for subject in 0..100 {
            let newcomer = about(subject, 0, MemberState::Alive, subject);
            gossip.tell(newcomer, &[1; 700]);
        }
        gossip.tell(about(7, 0, MemberState::Suspect, 8), &[2; 56]);
        assert_eq!(drawn(&mut gossip, 600, 5), [2]);
        assert_eq!(drawn(&mut gossip, 1410, 5), [1, 1]);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut gossip = Gossip::default();
        for subject in 0..QUEUE_MAX as u64 + 100 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&subject.to_le_bytes());
            let about = About {
                subject: NodeId(id),
                ..about(1, 0, MemberState::Alive, 1)
            };
            gossip.tell(about, &[0; 8]);
        }
        assert_eq!(gossip.len(), QUEUE_MAX);
    }
}
