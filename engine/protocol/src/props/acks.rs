//! Acknowledgements of a stream's node against sets of datagrams: what arrived is counted once, what is lost is repaired, and
//! what is in flight is neither.

use std::collections::BTreeSet;

use super::Input;
use crate::limits::STREAM_WINDOW;
use crate::peer::PeerIx;
use crate::publish::node::{Node, Progress, Round, Standing};

const MS: u64 = 1_000_000;

fn len(counter: u64) -> u64 {
    100 + counter % 7
}

fn bytes(of: impl Iterator<Item = u64>) -> u64 {
    of.map(len).sum()
}

struct Oracle {
    received: BTreeSet<u64>,
    lost: BTreeSet<u64>,
    // Sent more than once or judged lost at any time.
    doubtful: BTreeSet<u64>,
    first: u64,
    next: u64,
    now: u64,
}

impl Oracle {
    fn round(&self) -> Round<'static> {
        Round {
            len: &len,
            srtt: 8 * MS,
            longest: 9 * MS,
            now: self.now,
        }
    }

    fn in_flight(&self) -> u64 {
        bytes(
            (self.first..self.next)
                .filter(|c| !self.received.contains(c) && !self.lost.contains(c)),
        )
    }

    fn floor(&self) -> u64 {
        (self.first..)
            .find(|counter| !self.received.contains(counter))
            .unwrap_or(self.first)
    }

    // Enters what was newly judged.
    fn judged(&mut self, node: &Node, progress: &Progress) {
        assert!(node.judge_at == 0 || node.judge_at > self.now);
        let lost: Vec<u64> = node.lost.difference(&self.lost).copied().collect();
        assert_eq!(progress.lost_count, lost.len() as u64);
        assert_eq!(progress.lost, bytes(lost.iter().copied()));
        assert!(
            lost.iter()
                .all(|counter| (self.floor()..self.next).contains(counter))
        );
        self.doubtful.extend(&lost);
        self.lost.extend(lost);
    }

    fn same(&self, node: &Node) {
        assert_eq!((node.floor, node.next), (self.floor(), self.next));
        assert_eq!(node.lost, self.lost);
        assert!(node.lost.is_disjoint(&self.received));
        assert_eq!(node.in_flight, self.in_flight());
        for counter in self.first.saturating_sub(2)..self.next + 2 {
            let has = counter < self.first || self.received.contains(&counter);
            assert_eq!(node.has(counter), has, "{counter}");
        }
    }
}

/// A node is sent to, acknowledges truly or not, is repaired and asked.
pub fn acks(data: &[u8]) {
    let mut input = Input::new(data);
    let first = u64::from(input.u16());
    let mut node = Node::new(PeerIx(1));
    node.open(first, MS);
    node.standing = Standing::Live;
    let mut oracle = Oracle {
        received: BTreeSet::new(),
        lost: BTreeSet::new(),
        doubtful: BTreeSet::new(),
        first,
        next: first,
        now: MS,
    };
    let mut steps = 0;
    while !input.is_empty() && steps < 128 {
        steps += 1;
        oracle.now += u64::from(input.u8()) * MS / 8;
        match input.u8() {
            op @ 0..64 => send(&mut node, &mut oracle, u64::from(op % 32)),
            64..200 => acknowledge(&mut node, &mut oracle, &mut input),
            200..224 => {
                if let Some(counter) = oracle.lost.pop_first() {
                    node.on_repaired(counter, len(counter), oracle.now);
                }
            }
            224..232 => node.on_beat(oracle.now),
            232..244 => {
                let progress = node.on_beat_answered(&oracle.round());
                oracle.judged(&node, &progress);
            }
            244..250 => node.on_spurious(8 * MS),
            _ => {
                let mut progress = Progress::default();
                node.judge(&oracle.round(), &mut progress);
                oracle.judged(&node, &progress);
            }
        }
        oracle.same(&node);
    }
    assert_eq!(node.close(oracle.next, oracle.now), oracle.in_flight());
}

fn send(node: &mut Node, oracle: &mut Oracle, count: u64) {
    assert_eq!(node.window(), oracle.floor() + STREAM_WINDOW - oracle.next);
    let to = oracle.next + count.min(node.window());
    if to > oracle.next {
        node.on_sent(to, bytes(oracle.next..to), oracle.now);
        oracle.next = to;
    }
}

fn acknowledge(node: &mut Node, oracle: &mut Oracle, input: &mut Input<'_>) {
    // From some way below the floor to just above what was sent.
    let shift = i64::from(input.u8() as i8) / 4;
    let floor = oracle
        .floor()
        .saturating_add_signed(shift)
        .min(oracle.next + 1);
    let words: Vec<u64> = (0..input.u8() % 4).map(|_| input.u64()).collect();
    let recent = floor + input.below(80);
    let progress = node.on_ack(floor, words.iter().copied(), recent, &oracle.round());
    if floor > oracle.next {
        assert_eq!(progress, Progress::default(), "a lie changes nothing");
        return;
    }
    let bit = |at: u64| words[(at / 64) as usize] >> (at % 64) & 1 != 0;
    let named = (0..64 * words.len() as u64)
        .filter(|at| bit(*at))
        .map(|at| floor + at);
    let claimed = (oracle.first..floor).chain(named);
    let claimed = claimed.filter(|c| (oracle.first..oracle.next).contains(c));
    let new: BTreeSet<u64> = claimed.filter(|c| !oracle.received.contains(c)).collect();
    assert_eq!(progress.acked, bytes(new.difference(&oracle.lost).copied()));
    let is_sample = new.contains(&recent) && !oracle.doubtful.contains(&recent);
    assert!(
        is_sample || progress.sent_at.is_none(),
        "a sample is new and was sent once"
    );
    assert!(progress.spurious.is_none() || !new.is_disjoint(&oracle.doubtful));
    oracle.lost.retain(|counter| !new.contains(counter));
    oracle.received.extend(new);
    oracle.judged(node, &progress);
}
