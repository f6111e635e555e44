//! Which numbers of one stream came: all below the highest, less the holes. A hole that is filled late is none any more.

use std::collections::BTreeMap;

/// The books of one stream.
#[derive(Default)]
pub(crate) struct Book {
    /// One more than the highest number that came.
    pub(crate) end: u64,
    /// Numbers below that did not come: the first one past each hole, and its first one.
    holes: BTreeMap<u64, u64>,
}

/// What a number is to the book that it does not simply continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// New, and the highest; `true`: it leaves a hole more.
    Ahead { holes: bool },
    /// New, below the highest; whether there is a hole more or less now.
    Late { holes: i8 },
    /// It was there already.
    Again,
}

impl Book {
    /// Enters a number that is not `end`.
    pub(crate) fn enter(&mut self, number: u64) -> Entry {
        if number >= self.end {
            let hole = number > self.end;
            if hole {
                self.holes.insert(number, self.end);
            }
            self.end = number + 1;
            return Entry::Ahead { holes: hole };
        }
        let Some((&past, first)) = self.holes.range_mut(number + 1..).next() else {
            return Entry::Again;
        };
        if number < *first {
            return Entry::Again;
        }
        let from = *first;
        // The common case, a hole that is filled in order, changes its beginning in place.
        *first = number + 1;
        let mut holes = 0;
        if number + 1 == past {
            self.holes.remove(&past);
            holes -= 1;
        }
        if from < number {
            self.holes.insert(number, from);
            holes += 1;
        }
        Entry::Late { holes }
    }

    /// Enters numbers as if they had come: there are too many holes to remember one more.
    pub(crate) fn skip_to(&mut self, number: u64) -> u64 {
        let skipped = number.saturating_sub(self.end);
        self.end = self.end.max(number);
        skipped
    }

    /// Numbers before the first that came: of no concern to one who came later than they.
    pub(crate) fn before(&self) -> u64 {
        let first = self.holes.first_key_value();
        first.map_or(0, |(&past, &from)| if from == 0 { past } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn whatever_the_order_the_book_is_right() {
        let mut state = 12_345_u64;
        for _ in 0..50 {
            let (mut book, mut came) = (Book::default(), BTreeSet::new());
            let (mut unique, mut holes) = (0, 0_i64);
            for _ in 0..300 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let number = (state >> 33) % 100;
                let highest = came.last().map_or(0, |last| last + 1);
                let is_new = came.insert(number);
                match book.enter(number) {
                    Entry::Again => assert!(!is_new),
                    Entry::Ahead { holes: more } => {
                        assert!(is_new && number >= highest);
                        (unique, holes) = (unique + 1, holes + i64::from(more));
                    }
                    Entry::Late { holes: more } => {
                        assert!(is_new && number < highest);
                        (unique, holes) = (unique + 1, holes + i64::from(more));
                    }
                }
                assert_eq!(unique, came.len());
                assert_eq!(holes, book.holes.len() as i64);
            }
            let missing: u64 = book.holes.iter().map(|(past, from)| past - from).sum();
            assert_eq!(book.end - missing, came.len() as u64);
            assert_eq!(Some(&book.before()), came.first());
        }
    }

    #[test]
    fn what_is_skipped_counts_as_come() {
        let mut book = Book::default();
        assert_eq!(book.skip_to(5), 5);
        assert_eq!(book.enter(3), Entry::Again);
        assert_eq!((book.end, book.before()), (5, 0));
    }
}
