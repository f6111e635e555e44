//! Messages of every size, whole, live and by catch-up; datagrams as large as loopback carries.

use tidings_protocol::PublishError;
use tidings_protocol::limits::DATAGRAM_MAX;
use tidings_tests::net::{MS, Manner, Rule, S};
use tidings_wire::{Class, FAN_HEADER, MIN_DATAGRAM_SIZE, TAG};

use crate::common::*;

/// The largest payload that a datagram takes whole: less header, tag, MESSAGE and its number.
const fn one_datagram(size: usize) -> usize {
    size - FAN_HEADER - TAG - 16
}

/// What every path carries, and what these are found to.
const SIZES: [usize; 2] = [MIN_DATAGRAM_SIZE, 1448];
const MIB: usize = 1 << 20;

fn sizes() -> Vec<Vec<u8>> {
    let edges = SIZES.map(one_datagram);
    let around = edges.iter().flat_map(|edge| edge - 1..=edge + 1);
    let others = [0, 1, 65_536, MIB];
    around
        .chain(others)
        .map(|len| bytes(len, len as u64 + 3))
        .collect()
}

#[test]
fn messages_of_every_size_arrive_whole() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh(seed as u64, 3);
        net.all_links(rule);
        let subs: Vec<(usize, u32)> = (0..3)
            .map(|n| (n, net.subscribe(n, "t", |s| s.ordered = n == 1)))
            .collect();
        net.run(2 * S);
        let handle = net.publisher(0, "t");
        let sent = sizes();
        publish_all(&mut net, 0, handle, &sent);
        assert!(net.settle(0, 30 * S), "seed {seed}: {:?}", net.outcomes(0));
        for (n, sub) in subs {
            assert!(same(net.payloads(n, sub), &sent), "seed {seed} node {n}");
        }
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn messages_of_every_size_arrive_whole_by_catch_up() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh(seed as u64, 2);
        net.all_links(rule);
        let sub = net.subscribe(1, "t", |s| s.ordered = true);
        net.run(2 * S);
        net.behave(1, sub, Manner::Room(0));
        let handle = net.publisher(0, "t");
        let sent = sizes();
        publish_all(&mut net, 0, handle, &sent);
        net.run(3 * S);
        assert!(got(&net, 1, sub).is_empty());
        net.behave(1, sub, Manner::Ack);
        assert!(net.settle(0, 30 * S), "seed {seed}: {:?}", net.outcomes(0));
        assert!(net.payloads(1, sub) == sent, "seed {seed}");
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn exactly_one_datagram_is_one_and_a_byte_more_is_two() {
    let cases = SIZES.map(|size| [(size, 0, 1), (size, 1, 2)]);
    for (size, more, datagrams) in cases.into_iter().flatten() {
        let len = one_datagram(size) + more;
        let mut net = mesh_with(1, 2, move |_, c| c.policy.max_datagram = size);
        let sub = net.subscribe(1, "t", |_| {});
        effective(&mut net, 1, sub);
        let handle = net.publisher(0, "t");
        net.publish_surely(0, handle, b"the definition goes with this one");
        net.run(S);
        let before = net.core(0).publish_counters().sealed;
        net.publish_surely(0, handle, &bytes(len, 9));
        assert!(net.settle(0, S));
        assert!(net.core(0).publish_counters().sealed - before == datagrams);
    }
}

#[test]
fn four_mebibytes_arrive_with_the_cap_raised() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh_with(seed as u64, 3, |_, c| c.policy.max_message = 4 * MIB);
        net.all_links(rule);
        let subs: Vec<(usize, u32)> = (1..3)
            .map(|n| (n, net.subscribe(n, "t", |s| s.ordered = true)))
            .collect();
        net.run(2 * S);
        let handle = net.publisher(0, "t");
        let sent = vec![bytes(4 * MIB, 5), b"after".to_vec()];
        publish_all(&mut net, 0, handle, &sent);
        assert!(net.settle(0, 60 * S), "seed {seed}: {:?}", net.outcomes(0));
        for (n, sub) in subs {
            assert!(net.payloads(n, sub) == sent, "seed {seed} node {n}");
        }
        assert!(
            net.publish(0, handle, &vec![0; 4 * MIB + 1])
                == Err(PublishError::TooLarge { limit: 4 * MIB })
        );
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn one_byte_above_is_refused_with_the_limit_and_takes_no_number() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |s| s.ordered = true);
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    assert!(
        net.publish(0, handle, &vec![0; MIB + 1]) == Err(PublishError::TooLarge { limit: MIB })
    );
    assert!(net.publish_surely(0, handle, b"x").seq == 0);
    assert!(net.settle(0, S));
}

#[test]
fn lost_fragments_are_repaired() {
    for seed in 0..3 {
        let mut net = mesh(seed, 2);
        let sub = net.subscribe(1, "t", |_| {});
        effective(&mut net, 1, sub);
        let rule = Rule {
            loss: 200,
            ..Rule::HOSTILE
        };
        net.all_links(rule);
        let handle = net.publisher(0, "t");
        let sent: Vec<Vec<u8>> = (0..6).map(|n| bytes(100_000, n + 1)).collect();
        publish_all(&mut net, 0, handle, &sent);
        assert!(net.settle(0, 60 * S), "seed {seed}: {:?}", net.outcomes(0));
        assert!(same(net.payloads(1, sub), &sent), "seed {seed}");
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn large_messages_that_do_not_fit_the_memory_together_all_arrive() {
    const PUBLISHERS: usize = 8;
    for seed in 0..2 {
        let mut net = mesh_with(seed, PUBLISHERS + 1, |_, c| c.policy.max_message = 4 * MIB);
        let subs: Vec<u32> = [true, false]
            .map(|ordered| net.subscribe(0, "t", |s| s.ordered = ordered))
            .to_vec();
        net.run(2 * S);
        // As fast as each other, so that their parts come by turns.
        for n in 1..=PUBLISHERS {
            net.one_way(
                n,
                0,
                Rule {
                    rate: Some((4_000_000, 400_000)),
                    ..Rule::far(5)
                },
            );
        }
        let sent: Vec<Vec<u8>> = (1..=PUBLISHERS).map(|n| bytes(4 * MIB, n as u64)).collect();
        for (n, payload) in sent.iter().enumerate() {
            let handle = net.publisher(n + 1, "t");
            net.publish_surely(n + 1, handle, payload);
        }
        let mut peak = 0;
        let settled = net.run_till(60 * S, |net| {
            peak = peak.max(net.core(0).memory().1);
            (1..=PUBLISHERS).all(|n| net.owing(n) == 0)
        });
        assert!(settled, "seed {seed}");
        for &sub in &subs {
            assert!(same(net.payloads(0, sub), &sent), "seed {seed}");
        }
        assert!(peak <= 16 * MIB, "seed {seed}: {peak} bytes");
        let all = |class: Class| -> u64 {
            let count = |n| net.sent.get(&(n, 0, class as u8)).map_or(0, |c| c.1);
            (1..=PUBLISHERS).map(count).sum()
        };
        let (fan, bulk) = (all(Class::Fan) >> 20, all(Class::Bulk) >> 20);
        assert!(fan + bulk < 32 * 4, "seed {seed}: {fan} and {bulk} MiB");
        println!(
            "seed {seed}: {fan} and {bulk} MiB, {} ms",
            net.now() / 1_000_000
        );
        let nodes: Vec<usize> = (0..=PUBLISHERS).collect();
        assert_quiet(&mut net, &nodes);
    }
}

#[test]
fn on_loopback_a_datagram_holds_what_a_chunk_does_and_small_ones_share_chunks() {
    for size in [DATAGRAM_MAX, 8952] {
        let mut net = mesh_with(1, 2, move |_, c| {
            (c.rcvbuf, c.policy.max_datagram) = (4 << 20, size)
        });
        let sub = net.subscribe(1, "t", |s| s.ordered = true);
        effective(&mut net, 1, sub);
        let handle = net.publisher(0, "t");
        let sent: Vec<Vec<u8>> = (0..3000).map(|n| bytes(100, n)).collect();
        publish_all(&mut net, 0, handle, &sent[..10]);
        net.run(5 * S);
        net.keep_datagrams();
        let taken = net.publish_all(0, handle, sent[10..2010].iter().map(|m| &m[..]));
        assert!(taken.is_ok() && net.settle(0, S));
        let longest = net.kept_from(0).map(|(_, bytes)| bytes.len()).max();
        assert!(
            longest.is_some_and(|longest| (size - 200..=size).contains(&longest)),
            "{longest:?} of {size} bytes"
        );
        // Nothing comes back: each turn's datagram stays in the store, with others in one chunk.
        net.one_way(1, 0, Rule::CUT);
        let before = net.core(0).memory().0;
        publish_slowly(&mut net, 0, handle, &sent[2010..], MS / 10);
        let stored = net.core(0).memory().0 - before;
        assert!(stored <= 6 << 16, "{stored} bytes for 990 datagrams of 200");
        net.link(0, 1, Rule::GOOD);
        assert!(net.settle(0, 20 * S));
        assert!(net.payloads(1, sub) == sent);
    }
}

#[test]
fn what_waits_for_a_node_is_bounded_in_bytes_however_large_its_datagrams_are() {
    let mut net = mesh_with(1, 2, |_, c| {
        (c.rcvbuf, c.policy.max_datagram) = (4 << 20, DATAGRAM_MAX)
    });
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    net.publish_surely(0, handle, b"the path has shown what it carries");
    net.run(5 * S);
    net.one_way(1, 0, Rule::CUT);
    let message = bytes(60_000, 1);
    let mut accepted = 0;
    while net.publish(0, handle, &message).is_ok() {
        accepted += message.len();
        assert!(
            accepted < 32 << 20,
            "publishers wait before the store is full"
        );
    }
    // 4 MiB wait behind what is in flight, at most as much.
    assert!((4 << 20..9 << 20).contains(&accepted), "{accepted}");
    net.one_way(1, 0, Rule::GOOD);
    assert!(net.settle(0, 20 * S));
}
