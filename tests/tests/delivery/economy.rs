//! What goes over the wire, and how much: streams, many topics, secrecy, one trace for one seed.

use std::collections::BTreeMap;

use tidings_tests::net::{MS, Manner, Net, Rule, S};
use tidings_wire::Class;

use crate::common::*;

#[test]
fn a_hundred_thousand_topics_share_datagrams_and_memory_stays_bounded() {
    let mut net = mesh(1, 3);
    let subs: Vec<(usize, u32)> = (1..3)
        .map(|n| (n, net.subscribe(n, "t.*", |_| {})))
        .collect();
    net.run(2 * S);
    let payload = bytes(64, 3);
    let mut peak = 0;
    for turn in 0..1000u32 {
        let handles: Vec<u32> = (0..100)
            .map(|n| net.publisher(0, &format!("t.{}", turn * 100 + n)))
            .collect();
        net.publish_each(0, &handles, &payload);
        net.run(MS);
        peak = peak.max(net.core(0).memory().0);
    }
    assert!(net.settle(0, 10 * S), "{}", net.owing(0));
    for (n, sub) in subs {
        assert!(got(&net, n, sub).len() == 100_000, "node {n}");
    }
    let sealed = net.core(0).publish_counters().sealed;
    assert!(100_000 / sealed >= 8, "{sealed} datagrams");
    assert!(peak <= 8 << 20, "the store held {peak} bytes");
    assert_quiet(&mut net, &[0, 1, 2]);
}

#[test]
fn no_payload_and_no_topic_is_readable_on_any_link() {
    let mut net = mesh(1, 3);
    net.keep_datagrams();
    let sub = net.subscribe(1, "very.private.*", |s| s.client = "till".into());
    net.run(2 * S);
    net.behave(1, sub, Manner::Room(1));
    let handle = net.publisher(0, "very.private.topic");
    for _ in 0..20 {
        net.publish_surely(0, handle, b"attack at dawn, attack at dawn");
    }
    net.run(S);
    net.behave(1, sub, Manner::Ack);
    assert!(net.settle(0, 5 * S));
    for needle in [&b"attack at"[..], b"very.private", b"topic", b"till"] {
        let read = net
            .kept_datagrams()
            .any(|d| d.windows(needle.len()).any(|w| w == needle));
        assert!(!read, "{} is readable", String::from_utf8_lossy(needle));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_over_a_long_mixed_run() {
    let run = |seed| {
        let mut net = mesh(seed, 4);
        net.all_links(Rule::HOSTILE);
        let sub = net.subscribe(1, "*", |s| s.client = "till".into());
        net.subscribe(2, "a.*", |s| s.ordered = true);
        net.run(S);
        let handles = [net.publisher(0, "a.x"), net.publisher(3, "b")];
        for n in 0..600 {
            net.publish_surely(0, handles[0], &bytes(n * 7 % 3000, n as u64 + 1));
            net.publish_surely(3, handles[1], &lines(1)[0]);
            net.run(2 * MS);
            match n {
                100 => net.detach(1, sub),
                200 => net.attach(1, sub),
                300 => net.kill(2),
                350 => net.start(2),
                400 => island(&mut net, 1, 4, Rule::CUT),
                500 => island(&mut net, 1, 4, Rule::HOSTILE),
                _ => {}
            }
        }
        net.run(20 * S);
        (net.trace(), net.seen(1).got.len())
    };
    let (first, second) = (run(7), run(7));
    assert!(first == second, "the same");
    assert!(first.0 != run(8).0, "another seed, another trace");
}

#[test]
fn no_counter_of_a_key_seals_two_datagrams_over_restarts_and_partitions() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh(seed as u64, 4);
        net.keep_datagrams();
        net.all_links(rule);
        for n in 1..4 {
            net.subscribe(n, "*", |s| s.client = "till".into());
        }
        net.run(S);
        let mut handle = net.publisher(0, "t");
        for n in 0..3000 {
            let _ = net.publish(0, handle, &bytes(n % 2000, n as u64 + 1));
            net.run(MS);
            match n % 600 {
                100 => net.kill(2),
                200 => net.start(2),
                300 => island(&mut net, 1, 4, Rule::CUT),
                400 => island(&mut net, 1, 4, rule),
                500 => {
                    net.kill(0);
                    net.run(MS);
                    net.start(0);
                    net.run(6 * S);
                    handle = net.publisher(0, "t");
                }
                _ => {}
            }
        }
        let mut seals: BTreeMap<Vec<u8>, &[u8]> = BTreeMap::new();
        let mut counts = [0; 5];
        for from in 0..4 {
            for (to, datagram) in net.kept_from(from) {
                let class = Class::of(datagram[0]).expect("of ours");
                // What decides key and nonce, as far as a header shows it. A handshake that was tried twice may have
                // made two sessions of one index: the simulator, which knows all keys, tells those apart.
                let (header, is_sure) = match class {
                    Class::Hello => (64, true),
                    Class::Fan => (32, true),
                    Class::Pair | Class::Bulk => (16, seed == 0),
                };
                let mut key = datagram[..header].to_vec();
                if class != Class::Fan {
                    key.extend(to.to_string().bytes());
                }
                key.push(from as u8);
                let same = seals.insert(key, datagram).is_none_or(|d| d == datagram);
                assert!(same || !is_sure, "seed {seed}: two {class:?}");
                counts[class as usize] += 1;
            }
        }
        assert!(counts[1..].iter().all(|count| *count > 20), "{counts:?}");
    }
}

#[test]
fn topics_with_the_same_subscriber_nodes_share_one_stream() {
    let mut net = mesh(1, 4);
    for n in 1..3 {
        for pattern in ["a", "b", "c.*"] {
            let sub = net.subscribe(n, pattern, |_| {});
            effective(&mut net, n, sub);
        }
    }
    for topic in ["a", "b", "c.d", "c.e"] {
        let handle = net.publisher(0, topic);
        publish_all(&mut net, 0, handle, &lines(3));
    }
    assert!(net.settle(0, S));
    assert!(net.core(0).stream_counts().0 == 1);
    assert!(net.core(1).stream_counts().1 == 1);
}

// Nodes whose subscriber sets never repeat: every message goes to another set.
fn shuffle_sets(net: &mut Net, nodes: usize, rounds: u64) -> u64 {
    let mut owed = 0;
    for round in 1..=rounds {
        let topic = format!("t{round}");
        for n in (1..nodes).filter(|n| round >> (n - 1) & 1 == 1) {
            net.subscribe(n, &topic, |_| {});
            owed += 1;
        }
    }
    net.run(3 * S);
    owed
}

#[test]
fn more_sets_than_streams_are_served_and_receivers_forget_those_that_are_no_more() {
    let mut net = mesh(1, 11);
    let owed = shuffle_sets(&mut net, 11, 700);
    for round in 1..=700 {
        let handle = net.publisher(0, &format!("t{round}"));
        net.publish_surely(0, handle, b"x");
        net.run(2 * MS);
    }
    assert!(net.settle(0, 10 * S), "{}", net.owing(0));
    assert!(delivered(&net, 0) == owed);
    net.run(2 * S);
    assert!(net.core(0).stream_counts().0 <= 256);
    for n in 1..11 {
        let open = net.core(n).stream_counts().1;
        assert!(open <= 256, "node {n} has {open} streams open");
    }
}

#[test]
fn more_sets_than_streams_that_all_wait_for_a_held_message_block_nobody() {
    let mut net = mesh(1, 11);
    shuffle_sets(&mut net, 11, 400);
    for n in 1..11 {
        for sub in net.subscriptions(n) {
            net.behave(n, sub, Manner::Keep);
        }
    }
    for round in 1..=400 {
        let handle = net.publisher(0, &format!("t{round}"));
        net.publish_surely(0, handle, b"x");
        net.run(2 * MS);
    }
    net.run(3 * S);
    let got: usize = (1..11).map(|n| net.seen(n).got.len()).sum();
    assert!(got as u64 == net.owing(0), "all arrived, none acknowledged");
    for n in 1..11 {
        for sub in net.subscriptions(n) {
            let held: Vec<_> = got_of(&net, n, sub);
            for (publisher, seq) in held {
                net.acknowledge(n, sub, publisher, seq, false);
            }
        }
    }
    assert!(net.settle(0, 10 * S), "{}", net.owing(0));
    // Streams are free again: the next message of a topic that had none goes by one.
    let handle = net.publisher(0, "t399");
    let before = net.core(0).publish_counters().sealed;
    net.run(S);
    net.publish_surely(0, handle, b"x");
    net.run(S);
    assert!(net.core(0).publish_counters().sealed > before);
}

fn got_of(net: &Net, n: usize, sub: u32) -> Vec<(tidings_protocol::PublisherId, u64)> {
    got(net, n, sub)
        .iter()
        .map(|g| (g.publisher, g.seq))
        .collect()
}

#[test]
fn an_idle_overlay_sends_no_payload_class_at_all() {
    let mut net = mesh(1, 3);
    for n in 0..3 {
        let sub = net.subscribe(n, "t", |_| {});
        effective(&mut net, n, sub);
    }
    let handle = net.publisher(0, "t");
    publish_all(&mut net, 0, handle, &lines(10));
    assert!(net.settle(0, S));
    net.run(5 * S);
    let fan = |net: &Net| -> u64 { (1..3).map(|n| net.datagrams(0, n, Class::Fan)).sum() };
    let (before, beats) = (fan(&net), net.core(0).publish_counters().beats);
    net.run(30 * S);
    assert!(fan(&net) == before);
    assert!(
        net.core(0).publish_counters().beats == beats,
        "nor heartbeats"
    );
}

#[test]
fn publishers_that_come_and_go_leave_nothing_at_either_end() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh(seed as u64, 3);
        net.all_links(rule);
        let subs = [0, 1, 2].map(|n| net.subscribe(n, "*", |s| s.ordered = n == 1));
        net.run(2 * S);
        let open = net.publisher(0, "t.open");
        for round in 0..300 {
            let handle = net.publisher(0, &format!("t.{round}"));
            net.publish_surely(0, handle, b"x");
            net.publish_surely(0, open, b"x");
            net.drive(0, |core, _, _| {
                core.close_publisher(handle).expect("it is open")
            });
            net.run(5 * MS);
            if round == 150 {
                island(&mut net, 2, 3, Rule::CUT);
            }
            if round == 200 {
                net.run(10 * S);
                island(&mut net, 2, 3, rule);
            }
        }
        assert!(net.settle(0, 30 * S), "seed {seed}: {}", net.owing(0));
        net.run(10 * S);
        assert!(net.core(0).publisher_counts() == (1, 1), "seed {seed}");
        for (n, sub) in subs.into_iter().enumerate() {
            assert!(got(&net, n, sub).len() == 600, "seed {seed} node {n}");
            let known = net.core(n).publisher_counts().1;
            assert!(known == 1, "seed {seed}: node {n} knows {known}");
        }
        // A publisher that still waits for an acknowledgement is kept, and its gap is told.
        net.behave(1, subs[1], Manner::Keep);
        let last = net.publisher(0, "t.last");
        let id = net.publisher_id(0, last);
        net.publish_surely(0, last, b"x");
        net.drive(0, |core, _, _| {
            core.close_publisher(last).expect("it is open")
        });
        net.run(5 * S);
        assert!(net.core(1).publisher_counts().1 == 2, "seed {seed}");
        assert!(net.acknowledge(1, subs[1], id, 0, false) == 1);
        net.run(5 * S);
        assert!(net.core(0).publisher_counts() == (1, 1), "seed {seed}");
        assert!(net.core(1).publisher_counts().1 == 1, "seed {seed}");
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}
