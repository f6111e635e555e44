//! Datagrams that every live node has but of which something is not settled: kept for catch-up only.
//!
//! They come in the order of their counters and go nearly so. One array used round and round holds them, so that nothing is
//! allocated while as many come as go.

use std::collections::VecDeque;

use super::stream::Entry;

/// Entries by counter. What is settled leaves a blank, which goes with the front or when most are blank.
#[derive(Default)]
pub(super) struct Held {
    // Ascending; `None` is a blank.
    entries: VecDeque<(u64, Option<Entry>)>,
    live: usize,
}

/// So many blanks more than entries are borne.
const BLANKS: usize = 64;
/// An array larger than this is given back once it is empty.
const SPARE_MAX: usize = 16_384;

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The lowest counter.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(counter, _)| *counter)
    }

    /// Adds an entry; its counter is above all others.
    pub(super) fn push(&mut self, counter: u64, entry: Entry) {
        self.entries.push_back((counter, Some(entry)));
        self.live += 1;
    }

    fn position(&self, counter: u64) -> Option<usize> {
        self.entries
            .binary_search_by_key(&counter, |(at, _)| *at)
            .ok()
    }

    pub(super) fn get(&self, counter: u64) -> Option<&Entry> {
        self.entries[self.position(counter)?].1.as_ref()
    }

    pub(super) fn get_mut(&mut self, counter: u64) -> Option<&mut Entry> {
        let at = self.position(counter)?;
        self.entries[at].1.as_mut()
    }

    pub(super) fn remove(&mut self, counter: u64) {
        let Some(at) = self.position(counter) else {
            return;
        };
        if self.entries[at].1.take().is_some() {
            self.live -= 1;
            self.tidy();
        }
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries
            .iter_mut()
            .filter_map(|(_, entry)| entry.as_mut())
    }

    fn tidy(&mut self) {
        while let Some((_, None)) = self.entries.front() {
            self.entries.pop_front();
        }
        // One that is held for long must not keep the blanks of all that came and went behind it.
        if self.entries.len() > 2 * self.live + BLANKS {
            self.entries.retain(|(_, entry)| entry.is_some());
        }
        if self.entries.is_empty() && self.entries.capacity() > SPARE_MAX {
            self.entries = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::{Place, Store};
    use super::*;

    fn entry(store: &mut Store, owed: u32) -> Entry {
        let place = Place {
            chunk: store.take(),
            offset: 0,
            len: 1,
        };
        Entry {
            place,
            owed,
            before: 0,
        }
    }

    #[test]
    fn entries_are_found_until_removed_and_blanks_do_not_pile_up_behind_a_long_held_one() {
        let (mut held, mut store) = (Held::default(), Store::new(1 << 20));
        let template = entry(&mut store, 7);
        for counter in 0..10_000 {
            held.push(counter, template);
            if counter > 0 {
                assert_eq!(held.get(counter).map(|e| e.owed), Some(7));
                held.remove(counter);
                held.remove(counter);
                assert!(held.get(counter).is_none());
            }
            assert!(held.entries.len() <= 2 + BLANKS);
        }
        assert_eq!(held.values_mut().count(), 1);
        held.remove(0);
        assert!(held.is_empty() && held.entries.is_empty());
    }
}
