//! Live and catch-up: deferred subscriptions, clients that come and go, nodes that fall behind, partitions.

use tidings_protocol::Outcome;
use tidings_tests::net::{MS, Manner, Net, Rule, S};
use tidings_wire::Class;

use crate::common::*;

#[test]
fn a_node_that_is_back_is_told_at_once_what_it_is_owed() {
    for seed in 0..2 {
        let mut net = mesh(seed, 2);
        // Nothing would be offered again for a minute.
        let sub = net.subscribe(1, "t", |s| {
            s.redelivery = Some(tidings_protocol::Redelivery {
                attempts: 0,
                every_ms: 60_000,
            });
        });
        effective(&mut net, 1, sub);
        let handle = net.publisher(0, "t");
        net.publish_surely(0, handle, b"the stream is open");
        assert!(net.settle(0, S));
        net.link(0, 1, Rule::CUT);
        publish_all(&mut net, 0, handle, &lines(10));
        let linked = |net: &Net| net.core(0).peers().iter().any(|p| p.address.is_some());
        assert!(net.run_till(30 * S, |net| !linked(net)), "it is held dead");
        net.link(0, 1, Rule::GOOD);
        assert!(net.run_till(30 * S, linked), "it is back");
        assert!(net.settle(0, S), "seed {seed}: {}", net.owing(0));
        assert!(got(&net, 1, sub).len() == 11);
    }
}

#[test]
fn a_client_that_detaches_gets_what_it_had_not_acknowledged_again_and_flagged() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        for (owner, ordered) in [(0, false), (1, false), (0, true), (1, true)] {
            let mut net = mesh(seed as u64, 2);
            net.all_links(rule);
            let sub = net.subscribe(owner, "t", |s| {
                (s.client, s.ordered) = ("till".into(), ordered);
            });
            net.run(2 * S);
            net.behave(owner, sub, Manner::Keep);
            let handle = net.publisher(0, "t");
            let id = net.publisher_id(0, handle);
            let sent = lines(300);
            publish_slowly(&mut net, 0, handle, &sent[..100], MS);
            net.run(S);
            for seq in (0..100).filter(|seq| seq % 3 == 0) {
                net.acknowledge(owner, sub, id, seq, false);
            }
            net.detach(owner, sub);
            publish_slowly(&mut net, 0, handle, &sent[100..200], MS);
            net.run(S);
            assert!(got(&net, owner, sub).len() == 100, "nobody is there");
            net.seen_mut(owner).manners.insert(sub, Manner::Ack);
            net.attach(owner, sub);
            publish_slowly(&mut net, 0, handle, &sent[200..], MS);
            assert!(net.settle(0, 15 * S), "seed {seed} owner {owner} {ordered}");
            assert!(delivered(&net, 0) == 300);
            let second: Vec<_> = got(&net, owner, sub)[100..].to_vec();
            let again = second.iter().filter(|g| g.again).count();
            assert!(
                (second.len(), again) == (266, 66),
                "seed {seed} owner {owner} {ordered}"
            );
            assert!(second.iter().all(|g| g.again == (g.seq < 100)));
            assert_quiet(&mut net, &[0, 1]);
        }
    }
}

#[test]
fn clients_that_come_and_go_often_lose_nothing() {
    for seed in 0..4 {
        let mut net = mesh(seed, 2);
        net.all_links(RULES[seed as usize % 2]);
        let sub = net.subscribe(1, "t", |s| s.client = "till".into());
        net.run(2 * S);
        let handle = net.publisher(0, "t");
        let sent = lines(2000);
        for (n, payload) in sent.iter().enumerate() {
            net.publish_surely(0, handle, payload);
            net.run(MS);
            match n % 40 {
                10 => net.behave(1, sub, Manner::Room(5)),
                20 => net.detach(1, sub),
                30 => net.attach(1, sub),
                35 => net.behave(1, sub, Manner::Ack),
                _ => {}
            }
        }
        assert!(net.settle(0, 15 * S), "seed {seed}: {}", net.owing(0));
        let mut numbers = seqs(&net, 1, sub);
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() == 2000, "seed {seed}");
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn a_deferred_subscription_stops_no_other_on_its_node() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh(seed as u64, 2);
        net.all_links(rule);
        let full = net.subscribe(1, "t", |_| {});
        let free = net.subscribe(1, "t", |s| s.ordered = true);
        let other = net.subscribe(1, "u", |_| {});
        net.run(2 * S);
        net.behave(1, full, Manner::Room(0));
        let (t, u) = (net.publisher(0, "t"), net.publisher(0, "u"));
        let sent = lines(500);
        for payload in &sent {
            net.publish_surely(0, t, payload);
            net.publish_surely(0, u, payload);
            net.run(MS);
        }
        net.run(S);
        assert!(net.payloads(1, free) == sent && same(net.payloads(1, other), &sent));
        assert!(net.owing(0) == 500, "seed {seed}");
        net.behave(1, full, Manner::Ack);
        assert!(net.settle(0, 10 * S), "seed {seed}");
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn a_partition_heals_and_nothing_that_the_store_holds_is_lost() {
    for seed in 0..4 {
        let mut net = mesh(seed, 4);
        let subs: Vec<(usize, u32)> = (0..4)
            .map(|n| (n, net.subscribe(n, "t", |s| s.ordered = true)))
            .collect();
        net.run(2 * S);
        let handles = [net.publisher(0, "t"), net.publisher(3, "t")];
        let rule = RULES[seed as usize % 2];
        for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            net.link(a, b, Rule::CUT);
        }
        let sent = lines(400);
        for payload in &sent {
            net.publish_surely(0, handles[0], payload);
            net.publish_surely(3, handles[1], payload);
            net.run(50 * MS);
        }
        net.all_links(rule);
        assert!(
            net.settle(0, 60 * S) && net.settle(3, 60 * S),
            "seed {seed}"
        );
        assert!(delivered(&net, 0) == 1600 && delivered(&net, 3) == 1600);
        for &(n, sub) in &subs {
            assert!(got(&net, n, sub).len() == 800, "seed {seed} node {n}");
        }
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1, 2, 3]);
    }
}

#[test]
fn a_short_cut_is_repaired_on_the_live_stream() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |s| s.ordered = true);
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    let sent = lines(600);
    for (n, payload) in sent.iter().enumerate() {
        net.publish_surely(0, handle, payload);
        net.run(MS);
        match n {
            200 => net.link(0, 1, Rule::CUT),
            300 => net.link(0, 1, Rule::GOOD),
            _ => {}
        }
    }
    assert!(net.settle(0, 5 * S) && net.payloads(1, sub) == sent);
    let counters = net.core(0).publish_counters();
    assert!(
        (counters.behind, counters.catchup) == (0, 0),
        "identical bytes again"
    );
}

#[test]
fn a_node_that_falls_behind_catches_up_and_goes_live_again_without_holding_up_others() {
    for seed in 0..3 {
        let mut net = mesh(seed, 3);
        let subs: Vec<(usize, u32)> = (1..3)
            .map(|n| (n, net.subscribe(n, "t", |s| s.ordered = true)))
            .collect();
        net.run(2 * S);
        // 200 kB/s where 1 MB/s is published.
        let narrow = Rule {
            rate: Some((200_000, 30_000)),
            ..Rule::far(2)
        };
        net.one_way(0, 1, narrow);
        let handle = net.publisher(0, "t");
        let sent: Vec<Vec<u8>> = (0..6000).map(|n| bytes(1000, n + 1)).collect();
        let began = net.now();
        publish_slowly(&mut net, 0, handle, &sent, MS);
        let took = net.now() - began;
        assert!(
            took < 7 * S,
            "seed {seed}: publishing took {} ms",
            took / MS
        );
        net.run(S / 2);
        assert!(net.payloads(2, subs[1].1) == sent, "seed {seed}");
        assert!(net.core(0).publish_counters().behind > 0, "seed {seed}");
        net.all_links(Rule::GOOD);
        assert!(net.settle(0, 60 * S), "seed {seed}: {}", net.owing(0));
        assert!(net.payloads(1, subs[0].1) == sent, "seed {seed}");
        let before = net.core(0).publish_counters().catchup;
        publish_slowly(&mut net, 0, handle, &lines(100), MS);
        assert!(net.settle(0, 5 * S));
        let live = net.core(0).publish_counters().catchup == before;
        assert!(live, "seed {seed}: it is back on the live stream");
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn catch_up_keeps_the_original_ids_and_is_no_second_copy() {
    let mut net = mesh(5, 3);
    net.all_links(Rule::HOSTILE);
    let sub = net.subscribe(1, "*", |_| {});
    net.run(2 * S);
    let handles: Vec<u32> = (0..20)
        .map(|n| net.publisher(0, &format!("t.{n}")))
        .collect();
    for round in 0..60 {
        for &handle in &handles {
            net.publish_surely(0, handle, format!("{handle} {round}").as_bytes());
        }
        net.run(20 * MS);
        if round == 10 {
            island(&mut net, 1, 3, Rule::CUT);
        }
        if round == 40 {
            net.run(10 * S);
            island(&mut net, 1, 3, Rule::HOSTILE);
        }
    }
    assert!(net.settle(0, 30 * S), "{}", net.owing(0));
    assert!(got(&net, 1, sub).len() == 1200);
    for got in got(&net, 1, sub) {
        let round = format!("{} {}", got.publisher.handle, got.seq);
        assert!(got.payload == round.as_bytes(), "under its own id");
    }
    assert!(count(&net, 0, Outcome::Delivered) == 1200);
}

#[test]
fn nothing_is_sealed_again_for_a_node_in_catch_up() {
    let mut net = mesh(1, 3);
    let sub = net.subscribe(1, "t", |_| {});
    net.subscribe(2, "t", |_| {});
    net.run(2 * S);
    net.behave(1, sub, Manner::Room(0));
    let handle = net.publisher(0, "t");
    publish_slowly(&mut net, 0, handle, &lines(100), MS);
    let sealed = net.core(0).publish_counters().sealed;
    let fan = net.datagrams(0, 1, Class::Fan);
    net.behave(1, sub, Manner::Ack);
    assert!(net.settle(0, 5 * S));
    assert!(net.core(0).publish_counters().sealed == sealed && sealed == 100);
    assert!(net.datagrams(0, 1, Class::Fan) == fan, "it comes in BULK");
}

#[test]
fn a_subscription_that_is_resumed_ordered_sees_no_number_out_of_order() {
    for seed in 0..3 {
        for owner in [0, 1] {
            let mut net = mesh(seed, 2);
            net.all_links(Rule::HOSTILE);
            net.subscribe(owner, "t", |s| s.client = "till".into());
            net.run(2 * S);
            let handle = net.publisher(0, "t");
            publish_slowly(&mut net, 0, handle, &lines(200), MS);
            // The books demand the order from here on.
            let sub = net.subscribe(owner, "t", |s| {
                (s.client, s.ordered) = ("till".into(), true);
            });
            publish_slowly(&mut net, 0, handle, &lines(400), MS);
            assert!(net.settle(0, 10 * S), "seed {seed} owner {owner}");
            assert!(got(&net, owner, sub).len() == 600);
            net.all_links(Rule::GOOD);
            assert_quiet(&mut net, &[0, 1]);
        }
    }
}

#[test]
fn a_subscription_that_is_resumed_unordered_waits_for_no_hole() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |s| {
        (s.client, s.ordered) = ("till".into(), true);
    });
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    net.publish_surely(0, handle, b"the stream is open");
    assert!(net.settle(0, S));
    // So far that a repair takes its time.
    net.all_links(Rule::far(50));
    let lose = |net: &mut Net| {
        net.one_way(0, 1, Rule::CUT);
        net.publish_surely(0, handle, b"lost");
        net.run(MS);
        net.one_way(0, 1, Rule::far(50));
    };
    lose(&mut net);
    net.publish_surely(0, handle, b"held back");
    net.run(60 * MS);
    assert!(seqs(&net, 1, sub) == [0], "it is behind a hole");
    net.subscribe(1, "t", |s| s.client = "till".into());
    assert!(
        seqs(&net, 1, sub) == [0, 2],
        "nothing is held back any more"
    );
    lose(&mut net);
    net.publish_surely(0, handle, b"after");
    net.run(60 * MS);
    assert!(seqs(&net, 1, sub).contains(&4), "on arrival");
    net.all_links(Rule::GOOD);
    assert!(net.settle(0, 5 * S));
    assert_quiet(&mut net, &[0, 1]);
}

#[test]
fn many_topics_with_a_message_each_are_caught_up_with_in_seconds() {
    const TOPICS: usize = 10_000;
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "*", |s| s.client = "till".into());
    effective(&mut net, 1, sub);
    net.detach(1, sub);
    let handles: Vec<u32> = (0..TOPICS)
        .map(|n| net.publisher(0, &format!("t.{n}")))
        .collect();
    for handles in handles.chunks(100) {
        net.publish_each(0, handles, b"x");
        net.run(10 * MS);
    }
    net.run(S);
    net.all_links(Rule::far(20));
    net.attach(1, sub);
    assert!(net.settle(0, 3 * S), "{} are left", net.owing(0));
    assert!(got(&net, 1, sub).len() == TOPICS);
    assert_quiet(&mut net, &[0, 1]);
}

#[test]
fn what_found_no_room_is_fetched_though_newer_messages_never_cease() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    let payload = bytes(64, 1);
    // More than there is room for at once comes in each burst, and all the time something comes: in the long run there is room.
    for burst in 0..300 {
        let count = if burst % 10 == 0 { 6_000 } else { 600 };
        let many = std::iter::repeat_n(&payload[..], count);
        assert!(net.publish_all(0, handle, many).is_ok());
        net.behave(1, sub, Manner::Room(2_000));
        net.run(MS);
    }
    net.behave(1, sub, Manner::Ack);
    assert!(net.settle(0, 10 * S));
    let came = got(&net, 1, sub);
    assert!(came.len() == 30 * (6_000 + 9 * 600));
    let (mut highest, mut late) = (0, 0);
    for message in came {
        highest = highest.max(message.seq);
        late = late.max(highest - message.seq);
    }
    assert!(late < 12_000, "{late} came before an older one");
}
