//! Sets of ranges against sets of numbers.

use std::collections::BTreeSet;

use super::Input;
use crate::ranges::RangeSet;

/// Numbers are below this.
const END: u64 = 128;

/// Steps of three bytes: add or take out, from, how many.
pub fn ranges(data: &[u8]) {
    let mut input = Input::new(data);
    let mut oracle = BTreeSet::new();
    let mut set = match input.u8() {
        below @ 0..16 => {
            oracle.extend(0..u64::from(below));
            RangeSet::below(u64::from(below))
        }
        _ => RangeSet::default(),
    };
    while !input.is_empty() {
        let op = input.u8();
        let from = u64::from(input.u8()) % END;
        let to = (from + u64::from(input.u8() % 40)).min(END);
        if op & 1 == 0 {
            let new = (from..to).any(|x| !oracle.contains(&x));
            assert_eq!(set.insert(from, to), new);
            oracle.extend(from..to);
        } else {
            set.remove(from, to);
            oracle.retain(|x| !(from..to).contains(x));
        }
        same(&set, &oracle);
        // An empty and an inverted range, too.
        look(&set, &oracle, from, to);
        look(&set, &oracle, u64::from(op) % END, to);
    }
}

fn same(set: &RangeSet, oracle: &BTreeSet<u64>) {
    let ranges: Vec<_> = set.iter().collect();
    assert!(ranges.iter().all(|r| r.0 < r.1));
    assert!(ranges.windows(2).all(|w| w[0].1 < w[1].0));
    assert!(
        ranges
            .iter()
            .flat_map(|r| r.0..r.1)
            .eq(oracle.iter().copied())
    );
    assert_eq!(set.is_empty(), oracle.is_empty());
    assert_eq!(set.count(), oracle.len() as u64);
    assert_eq!(set.ranges(), ranges.len());
    assert_eq!(
        (set.first(), set.last()),
        (ranges.first().copied(), ranges.last().copied())
    );
}

fn look(set: &RangeSet, oracle: &BTreeSet<u64>, from: u64, to: u64) {
    let has = |x: u64| oracle.contains(&x);
    assert_eq!(set.contains(from), has(from));
    let touches = has(from) || has(from + 1) || (from > 0 && has(from - 1));
    assert_eq!(set.touches(from), touches);
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    set.parts(from, to, |a, b| inside.push((a, b)));
    set.holes(from, to, |a, b| outside.push((a, b)));
    assert_eq!(set.first_part(from, to), inside.first().copied());
    assert_eq!(set.first_hole(from, to), outside.first().copied());
    let numbers = |of: &[(u64, u64)]| of.iter().flat_map(|r| r.0..r.1).collect::<Vec<_>>();
    let (within, without): (Vec<u64>, Vec<u64>) = (from..to).partition(|x| has(*x));
    assert_eq!((numbers(&inside), numbers(&outside)), (within, without));
    let out: Vec<u64> = (0..to).filter(|x| !has(*x)).collect();
    let span = out.first().zip(out.last()).map(|(a, b)| (*a, b + 1));
    assert_eq!(set.span_of_holes(to), span);
}
