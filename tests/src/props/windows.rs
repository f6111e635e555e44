//! Replay windows against sets of numbers, in the sizes of PAIR, of BULK and FAN, and in a small one.

use std::collections::BTreeSet;

use tidings_protocol::props::Input;
use tidings_wire::limits::{BULK_WINDOW, COUNTER_END, FAN_WINDOW, MAX_ACK_WORDS, PAIR_WINDOW};
use tidings_wire::{FloorWindow, ReplayWindow, Verdict};

/// A size, a first counter, then steps.
pub fn windows(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.u8();
    let bits = [64, 256, PAIR_WINDOW, BULK_WINDOW][usize::from(choice >> 1) % 4];
    let first = input.u64() % (COUNTER_END / 2);
    if choice & 1 == 0 {
        replay(bits, first, input);
    } else {
        floor(bits.min(FAN_WINDOW), first, input);
    }
}

// Where a step leads: near the last counter, one window away, or far.
fn step(input: &mut Input<'_>, at: u64, bits: u64) -> u64 {
    let kind = input.u8();
    let to = match kind >> 6 {
        0 => at.saturating_add_signed(i64::from(kind as i8 & 0x3f) - 24),
        1 => at.saturating_add(input.below(2 * bits)),
        2 => at.saturating_sub(input.below(2 * bits)),
        _ => at.saturating_add(1 << (kind & 0x3f).min(58)),
    };
    to.min(COUNTER_END - 1)
}

fn replay(bits: u64, first: u64, mut input: Input<'_>) {
    let mut window = ReplayWindow::new(bits, first);
    let mut seen = BTreeSet::new();
    let (mut at, mut steps) = (first, 0);
    while !input.is_empty() && steps < 256 {
        steps += 1;
        at = step(&mut input, at, bits);
        let run = if at.is_multiple_of(7) {
            input.below(200)
        } else {
            1
        };
        for counter in at..(at + run).min(COUNTER_END) {
            let expected = verdict(&seen, first, bits, counter);
            assert_eq!(window.check(counter), expected);
            assert_eq!(window.mark(counter), expected == Verdict::New);
            if expected == Verdict::New {
                seen.insert(counter);
            }
        }
        let top = seen.last().copied();
        assert_eq!(window.highest(), top);
        assert_eq!(window.next(), top.map_or(first, |top| top + 1));
        let edge = window.next().saturating_sub(bits);
        let near = [
            at,
            edge,
            edge + 1,
            edge.saturating_sub(1),
            first,
            window.next(),
        ];
        for counter in near.into_iter().chain(edge + 60..edge + 68) {
            let expected = verdict(&seen, first, bits, counter);
            assert_eq!(window.check(counter), expected, "{counter} of {top:?}");
        }
    }
}

fn verdict(seen: &BTreeSet<u64>, first: u64, bits: u64, counter: u64) -> Verdict {
    let is_behind = seen.last().is_some_and(|top| counter + bits <= *top);
    if counter < first || is_behind {
        Verdict::Stale
    } else if seen.contains(&counter) {
        Verdict::Duplicate
    } else {
        Verdict::New
    }
}

/// What a floor window is, as a set.
struct Oracle {
    bits: u64,
    first: u64,
    floor: u64,
    newest: Option<u64>,
    seen: BTreeSet<u64>,
}

impl Oracle {
    fn next(&self) -> u64 {
        self.newest
            .map_or(self.first, |top| self.first.max(top + 1))
    }

    fn check(&self, counter: u64) -> Verdict {
        if counter < self.first || counter + self.bits < self.next() {
            Verdict::Stale
        } else if counter >= self.floor + self.bits {
            Verdict::Ahead
        } else if counter < self.floor || self.seen.contains(&counter) {
            Verdict::Duplicate
        } else {
            Verdict::New
        }
    }

    fn advance(&mut self) {
        self.floor = self.floor.max(self.first);
        while self.seen.contains(&self.floor) {
            self.floor += 1;
        }
    }
}

fn floor(bits: u64, first: u64, mut input: Input<'_>) {
    let mut window = FloorWindow::new(bits, first);
    let mut oracle = Oracle {
        bits,
        first,
        floor: first,
        newest: None,
        seen: BTreeSet::new(),
    };
    let (mut at, mut steps) = (first, 0);
    while !input.is_empty() && steps < 256 {
        steps += 1;
        at = step(&mut input, at, bits);
        if at % 11 == 3 {
            window.raise(at);
            oracle.first = oracle.first.max(at);
            oracle.advance();
        } else {
            let run = if at.is_multiple_of(7) {
                input.below(200)
            } else {
                1
            };
            for counter in at..(at + run).min(COUNTER_END) {
                let expected = oracle.check(counter);
                assert_eq!(window.check(counter), expected);
                assert_eq!(window.mark(counter), expected == Verdict::New);
                if expected == Verdict::New {
                    oracle.seen.insert(counter);
                    oracle.newest = oracle.newest.max(Some(counter));
                    oracle.advance();
                }
            }
        }
        same(&window, &oracle, at);
    }
}

fn same(window: &FloorWindow, oracle: &Oracle, at: u64) {
    let (bits, floor) = (oracle.bits, oracle.floor);
    assert_eq!((window.floor(), window.highest()), (floor, oracle.newest));
    for counter in [at, floor, floor + bits - 1, floor + bits, oracle.next()] {
        assert_eq!(window.check(counter), oracle.check(counter));
        let has = counter < floor || oracle.seen.contains(&counter);
        assert_eq!(window.contains(counter), has);
    }
    let mut words = [0; MAX_ACK_WORDS];
    let used = window.bitmap(&mut words);
    let mut expected = [0; MAX_ACK_WORDS];
    for counter in oracle.seen.range(floor..floor + bits) {
        let bit = counter - floor;
        expected[(bit / 64) as usize] |= 1 << (bit % 64);
    }
    assert_eq!(words, expected);
    let is_above = oracle.seen.range(floor..).next().is_some();
    assert_eq!(used > 0, is_above, "an empty bitmap has no words");
}
