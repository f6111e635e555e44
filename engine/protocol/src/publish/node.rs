//! One subscriber node of one stream as its publisher sees it: what it has, what is in flight, what is lost.
//!
//! Loss is judged by time (RFC 8985 in spirit): a datagram is lost when one sent a reordering window later has arrived.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tidings_wire::mutants::{Mutant, mutant};

use super::sendings::Sendings;
use crate::limits;
use crate::peer::PeerIx;
use crate::ranges::RangeSet;

/// Whether the node takes part in the live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not opened in the peer's present session, or behind: its messages go by catch-up.
    Out,
    /// STREAM_OPEN is on its way.
    Opening,
    /// It receives the stream.
    Live,
}

// Datagrams `from..to` left in one flush.
#[derive(Clone, Copy, Debug)]
struct Batch {
    from: u64,
    to: u64,
    at: u64,
}

// Batches that are told apart; more are merged, which only makes loss detection a little later.
const BATCHES: usize = 256;

/// What an acknowledgement or the passing of time showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes newly known received that were in flight.
    pub(crate) acked: u64,
    /// When the one that arrived last was sent, if it is new and was sent once only: a round-trip sample. The one sent last
    /// would be one that overtook others, and its round trip shorter than theirs.
    pub(crate) sent_at: Option<u64>,
    /// Bytes newly judged lost, and in how many datagrams.
    pub(crate) lost: u64,
    pub(crate) lost_count: u64,
    /// When the newest of the lost was sent.
    pub(crate) lost_sent_at: u64,
    /// When the newest datagram was first sent that was judged lost and arrived all the same.
    pub(crate) spurious: Option<u64>,
}

/// What judging needs besides the node: lengths of datagrams by counter, the smoothed round trip and the longest to be
/// expected of its variance, the time.
pub(crate) struct Round<'a> {
    pub(crate) len: &'a dyn Fn(u64) -> u64,
    pub(crate) srtt: u64,
    pub(crate) longest: u64,
    pub(crate) now: u64,
}

/// One subscriber node of one stream.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) peer: PeerIx,
    pub(crate) standing: Standing,
    /// All below are received, or were never this node's to receive.
    pub(crate) floor: u64,
    /// The first datagram not yet sent.
    pub(crate) next: u64,
    // All below may have come to an earlier boot of it, or to its present one.
    earlier: u64,
    reached: u64,
    sendings: Sendings,
    received: RangeSet,
    batches: VecDeque<Batch>,
    // When datagrams were last sent again.
    repaired: BTreeMap<u64, u64>,
    pub(crate) lost: BTreeSet<u64>,
    /// Bytes sent once since opening, and the absolute limit the node gave.
    pub(crate) sent_bytes: u64,
    pub(crate) credit: u64,
    pub(crate) in_flight: u64,
    /// When it last made progress or had nothing to do.
    pub(crate) progress: u64,
    /// When the next heartbeat is due, and the pause before the one after; 0 = none due.
    pub(crate) beat_at: u64,
    pub(crate) beat_every: u64,
    last_beat: u64,
    // All below were sent before something that arrived, which was sent then.
    edge: u64,
    edge_at: u64,
    /// When pacing lets the next datagram go; 0 = nothing waits for that.
    pub(crate) paced_at: u64,
    // Heartbeats since the last acknowledgement.
    unanswered: u32,
    /// When something unacknowledged must be judged anew; 0 = nothing.
    pub(crate) judge_at: u64,
    // Reordering window in ns beyond srtt/4.
    reorder: u64,
    // How long it has held up others in ns, whether it does, and since when that is so.
    held: u64,
    holds: bool,
    holds_since: u64,
}

impl Node {
    pub(crate) fn new(peer: PeerIx) -> Self {
        Node {
            peer,
            standing: Standing::Out,
            floor: 0,
            next: 0,
            earlier: 0,
            reached: 0,
            sendings: Sendings::default(),
            received: RangeSet::default(),
            batches: VecDeque::new(),
            repaired: BTreeMap::new(),
            lost: BTreeSet::new(),
            sent_bytes: 0,
            credit: 0,
            in_flight: 0,
            progress: 0,
            beat_at: 0,
            beat_every: 0,
            last_beat: 0,
            edge: 0,
            edge_at: 0,
            paced_at: 0,
            unanswered: 0,
            judge_at: 0,
            reorder: 0,
            held: 0,
            holds: false,
            holds_since: 0,
        }
    }

    /// Begins the live stream at `floor`.
    pub(crate) fn open(&mut self, floor: u64, now: u64) {
        let (peer, earlier, reached) = (self.peer, self.earlier, self.reached);
        let sendings = std::mem::take(&mut self.sendings);
        *self = Node {
            sendings,
            standing: Standing::Opening,
            floor,
            next: floor,
            earlier,
            reached,
            progress: now,
            ..Node::new(peer)
        };
    }

    /// Takes the node out of the live stream; the bytes that were in flight are returned for the congestion controller. The
    /// attempts at what was not sent, all below `head`, count from now.
    pub(crate) fn close(&mut self, head: u64, now: u64) -> u64 {
        self.skip(head, now);
        let in_flight = self.in_flight;
        let sendings = std::mem::take(&mut self.sendings);
        let (peer, floor, next) = (self.peer, self.floor, self.next);
        let (earlier, reached) = (self.earlier, self.reached);
        *self = Node {
            floor,
            next,
            earlier,
            reached,
            sendings,
            ..Node::new(peer)
        };
        in_flight
    }

    pub(crate) fn is_out(&self) -> bool {
        self.standing == Standing::Out
    }

    pub(crate) fn is_live(&self) -> bool {
        self.standing == Standing::Live
    }

    /// Whether there is nothing to do for it: it is not live, or has everything and is asked nothing.
    pub(crate) fn rests(&self, head: u64) -> bool {
        !self.is_live() || (self.floor == head && self.beat_at == 0 && self.paced_at == 0)
    }

    /// Whether the node holds up others from now on. Returns for how long it has, in ns, less a third of the time in which it did not.
    pub(crate) fn hold_up(&mut self, holds: bool, now: u64) -> u64 {
        // A pause in the asking is the publisher's own: nobody could be sent anything.
        let passed = now.saturating_sub(self.holds_since).min(ASKED_EVERY);
        self.held = if self.holds {
            self.held + passed
        } else {
            self.held.saturating_sub(passed / FORGIVEN)
        };
        (self.holds, self.holds_since) = (holds, now);
        self.held
    }

    /// The link ends: all below `head` may have come over it. What was sent to others of the stream opens at this node, too, and
    /// anybody may pass a datagram on.
    pub(crate) fn on_link_end(&mut self, head: u64) {
        self.reached = head;
    }

    /// The node has a new boot: what came, came to an earlier one.
    pub(crate) fn on_reborn(&mut self) {
        self.earlier = self.reached;
    }

    /// Whether `counter` may have come to an earlier boot of it.
    pub(crate) fn had_earlier(&self, counter: u64) -> bool {
        counter < self.earlier
    }

    /// How many new datagrams its window admits.
    pub(crate) fn window(&self) -> u64 {
        (self.floor + limits::STREAM_WINDOW).saturating_sub(self.next)
    }

    /// The node is not in the live stream: all below `head` is not sent to it but left for catch-up.
    pub(crate) fn skip(&mut self, head: u64, now: u64) {
        self.sendings.mark(head, now);
    }

    /// The node takes part from now on: what was left out while it was asked is yet to be sent.
    pub(crate) fn go_live(&mut self, now: u64) {
        self.standing = Standing::Live;
        (self.progress, self.credit) = (now, limits::CREDIT);
        self.sendings.take_back(self.next);
    }

    /// When `counter` was first sent or skipped; `None` = not yet.
    pub(crate) fn sent_first(&self, counter: u64) -> Option<u64> {
        self.sendings.at(counter)
    }

    /// Nobody asks any more when those below `floor` were sent.
    pub(crate) fn forget_sendings(&mut self, floor: u64) {
        self.sendings.trim(floor);
    }

    /// Accounts new datagrams `next..to` of `bytes` bytes in all.
    pub(crate) fn on_sent(&mut self, to: u64, bytes: u64, now: u64) {
        if self.floor == self.next {
            self.progress = now;
        }
        let full = self.batches.len() >= BATCHES;
        match self.batches.back_mut() {
            Some(last) if last.at == now || full => (last.to, last.at) = (to, now),
            _ => self.batches.push_back(Batch {
                from: self.next,
                to,
                at: now,
            }),
        }
        self.sendings.mark(to, now);
        self.next = to;
        self.sent_bytes += bytes;
        self.in_flight += bytes;
    }

    /// Accounts the repair of one datagram.
    pub(crate) fn on_repaired(&mut self, counter: u64, bytes: u64, now: u64) {
        self.lost.remove(&counter);
        self.repaired.insert(counter, now);
        self.in_flight += bytes;
    }

    fn repaired_at(&self, counter: u64) -> Option<u64> {
        self.repaired.get(&counter).copied()
    }

    fn batch_at(&self, counter: u64) -> u64 {
        batch_at(&self.batches, counter)
    }

    fn sent_at(&self, counter: u64) -> u64 {
        self.repaired_at(counter)
            .unwrap_or_else(|| self.batch_at(counter))
    }

    /// Whether it has the datagram.
    pub(crate) fn has(&self, counter: u64) -> bool {
        counter < self.floor || self.received.contains(counter)
    }

    /// Takes an acknowledgement: a floor and a bitmap from it on. Anything beyond `next` is a lie and is ignored.
    pub(crate) fn on_ack(
        &mut self,
        floor: u64,
        words: impl Iterator<Item = u64>,
        recent: u64,
        round: &Round<'_>,
    ) -> Progress {
        let mut progress = Progress::default();
        if floor > self.next {
            return progress;
        }
        self.unanswered = 0;
        let mut newest = None;
        let is_new = recent < self.next
            && !self.has(recent)
            && !self.lost.contains(&recent)
            && !self.repaired.contains_key(&recent);
        if floor > self.floor {
            self.take(self.floor, floor, round, &mut progress, &mut newest);
        }
        for (ix, word) in words.enumerate() {
            let base = floor + 64 * ix as u64 + u64::from(mutant(Mutant::BitmapShifted));
            runs(word, |from, to| {
                let (from, to) = ((base + from).max(self.floor), (base + to).min(self.next));
                self.take(from, to, round, &mut progress, &mut newest);
            });
        }
        self.advance(floor);
        if let Some(newest) = newest {
            let at = self.batch_at(newest);
            if newest >= self.edge {
                (self.edge, self.edge_at) = (newest, at);
            }
        }
        if is_new && self.has(recent) {
            progress.sent_at = Some(self.batch_at(recent)).filter(|at| *at > 0);
        }
        if self.floor == self.next || progress.acked > 0 {
            self.progress = round.now;
        }
        self.judge(round, &mut progress);
        while self.batches.front().is_some_and(|b| b.to <= self.floor) {
            self.batches.pop_front();
        }
        progress
    }

    // Marks `from..to` received and accounts what of it is new. `newest` becomes the latest of it that was sent only once.
    fn take(
        &mut self,
        from: u64,
        to: u64,
        round: &Round<'_>,
        p: &mut Progress,
        newest: &mut Option<u64>,
    ) {
        if from >= to {
            return;
        }
        let (received, batches) = (&self.received, &self.batches);
        let (lost, repaired) = (&mut self.lost, &mut self.repaired);
        let mut acked = 0;
        received.holes(from, to, |a, b| {
            for counter in a..b {
                let was_lost = !lost.is_empty() && lost.remove(&counter);
                let again = (!repaired.is_empty())
                    .then(|| repaired.remove(&counter))
                    .flatten();
                // What was judged lost has left the flight.
                acked += if was_lost { 0 } else { (round.len)(counter) };
                // An answer within half a round trip is to the original; one that was not even repeated needs no proof.
                let spurious = match again {
                    None => was_lost,
                    Some(at) => !was_lost && round.now < at + round.srtt / 2,
                };
                if spurious {
                    p.spurious = p.spurious.max(Some(batch_at(batches, counter)));
                } else if again.is_none() {
                    *newest = (*newest).max(Some(counter));
                }
            }
        });
        p.acked += acked;
        self.in_flight = self.in_flight.saturating_sub(acked);
        self.received.insert(from, to);
    }

    fn advance(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        if let Some((from, to)) = self.received.first()
            && from <= self.floor
        {
            self.floor = self.floor.max(to);
        }
        self.received.remove(0, self.floor);
    }

    /// Widens the reordering window with experience.
    pub(crate) fn on_spurious(&mut self, srtt: u64) {
        self.reorder = (self.reorder + srtt / 4).min(srtt);
    }

    /// Judges what is lost: sent before something that arrived, and a round trip plus the reordering window ago.
    pub(crate) fn judge(&mut self, round: &Round<'_>, progress: &mut Progress) {
        let window = (round.srtt / 4).max(self.reorder).max(MIN_REORDER);
        // Where jitter is large, a steady path's window would repeat half of everything.
        let wait = (round.srtt + window).max(round.longest);
        self.judge_at = 0;
        let received = std::mem::take(&mut self.received);
        received.holes(self.floor, self.edge, |from, to| {
            (from..to).for_each(|counter| self.judge_one(counter, wait, round, progress));
        });
        self.received = received;
    }

    fn judge_one(&mut self, counter: u64, wait: u64, round: &Round<'_>, progress: &mut Progress) {
        let at = self.sent_at(counter);
        if at > self.edge_at || self.lost.contains(&counter) {
            return;
        }
        let lost_at = at + wait;
        if round.now >= lost_at {
            self.lose(counter, at, (round.len)(counter), progress);
        } else if self.judge_at == 0 || lost_at < self.judge_at {
            self.judge_at = lost_at;
        }
    }

    fn lose(&mut self, counter: u64, sent_at: u64, len: u64, progress: &mut Progress) {
        self.lost.insert(counter);
        progress.lost += len;
        progress.lost_count += 1;
        progress.lost_sent_at = progress.lost_sent_at.max(sent_at);
        self.in_flight = self.in_flight.saturating_sub(len);
    }

    /// The node answered a heartbeat: what was sent before that heartbeat and is not there may be lost, the tail included.
    pub(crate) fn on_beat_answered(&mut self, round: &Round<'_>) -> Progress {
        let mut progress = Progress::default();
        let before = self.batches.partition_point(|b| b.at <= self.last_beat);
        let edge = before
            .checked_sub(1)
            .map_or(0, |last| self.batches[last].to);
        self.edge = self.edge.max(edge);
        self.edge_at = self.edge_at.max(self.last_beat);
        self.judge(round, &mut progress);
        progress
    }

    /// A heartbeat leaves; the next is twice as far, up to a second.
    pub(crate) fn on_beat(&mut self, now: u64) {
        self.last_beat = now;
        self.unanswered += 1;
        self.beat_every = (self.beat_every * 2).min(BEAT_MAX);
        self.beat_at = now + self.beat_every;
    }

    /// Whether it answers no heartbeat: it may have dropped the stream.
    pub(crate) fn is_silent(&self) -> bool {
        self.unanswered > UNANSWERED_MAX
    }

    /// (Re)starts heartbeats two round trips from now.
    pub(crate) fn arm_beat(&mut self, now: u64, srtt: u64) {
        self.beat_every = (2 * srtt).clamp(BEAT_MIN, BEAT_MAX);
        self.beat_at = now + self.beat_every;
        if mutant(Mutant::TailUnasked) {
            self.beat_at = 0;
        }
    }
}

/// Least reordering window: the two sockets of a shard and a scheduler's slice reorder by as much.
const MIN_REORDER: u64 = 1_000_000;
/// While nodes are sent to, they are looked at at least so often, in ns, if this node gets a core.
const ASKED_EVERY: u64 = 10_000_000;
/// Time for which a node held up others is forgiven in so many times as much.
const FORGIVEN: u64 = 3;
/// Heartbeats without an answer: some 2.3 s of them on a short path, longer on others.
const UNANSWERED_MAX: u32 = 8;
const BEAT_MIN: u64 = 5_000_000;
const BEAT_MAX: u64 = 1_000_000_000;

// When the batch left that `counter` was first sent in; 0 if that is forgotten.
fn batch_at(batches: &VecDeque<Batch>, counter: u64) -> u64 {
    let ix = batches.partition_point(|b| b.to <= counter);
    batches
        .get(ix)
        .filter(|b| b.from <= counter)
        .map_or(0, |b| b.at)
}

// Calls `f` with each run of ones in `word`, half open.
fn runs(word: u64, mut f: impl FnMut(u64, u64)) {
    let mut at = 0;
    while at < 64 {
        let rest = word >> at;
        if rest == 0 {
            return;
        }
        let from = at + u64::from(rest.trailing_zeros());
        let ones = u64::from((!(word >> from)).trailing_zeros()).min(64 - from);
        f(from, from + ones);
        at = from + ones;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn live(sent: u64) -> Node {
        let mut node = Node::new(PeerIx(1));
        node.open(0, 0);
        node.standing = Standing::Live;
        for n in 0..sent {
            node.on_sent(n + 1, 100, (n + 1) * 10 * MS);
        }
        node
    }

    fn round(now: u64) -> Round<'static> {
        Round {
            len: &|_| 100,
            srtt: 8 * MS,
            longest: 8 * MS,
            now,
        }
    }

    fn ack(node: &mut Node, floor: u64, word: u64, now: u64) -> Progress {
        let recent = floor
            .saturating_sub(1)
            .max(floor + 63_u64.saturating_sub(word.leading_zeros().into()));
        node.on_ack(floor, [word].into_iter(), recent, &round(now))
    }

    #[test]
    fn runs_finds_every_run_of_ones() {
        for word in [0, 1, u64::MAX, 0b1011_0001, 1 << 63, u64::MAX << 60, 0xf0f0] {
            let mut built = 0u64;
            runs(word, |a, b| (a..b).for_each(|bit| built |= 1 << bit));
            assert_eq!(built, word);
        }
    }

    #[test]
    fn time_for_which_others_are_held_up_adds_up_and_is_forgiven() {
        let mut node = live(1);
        assert_eq!(node.hold_up(true, 100 * MS), 0);
        assert_eq!(node.hold_up(true, 104 * MS), 4 * MS);
        assert_eq!(node.hold_up(false, 107 * MS), 7 * MS);
        assert_eq!(node.hold_up(true, 110 * MS), 6 * MS);
        // The publisher itself did nothing for a while.
        assert_eq!(node.hold_up(true, 210 * MS), 16 * MS);
        assert_eq!(node.hold_up(false, 215 * MS), 21 * MS);
        assert_eq!(node.hold_up(false, 217 * MS), 21 * MS - 2 * MS / FORGIVEN);
    }

    #[test]
    fn an_acknowledgement_counts_each_byte_once() {
        let mut node = live(10);
        assert_eq!(ack(&mut node, 3, 0b110, 101 * MS).acked, 500);
        assert_eq!(ack(&mut node, 3, 0b110, 102 * MS).acked, 0);
        assert_eq!((node.floor, node.has(4), node.has(3)), (3, true, false));
        assert_eq!(
            ack(&mut node, 6, 0, 103 * MS).acked,
            0,
            "it had left the flight when it was judged lost"
        );
        assert_eq!(node.in_flight, 400);
    }

    #[test]
    fn a_hole_is_lost_a_round_trip_and_a_reordering_window_after_it_was_sent() {
        let mut node = Node::new(PeerIx(1));
        node.open(0, 0);
        node.on_sent(2, 200, 10 * MS);
        assert_eq!(ack(&mut node, 0, 0b10, 18 * MS).lost, 0);
        assert_eq!(node.judge_at, 20 * MS);
        let mut progress = Progress::default();
        node.judge(&round(20 * MS), &mut progress);
        assert_eq!((progress.lost, progress.lost_sent_at), (100, 10 * MS));
        assert!(node.lost.contains(&0) && node.judge_at == 0);
        assert_eq!(ack(&mut node, 0, 0b10, 23 * MS).lost, 0, "lost once");
    }

    #[test]
    fn the_lost_tail_is_found_by_a_heartbeat() {
        let mut node = live(2);
        node.on_beat(60 * MS);
        assert_eq!(node.on_beat_answered(&round(68 * MS)).lost, 200);
    }

    #[test]
    fn what_arrives_after_it_was_judged_lost_widens_nothing_twice() {
        let mut node = live(3);
        assert_eq!(ack(&mut node, 0, 0b100, 60 * MS).lost, 200);
        let progress = ack(&mut node, 3, 0, 61 * MS);
        assert_eq!((progress.spurious, progress.acked), (Some(20 * MS), 0));
        assert_eq!(ack(&mut node, 3, 0, 62 * MS).spurious, None);
    }

    #[test]
    fn an_acknowledgement_of_what_was_not_sent_is_ignored() {
        let mut node = live(2);
        assert_eq!(ack(&mut node, 3, 0, 50 * MS), Progress::default());
        assert_eq!(ack(&mut node, 0, u64::MAX, 50 * MS).acked, 200);
        assert_eq!(node.floor, 2);
    }

    #[test]
    fn a_repair_answered_faster_than_half_a_round_trip_was_spurious() {
        let mut node = live(3);
        ack(&mut node, 0, 0b110, 40 * MS);
        node.on_repaired(0, 100, 41 * MS);
        assert_eq!(ack(&mut node, 3, 0, 43 * MS).spurious, Some(10 * MS));
    }
}
