//! What an attacker on the path keeps: a sample of all datagrams, and of those that were sent before a restart.

use tidings_wire::Class;

use super::random::Random;

/// Datagrams kept of each kind.
const KEPT: usize = 256;
/// One datagram in so many is kept, besides all handshakes.
const SAMPLE: u64 = 8;

/// A datagram as it passed.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) at: u64,
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The lives of sender and receiver.
    pub(crate) lives: (u64, u64),
    pub(crate) class: Class,
    pub(crate) bytes: Vec<u8>,
}

/// All that is kept.
pub(crate) struct Recorder {
    random: Random,
    recent: Vec<Record>,
    old: Vec<Record>,
}

impl Recorder {
    pub(crate) fn new(seed: u64) -> Recorder {
        Recorder {
            random: Random::of(seed, "recorder"),
            recent: Vec::new(),
            old: Vec::new(),
        }
    }

    pub(crate) fn record(
        &mut self,
        at: u64,
        (from, to): (usize, usize),
        lives: (u64, u64),
        class: Class,
        bytes: &[u8],
    ) {
        if class != Class::Hello && self.random.below(SAMPLE) != 0 {
            return;
        }
        let place = if self.recent.len() < KEPT {
            self.recent.push(Record {
                at,
                from,
                to,
                lives,
                class,
                bytes: Vec::new(),
            });
            self.recent.len() - 1
        } else {
            self.random.below(KEPT as u64) as usize
        };
        let record = &mut self.recent[place];
        (record.at, record.from, record.to) = (at, from, to);
        (record.lives, record.class) = (lives, class);
        record.bytes.clear();
        record.bytes.extend_from_slice(bytes);
    }

    /// A node's life ends: what it said and heard is kept for its next one.
    pub(crate) fn ended(&mut self, node: usize) {
        for record in self
            .recent
            .iter()
            .filter(|r| r.from == node || r.to == node)
        {
            if self.old.len() < KEPT {
                self.old.push(record.clone());
            } else {
                let place = self.random.below(KEPT as u64) as usize;
                self.old[place] = record.clone();
            }
        }
    }

    /// Any record, as often an old one as a recent one.
    pub(crate) fn any(&mut self) -> Option<Record> {
        let from = if self.random.coin() || self.old.is_empty() {
            &self.recent
        } else {
            &self.old
        };
        let at = self.random.below(from.len() as u64) as usize;
        from.get(at).cloned()
    }

    /// The old ones that concern a node.
    pub(crate) fn of(&self, node: usize) -> Vec<Record> {
        let concern = self.old.iter().filter(|r| r.from == node || r.to == node);
        concern.cloned().collect()
    }
}
