//! A large message shares its stream with others: design section 5, at most 16 fragments between other records.

use tidings_protocol::Outcome;
use tidings_tests::net::{MS, Manner, Net, Rule, S};

use crate::common::*;

const MIB: usize = 1 << 20;
/// 100 Mbit/s with 5 ms each way; 30 ms of it may wait in a queue.
const SLOW: Rule = Rule {
    rate: Some((12_500_000, 375_000)),
    ..Rule::far(5)
};

/// A subscription of node 1 to two topics of node 0, whose link is slow.
fn slow_pair(seed: u64, ordered: bool) -> (Net, u32, [u32; 2]) {
    let mut net = mesh_with(seed, 2, |_, c| c.policy.max_message = 4 * MIB);
    let sub = net.subscribe(1, "*", |s| s.ordered = ordered);
    effective(&mut net, 1, sub);
    let handles = ["large", "small"].map(|topic| net.publisher(0, topic));
    for handle in handles {
        net.publish_surely(0, handle, b"the definition goes with this one");
    }
    assert!(net.settle(0, S));
    net.link(0, 1, SLOW);
    // What the path costs when it is new is paid.
    net.publish_surely(0, handles[0], &bytes(2 * MIB, 3));
    assert!(net.settle(0, 10 * S));
    (net, sub, handles)
}

fn at_of(net: &Net, sub: u32, payload: &[u8]) -> u64 {
    let got = got(net, 1, sub).into_iter();
    let mut found = got.filter(|got| got.payload == payload).map(|got| got.at);
    found.next().expect("it arrived")
}

#[test]
fn short_messages_do_not_wait_for_a_large_one() {
    let (mut net, sub, [large, small]) = slow_pair(1, true);
    let began = net.now();
    let big = bytes(4 * MIB, 5);
    net.publish_surely(0, large, &big);
    let mut short = Vec::new();
    for n in 0..25 {
        let payload = format!("short {n}").into_bytes();
        net.publish_surely(0, small, &payload);
        short.push((net.now(), payload));
        net.run(10 * MS);
    }
    assert!(net.settle(0, 20 * S), "{:?}", net.outcomes(0));
    let whole = at_of(&net, sub, &big) - began;
    assert!(whole > 330 * MS, "the path is slow: {} ms", whole / MS);
    let waits = short
        .iter()
        .map(|(at, payload)| at_of(&net, sub, payload) - at);
    let worst = waits.max().expect("some");
    println!("{} ms, short ones {} ms", whole / MS, worst / MS);
    // The path, its queue, and a round trip for one repair.
    assert!(worst < 60 * MS, "a short one took {} ms", worst / MS);
    assert_quiet(&mut net, &[0, 1]);
}

#[test]
fn a_publisher_may_go_on_behind_its_own_large_message() {
    for ordered in [true, false] {
        let (mut net, sub, [large, _]) = slow_pair(2, ordered);
        let mut sent = vec![bytes(4 * MIB, 7)];
        sent.extend(lines(8000));
        sent.push(bytes(MIB, 9));
        sent.extend(lines(10));
        publish_all(&mut net, 0, large, &sent);
        assert!(net.settle(0, 30 * S), "{:?}", net.outcomes(0));
        let got = net.payloads(1, sub);
        // Behind what `slow_pair` sent.
        if ordered {
            assert!(got[3..] == sent);
        } else {
            assert!(same(got[3..].to_vec(), &sent));
        }
        assert_eq!(delivered(&net, 0), sent.len() as u64 + 3);
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn two_large_messages_share_the_path_and_a_third_waits() {
    let (mut net, sub, [large, other]) = slow_pair(3, false);
    let third = net.publisher(0, "third");
    let sent = [bytes(4 * MIB, 1), bytes(400_000, 3), bytes(400_000, 5)];
    for (handle, payload) in [large, other, third].into_iter().zip(&sent) {
        net.publish_surely(0, handle, payload);
    }
    assert!(net.settle(0, 30 * S), "{:?}", net.outcomes(0));
    let [first, second, third] = [0, 1, 2].map(|n| at_of(&net, sub, &sent[n]));
    assert!(second < third && third < first, "{first} {second} {third}");
    assert_quiet(&mut net, &[0, 1]);
}

#[test]
fn what_nobody_is_owed_any_more_is_not_sent() {
    let (mut net, sub, [large, small]) = slow_pair(4, true);
    let before = net.core(0).publish_counters().sent_bytes;
    net.publish_surely(0, large, &bytes(4 * MIB, 5));
    net.run(20 * MS);
    net.unsubscribe(1, sub);
    net.run(S);
    let sent = net.core(0).publish_counters().sent_bytes - before;
    assert!(sent < MIB as u64, "{sent} bytes");
    assert_eq!(count(&net, 0, Outcome::Unsubscribed), 1);
    let again = net.subscribe(1, "small", |_| {});
    effective(&mut net, 1, again);
    net.publish_surely(0, small, b"after");
    assert!(net.settle(0, S));
    assert_eq!(net.payloads(1, again), [b"after"]);
    assert_quiet(&mut net, &[0, 1]);
}

#[test]
fn who_joins_while_a_large_message_waits_that_it_is_not_owed_goes_on() {
    let mut net = mesh_with(6, 3, |_, c| {
        c.policy.max_message = 4 * MIB;
        c.policy.max_datagram = 1200;
    });
    for n in [1, 2] {
        let sub = net.subscribe(n, "*", |_| {});
        effective(&mut net, n, sub);
    }
    let [large, small] = ["large", "small"].map(|topic| net.publisher(0, topic));
    net.publish_surely(0, small, b"the stream is open");
    assert!(net.settle(0, 5 * S));
    for n in [1, 2] {
        net.link(0, n, SLOW);
    }
    net.publish_surely(0, large, &bytes(4 * MIB, 5));
    net.run(20 * MS);
    net.kill(2);
    net.start(2);
    let sub = net.subscribe(2, "*", |_| {});
    assert!(net.run_till(S, |net| net.core(2).is_synced()));
    net.run(60 * MS);
    assert_eq!(net.core(0).owed("small"), 2);
    net.publish_surely(0, small, b"after");
    assert!(net.settle(0, 10 * S), "{:?}", net.outcomes(0));
    assert_eq!(net.payloads(2, sub), [b"after"]);
}

#[test]
fn large_messages_arrive_whatever_happens_to_a_node_meanwhile() {
    for seed in 0..12u64 {
        let mut net = mesh_with(seed, 4, |_, c| c.policy.max_message = 4 * MIB);
        let subs: Vec<(usize, u32)> = (1..4)
            .map(|n| (n, net.subscribe(n, "*", |s| s.ordered = n % 2 == 1)))
            .collect();
        for &(n, sub) in &subs {
            effective(&mut net, n, sub);
        }
        let rule = Rule {
            loss: 5 * (seed as u32 % 3),
            ..SLOW
        };
        for n in 1..4 {
            net.link(0, n, rule);
        }
        let handles = ["a", "b"].map(|topic| net.publisher(0, topic));
        let mut sent = Vec::new();
        for n in 0..40u64 {
            let len = [4 * MIB, 300, 70_000, 8, 24_000, 500_000, 9][n as usize % 7];
            let payload = bytes(len - n as usize % 9, n + 1);
            net.publish_surely(0, handles[n as usize % 2], &payload);
            sent.push(payload);
            net.run(8 * MS);
            match (seed % 4, n) {
                (1, 10) => island(&mut net, 2, 4, Rule::CUT),
                (1, 30) => island(&mut net, 2, 4, rule),
                (2, 10) => net.kill(3),
                (2, 25) => net.start(3),
                (3, 15) => net.behave(1, subs[0].1, Manner::Room(0)),
                (3, 35) => net.behave(1, subs[0].1, Manner::Ack),
                _ => {}
            }
        }
        assert!(net.settle(0, 120 * S), "seed {seed}: {:?}", net.outcomes(0));
        for &(n, sub) in subs.iter().filter(|(n, _)| seed % 4 != 2 || *n != 3) {
            assert!(same(net.payloads(n, sub), &sent), "seed {seed} node {n}");
        }
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1, 2, 3]);
    }
}
