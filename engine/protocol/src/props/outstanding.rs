//! What a publisher's messages wait for, against a set of (message, subscription) pairs.

use std::collections::{BTreeMap, BTreeSet};

use super::Input;
use crate::peer::PeerIx;
use crate::publish::outstanding::{DatagramId, Outstanding};
use crate::tables::index::SubRef;

/// The pairs one by one.
#[derive(Default)]
struct Oracle {
    subs: BTreeSet<SubRef>,
    pending: BTreeSet<(SubRef, u64)>,
    /// Datagrams of each message.
    datagrams: BTreeMap<u64, Vec<DatagramId>>,
    /// Pairs that each datagram waits for.
    waiting: BTreeMap<DatagramId, i64>,
    next: u64,
}

impl Oracle {
    fn push(&mut self, datagrams: Vec<DatagramId>) {
        for datagram in &datagrams {
            *self.waiting.entry(*datagram).or_default() += self.subs.len() as i64;
        }
        self.pending
            .extend(self.subs.iter().map(|sub| (*sub, self.next)));
        self.datagrams.insert(self.next, datagrams);
        self.next += 1;
    }

    // What of the range was not settled, and which datagrams are rid of how much.
    fn settle(&mut self, sub: SubRef, from: u64, to: u64) -> (Vec<u64>, BTreeMap<DatagramId, i64>) {
        let range = (sub, from)..(sub, to.max(from));
        let told: Vec<u64> = self.pending.range(range).map(|(_, seq)| *seq).collect();
        let mut freed: BTreeMap<DatagramId, i64> = BTreeMap::new();
        for seq in &told {
            self.pending.remove(&(sub, *seq));
            for datagram in &self.datagrams[seq] {
                *freed.entry(*datagram).or_default() += 1;
            }
        }
        for (datagram, pairs) in &freed {
            *self.waiting.entry(*datagram).or_default() -= pairs;
        }
        (told, freed)
    }

    fn unsettled(&self, sub: SubRef) -> Option<(u64, u64)> {
        let mut range = self.pending.range((sub, 0)..=(sub, u64::MAX));
        let first = range.next()?.1;
        Some((first, range.next_back().map_or(first, |(_, seq)| *seq) + 1))
    }
}

fn sub(n: u64) -> SubRef {
    SubRef {
        peer: PeerIx(n as u32 % 3),
        sub: n as u32,
    }
}

/// Subscriptions come and go, messages are published and settled.
pub fn outstanding(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut out, mut oracle) = (Outstanding::default(), Oracle::default());
    let (mut route, mut counter, mut steps) = (1, 0, 0);
    while !input.is_empty() && steps < 400 {
        steps += 1;
        match input.u8() {
            op @ 0..24 => {
                route += u64::from(oracle.subs.insert(sub(u64::from(op) % 6)));
            }
            op @ 24..48 => {
                let sub = sub(u64::from(op) % 6);
                if oracle.subs.remove(&sub) {
                    route += 1;
                    settle(&mut out, &mut oracle, sub, (0, u64::MAX));
                    out.disown(sub);
                }
            }
            op @ 48..150 => {
                let count = if op < 56 { 1 + u64::from(op & 7) } else { 1 };
                counter += u64::from(op & 1 == 0 || count > 1);
                publish(&mut out, &mut oracle, route, (counter, count));
                counter += count - 1;
            }
            op => {
                let sub = sub(u64::from(op) % 6);
                let from = input.below(oracle.next + 4);
                let to = from + u64::from(input.u8() % 32);
                settle(&mut out, &mut oracle, sub, (from, to));
            }
        }
        same(&out, &oracle);
    }
    for sub in oracle.subs.clone() {
        settle(&mut out, &mut oracle, sub, (0, u64::MAX));
    }
    assert!(out.is_empty() && oracle.pending.is_empty());
    assert!(oracle.waiting.values().all(|left| *left == 0));
}

fn publish(out: &mut Outstanding, oracle: &mut Oracle, route: u64, (at, count): (u64, u64)) {
    if oracle.subs.is_empty() {
        // Nobody waits for it.
        oracle.next += 1;
        return;
    }
    let id = |n| DatagramId {
        stream: route as u32,
        counter: at + n,
    };
    let subs: Vec<SubRef> = oracle.subs.iter().copied().collect();
    out.owe(route, &subs, oracle.next, 0);
    // What follows in the same datagram may be added by itself or to what is there.
    if count == 1 && oracle.next.is_multiple_of(2) && out.is_continued(route, oracle.next, id(0)) {
        out.extend(1, subs.len() as u32);
    } else {
        out.push(oracle.next, id(0), count as u32, subs.len() as u32, 0);
    }
    oracle.push((0..count).map(id).collect());
}

fn settle(out: &mut Outstanding, oracle: &mut Oracle, sub: SubRef, (from, to): (u64, u64)) {
    let (expected, free) = oracle.settle(sub, from, to);
    let mut told = Vec::new();
    let mut freed: BTreeMap<DatagramId, i64> = BTreeMap::new();
    let tell = |a, b| told.extend(a..b);
    let mut aged = 0;
    let age = |_, pairs| aged += pairs;
    out.settle(sub, (from, to), tell, age, |datagram, pairs| {
        *freed.entry(datagram).or_default() += i64::from(pairs);
    });
    assert_eq!(aged, told.len() as u64, "each pair has an age");
    assert_eq!((told, freed), (expected, free));
}

fn same(out: &Outstanding, oracle: &Oracle) {
    assert_eq!(out.is_empty(), oracle.pending.is_empty());
    for n in 0..6 {
        assert_eq!(out.unsettled(sub(n)), oracle.unsettled(sub(n)));
    }
    let pending: u64 = out
        .spans(0, u64::MAX)
        .map(|span| u64::from(span.pending))
        .sum();
    assert_eq!(pending, oracle.pending.len() as u64);
}
