//! A peer's subscription table as this node has applied it.

use std::collections::BTreeMap;
use std::ops::Bound;

use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::Boot;

use crate::config::{AckMode, Redelivery, SlowPolicy};
use crate::limits;

/// One subscription of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteSub {
    pub(crate) pattern: Box<str>,
    /// Hash of the client's name, 0 for an unnamed one.
    pub(crate) client: u64,
    pub(crate) ack: AckMode,
    pub(crate) ordered: bool,
    pub(crate) policy: SlowPolicy,
    pub(crate) redelivery: Redelivery,
}

/// What a finished transfer changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) added: Vec<u32>,
    /// Gone for good, with their patterns.
    pub(crate) removed: Vec<(u32, Box<str>)>,
    /// Named ones of an earlier boot that the present table lacks: their clients may come back.
    pub(crate) missing: Vec<u32>,
}

struct Transfer {
    version: u64,
    full: bool,
    changes: Vec<(u32, Option<RemoteSub>)>,
    // More changes came than a table has entries.
    too_long: bool,
}

/// The table of one peer. It outlives the peer's boots, so that named subscriptions do too.
#[derive(Default)]
pub(crate) struct RemoteTable {
    boot: Option<Boot>,
    version: u64,
    subs: BTreeMap<u32, RemoteSub>,
    transfer: Option<Transfer>,
}

impl RemoteTable {
    /// The version applied of this boot's table; 0 if none.
    pub(crate) fn version(&self, boot: Boot) -> u64 {
        if self.boot == Some(boot) {
            self.version
        } else {
            0
        }
    }

    /// Whether this boot's table was applied.
    pub(crate) fn is_of(&self, boot: Boot) -> bool {
        self.boot == Some(boot)
    }

    pub(crate) fn subs(&self) -> impl Iterator<Item = (u32, &RemoteSub)> {
        self.subs.iter().map(|(sub, s)| (*sub, s))
    }

    /// Those behind `after`, or all.
    pub(crate) fn behind(&self, after: Option<u32>) -> impl Iterator<Item = (u32, &RemoteSub)> {
        let range = self.subs.range((super::beyond(after), Bound::Unbounded));
        range.map(|(sub, s)| (*sub, s))
    }

    pub(crate) fn sub(&self, sub: u32) -> Option<&RemoteSub> {
        self.subs.get(&sub)
    }

    /// Begins a transfer. False if it does not continue what is held: the peer must send the whole table.
    pub(crate) fn begin(&mut self, boot: Boot, version: u64, base: u64) -> bool {
        let full = base == 0;
        if !full && self.version(boot) != base && !mutant(Mutant::StaleTable) {
            self.transfer = None;
            return false;
        }
        self.transfer = Some(Transfer {
            version,
            full,
            changes: Vec::new(),
            too_long: false,
        });
        true
    }

    /// One entry of the transfer: an addition, or a removal.
    pub(crate) fn change(&mut self, sub: u32, entry: Option<RemoteSub>) -> bool {
        let Some(transfer) = &mut self.transfer else {
            return false;
        };
        transfer.too_long |= transfer.changes.len() >= limits::MAX_SUBS;
        if !transfer.too_long {
            transfer.changes.push((sub, entry));
        }
        !transfer.too_long
    }

    /// Applies the transfer of `version` whole; `None` if there is no such transfer, or the table would grow beyond its bound.
    pub(crate) fn end(&mut self, boot: Boot, version: u64) -> Option<Applied> {
        let transfer = self.transfer.take().filter(|t| t.version == version)?;
        if transfer.too_long || self.len_after(&transfer) > limits::MAX_SUBS {
            return None;
        }
        let mut applied = Applied::default();
        if transfer.full && !mutant(Mutant::TableOnlyGrows) {
            let reborn = self.boot != Some(boot);
            let kept: BTreeMap<u32, ()> =
                transfer.changes.iter().map(|(sub, _)| (*sub, ())).collect();
            let gone: Vec<u32> = self
                .subs
                .keys()
                .filter(|sub| !kept.contains_key(sub))
                .copied()
                .collect();
            // Of those that may come back so many are kept as the bound leaves room for.
            let mut room = limits::MAX_SUBS - kept.len();
            for sub in gone {
                if reborn && self.subs[&sub].client != 0 && room > 0 {
                    room -= 1;
                    applied.missing.push(sub);
                } else {
                    self.drop_sub(sub, &mut applied);
                }
            }
        }
        for (sub, entry) in transfer.changes {
            match entry {
                Some(entry) => self.put(sub, entry, &mut applied),
                None => self.drop_sub(sub, &mut applied),
            }
        }
        (self.boot, self.version) = (Some(boot), version);
        Some(applied)
    }

    // How many entries the table has after the transfer, without those that are kept of an earlier boot.
    fn len_after(&self, transfer: &Transfer) -> usize {
        let mut there: BTreeMap<u32, bool> = BTreeMap::new();
        for (sub, entry) in &transfer.changes {
            there.insert(*sub, entry.is_some());
        }
        let held = |sub: &u32| !transfer.full && self.subs.contains_key(sub);
        let before = if transfer.full { 0 } else { self.subs.len() };
        let new = there.iter().filter(|(sub, is)| **is && !held(sub));
        let gone = there.iter().filter(|(sub, is)| !**is && held(sub));
        before + new.count() - gone.count()
    }

    fn put(&mut self, sub: u32, entry: RemoteSub, applied: &mut Applied) {
        match self.subs.get(&sub) {
            // The same id for another client or pattern is another subscription.
            Some(old) if old.client != entry.client || old.pattern != entry.pattern => {
                self.drop_sub(sub, applied)
            }
            _ => {}
        }
        self.subs.insert(sub, entry);
        applied.added.push(sub);
    }

    fn drop_sub(&mut self, sub: u32, applied: &mut Applied) {
        if let Some(old) = self.subs.remove(&sub) {
            applied.removed.push((sub, old.pattern));
        }
    }

    /// Takes a subscription out by this node's own decision (its client did not come back in time).
    pub(crate) fn forget(&mut self, sub: u32) -> Option<RemoteSub> {
        self.subs.remove(&sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(client: u64, pattern: &str) -> Option<RemoteSub> {
        Some(RemoteSub {
            pattern: pattern.into(),
            client,
            ack: AckMode::Client,
            ordered: false,
            policy: SlowPolicy::Detach,
            redelivery: Redelivery::default(),
        })
    }

    const A: Boot = Boot([1; 16]);
    const B: Boot = Boot([2; 16]);

    #[test]
    fn an_increment_that_does_not_fit_is_refused() {
        let mut table = RemoteTable::default();
        assert!(!table.begin(A, 5, 4));
        assert!(table.begin(A, 5, 0));
        table.change(1, entry(0, "x"));
        assert!(table.end(A, 5).is_some());
        assert!(table.begin(A, 6, 5));
        assert!(!table.begin(B, 6, 5), "another boot starts afresh");
    }

    #[test]
    fn named_subscriptions_of_an_earlier_boot_are_missed_not_dropped() {
        let mut table = RemoteTable::default();
        table.begin(A, 2, 0);
        table.change(1, entry(0, "x"));
        table.change(2, entry(9, "y"));
        table.end(A, 2);
        table.begin(B, 1, 0);
        let applied = table.end(B, 1).expect("the transfer is there");
        assert_eq!(
            (applied.removed, applied.missing),
            (vec![(1, "x".into())], vec![2])
        );
        assert!(table.sub(2).is_some());
        assert_eq!(table.version(A), 0);
    }

    #[test]
    fn a_half_transfer_changes_nothing() {
        let mut table = RemoteTable::default();
        table.begin(A, 2, 0);
        table.change(1, entry(0, "x"));
        assert!(table.end(A, 3).is_none());
        assert_eq!(table.subs().count(), 0);
    }

    #[test]
    fn a_table_beyond_its_bound_is_refused_whole_be_it_in_one_transfer_or_by_increments() {
        let mut table = RemoteTable::default();
        table.begin(A, 1, 0);
        for sub in 0..limits::MAX_SUBS as u32 {
            assert!(table.change(sub, entry(0, "x")));
        }
        assert!(table.end(A, 1).is_some());
        assert!(table.begin(A, 2, 1));
        table.change(u32::MAX, entry(0, "x"));
        assert!(table.end(A, 2).is_none(), "one too many");
        assert_eq!(
            (table.version(A), table.subs().count()),
            (1, limits::MAX_SUBS)
        );
        assert!(table.begin(A, 2, 1));
        table.change(0, None);
        table.change(u32::MAX, entry(0, "x"));
        assert!(table.end(A, 2).is_some(), "one for another");
        table.begin(A, 3, 0);
        for sub in 0..=limits::MAX_SUBS as u32 {
            table.change(sub, entry(0, "x"));
        }
        assert!(table.end(A, 3).is_none(), "not even in part");
        assert_eq!(table.version(A), 2);
    }

    #[test]
    fn those_of_earlier_boots_are_kept_within_the_bound() {
        let mut table = RemoteTable::default();
        table.begin(A, 1, 0);
        table.change(1, entry(9, "x"));
        table.change(2, entry(9, "y"));
        table.end(A, 1);
        table.begin(B, 1, 0);
        for sub in 10..9 + limits::MAX_SUBS as u32 {
            table.change(sub, entry(0, "x"));
        }
        let applied = table.end(B, 1).expect("the transfer is there");
        assert_eq!((applied.missing.len(), applied.removed.len()), (1, 1));
        assert_eq!(table.subs().count(), limits::MAX_SUBS);
    }
}
