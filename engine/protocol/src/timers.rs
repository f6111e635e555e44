//! Deadlines as values: a binary heap of (time, key) in which a key that was armed anew or disarmed fires only once. One that
//! need not be punctual has a span of time: a node wakes up for its end only if nothing else woke it within the span.
//!
//! Each layer has its own key type. Nothing here reads a clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// One deadline per key.
pub(crate) struct Timers<K: Copy + Ord> {
    heap: BinaryHeap<Reverse<(u64, u64, K)>>,
    armed: BTreeMap<K, Armed>,
    generation: u64,
}

#[derive(Clone, Copy)]
struct Armed {
    from: u64,
    until: u64,
    generation: u64,
}

impl<K: Copy + Ord> Default for Timers<K> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            armed: BTreeMap::new(),
            generation: 0,
        }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Sets the key's one deadline; an earlier setting is forgotten.
    pub(crate) fn arm(&mut self, key: K, at: u64) {
        self.arm_within(key, at, at);
    }

    /// The same for a key that may fire at any time from `from` on: whenever the node is awake, but at `until` at the latest.
    pub(crate) fn arm_within(&mut self, key: K, from: u64, until: u64) {
        let is_set = |armed: &Armed| (armed.from, armed.until) == (from, until);
        if self.armed.get(&key).is_some_and(is_set) {
            return;
        }
        self.generation += 1;
        let generation = self.generation;
        let armed = Armed {
            from,
            until,
            generation,
        };
        self.armed.insert(key, armed);
        self.heap.push(Reverse((until, generation, key)));
        self.drop_stale();
    }

    /// Forgets the key's deadline.
    pub(crate) fn disarm(&mut self, key: K) {
        if self.armed.remove(&key).is_some() {
            self.drop_stale();
        }
    }

    /// Whether [`Self::pop_due`] has a key.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        let armed = |key| self.armed.get(key);
        let first = self.heap.peek().and_then(|Reverse((.., key))| armed(key));
        first.is_some_and(|first| first.from <= now)
    }

    /// The next key that may fire at `now`, disarmed. Of two, the one that must fire first comes first; behind one that may not
    /// fire yet others wait, though they might.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<K> {
        if !self.is_due(now) {
            return None;
        }
        let Reverse((.., key)) = self.heap.pop()?;
        self.armed.remove(&key);
        self.drop_stale();
        Some(key)
    }

    /// When the first must fire.
    pub(crate) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Keeps the invariant that the heap's top is armed, and the heap at most twice as long as what is armed.
    fn drop_stale(&mut self) {
        while let Some(Reverse((_, generation, key))) = self.heap.peek() {
            if self
                .armed
                .get(key)
                .is_some_and(|armed| armed.generation == *generation)
            {
                break;
            }
            self.heap.pop();
        }
        if self.heap.len() > 64 + 2 * self.armed.len() {
            let armed = &self.armed;
            self.heap.retain(|Reverse((_, generation, key))| {
                armed.get(key).is_some_and(|a| a.generation == *generation)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fire_in_order_of_time_then_of_arming() {
        let mut timers = Timers::default();
        timers.arm('c', 30);
        timers.arm('b', 10);
        timers.arm('a', 10);
        assert_eq!(timers.next(), Some(10));
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(20), Some('b'));
        assert_eq!(timers.pop_due(20), Some('a'));
        assert_eq!(timers.pop_due(20), None);
        assert_eq!(timers.pop_due(30), Some('c'));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn arming_anew_forgets_the_old_deadline() {
        let mut timers = Timers::default();
        timers.arm(1, 10);
        timers.arm(1, 50);
        assert_eq!(timers.next(), Some(50));
        assert_eq!(timers.pop_due(49), None);
        assert_eq!(timers.pop_due(50), Some(1));
        assert_eq!(timers.pop_due(50), None);
    }

    #[test]
    fn one_that_need_not_be_punctual_fires_with_another_or_at_its_end() {
        let mut timers = Timers::default();
        timers.arm_within('a', 10, 50);
        assert_eq!(timers.next(), Some(50));
        assert!(!timers.is_due(9));
        assert_eq!(timers.pop_due(9), None);
        assert!(timers.is_due(10));
        assert_eq!(timers.pop_due(10), Some('a'));
        timers.arm_within('a', 60, 100);
        timers.arm('b', 80);
        assert_eq!(timers.next(), Some(80));
        assert_eq!(timers.pop_due(79), None);
        assert_eq!(timers.pop_due(80), Some('b'));
        assert_eq!(timers.pop_due(80), Some('a'));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_disarmed_key_never_fires() {
        let mut timers = Timers::default();
        timers.arm(1, 10);
        timers.arm(2, 20);
        timers.disarm(1);
        assert_eq!(timers.next(), Some(20));
        assert_eq!(timers.pop_due(100), Some(2));
        assert_eq!(timers.pop_due(100), None);
    }

    #[test]
    fn rearming_for_ever_does_not_grow_the_heap() {
        let mut timers = Timers::default();
        timers.arm(0, 1);
        for at in 0..10_000 {
            timers.arm(1, 10 + at);
        }
        assert!(timers.heap.len() <= 64 + 4);
    }
}
