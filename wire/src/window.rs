//! Replay windows: a ring bitmap behind the highest counter (RFC 6479, exact), and one before a floor.
//! Check before opening, mark after.

use crate::mutants::{Mutant, mutant};

/// What a window says of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen.
    New,
    /// Seen.
    Duplicate,
    /// Behind the window: unknown, never opened.
    Stale,
    /// Beyond the window ([`FloorWindow`] only).
    Ahead,
}

/// The bits of a window: a power of two of them, counter c at c mod size.
struct RingBits {
    words: Box<[u64]>,
}

impl RingBits {
    fn new(bits: u64) -> Self {
        assert!(
            bits.is_power_of_two() && bits >= 64,
            "a window is a power of two of at least 64"
        );
        Self {
            words: vec![0; (bits / 64) as usize].into_boxed_slice(),
        }
    }

    fn len(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    fn place(&self, counter: u64) -> (usize, u32) {
        (
            (counter / 64) as usize & (self.words.len() - 1),
            (counter % 64) as u32,
        )
    }

    fn get(&self, counter: u64) -> bool {
        let (word, bit) = self.place(counter);
        self.words[word] >> bit & 1 != 0
    }

    fn set(&mut self, counter: u64) {
        let (word, bit) = self.place(counter);
        self.words[word] |= 1 << bit;
    }

    /// Clears `from..to`, word by word.
    fn clear(&mut self, from: u64, to: u64) {
        if to - from >= self.len() {
            return self.words.fill(0);
        }
        let mut at = from;
        while at < to {
            let (word, bit) = self.place(at);
            let count = (64 - u64::from(bit)).min(to - at);
            let mask = if count == 64 {
                u64::MAX
            } else {
                ((1 << count) - 1) << bit
            };
            self.words[word] &= !mask;
            at += count;
        }
    }

    /// The 64 bits from `counter` on.
    fn word_from(&self, counter: u64) -> u64 {
        let (word, bit) = self.place(counter);
        let low = self.words[word] >> bit;
        if bit == 0 {
            return low;
        }
        low | self.words[(word + 1) & (self.words.len() - 1)] << (64 - bit)
    }
}

/// PAIR and BULK: the last `bits` counters up to the highest marked.
pub struct ReplayWindow {
    bits: RingBits,
    first: u64,
    next: u64,
}

impl ReplayWindow {
    /// A window of `bits` (a power of two) that takes nothing below `first`.
    pub fn new(bits: u64, first: u64) -> Self {
        Self {
            bits: RingBits::new(bits),
            first,
            next: first,
        }
    }

    /// One above the highest marked, or the first that it takes.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The highest marked.
    pub fn highest(&self) -> Option<u64> {
        (self.next > self.first).then(|| self.next - 1)
    }

    /// What `counter` is. Changes nothing.
    pub fn check(&self, counter: u64) -> Verdict {
        if counter >= self.next {
            return if counter >= self.first {
                Verdict::New
            } else {
                Verdict::Stale
            };
        }
        if counter < self.first
            || self.next - counter > self.bits.len() + u64::from(mutant(Mutant::WindowEdge))
        {
            return Verdict::Stale;
        }
        if self.bits.get(counter) {
            Verdict::Duplicate
        } else {
            Verdict::New
        }
    }

    /// Marks a counter that was opened; true if it was new.
    pub fn mark(&mut self, counter: u64) -> bool {
        if self.check(counter) != Verdict::New {
            return false;
        }
        if counter >= self.next {
            if !mutant(Mutant::JumpKeepsBits) {
                self.bits.clear(self.next, counter);
            }
            self.next = counter + 1;
        }
        self.bits.set(counter);
        true
    }
}

/// FAN: everything below the floor is received, what lies above it has a bit, and nothing beyond the
/// window is taken: so the floor never passes a hole.
pub struct FloorWindow {
    bits: RingBits,
    first: u64,
    floor: u64,
    next: u64,
    newest: Option<u64>,
}

impl FloorWindow {
    /// A window of `bits` (a power of two) that takes nothing below `first`.
    pub fn new(bits: u64, first: u64) -> Self {
        Self {
            bits: RingBits::new(bits),
            first,
            floor: first,
            next: first,
            newest: None,
        }
    }

    /// All below it is received, or was given up by [`raise`](Self::raise).
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The highest marked.
    pub fn highest(&self) -> Option<u64> {
        self.newest
    }

    /// Whether `counter` is received or below the floor.
    pub fn contains(&self, counter: u64) -> bool {
        counter < self.floor || (counter < self.next && self.bits.get(counter))
    }

    /// What `counter` is. Changes nothing. A duplicate far below the highest is stale: not worth opening.
    pub fn check(&self, counter: u64) -> Verdict {
        if counter < self.first || counter.saturating_add(self.bits.len()) < self.next {
            return Verdict::Stale;
        }
        let more = u64::from(mutant(Mutant::StreamWindowEdge));
        if counter >= self.floor.saturating_add(self.bits.len() + more) {
            return Verdict::Ahead;
        }
        if self.contains(counter) {
            Verdict::Duplicate
        } else {
            Verdict::New
        }
    }

    /// Marks a counter that was opened; true if it was new. The floor follows.
    pub fn mark(&mut self, counter: u64) -> bool {
        if self.check(counter) != Verdict::New {
            return false;
        }
        self.bits.set(counter);
        self.next = self.next.max(counter + 1);
        self.newest = self.newest.max(Some(counter));
        if counter == self.floor {
            self.advance();
        }
        true
    }

    /// Gives up everything below `floor`; never lowers it.
    pub fn raise(&mut self, floor: u64) {
        if floor <= self.first {
            return;
        }
        self.first = floor;
        if floor > self.floor {
            self.bits.clear(self.floor, floor);
            self.floor = floor;
            self.next = self.next.max(floor);
            self.advance();
        }
    }

    fn advance(&mut self) {
        while self.floor < self.next {
            let run = u64::from(self.bits.word_from(self.floor).trailing_ones());
            if run == 0 {
                break;
            }
            self.bits.clear(self.floor, self.floor + run);
            self.floor += run;
        }
    }

    /// Writes the bits from the floor up to the highest, 64 to a word, bit 0 of word 0 being the floor
    /// itself; returns the words used: none if nothing above the floor is received.
    pub fn bitmap(&self, out: &mut [u64]) -> usize {
        let words = (self.next.saturating_sub(self.floor)).div_ceil(64) as usize;
        let words = words.min(out.len());
        for (at, word) in out[..words].iter_mut().enumerate() {
            *word = self.bits.word_from(self.floor + at as u64 * 64);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const BITS: u64 = 128;

    /// Steps mostly near the last counter, now and then far, so that words wrap and whole windows are skipped.
    fn walk() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![8 => -20i64..40, 2 => -150i64..150, 1 => -400i64..1000];
        (0u64..1 << 40, vec(step, 1..600)).prop_map(|(first, steps)| {
            let mut at = first;
            let move_by = |step: i64| {
                at = at.saturating_add_signed(step);
                at
            };
            steps.into_iter().map(move_by).collect()
        })
    }

    proptest! {
        #[test]
        fn a_replay_window_says_what_a_set_says(walk in walk(), marks in vec(any::<bool>(), 600)) {
            let first = walk[0];
            let mut window = ReplayWindow::new(BITS, first);
            let mut seen = BTreeSet::new();
            for (counter, mark) in walk.into_iter().zip(marks) {
                let highest: Option<u64> = seen.last().copied();
                let expected = if counter < first || highest.is_some_and(|top| counter + BITS <= top) {
                    Verdict::Stale
                } else if seen.contains(&counter) {
                    Verdict::Duplicate
                } else {
                    Verdict::New
                };
                prop_assert_eq!(window.check(counter), expected);
                prop_assert_eq!(window.highest(), highest);
                if mark {
                    prop_assert_eq!(window.mark(counter), expected == Verdict::New);
                    if expected == Verdict::New {
                        seen.insert(counter);
                    }
                }
            }
        }

        #[test]
        fn a_floor_window_says_what_a_set_says(walk in walk(), dice in vec(0u8..20, 600)) {
            let mut first = walk[0];
            let mut window = FloorWindow::new(BITS, first);
            let mut seen = BTreeSet::new();
            let mut newest = None;
            for (counter, dice) in walk.into_iter().zip(dice) {
                let mut floor = first;
                while seen.contains(&floor) {
                    floor += 1;
                }
                let next = newest.map_or(first, |newest: u64| first.max(newest + 1));
                let expected = if counter < first || counter + BITS < next {
                    Verdict::Stale
                } else if counter >= floor + BITS {
                    Verdict::Ahead
                } else if seen.contains(&counter) {
                    Verdict::Duplicate
                } else {
                    Verdict::New
                };
                prop_assert_eq!(window.floor(), floor);
                prop_assert_eq!(window.highest(), newest);
                prop_assert_eq!(window.check(counter), expected);
                prop_assert_eq!(window.contains(counter), counter < first || seen.contains(&counter));
                check_bitmap(&window, &seen, floor);
                if dice == 0 {
                    window.raise(counter);
                    first = first.max(counter);
                } else {
                    prop_assert_eq!(window.mark(counter), expected == Verdict::New);
                    if expected == Verdict::New {
                        seen.insert(counter);
                        newest = newest.max(Some(counter));
                    }
                }
            }
        }
    }

    fn check_bitmap(window: &FloorWindow, seen: &BTreeSet<u64>, floor: u64) {
        let mut words = [0; 2];
        let used = window.bitmap(&mut words);
        for at in 0..BITS {
            let bit = words[(at / 64) as usize] >> (at % 64) & 1 != 0;
            assert_eq!(bit, seen.contains(&(floor + at)), "bit {at} above {floor}");
        }
        let above = seen.last().is_some_and(|top| *top > floor);
        assert_eq!(used > 0, above);
    }

    #[test]
    fn a_bitmap_that_is_cut_short_holds_its_first_words() {
        let mut window = FloorWindow::new(8192, 7);
        assert!(window.mark(7 + 64) && window.mark(7 + 8191));
        let mut words = [0; 128];
        assert_eq!(window.bitmap(&mut words), 128);
        assert_eq!((words[0], words[1], words[127]), (0, 1, 1 << 63));
        assert_eq!(window.bitmap(&mut words[..1]), 1);
        assert_eq!(window.bitmap(&mut []), 0);
    }

    #[test]
    fn windows_at_the_end_of_u64_do_not_overflow() {
        let mut window = FloorWindow::new(64, u64::MAX - 3);
        assert!(window.mark(u64::MAX - 1));
        assert_eq!(window.check(u64::MAX - 3), Verdict::New);
        let mut window = ReplayWindow::new(64, u64::MAX - 3);
        assert!(window.mark(u64::MAX - 1));
        assert_eq!(window.check(5), Verdict::Stale);
    }
}
