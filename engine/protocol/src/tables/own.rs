//! This node's subscription table: versioned, with a log of changes from which peers are brought up to date.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::config::{Redelivery, SubSpec};
use crate::event::CommandError;
use crate::limits;

/// One change of the table, in the order of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added(u32),
    Removed(u32),
}

/// The table. Version 0 is the empty one that every node starts with.
#[derive(Default)]
pub(crate) struct OwnTable {
    version: u64,
    subs: BTreeMap<u32, SubSpec>,
    log: VecDeque<(u64, Change)>,
    unnamed: u64,
    // Of those that do not say their own.
    redelivery: Redelivery,
}

impl OwnTable {
    pub(crate) fn new(redelivery: Redelivery) -> Self {
        OwnTable {
            redelivery,
            ..OwnTable::default()
        }
    }

    /// What holds for a subscription.
    pub(crate) fn redelivery(&self, spec: &SubSpec) -> Redelivery {
        spec.redelivery.unwrap_or(self.redelivery)
    }

    /// Returns the subscriptions for which another one holds now: each is a change of the table.
    pub(crate) fn set_redelivery(&mut self, redelivery: Redelivery) -> Vec<u32> {
        if std::mem::replace(&mut self.redelivery, redelivery) == redelivery {
            return Vec::new();
        }
        let theirs = self
            .subs
            .iter()
            .filter(|(_, spec)| spec.redelivery.is_none());
        let subs: Vec<u32> = theirs.map(|(sub, _)| *sub).collect();
        for &sub in &subs {
            self.record(Change::Added(sub));
        }
        subs
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &SubSpec)> {
        self.subs.iter().map(|(sub, spec)| (*sub, spec))
    }

    /// Those behind `after`, or all.
    pub(crate) fn behind(&self, after: Option<u32>) -> impl Iterator<Item = (u32, &SubSpec)> {
        let range = self.subs.range((super::beyond(after), Bound::Unbounded));
        range.map(|(sub, spec)| (*sub, spec))
    }

    pub(crate) fn spec(&self, sub: u32) -> Option<&SubSpec> {
        self.subs.get(&sub)
    }

    /// The id of a named client's subscription: the same after a restart, so that publishers take it for the same.
    fn named_id(&self, spec: &SubSpec) -> u32 {
        let mut id =
            xxh3_64_with_seed(spec.pattern.as_bytes(), xxh3_64(spec.client.as_bytes())) as u32;
        while self
            .subs
            .get(&id)
            .is_some_and(|s| s.client != spec.client || s.pattern != spec.pattern)
        {
            id = id.wrapping_add(1);
        }
        id
    }

    // Unnamed ones are never the same twice, not even after a restart: `salt` is random per boot.
    fn unnamed_id(&mut self, salt: u64) -> u32 {
        loop {
            self.unnamed += 1;
            let id = xxh3_64_with_seed(&self.unnamed.to_le_bytes(), salt) as u32;
            if !self.subs.contains_key(&id) {
                return id;
            }
        }
    }

    /// Adds a subscription. The second value says whether it is new: a named client may find its old one, whose options
    /// then become the new ones.
    pub(crate) fn add(&mut self, spec: SubSpec, salt: u64) -> Result<(u32, bool), CommandError> {
        if self.subs.len() >= limits::MAX_SUBS {
            return Err(CommandError::TooMany);
        }
        let sub = if spec.client.is_empty() {
            self.unnamed_id(salt)
        } else {
            self.named_id(&spec)
        };
        match self.subs.insert(sub, spec.clone()) {
            Some(old) if old == spec => Ok((sub, false)),
            old => {
                self.record(Change::Added(sub));
                Ok((sub, old.is_none()))
            }
        }
    }

    pub(crate) fn remove(&mut self, sub: u32) -> Option<SubSpec> {
        let spec = self.subs.remove(&sub)?;
        self.record(Change::Removed(sub));
        Some(spec)
    }

    fn record(&mut self, change: Change) {
        self.version += 1;
        self.log.push_back((self.version, change));
        if self.log.len() > limits::TABLE_LOG {
            self.log.pop_front();
        }
    }

    /// The changes after version `base`, or `None` if the whole table must be sent.
    pub(crate) fn since(&self, base: u64) -> Option<impl Iterator<Item = Change> + '_> {
        let known = base > 0
            && self
                .log
                .front()
                .is_some_and(|(first, _)| *first <= base + 1);
        (known || base == self.version).then(|| {
            self.log
                .iter()
                .filter(move |(version, _)| *version > base)
                .map(|(_, change)| *change)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(client: &str, pattern: &str) -> SubSpec {
        SubSpec {
            client: client.into(),
            ..SubSpec::new(pattern)
        }
    }

    #[test]
    fn a_named_subscription_keeps_its_id_over_a_restart() {
        let (mut before, mut after) = (OwnTable::default(), OwnTable::default());
        let (a, _) = before.add(named("till", "news.*"), 1).unwrap();
        after.add(named("other", "news.*"), 2).unwrap();
        let (b, new) = after.add(named("till", "news.*"), 2).unwrap();
        assert_eq!((a, true), (b, new));
        assert_eq!(after.add(named("till", "news.*"), 2).unwrap(), (b, false));
    }

    #[test]
    fn another_redelivery_is_a_change_of_those_that_have_none_of_their_own() {
        let own = Redelivery {
            attempts: 3,
            every_ms: 1_000,
        };
        let mut table = OwnTable::new(Redelivery::default());
        let (a, _) = table.add(SubSpec::new("a"), 0).unwrap();
        let mut spec = SubSpec::new("b");
        spec.redelivery = Some(own);
        table.add(spec.clone(), 0).unwrap();
        let other = Redelivery { attempts: 9, ..own };
        assert_eq!(table.set_redelivery(other), [a]);
        assert_eq!(table.set_redelivery(other), []);
        let since: Vec<_> = table.since(2).expect("in the log").collect();
        assert_eq!(since, [Change::Added(a)]);
        assert_eq!(table.redelivery(&SubSpec::new("a")), other);
        assert_eq!(table.redelivery(&spec), own);
    }

    #[test]
    fn unnamed_subscriptions_differ() {
        let mut table = OwnTable::default();
        let (a, _) = table.add(SubSpec::new("x"), 7).unwrap();
        let (b, _) = table.add(SubSpec::new("x"), 7).unwrap();
        assert_ne!(a, b);
    }

    #[test]
    fn changes_since_a_version_are_told_until_the_log_forgets() {
        let mut table = OwnTable::default();
        let (a, _) = table.add(SubSpec::new("a"), 0).unwrap();
        let (b, _) = table.add(SubSpec::new("b"), 0).unwrap();
        table.remove(a);
        assert_eq!(table.version(), 3);
        let since: Vec<_> = table.since(1).expect("in the log").collect();
        assert_eq!(since, [Change::Added(b), Change::Removed(a)]);
        assert!(table.since(0).is_none(), "version 0 gets the whole table");
        assert_eq!(table.since(3).expect("nothing to tell").count(), 0);
        for _ in 0..limits::TABLE_LOG {
            table.add(SubSpec::new("c"), 0).unwrap();
        }
        assert!(table.since(1).is_none());
    }
}
