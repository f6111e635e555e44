//! Each datagram of a stream is sealed once, and counted once, however many nodes it goes to and however it was closed.

use tidings_tests::net::S;

use crate::common::*;

const MESSAGES: usize = 5_000;

// Publishes the same messages to so many subscriber nodes; returns the publisher's sealings and what it sent.
fn sealings(nodes: usize, len: usize, a_turn: usize) -> (u64, u64) {
    let mut net = mesh(1, nodes + 1);
    let subs: Vec<(usize, u32)> = (1..=nodes)
        .map(|n| (n, net.subscribe(n, "t", |_| {})))
        .collect();
    for &(n, sub) in &subs {
        effective(&mut net, n, sub);
    }
    let (handle, payload) = (net.publisher(0, "t"), bytes(len, 3));
    for _ in 0..MESSAGES / a_turn {
        net.publish_each(0, &vec![handle; a_turn], &payload);
        // All are acknowledged before the next, so that neither windows nor room change what shares a datagram.
        assert!(net.settle(0, 5 * S), "{}", net.owing(0));
    }
    for (n, sub) in subs {
        assert!(got(&net, n, sub).len() == MESSAGES, "node {n}");
    }
    let counters = net.core(0).publish_counters();
    assert!(counters.accepted == MESSAGES as u64);
    (counters.sealed, counters.sent)
}

#[test]
fn the_same_messages_take_the_same_sealings_for_one_node_and_for_three() {
    for (len, a_turn) in [(64, 1), (64, 100), (1_000, 100), (10_000, 10)] {
        let (one, to_one) = sealings(1, len, a_turn);
        let (three, to_three) = sealings(3, len, a_turn);
        assert!(one == three, "{len} B: {one} sealings, then {three}");
        // Each goes to each node once: none was sent that was not counted, none counted that was not sent.
        assert!(to_one == one && to_three == 3 * one, "{len} B");
    }
}

#[test]
fn full_datagrams_and_those_that_a_flush_closed_are_counted() {
    // One a turn: each is closed by its flush.
    assert!(sealings(1, 64, 1).0 == MESSAGES as u64);
    // A hundred a turn, some sixteen in a datagram of at least 1,200 B: nearly all are full.
    let (shared, _) = sealings(1, 64, 100);
    let turns = (MESSAGES / 100) as u64;
    assert!(shared >= 5 * turns && shared <= 8 * turns, "{shared}");
    // Ten thousand bytes do not fit one: eight of 1,448 B at least each, or nine of 1,200.
    let (parts, _) = sealings(1, 10_000, 10);
    assert!(
        parts >= 8 * MESSAGES as u64 && parts <= 10 * MESSAGES as u64,
        "{parts}"
    );
}
