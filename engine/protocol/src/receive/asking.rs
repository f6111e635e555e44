//! What is asked of one publisher node: FETCHes for what was missed, and notices of who waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Notice;
use crate::limits;

/// A local subscription and a publisher of the node.
pub(super) type Pair = (u32, u32);

/// A FETCH under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    from: u64,
    bytes: u32,
    no: u64,
}

/// What a publisher node is asked for and told, but for acknowledgements.
#[derive(Default)]
pub(super) struct Asking {
    // With something missed: a subscription's first and last is told to the publisher.
    missing: BTreeSet<Pair>,
    pub(super) notices: Vec<Notice>,
    // Those of them that may be fetched as soon as there is room for another FETCH, and which of them was the last.
    due: BTreeSet<Pair>,
    turn: Pair,
    fetching: BTreeMap<Pair, Asked>,
    // All that left, in order, as long as an earlier one may be under way: they are answered in that order.
    asked: VecDeque<(Pair, u64)>,
    next_no: u64,
    // Bytes that those under way asked for, and when the publisher was last asked or heard.
    bytes: usize,
    heard: u64,
    /// Those that wait for room to put a large message together: not due.
    pub(super) crowded: BTreeSet<Pair>,
    // Bytes of a message that is fetched, on average.
    typical: u32,
}

/// Nothing more comes of a publisher who is silent for so long, in ns.
const PATIENCE: u64 = 10_000_000_000;
/// What a message is taken for before any was fetched.
const TYPICAL: u32 = 1024;

impl Asking {
    /// The pair waits for something, or does no more; `first` is its number. A subscription's first and last pair is told.
    pub(super) fn note(&mut self, pair: Pair, waits: bool, first: impl FnOnce() -> u64) {
        let (sub, handle) = pair;
        if waits && !self.missing.contains(&pair) {
            if !self.is_missing(sub) {
                let from = first();
                self.notices.push(Notice::Deferred { sub, handle, from });
            }
            self.missing.insert(pair);
        } else if !waits && self.missing.remove(&pair) && !self.is_missing(sub) {
            self.notices.push(Notice::Resumed { sub });
        }
    }

    fn is_missing(&self, sub: u32) -> bool {
        self.first_missing(sub).is_some()
    }

    fn first_missing(&self, sub: u32) -> Option<Pair> {
        let mut pairs = self.missing.range((sub, 0)..=(sub, u32::MAX));
        pairs.next().copied()
    }

    /// The publisher is told once more that the subscription waits, if it does; a word that has not left yet will do.
    pub(super) fn tell_again(&mut self, sub: u32) {
        if let Some((sub, handle)) = self.first_missing(sub)
            && !self.notices.iter().any(|notice| notice.sub() == sub)
        {
            let from = 0;
            self.notices.push(Notice::Deferred { sub, handle, from });
        }
    }

    /// The pair has something to fetch, and somebody to take it.
    pub(super) fn want(&mut self, pair: Pair) {
        if !self.fetching.contains_key(&pair) && !self.crowded.contains(&pair) {
            self.due.insert(pair);
        }
    }

    fn has_room(&self) -> bool {
        self.fetching.len() < limits::FETCHES && self.bytes < limits::FETCH_WINDOW
    }

    /// Whether any pair is due, be there room or not.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether any pair is due, or a FETCH overdue.
    pub(super) fn is_due(&self, now: u64) -> bool {
        !self.due.is_empty() || self.is_overdue(now)
    }

    /// The next pair in turn, if another FETCH may go. It is the caller's to begin that, or to want the pair again when there is
    /// something to fetch.
    pub(super) fn next_due(&mut self, now: u64) -> Option<Pair> {
        if self.is_overdue(now) {
            self.give_up();
        }
        if !self.has_room() {
            return None;
        }
        let above = self.due.range(self.turn..).next();
        let pair = *above.or(self.due.first())?;
        self.due.remove(&pair);
        self.turn = (pair.0, pair.1.wrapping_add(1));
        Some(pair)
    }

    /// A FETCH of `count` messages leaves; returns how many bytes it may ask for.
    pub(super) fn begin(&mut self, pair: Pair, from: u64, count: u32, now: u64) -> u32 {
        let typical = if self.typical == 0 {
            TYPICAL
        } else {
            self.typical
        };
        let bytes = u64::from(count) * 2 * u64::from(typical);
        let bytes = bytes.clamp(limits::FETCH_LEAST.into(), limits::FETCH_BYTES.into()) as u32;
        self.heard = now;
        let no = self.next_no;
        self.next_no += 1;
        self.fetching.insert(pair, Asked { from, bytes, no });
        self.asked.push_back((pair, no));
        self.bytes += bytes as usize;
        bytes
    }

    /// A part of a message came by FETCH.
    pub(super) fn on_part(&mut self, now: u64) {
        self.heard = now;
    }

    /// A message of so many bytes came by FETCH.
    pub(super) fn on_fetched_message(&mut self, len: usize) {
        let len = u32::try_from(len).unwrap_or(u32::MAX).max(1);
        self.typical = match self.typical {
            0 => len,
            typical => typical - typical / 8 + len / 8,
        };
    }

    /// Whether a FETCH of the pair is under way.
    pub(super) fn is_fetching(&self, pair: Pair) -> bool {
        self.fetching.contains_key(&pair)
    }

    /// The FETCH that began at `from` was answered; false if there is none. Earlier ones that were not answered were dropped by the
    /// publisher: they are due again.
    pub(super) fn end(&mut self, pair: Pair, from: u64) -> bool {
        let Some(ended) = self.fetching.get(&pair).filter(|f| f.from == from) else {
            return false;
        };
        let ended = ended.no;
        while let Some((earlier, no)) = self.asked.front().copied().filter(|a| a.1 <= ended) {
            self.asked.pop_front();
            if self.fetching.get(&earlier).is_some_and(|f| f.no == no) {
                self.drop_fetch(earlier);
                if no < ended {
                    self.due.insert(earlier);
                }
            }
        }
        true
    }

    fn drop_fetch(&mut self, pair: Pair) {
        if let Some(asked) = self.fetching.remove(&pair) {
            self.bytes -= asked.bytes as usize;
        }
    }

    fn is_overdue(&self, now: u64) -> bool {
        !self.fetching.is_empty() && now >= self.heard + PATIENCE
    }

    // Answers that do not come are asked for again.
    fn give_up(&mut self) {
        self.due.extend(self.fetching.keys());
        self.forget_fetches();
    }

    fn forget_fetches(&mut self) {
        self.fetching.clear();
        self.asked.clear();
        self.bytes = 0;
    }

    /// The same boot in a new session: what was asked and told is asked and told again.
    pub(super) fn renew(&mut self) {
        self.forget_fetches();
        self.notices.clear();
        self.due.clone_from(&self.missing);
        self.due.retain(|pair| !self.crowded.contains(pair));
        let mut told = None;
        for &(sub, handle) in &self.missing {
            if told != Some(sub) {
                told = Some(sub);
                let from = 0;
                self.notices.push(Notice::Deferred { sub, handle, from });
            }
        }
    }

    /// Nobody waits for room any more.
    pub(super) fn end_crowd(&mut self) {
        self.due.append(&mut self.crowded);
    }

    /// The publisher is gone.
    pub(super) fn forget(&mut self, pair: Pair) {
        self.drop_fetch(pair);
        self.note(pair, false, || 0);
        self.due.remove(&pair);
        self.crowded.remove(&pair);
    }

    /// The subscription ended.
    pub(super) fn forget_sub(&mut self, sub: u32) {
        let gone = self.fetching.keys().filter(|pair| pair.0 == sub);
        let gone: Vec<Pair> = gone.copied().collect();
        gone.into_iter().for_each(|pair| self.drop_fetch(pair));
        for pairs in [&mut self.missing, &mut self.due, &mut self.crowded] {
            pairs.retain(|pair| pair.0 != sub);
        }
    }
}
