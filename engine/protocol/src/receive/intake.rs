//! What one local subscription has of one publisher: got, handed over, held back, missed, acknowledged.
//!
//! Exact: every number of the publisher is in one of these states, and none is handed over twice within a session of client
//! and publisher.

use std::collections::BTreeMap;
use tidings_wire::mutants::{Mutant, mutant};

use super::held::Held;
use crate::event::Outcome;
use crate::limits;
use crate::ranges::RangeSet;

/// What to do with a message that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Had already.
    Duplicate,
    /// Hand it over now.
    Now,
    /// It is ahead of a hole: keep a copy.
    Hold,
    /// It is ahead of a hole and there is no room: fetch it later.
    Miss,
}

/// A number of messages that will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) reason: Outcome,
}

#[derive(Debug, Default)]
struct Extra {
    // Got above the floor; ordered subscriptions have any only if they began too late.
    got: RangeSet,
    missed: RangeSet,
    again: RangeSet,
    hold: BTreeMap<u64, Box<[u8]>>,
    hold_bytes: usize,
    gaps: BTreeMap<u64, (u64, Outcome)>,
    acks: RangeSet,
    refused: RangeSet,
    // Refused at any time: whoever asks again what became of them must not take them for acknowledged.
    ever_refused: RangeSet,
    // A BACKLOG was told that ends here: all below is got, missed or accounted for.
    asked_to: u64,
    // Spent before, and in the list of those whose memory is kept for a while.
    rests: bool,
}

/// State of one (subscription, publisher) pair; 80 bytes while messages come in order.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) sub: u32,
    ordered: bool,
    // A message found no room: those that come live leave it to what is fetched until a FETCH is answered.
    yields: bool,
    // How often its publisher node had opened streams when the last message came live.
    opened: u16,
    // Nothing below was ever thought to be owed.
    start: u64,
    // The first number that came on the live path: what is below may not be owed and is taken only by catch-up.
    live_from: u64,
    // All below are got.
    floor: u64,
    // Acknowledgements to report, the common single range; more are in `extra.acks`.
    ack: (u64, u64),
    // Handed over, not acknowledged.
    kept: RangeSet,
    extra: Option<Box<Extra>>,
}

impl Intake {
    /// The subscription is owed everything from `start` on.
    pub(crate) fn new(sub: u32, ordered: bool, start: u64) -> Self {
        Intake {
            sub,
            ordered,
            yields: false,
            opened: 0,
            start,
            live_from: u64::MAX,
            floor: start,
            ack: (0, 0),
            kept: RangeSet::default(),
            extra: None,
        }
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    fn has(&self, seq: u64) -> bool {
        seq < self.floor || self.extra.as_ref().is_some_and(|e| e.got.contains(seq))
    }

    /// Whether the message is got and acknowledged. A refused one is not: its publisher is yet to hear of that.
    pub(crate) fn is_settled(&self, seq: u64) -> bool {
        let refused = |e: &Extra| e.refused.contains(seq);
        self.has(seq) && !self.kept.contains(seq) && !self.extra.as_deref().is_some_and(refused)
    }

    /// Whether the message is still wanted.
    pub(crate) fn wants(&self, seq: u64) -> bool {
        !self.has(seq)
            && self
                .extra
                .as_ref()
                .is_none_or(|e| !e.hold.contains_key(&seq) && !e.is_gap(seq))
    }

    /// A message comes on the live path when all below `seen` may have come, and the publisher node opened streams so often. True
    /// if others came before it and it is the first: the publisher is asked which of them are owed.
    pub(crate) fn begins_late(&mut self, seq: u64, seen: u64, opened: u16) -> bool {
        let anew = opened != self.opened;
        self.opened = opened;
        let first = seq.max(seen);
        if self.live_from == u64::MAX {
            self.live_from = first;
        } else if !anew || !self.ordered {
            return false;
        }
        self.ask_below(first)
    }

    /// The same for a part of a large message. When the stream was joined within the message, no more than its end comes; and those
    /// that come next may not be those that follow it, which overtake it. Unless it is the next that lacks, and comes from its
    /// beginning, it is asked for, too.
    pub(crate) fn part_begins_late(
        &mut self,
        (seq, offset): (u64, u32),
        seen: u64,
        opened: u16,
    ) -> bool {
        if (seq, offset) == (self.floor, 0) {
            return self.begins_late(seq, seen, opened);
        }
        let anew = self.ordered && opened != self.opened;
        (anew || self.live_from == u64::MAX) && self.ask_below(seq + 1)
    }

    /// The next message on the live path comes as if on a stream opened anew: see [`Intake::begins_late`].
    pub(crate) fn begin_anew(&mut self) {
        self.opened = self.opened.wrapping_sub(1);
    }

    /// What is missing below may never come by itself: a subscription is not told what it is not owed, and one that is ordered
    /// would wait for it. True if there is any.
    pub(crate) fn ask_below(&mut self, seq: u64) -> bool {
        self.miss(self.floor, seq);
        seq > self.floor
    }

    /// The same for what is held back.
    pub(crate) fn ask_for_held(&mut self) {
        let held = |e: &Extra| e.hold.last_key_value().map(|(seq, _)| *seq);
        if let Some(last) = self.extra.as_deref().and_then(held) {
            self.ask_below(last);
        }
    }

    /// A message on the live path found no room. Messages that come live would take whatever room there is from then on, and
    /// what was missed would be fetched last, a little at a time.
    pub(crate) fn yield_room(&mut self) {
        self.yields = !self.ordered;
    }

    /// A FETCH was answered: the live path has its turn again.
    pub(crate) fn take_room(&mut self) {
        self.yields = false;
    }

    /// Whether a message on the live path leaves the room to what is fetched.
    pub(crate) fn yields(&self) -> bool {
        self.yields && self.has_missed()
    }

    /// Whether the live path may bring this message.
    pub(crate) fn is_live(&self, seq: u64) -> bool {
        seq >= self.live_from
    }

    /// What to do with message `seq` of `len` bytes.
    pub(crate) fn judge(&self, seq: u64, len: usize, held: &Held) -> Verdict {
        if !self.wants(seq) {
            return Verdict::Duplicate;
        }
        if seq == self.floor || mutant(Mutant::OrderBroken) {
            return Verdict::Now;
        }
        let extra = self.extra.as_deref();
        let takes = if self.ordered {
            let cost = Held::cost(len);
            let fits = |e: &Extra| {
                e.hold_bytes + cost <= limits::HOLD_BYTES && e.hold.len() < limits::HOLD_MESSAGES
            };
            held.has_room(cost) && extra.is_none_or(fits)
        } else {
            extra.is_none_or(|e| e.got.ranges() < limits::RANGES || e.got.touches(seq))
        };
        match (takes, self.ordered) {
            (true, true) => Verdict::Hold,
            (true, false) => Verdict::Now,
            (false, _) => Verdict::Miss,
        }
    }

    /// The message is ahead of a hole and is kept here.
    pub(crate) fn hold(&mut self, seq: u64, payload: &[u8], held: &mut Held) {
        self.extra().missed.remove(seq, seq + 1);
        self.unhold(seq, payload.into(), held);
    }

    /// The client resumes the subscription in this order. What the other one held back can be handed over after a change to
    /// unordered: see [`Intake::next_held`] and [`Intake::next_gap`].
    pub(crate) fn set_ordered(&mut self, ordered: bool) {
        self.ordered = ordered;
    }

    /// The held message that is next, if it is there.
    pub(crate) fn next_held(&mut self, held: &mut Held) -> Option<(u64, Box<[u8]>)> {
        let last = if self.ordered { self.floor } else { u64::MAX };
        let extra = self.extra.as_mut()?;
        let entry = extra.hold.first_entry().filter(|e| *e.key() <= last)?;
        let seq = *entry.key();
        Some((seq, extra.take_held(seq, held)?))
    }

    /// Gives a message back that [`Intake::next_held`] took, because there was no room for it.
    pub(crate) fn unhold(&mut self, seq: u64, payload: Box<[u8]>, held: &mut Held) {
        let (extra, cost) = (self.extra(), Held::cost(payload.len()));
        extra.hold_bytes += cost;
        held.add(cost);
        extra.hold.insert(seq, payload);
    }

    /// The gap that is next.
    pub(crate) fn next_gap(&mut self) -> Option<Gap> {
        let last = if self.ordered { self.floor } else { u64::MAX };
        loop {
            let extra = self.extra.as_mut()?;
            let entry = extra.gaps.first_entry().filter(|e| *e.key() <= last)?;
            let (from, (to, reason)) = entry.remove_entry();
            let from = from.max(self.floor);
            if from < to {
                self.mark(from, to);
                return Some(Gap { from, to, reason });
            }
        }
    }

    /// The message was handed over; `acked` = and acknowledged.
    pub(crate) fn got(&mut self, seq: u64, acked: bool) {
        self.got_run(seq, seq + 1, acked);
    }

    /// These messages were handed over.
    pub(crate) fn got_run(&mut self, from: u64, to: u64, acked: bool) {
        self.mark(from, to);
        if let Some(extra) = &mut self.extra {
            extra.again.remove(from, to);
        }
        if acked {
            self.report(from, to);
        } else {
            self.kept.insert(from, to);
        }
    }

    /// Whether message `seq` and those behind it are handed over just as they come on the live path: it is the next, nothing was
    /// missed, and no stream was opened since the one before it.
    pub(crate) fn flows(&self, seq: u64, opened: u16) -> bool {
        let quiet = |e: &Extra| {
            e.got.is_empty()
                && e.missed.is_empty()
                && e.again.is_empty()
                && e.hold.is_empty()
                && e.gaps.is_empty()
        };
        seq == self.floor
            && self.is_live(seq)
            && self.opened == opened
            && self.extra.as_deref().is_none_or(quiet)
    }

    fn mark(&mut self, from: u64, to: u64) {
        if from <= self.floor {
            self.floor = self.floor.max(to);
        } else {
            self.extra().got.insert(from, to);
        }
        if let Some(extra) = &mut self.extra {
            extra.missed.remove(from, to);
            while let Some((low, high)) = extra.got.first()
                && low <= self.floor
            {
                self.floor = self.floor.max(high);
                extra.got.remove(0, self.floor);
            }
        }
    }

    fn report(&mut self, from: u64, to: u64) {
        if self.ack.0 == self.ack.1 {
            self.ack = (from, to);
        } else if from == self.ack.1 {
            self.ack.1 = to;
        } else {
            self.extra().acks.insert(from, to);
        }
    }

    /// There was no room for the message.
    pub(crate) fn miss(&mut self, from: u64, to: u64) {
        let mut from = from.max(self.floor);
        if from >= to {
            return;
        }
        let mut holes = Vec::new();
        let extra = self.extra();
        if extra.missed.ranges() >= limits::RANGES
            && let Some((_, end)) = extra.missed.last()
        {
            // Too scattered to keep apart: what lies between is asked for, too, and told as it stands.
            from = from.min(end);
        }
        extra.got.holes(from, to, |a, b| holes.push((a, b)));
        for (a, b) in holes {
            extra.missed.insert(a, b);
            for (a, b) in extra.accounted(a, b) {
                extra.missed.remove(a, b);
            }
        }
    }

    /// The subscription's policy refuses these messages: their publisher is told so, and they never come.
    pub(crate) fn refuse(&mut self, from: u64, to: u64) {
        let extra = self.extra();
        extra.refused.insert(from, to);
        extra.ever_refused.insert(from, to);
        while extra.ever_refused.ranges() > limits::RANGES
            && let Some((from, to)) = extra.ever_refused.first()
        {
            // It is long ago: their publisher knows.
            extra.ever_refused.remove(from, to);
        }
        self.skip(from, to, Outcome::Rejected);
    }

    /// Refuses the oldest of the messages that wait for room, missed or held back, so that `most` are left. Returns how many.
    pub(crate) fn refuse_oldest(&mut self, most: u64, held: &mut Held) -> u64 {
        let waiting = |e: &Extra| e.missed.count() + e.hold.len() as u64;
        let surplus = self
            .extra
            .as_deref()
            .map_or(0, waiting)
            .saturating_sub(most);
        let mut left = surplus;
        while left > 0 {
            let extra = self.extra();
            let first = extra.hold.first_key_value().map(|(seq, _)| *seq);
            let (from, to) = match (extra.missed.first(), first) {
                (Some((from, to)), first) if first.is_none_or(|first| from < first) => {
                    (from, to.min(first.unwrap_or(to)).min(from + left))
                }
                (_, Some(first)) => {
                    extra.take_held(first, held);
                    (first, first + 1)
                }
                (_, None) => break,
            };
            self.refuse(from, to);
            left -= to - from;
        }
        surplus - left
    }

    /// These will never come. The gaps to tell at once are returned; an ordered subscription tells them in their place.
    /// `Delivered` says that the publisher owes them no more: before the live path began nothing is missing then.
    pub(crate) fn skip(&mut self, from: u64, to: u64, reason: Outcome) -> Vec<Gap> {
        if reason != Outcome::Delivered || self.live_from >= to {
            return self.skip_all(from, to, reason);
        }
        let border = self.live_from.clamp(from, to);
        let mut gaps = self.skip_all(from, border, Outcome::Delivered);
        gaps.append(&mut self.skip_all(border, to, Outcome::Unsubscribed));
        gaps
    }

    fn skip_all(&mut self, from: u64, to: u64, reason: Outcome) -> Vec<Gap> {
        let from = from.max(self.floor);
        let mut news = Vec::new();
        if from >= to {
            return news;
        }
        let ordered = self.ordered;
        let extra = self.extra();
        extra.missed.remove(from, to);
        let mut holes = Vec::new();
        extra.got.holes(from, to, |a, b| holes.push((a, b)));
        if ordered {
            for (a, b) in holes {
                extra.insert_gaps(a, b, reason);
            }
            return news;
        }
        news.extend(holes.into_iter().map(|(from, to)| Gap { from, to, reason }));
        self.mark(from, to);
        news
    }

    /// The client acknowledges `from..to`; returns how many messages that settled.
    pub(crate) fn acknowledge(&mut self, from: u64, to: u64) -> u64 {
        let mut count = 0;
        // One part after the other: taking the first away makes the next the first, and nothing is allocated.
        while let Some((a, b)) = self.kept.first_part(from, to) {
            count += b - a;
            self.kept.remove(a, b);
            self.report(a, b);
        }
        count
    }

    /// The client is gone: what it had not acknowledged is fetched again for its successor, marked so.
    pub(crate) fn detach(&mut self, held: &mut Held) {
        if self.kept.is_empty() && self.extra.is_none() {
            return;
        }
        let kept = std::mem::take(&mut self.kept);
        let extra = self.extra.get_or_insert_default();
        for seq in extra.drop_held(held).into_keys() {
            extra.missed.insert(seq, seq + 1);
        }
        let Some((low, _)) = kept.first() else { return };
        if low < self.floor {
            extra.got.insert(low, self.floor);
            self.floor = low;
        }
        for (a, b) in kept.iter().filter(|_| !mutant(Mutant::UnackedForgotten)) {
            extra.got.remove(a, b);
            extra.missed.insert(a, b);
            extra.again.insert(a, b);
        }
    }

    /// The publisher says that these are owed: fetch what is not there, report again what was acknowledged.
    pub(crate) fn on_backlog(&mut self, from: u64, to: u64, again: bool) {
        self.begin_below(from, to);
        self.report_again(from, to);
        let floor = self.floor;
        if again {
            let mut fresh = Vec::new();
            self.extra()
                .got
                .holes(from.max(floor), to, |a, b| fresh.push((a, b)));
            let again = &mut self.extra().again;
            for (a, b) in fresh {
                // It says that a message may have come before: so may what lies between, if they are too scattered.
                let scattered = again.ranges() >= limits::RANGES;
                let end = again.last().filter(|_| scattered).map_or(a, |r| r.1);
                again.insert(a.min(end), b);
            }
        }
        // Nor was what lies below ever told as owed: asking for it shows that nothing is missing there. Once is enough.
        let asked = self.extra().asked_to;
        self.extra().asked_to = asked.max(to);
        self.miss(floor.max(asked), to);
    }

    /// The subscription ended: nothing is taken or fetched for it any more, only what it acknowledged is still to report.
    pub(crate) fn end(&mut self, held: &mut Held) {
        let Some(extra) = &mut self.extra else { return };
        extra.missed = RangeSet::default();
        extra.again = RangeSet::default();
        extra.drop_held(held);
        extra.gaps.clear();
        if extra.is_spent() {
            self.extra = None;
        }
    }

    /// Reports what of `from..to` is acknowledged once more.
    pub(crate) fn report_again(&mut self, from: u64, to: u64) {
        // What lies below was never owed.
        let from = from.max(self.start);
        let mut done = Vec::new();
        let floor = self.floor;
        let mut owned = RangeSet::default();
        owned.insert(from, to.min(floor));
        if let Some(extra) = &self.extra {
            extra.got.parts(from, to, |a, b| {
                owned.insert(a, b);
            });
        }
        for (a, b) in owned.iter() {
            self.kept.holes(a, b, |a, b| done.push((a, b)));
        }
        let Some(extra) = &mut self.extra else {
            done.into_iter().for_each(|(a, b)| self.report(a, b));
            return;
        };
        let mut acked = Vec::new();
        for (a, b) in done {
            let Extra {
                refused,
                ever_refused,
                ..
            } = &mut **extra;
            ever_refused.holes(a, b, |a, b| acked.push((a, b)));
            ever_refused.parts(a, b, |a, b| {
                refused.insert(a, b);
            });
        }
        acked.into_iter().for_each(|(a, b)| self.report(a, b));
    }

    // More is owed than was known: late is better than never, in order or not.
    fn begin_below(&mut self, from: u64, to: u64) {
        if from < self.start {
            let (upper, floor) = (to.min(self.start), self.floor);
            if upper < floor {
                self.extra().got.insert(upper, floor);
            }
            (self.start, self.floor) = (from, from);
            self.extra().asked_to = 0;
        }
    }

    /// Whether anything was got.
    pub(crate) fn has_begun(&self) -> bool {
        self.floor > self.start
    }

    /// This message may have been handed over before.
    pub(crate) fn mark_again(&mut self, seq: u64) {
        self.extra().again.insert(seq, seq + 1);
    }

    /// Whether this message may have been handed over before.
    pub(crate) fn is_again(&self, seq: u64) -> bool {
        let flagged = self.extra.as_ref().is_some_and(|e| e.again.contains(seq));
        flagged && !mutant(Mutant::FlagLost)
    }

    pub(crate) fn has_missed(&self) -> bool {
        self.extra.as_ref().is_some_and(|e| !e.missed.is_empty())
    }

    fn oldest_missed(&self) -> Option<u64> {
        self.extra.as_ref()?.missed.first().map(|r| r.0)
    }

    /// The lowest number that is missed or held back.
    pub(crate) fn oldest_waiting(&self) -> u64 {
        let held = self
            .extra
            .as_ref()
            .and_then(|e| e.hold.keys().next().copied());
        let missed = self.oldest_missed();
        missed.into_iter().chain(held).min().unwrap_or(self.floor)
    }

    pub(crate) fn has_held(&self) -> bool {
        self.extra
            .as_ref()
            .is_some_and(|e| !e.hold.is_empty() || !e.gaps.is_empty())
    }

    /// The next range to fetch. An ordered subscription fetches only what it can hand over next: what is ahead would be held
    /// back, or find no room for that and be fetched again.
    pub(crate) fn next_missed(&self) -> Option<(u64, u64)> {
        let mut ranges = self.extra.as_ref()?.missed.iter();
        let (from, mut to) = ranges.next()?;
        if self.ordered && from > self.floor {
            return None;
        }
        // Where an unordered subscription takes a little now and then, its ranges are small and many: one FETCH for each would take for
        // ever. What lies between them is mostly settled, and is not sent again then.
        let mut missed = to - from;
        let more = if self.ordered { 0 } else { FETCH_RANGES };
        for (low, high) in ranges.take(more) {
            missed += high - low;
            if missed * 2 < high - from || high - from > u64::from(limits::FETCH_COUNT) {
                break;
            }
            to = high;
        }
        Some((from, to.min(from + u64::from(limits::FETCH_COUNT))))
    }

    /// Whether the message is among those to fetch.
    pub(crate) fn is_missed(&self, seq: u64) -> bool {
        self.extra.as_ref().is_some_and(|e| e.missed.contains(seq))
    }

    pub(crate) fn has_reports(&self) -> bool {
        self.ack.0 < self.ack.1
            || self
                .extra
                .as_ref()
                .is_some_and(|e| !e.acks.is_empty() || !e.refused.is_empty())
    }

    /// Hands out what is to be reported to the publisher as long as `emit` takes it: (from, to, outcome).
    pub(crate) fn reports(&mut self, mut emit: impl FnMut(u64, u64, Outcome) -> bool) -> bool {
        while self.ack.0 < self.ack.1 {
            let to = self.ack.1.min(self.ack.0 + REPORT);
            if !emit(self.ack.0, to, Outcome::Delivered) {
                return false;
            }
            self.ack.0 = to;
        }
        let Some(extra) = &mut self.extra else {
            return true;
        };
        let acks = (&mut extra.acks, Outcome::Delivered);
        for (set, outcome) in [acks, (&mut extra.refused, Outcome::Rejected)] {
            while let Some((from, to)) = set.first() {
                let to = to.min(from + REPORT);
                if !emit(from, to, outcome) {
                    return false;
                }
                set.remove(from, to);
            }
        }
        true
    }

    /// Nothing but empty memory is left, for the first time: it may be needed again soon. Freed by [`Intake::end_rest`].
    pub(crate) fn begins_rest(&mut self) -> bool {
        let spent =
            |extra: &mut Box<Extra>| extra.is_spent() && !std::mem::replace(&mut extra.rests, true);
        self.extra.as_mut().is_some_and(spent)
    }

    /// Frees the memory if it is still empty.
    pub(crate) fn end_rest(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.rests = false;
            if extra.is_spent() {
                self.extra = None;
            }
        }
    }

    /// Whether anything is yet to come, to be handed over, acknowledged or reported.
    pub(crate) fn is_in_use(&self) -> bool {
        let waits = |e: &Extra| !(e.missed.is_empty() && e.hold.is_empty() && e.gaps.is_empty());
        self.has_reports() || !self.kept.is_empty() || self.extra.as_deref().is_some_and(waits)
    }

    /// Whether its publisher told more separate gaps than it may.
    pub(crate) fn is_full_of_gaps(&self) -> bool {
        let gaps = self.extra.as_ref().map_or(0, |e| e.gaps.len());
        gaps >= limits::RANGES
    }

    /// Bytes held back, with what keeping them costs.
    pub(crate) fn held_bytes(&self) -> usize {
        self.extra.as_ref().map_or(0, |e| e.hold_bytes)
    }
}

impl Extra {
    fn take_held(&mut self, seq: u64, held: &mut Held) -> Option<Box<[u8]>> {
        let payload = self.hold.remove(&seq)?;
        let cost = Held::cost(payload.len());
        self.hold_bytes -= cost;
        held.give_back(cost);
        Some(payload)
    }

    fn drop_held(&mut self, held: &mut Held) -> BTreeMap<u64, Box<[u8]>> {
        held.give_back(std::mem::take(&mut self.hold_bytes));
        std::mem::take(&mut self.hold)
    }

    fn is_gap(&self, seq: u64) -> bool {
        let below = self.gaps.range(..=seq).next_back();
        below.is_some_and(|(_, (to, _))| seq < *to)
    }

    // What of `from..to` is held back or known never to come, ascending.
    fn accounted(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let below = self.gaps.range(..from).next_back().map(|(a, _)| *a);
        let gaps = self.gaps.range(below.unwrap_or(from).min(to)..to);
        let gaps = gaps.map(|(a, (b, _))| (*a, *b));
        let mut all: Vec<(u64, u64)> = gaps.filter(|(_, b)| *b > from).collect();
        all.extend(self.hold.range(from..to).map(|(seq, _)| (*seq, seq + 1)));
        all.sort_unstable();
        all
    }

    fn insert_gaps(&mut self, from: u64, to: u64, reason: Outcome) {
        // What is held back arrived all the same: it is told, not skipped.
        let mut at = from;
        for (a, b) in self.accounted(from, to).into_iter().chain([(to, to)]) {
            if at < a {
                self.insert_gap(at, a, reason);
            }
            at = at.max(b);
        }
    }

    // Joins it to its neighbours if they are alike: there may be one for each message of a publisher.
    fn insert_gap(&mut self, from: u64, mut to: u64, reason: Outcome) {
        if let Some(&(end, alike)) = self.gaps.get(&to)
            && alike == reason
        {
            self.gaps.remove(&to);
            to = end;
        }
        match self.gaps.range_mut(..from).next_back() {
            Some((_, last)) if *last == (from, reason) => last.0 = to,
            _ => drop(self.gaps.insert(from, (to, reason))),
        }
    }

    fn is_spent(&self) -> bool {
        self.got.is_empty()
            && self.missed.is_empty()
            && self.again.is_empty()
            && self.hold.is_empty()
            && self.gaps.is_empty()
            && self.acks.is_empty()
            && self.ever_refused.is_empty()
    }
}

/// Ranges that one FETCH may span.
const FETCH_RANGES: usize = 256;
/// Messages that one report takes: its count has 32 bits.
const REPORT: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests;
