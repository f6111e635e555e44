//! Sets of sequence numbers as sorted, disjoint, half-open ranges. Exact, and small when numbers come nearly in order.

use std::collections::BTreeMap;

/// A set of `u64`. Numbers near `u64::MAX` are never sequence numbers: `to` is exclusive.
///
/// No call takes longer than the ranges that it joins, takes out or shows, and the logarithm of those there are. There may be
/// many hundred thousand sets: one of a single range is 24 bytes and nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSet {
    // The highest range: nearly every set has no other, and nearly every call is about its end. Empty if the set is.
    last: (u64, u64),
    lower: Option<Box<Lower>>,
}

// All ranges but the highest, `from` to `to`: disjoint, not touching, each `from < to`.
#[derive(Clone, Debug, Default)]
struct Lower {
    ranges: BTreeMap<u64, u64>,
    // Numbers in them.
    count: u64,
}

static NONE: BTreeMap<u64, u64> = BTreeMap::new();

impl Lower {
    fn put(&mut self, from: u64, to: u64) {
        self.ranges.insert(from, to);
        self.count += to - from;
    }

    fn take(&mut self, from: u64) {
        if let Some(to) = self.ranges.remove(&from) {
            self.count -= to - from;
        }
    }

    fn pop_last(&mut self) -> Option<(u64, u64)> {
        let (from, to) = self.ranges.pop_last()?;
        self.count -= to - from;
        Some((from, to))
    }
}

impl RangeSet {
    /// The set `0..to`.
    pub(crate) fn below(to: u64) -> Self {
        let mut set = RangeSet::default();
        set.insert(0, to);
        set
    }

    fn lower(&self) -> &BTreeMap<u64, u64> {
        self.lower.as_deref().map_or(&NONE, |lower| &lower.ranges)
    }

    fn lower_mut(&mut self) -> &mut Lower {
        self.lower.get_or_insert_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.last.0 == self.last.1
    }

    /// The ranges, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let last = (!self.is_empty()).then_some(self.last);
        self.lower().iter().map(|(a, b)| (*a, *b)).chain(last)
    }

    /// The lowest range.
    pub(crate) fn first(&self) -> Option<(u64, u64)> {
        self.iter().next()
    }

    /// The highest range.
    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        (!self.is_empty()).then_some(self.last)
    }

    /// How many numbers are in it.
    pub(crate) fn count(&self) -> u64 {
        let lower = self.lower.as_ref().map_or(0, |lower| lower.count);
        lower + (self.last.1 - self.last.0)
    }

    /// How many ranges it has.
    pub(crate) fn ranges(&self) -> usize {
        self.lower().len() + usize::from(!self.is_empty())
    }

    pub(crate) fn contains(&self, x: u64) -> bool {
        if x >= self.last.0 {
            return x < self.last.1;
        }
        let below = self.lower().range(..=x).next_back();
        below.is_some_and(|(_, to)| x < *to)
    }

    /// Whether adding the number would add no range.
    pub(crate) fn touches(&self, x: u64) -> bool {
        self.contains(x) || self.contains(x + 1) || (x > 0 && self.contains(x - 1))
    }

    /// Adds `from..to`; true if anything of it was new.
    pub(crate) fn insert(&mut self, from: u64, to: u64) -> bool {
        if from >= to {
            return false;
        }
        let (start, end) = self.last;
        if self.is_empty() || from > end {
            if !self.is_empty() {
                self.lower_mut().put(start, end);
            }
            self.last = (from, to);
            return true;
        }
        if from >= start {
            self.last.1 = end.max(to);
            return to > end;
        }
        self.join(from, to)
    }

    // Adds a range that begins below the last.
    fn join(&mut self, from: u64, to: u64) -> bool {
        let (mut low, mut high, mut known) = (from, to, 0);
        let (start, end) = self.last;
        let lower = self.lower_mut();
        if let Some((&a, &b)) = lower.ranges.range(..=from).next_back()
            && b >= from
        {
            if b >= to {
                return false;
            }
            (low, known) = (a, b - a);
            lower.take(a);
        }
        while let Some((&a, &b)) = lower.ranges.range(low..=high).next() {
            lower.take(a);
            (high, known) = (high.max(b), known + (b - a));
        }
        if start <= high {
            known += end - start;
            high = high.max(end);
            self.last = (low, high);
        } else {
            lower.put(low, high);
        }
        high - low > known
    }

    /// Takes `from..to` out.
    pub(crate) fn remove(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        if let Some(lower) = &mut self.lower {
            let below = lower.ranges.range(..from).next_back();
            if let Some((&a, &b)) = below.filter(|(_, end)| **end > from) {
                lower.take(a);
                lower.put(a, from);
                if to < b {
                    lower.put(to, b);
                }
            }
            while let Some((&a, &b)) = lower.ranges.range(from..to).next() {
                lower.take(a);
                if to < b {
                    lower.put(to, b);
                }
            }
        }
        let (start, end) = self.last;
        let (a, b) = (start.max(from), end.min(to));
        if a >= b {
            return;
        }
        self.last = match (start < a, b < end) {
            (true, true) => {
                self.lower_mut().put(start, a);
                (b, end)
            }
            (true, false) => (start, a),
            (false, true) => (b, end),
            (false, false) => {
                let below = self.lower.as_mut().and_then(|lower| lower.pop_last());
                below.unwrap_or_default()
            }
        };
    }

    // The ranges that have a part in `from..to`, whole.
    fn overlapping(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let to = if from < to { to } else { 0 };
        let below = self.lower().range(..=from).next_back();
        let start = below.filter(|(_, end)| **end > from).map_or(from, |r| *r.0);
        let lower = self.lower().range(start..to.max(start));
        let last = (self.last.0 < to && self.last.1 > from).then_some(self.last);
        lower.map(|(a, b)| (*a, *b)).chain(last)
    }

    /// Calls `f` for each part of `from..to` that is not in the set.
    pub(crate) fn holes(&self, from: u64, to: u64, mut f: impl FnMut(u64, u64)) {
        let mut at = from;
        for (low, high) in self.overlapping(from, to) {
            if at < low {
                f(at, low);
            }
            at = high;
        }
        if at < to {
            f(at, to);
        }
    }

    /// The first part of `from..to` that is not in the set.
    pub(crate) fn first_hole(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let mut ranges = self.overlapping(from, to);
        let mut next = ranges.next();
        let mut start = from;
        if let Some((low, high)) = next
            && low <= from
        {
            (start, next) = (high, ranges.next());
        }
        let end = next.map_or(to, |r| r.0);
        (start < end && start < to).then_some((start, end))
    }

    /// From the first to the last number below `to` that is not in the set.
    pub(crate) fn span_of_holes(&self, to: u64) -> Option<(u64, u64)> {
        let from = match self.first() {
            Some((0, end)) => end,
            _ => 0,
        };
        let below = self.lower().range(..to).next_back().map(|(a, b)| (*a, *b));
        let highest = self.last().filter(|r| r.0 < to).or(below);
        let end = match highest {
            Some((start, end)) if end >= to => start,
            _ => to,
        };
        (from < end).then_some((from, end))
    }

    /// Calls `f` for each part of `from..to` that is in the set.
    pub(crate) fn parts(&self, from: u64, to: u64, mut f: impl FnMut(u64, u64)) {
        self.overlapping(from, to)
            .for_each(|(low, high)| f(low.max(from), high.min(to)));
    }

    /// The first part of `from..to` that is in the set.
    pub(crate) fn first_part(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let (low, high) = self.overlapping(from, to).next()?;
        Some((low.max(from), high.min(to)))
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
                let ranges: Vec<_> = set.iter().collect();
                prop_assert!(ranges.windows(2).all(|w| w[0].1 < w[1].0) && ranges.iter().all(|r| r.0 < r.1));
                prop_assert_eq!((set.ranges(), set.last()), (ranges.len(), ranges.last().copied()));
                for (from, to) in [(0, 90), (10, 50), (25, 26), (40, 40), (30, 20)] {
                    let (mut inside, mut outside) = (None, None);
                    set.parts(from, to, |a, b| inside = inside.or(Some((a, b))));
                    set.holes(from, to, |a, b| outside = outside.or(Some((a, b))));
                    prop_assert_eq!(set.first_part(from, to), inside);
                    prop_assert_eq!(set.first_hole(from, to), outside);
                }
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

    // Every other number taken out of many, then the rest from the front: with ranges in one array this is quadratic.
    #[test]
    fn many_ranges_take_no_longer_each() {
        const MANY: u64 = 1_000_000;
        let began = std::time::Instant::now();
        let mut set = RangeSet::below(MANY);
        for x in (0..MANY).step_by(2) {
            set.remove(x, x + 1);
        }
        assert_eq!(set.ranges() as u64, MANY / 2);
        while let Some((from, to)) = set.first() {
            set.remove(from, to);
        }
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    }
}
