//! Sets of sequence numbers as sorted, disjoint, half-open ranges. Exact, and small when numbers come nearly in order.

/// A set of `u64`. Numbers near `u64::MAX` are never sequence numbers: `to` is exclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    // Sorted, disjoint, not touching, each `from < to`.
    ranges: Vec<(u64, u64)>,
}

impl RangeSet {
    /// The set `0..to`.
    pub(crate) fn below(to: u64) -> Self {
        let mut set = RangeSet::default();
        set.insert(0, to);
        set
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }

    /// The lowest range.
    pub(crate) fn first(&self) -> Option<(u64, u64)> {
        self.ranges.first().copied()
    }

    /// How many numbers are in it.
    pub(crate) fn count(&self) -> u64 {
        self.ranges.iter().map(|(a, b)| b - a).sum()
    }

    // Index of the first range that ends after `x`.
    fn position(&self, x: u64) -> usize {
        match self.ranges.last() {
            // Nearly every look-up is at or past the end.
            Some(&(from, to)) if x >= from => self.ranges.len() - usize::from(x < to),
            _ => self.ranges.partition_point(|r| r.1 <= x),
        }
    }

    pub(crate) fn contains(&self, x: u64) -> bool {
        self.ranges.get(self.position(x)).is_some_and(|r| r.0 <= x)
    }

    /// Adds `from..to`; true if anything of it was new.
    pub(crate) fn insert(&mut self, from: u64, to: u64) -> bool {
        if from >= to {
            return false;
        }
        if let Some(last) = self.ranges.last_mut() {
            if from == last.1 {
                last.1 = to;
                return true;
            }
            if from > last.1 {
                self.ranges.push((from, to));
                return true;
            }
        } else {
            // Nearly every set has one range for good.
            self.ranges.reserve_exact(1);
            self.ranges.push((from, to));
            return true;
        }
        let first = self.ranges.partition_point(|r| r.1 < from);
        let after = self.ranges.partition_point(|r| r.0 <= to);
        if first == after {
            self.ranges.insert(first, (from, to));
            return true;
        }
        let (low, high) = (
            self.ranges[first].0.min(from),
            self.ranges[after - 1].1.max(to),
        );
        if after - first == 1 && self.ranges[first] == (low, high) {
            return false;
        }
        self.ranges[first] = (low, high);
        self.ranges.drain(first + 1..after);
        true
    }

    /// Takes `from..to` out.
    pub(crate) fn remove(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let first = self.position(from);
        let Some(&(low, high)) = self.ranges.get(first) else {
            return;
        };
        if low < from && to < high {
            self.ranges[first].1 = from;
            self.ranges.insert(first + 1, (to, high));
            return;
        }
        let mut at = first;
        if low < from {
            self.ranges[at].1 = from;
            at += 1;
        }
        let mut end = at;
        while end < self.ranges.len() && self.ranges[end].1 <= to {
            end += 1;
        }
        if let Some(range) = self.ranges.get_mut(end) {
            range.0 = range.0.max(to);
        }
        self.ranges.drain(at..end);
    }

    /// Calls `f` for each part of `from..to` that is not in the set.
    pub(crate) fn holes(&self, from: u64, to: u64, mut f: impl FnMut(u64, u64)) {
        let mut at = from;
        for &(low, high) in &self.ranges[self.position(from)..] {
            if low >= to || at >= to {
                break;
            }
            if at < low {
                f(at, low);
            }
            at = at.max(high);
        }
        if at < to {
            f(at, to);
        }
    }

    /// From the first to the last number below `to` that is not in the set.
    pub(crate) fn span_of_holes(&self, to: u64) -> Option<(u64, u64)> {
        let from = match self.ranges.first() {
            Some(&(0, end)) => end,
            _ => 0,
        };
        let before = self.ranges.partition_point(|r| r.0 < to);
        let end = match before.checked_sub(1).map(|ix| self.ranges[ix]) {
            Some((start, end)) if end >= to => start,
            _ => to,
        };
        (from < end).then_some((from, end))
    }

    /// Calls `f` for each part of `from..to` that is in the set.
    pub(crate) fn parts(&self, from: u64, to: u64, mut f: impl FnMut(u64, u64)) {
        for &(low, high) in &self.ranges[self.position(from)..] {
            if low >= to {
                break;
            }
            f(low.max(from), high.min(to));
        }
    }

    /// The first part of `from..to` that is in the set.
    pub(crate) fn first_part(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let &(low, high) = self.ranges.get(self.position(from))?;
        (low < to).then_some((low.max(from), high.min(to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn listed(set: &RangeSet) -> BTreeSet<u64> {
        set.iter().flat_map(|(a, b)| a..b).collect()
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_of_numbers(ops in prop::collection::vec((0u8..3, 0u64..64, 0u64..20), 0..80)) {
            let (mut set, mut oracle) = (RangeSet::default(), BTreeSet::new());
            for (op, from, len) in ops {
                let to = from + len;
                match op {
                    0 => { set.remove(from, to); oracle.retain(|x| !(from..to).contains(x)); }
                    _ => {
                        let new = (from..to).any(|x| !oracle.contains(&x));
                        prop_assert_eq!(set.insert(from, to), new);
                        oracle.extend(from..to);
                    }
                }
                prop_assert_eq!(&listed(&set), &oracle);
                prop_assert_eq!(set.count(), oracle.len() as u64);
                prop_assert!(set.ranges.windows(2).all(|w| w[0].1 < w[1].0));
                for x in 0..90 { prop_assert_eq!(set.contains(x), oracle.contains(&x)); }
                for to in [1, 20, 50, 90] {
                    let out: Vec<u64> = (0..to).filter(|x| !oracle.contains(x)).collect();
                    let span = out.first().zip(out.last()).map(|(a, b)| (*a, b + 1));
                    prop_assert_eq!(set.span_of_holes(to), span);
                }
                let (mut inside, mut outside) = (BTreeSet::new(), BTreeSet::new());
                set.parts(10, 50, |a, b| inside.extend(a..b));
                set.holes(10, 50, |a, b| outside.extend(a..b));
                prop_assert_eq!(inside, (10..50).filter(|x| oracle.contains(x)).collect::<BTreeSet<_>>());
                prop_assert_eq!(outside, (10..50).filter(|x| !oracle.contains(x)).collect::<BTreeSet<_>>());
            }
        }
    }
}
