//! The highest handshake counter installed from each boot of each peer, kept after its link is gone.
//!
//! A responder that remembers nothing would give a replayed H3 the same nonce again. This record refuses it as long as
//! the nonce could still verify; afterwards the rotated secret does.

use std::collections::BTreeMap;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::{Boot, NodeId};

/// A nonce verifies for at most two rotations of 120 s; the record outlives that by a minute.
const KEEP_NS: u64 = 300_000_000_000;
/// Boots remembered. More new boots within five minutes than this are refused, never forgotten early.
const RECORDS_MAX: usize = 65_536;
/// Expired records are looked for each time that the table has grown by this many.
const SWEEP_EVERY: usize = 256;

#[derive(Clone, Copy)]
struct Record {
    hs: u64,
    at: u64,
}

/// The records of one core.
#[derive(Default)]
pub(crate) struct Installed {
    records: BTreeMap<(NodeId, Boot), Record>,
    grown: usize,
}

impl Installed {
    /// Whether a handshake with this counter is newer than all installed from this boot, and can be recorded.
    pub(crate) fn admits(&mut self, id: NodeId, boot: Boot, hs: u64, now: u64) -> bool {
        if let Some(record) = self.records.get(&(id, boot)) {
            return hs > record.hs || mutant(Mutant::CounterIgnored);
        }
        if self.records.len() >= RECORDS_MAX {
            self.sweep(now);
        }
        self.records.len() < RECORDS_MAX
    }

    /// Records an installed handshake.
    pub(crate) fn note(&mut self, id: NodeId, boot: Boot, hs: u64, now: u64) {
        self.grown += 1;
        if self.grown >= SWEEP_EVERY {
            self.grown = 0;
            self.sweep(now);
        }
        self.records.insert((id, boot), Record { hs, at: now });
    }

    fn sweep(&mut self, now: u64) {
        self.records
            .retain(|_, record| now.saturating_sub(record.at) < KEEP_NS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_higher_counter_of_the_same_boot_is_admitted() {
        let mut installed = Installed::default();
        let (id, old, new) = (NodeId([1; 16]), Boot([1; 16]), Boot([2; 16]));
        assert!(installed.admits(id, old, 5, 0));
        installed.note(id, old, 5, 0);
        assert!(!installed.admits(id, old, 5, 1));
        assert!(!installed.admits(id, old, 4, 1));
        assert!(installed.admits(id, old, 6, 1));
        installed.note(id, new, 1, 2);
        assert!(!installed.admits(id, old, 5, 3));
    }

    #[test]
    fn records_go_only_after_their_nonce_cannot_verify_any_more() {
        let mut installed = Installed::default();
        let id = NodeId([1; 16]);
        for boot in 0..SWEEP_EVERY as u64 * 2 {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&boot.to_le_bytes());
            installed.note(id, Boot(bytes), 1, boot);
        }
        assert_eq!(installed.records.len(), SWEEP_EVERY * 2);
        installed.sweep(KEEP_NS);
        assert!(installed.records.len() < SWEEP_EVERY * 2);
        installed.sweep(2 * KEEP_NS);
        assert!(installed.records.is_empty());
    }
}
