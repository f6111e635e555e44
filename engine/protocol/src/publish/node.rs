//! One subscriber node of one stream as its publisher sees it: what it has, what is in flight, what is lost.
//!
//! Loss is judged by time (RFC 8985 in spirit): a datagram is lost when one sent a reordering window later has arrived.

use std::collections::{BTreeSet, VecDeque};

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

/// What an acknowledgement showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes newly known received.
    pub(crate) acked: u64,
    /// When the newest of them was sent, if it was sent once only: a round-trip sample.
    pub(crate) sent_at: Option<u64>,
    /// Bytes newly judged lost.
    pub(crate) lost: u64,
    /// When the newest of the lost was sent.
    pub(crate) lost_sent_at: u64,
    /// A repair was answered too soon: the original had arrived.
    pub(crate) spurious: bool,
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
    received: RangeSet,
    batches: VecDeque<Batch>,
    repaired: Vec<(u64, u64)>,
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
    // Reordering window in ns beyond srtt/4.
    reorder: u64,
    lagging_since: u64,
    lagging_asked: u64,
}

impl Node {
    pub(crate) fn new(peer: PeerIx) -> Self {
        Node {
            peer,
            standing: Standing::Out,
            floor: 0,
            next: 0,
            received: RangeSet::default(),
            batches: VecDeque::new(),
            repaired: Vec::new(),
            lost: BTreeSet::new(),
            sent_bytes: 0,
            credit: 0,
            in_flight: 0,
            progress: 0,
            beat_at: 0,
            beat_every: 0,
            last_beat: 0,
            reorder: 0,
            lagging_since: 0,
            lagging_asked: 0,
        }
    }

    /// Begins the live stream at `floor`.
    pub(crate) fn open(&mut self, floor: u64, now: u64) {
        let peer = self.peer;
        *self = Node {
            standing: Standing::Opening,
            floor,
            next: floor,
            progress: now,
            ..Node::new(peer)
        };
    }

    /// Takes the node out of the live stream; the bytes that were in flight are returned for the congestion controller.
    pub(crate) fn close(&mut self) -> u64 {
        let in_flight = self.in_flight;
        let (peer, floor, next) = (self.peer, self.floor, self.next);
        *self = Node {
            floor,
            next,
            ..Node::new(peer)
        };
        in_flight
    }

    pub(crate) fn is_live(&self) -> bool {
        self.standing == Standing::Live
    }

    /// Since when the node has been holding up others, asked at least every so often while it does.
    pub(crate) fn lagging_since(&mut self, now: u64) -> u64 {
        // A pause in the asking means that it had caught up.
        if now > self.lagging_asked + LAG_PAUSE || self.lagging_since == 0 {
            self.lagging_since = now;
        }
        self.lagging_asked = now;
        self.lagging_since
    }

    /// Whether `counter` was ever sent to it.
    pub(crate) fn was_sent(&self, counter: u64) -> bool {
        counter < self.next
    }

    /// How many new datagrams its window admits.
    pub(crate) fn window(&self) -> u64 {
        (self.floor + limits::STREAM_WINDOW).saturating_sub(self.next)
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
        self.next = to;
        self.sent_bytes += bytes;
        self.in_flight += bytes;
    }

    /// Accounts the repair of one datagram.
    pub(crate) fn on_repaired(&mut self, counter: u64, bytes: u64, now: u64) {
        self.lost.remove(&counter);
        self.repaired.retain(|(c, _)| *c != counter);
        self.repaired.push((counter, now));
        self.in_flight += bytes;
    }

    fn repaired_at(&self, counter: u64) -> Option<u64> {
        self.repaired
            .iter()
            .find(|(c, _)| *c == counter)
            .map(|(_, at)| *at)
    }

    fn batch_at(&self, counter: u64) -> u64 {
        let ix = self.batches.partition_point(|b| b.to <= counter);
        self.batches
            .get(ix)
            .filter(|b| b.from <= counter)
            .map_or(0, |b| b.at)
    }

    fn sent_at(&self, counter: u64) -> u64 {
        self.repaired_at(counter)
            .unwrap_or_else(|| self.batch_at(counter))
    }

    /// Whether it has the datagram.
    pub(crate) fn has(&self, counter: u64) -> bool {
        counter < self.floor || self.received.contains(counter)
    }

    /// Takes an acknowledgement: a floor and a bitmap from it on. `len` gives a datagram's length; anything beyond `next` is a
    /// lie and is ignored.
    pub(crate) fn on_ack(
        &mut self,
        floor: u64,
        words: impl Iterator<Item = u64>,
        len: impl Fn(u64) -> u64,
        srtt: u64,
        min_rtt: u64,
        now: u64,
    ) -> Progress {
        let mut progress = Progress::default();
        if floor > self.next {
            return progress;
        }
        let mut newest = None;
        if floor > self.floor {
            self.take(self.floor, floor, &len, &mut progress, &mut newest);
        }
        for (ix, word) in words.enumerate() {
            let base = floor + 64 * ix as u64;
            runs(word, |from, to| {
                let (from, to) = ((base + from).max(self.floor), (base + to).min(self.next));
                self.take(from, to, &len, &mut progress, &mut newest);
            });
        }
        self.advance(floor);
        if let Some(newest) = newest {
            self.judge_newest(newest, min_rtt, now, &mut progress);
            self.progress = now;
            let sent = self.sent_at_newest(newest);
            self.lose_before(sent, newest, srtt, &len, &mut progress);
        }
        if self.floor == self.next {
            self.progress = now;
        }
        self.repaired
            .retain(|(c, _)| *c >= self.floor && !self.received.contains(*c));
        progress
    }

    fn sent_at_newest(&self, newest: u64) -> u64 {
        self.sent_at(newest)
    }

    // Marks `from..to` received and counts what is new.
    fn take(
        &mut self,
        from: u64,
        to: u64,
        len: &impl Fn(u64) -> u64,
        p: &mut Progress,
        newest: &mut Option<u64>,
    ) {
        if from >= to {
            return;
        }
        let (lost, mut bytes, mut last) = (&mut self.lost, 0, None);
        self.received.holes(from, to, |a, b| {
            for counter in a..b {
                // A lost one left the flight when it was lost.
                if lost.is_empty() || !lost.remove(&counter) {
                    bytes += len(counter);
                }
            }
            last = Some(b - 1);
        });
        p.acked += bytes;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.received.insert(from, to);
        if let Some(last) = last {
            *newest = Some(newest.map_or(last, |n: u64| n.max(last)));
        }
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

    fn judge_newest(&mut self, newest: u64, min_rtt: u64, now: u64, progress: &mut Progress) {
        match self.repaired_at(newest) {
            None => progress.sent_at = Some(self.batch_at(newest)).filter(|at| *at > 0),
            // Answered faster than the path is long.
            Some(at) if now.saturating_sub(at) < min_rtt => progress.spurious = true,
            Some(_) => {}
        }
    }

    /// Widens or narrows the reordering window with experience.
    pub(crate) fn on_spurious(&mut self, srtt: u64) {
        self.reorder = (self.reorder + srtt / 4).min(srtt);
    }

    // All unacknowledged below `newest` and sent a reordering window before `sent` are lost.
    fn lose_before(
        &mut self,
        sent: u64,
        newest: u64,
        srtt: u64,
        len: &impl Fn(u64) -> u64,
        progress: &mut Progress,
    ) {
        let window = (srtt / 4).max(self.reorder).max(MIN_REORDER);
        let Some(horizon) = sent.checked_sub(window) else {
            return;
        };
        let mut found = Vec::new();
        self.received
            .holes(self.floor, newest, |a, b| found.push((a, b)));
        for counter in found.into_iter().flat_map(|(a, b)| a..b) {
            self.lose_if(counter, horizon, len, progress);
        }
        while self.batches.front().is_some_and(|b| b.to <= self.floor) {
            self.batches.pop_front();
        }
    }

    fn lose_if(
        &mut self,
        counter: u64,
        horizon: u64,
        len: &impl Fn(u64) -> u64,
        progress: &mut Progress,
    ) {
        let at = self.sent_at(counter);
        if at < horizon && self.lost.insert(counter) {
            progress.lost += len(counter);
            progress.lost_sent_at = progress.lost_sent_at.max(at);
            self.in_flight = self.in_flight.saturating_sub(len(counter));
        }
    }

    /// The node answered a heartbeat: what was sent well before that heartbeat and is not there is lost, the tail included.
    pub(crate) fn on_beat_answered(&mut self, srtt: u64, len: impl Fn(u64) -> u64) -> Progress {
        let mut progress = Progress::default();
        let window = (srtt / 4).max(self.reorder).max(MIN_REORDER);
        let Some(horizon) = self.last_beat.checked_sub(window) else {
            return progress;
        };
        let mut found = Vec::new();
        self.received
            .holes(self.floor, self.next, |a, b| found.push((a, b)));
        for counter in found.into_iter().flat_map(|(a, b)| a..b) {
            self.lose_if(counter, horizon, &len, &mut progress);
        }
        progress
    }

    /// A heartbeat leaves; the next is twice as far, up to a second.
    pub(crate) fn on_beat(&mut self, now: u64) {
        self.last_beat = now;
        self.beat_every = (self.beat_every * 2).min(BEAT_MAX);
        self.beat_at = now + self.beat_every;
    }

    /// (Re)starts heartbeats two round trips from now.
    pub(crate) fn arm_beat(&mut self, now: u64, srtt: u64) {
        self.beat_every = (2 * srtt).clamp(BEAT_MIN, BEAT_MAX);
        self.beat_at = now + self.beat_every;
    }
}

/// Least reordering window: the two sockets of a shard and a scheduler's slice reorder by as much.
const MIN_REORDER: u64 = 1_000_000;
/// A node not found lagging for this long has caught up in between, in ns.
const LAG_PAUSE: u64 = 5_000_000;
const BEAT_MIN: u64 = 5_000_000;
const BEAT_MAX: u64 = 1_000_000_000;

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

    fn ack(node: &mut Node, floor: u64, word: u64, now: u64) -> Progress {
        node.on_ack(floor, [word].into_iter(), |_| 100, 8 * MS, 8 * MS, now)
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
    fn a_hole_is_lost_only_a_reordering_window_later() {
        let mut node = Node::new(PeerIx(1));
        node.open(0, 0);
        node.on_sent(1, 100, 10 * MS);
        node.on_sent(2, 100, 10 * MS + MS / 2);
        node.on_sent(3, 100, 14 * MS);
        assert_eq!(ack(&mut node, 0, 0b10, 20 * MS).lost, 0);
        let progress = ack(&mut node, 0, 0b110, 22 * MS);
        assert_eq!((progress.lost, progress.lost_sent_at), (100, 10 * MS));
        assert!(node.lost.contains(&0));
        assert_eq!(ack(&mut node, 0, 0b110, 23 * MS).lost, 0, "lost once");
    }

    #[test]
    fn the_lost_tail_is_found_by_a_heartbeat() {
        let mut node = live(2);
        node.on_beat(60 * MS);
        assert_eq!(node.on_beat_answered(8 * MS, |_| 100).lost, 200);
    }

    #[test]
    fn an_acknowledgement_of_what_was_not_sent_is_ignored() {
        let mut node = live(2);
        assert_eq!(ack(&mut node, 3, 0, 50 * MS), Progress::default());
        assert_eq!(ack(&mut node, 0, u64::MAX, 50 * MS).acked, 200);
        assert_eq!(node.floor, 2);
    }

    #[test]
    fn a_repair_answered_faster_than_the_path_was_spurious() {
        let mut node = live(3);
        ack(&mut node, 0, 0b110, 40 * MS);
        node.on_repaired(0, 100, 41 * MS);
        assert!(ack(&mut node, 3, 0, 43 * MS).spurious);
    }
}
