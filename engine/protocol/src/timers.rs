//! Deadlines as values: a binary heap of (time, key) in which a key that was armed anew or disarmed fires only once.
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
    at: u64,
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
        if self.armed.get(&key).is_some_and(|armed| armed.at == at) {
            return;
        }
        self.generation += 1;
        let generation = self.generation;
        self.armed.insert(key, Armed { at, generation });
        self.heap.push(Reverse((at, generation, key)));
        self.drop_stale();
    }

    /// Forgets the key's deadline.
    pub(crate) fn disarm(&mut self, key: K) {
        if self.armed.remove(&key).is_some() {
            self.drop_stale();
        }
    }

    /// The next key whose deadline is at or before `now`, disarmed.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<K> {
        let &Reverse((at, _, key)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        self.armed.remove(&key);
        self.drop_stale();
        Some(key)
    }

    /// The earliest deadline.
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
