//! Nodes that are killed and come back: sentences 2 and 5.

use tidings_protocol::Outcome;
use tidings_tests::net::{MS, Manner, Net, Rule, S};
use tidings_wire::Class;

use crate::common::*;

fn named(net: &mut Net, n: usize) -> u32 {
    net.subscribe(n, "file", |s| {
        (s.client, s.ordered) = ("till".into(), true);
    })
}

#[test]
fn a_killed_subscriber_misses_nothing_and_its_duplicates_are_flagged() {
    for seed in 0..6 {
        let mut net = mesh(seed, 3);
        let rule = RULES[seed as usize % 2];
        net.all_links(rule);
        let stays = net.subscribe(2, "file", |s| s.ordered = true);
        let sub = named(&mut net, 1);
        net.run(2 * S);
        if seed >= 2 {
            net.behave(1, sub, Manner::Keep);
        }
        let handle = net.publisher(0, "file");
        let id = net.publisher_id(0, handle);
        let sent = lines(3000);
        publish_slowly(&mut net, 0, handle, &sent[..1000], MS / 2);
        if seed >= 2 {
            net.acknowledge(1, sub, id, 700, true);
            (800..900).filter(|seq| seq % 7 == 0).for_each(|seq| {
                net.acknowledge(1, sub, id, seq, false);
            });
        }
        net.run(MS * (seed * 3));
        net.kill(1);
        let first = got(&net, 1, sub).len();
        publish_slowly(&mut net, 0, handle, &sent[1000..1500], MS / 2);
        net.start(1);
        publish_slowly(&mut net, 0, handle, &sent[1500..2000], MS / 2);
        net.seen_mut(1).manners.insert(sub, Manner::Ack);
        assert!(named(&mut net, 1) == sub, "it is the same subscription");
        publish_slowly(&mut net, 0, handle, &sent[2000..], MS / 2);
        assert!(net.settle(0, 60 * S), "seed {seed}: {}", net.owing(0));
        assert!(net.payloads(2, stays) == sent, "seed {seed}");
        assert!(
            delivered(&net, 0) == 6000,
            "seed {seed}: {:?}",
            net.outcomes(0)
        );
        let mut all = seqs(&net, 1, sub);
        all.sort_unstable();
        all.dedup();
        assert!(all.len() == 3000, "seed {seed}: nothing is missed");
        let later = &got(&net, 1, sub)[first..];
        assert!(
            later.windows(2).all(|w| w[0].seq < w[1].seq),
            "seed {seed}: in order"
        );
        assert!(
            // What was sent before the publisher knew that the subscription was gone, or is back, may have arrived: it hears that 0.1 s
            // later where the first try is lost.
            later.iter().filter(|g| g.again).all(|g| g.seq < 2300),
            "seed {seed}"
        );
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn a_subscriber_that_is_held_dead_and_comes_back_much_later_misses_nothing() {
    for lose_disk in [false, true] {
        let mut net = mesh(1, 3);
        let sub = named(&mut net, 1);
        effective(&mut net, 1, sub);
        let handle = net.publisher(0, "file");
        let sent = lines(600);
        publish_slowly(&mut net, 0, handle, &sent[..100], MS);
        assert!(net.settle(0, 2 * S));
        net.kill(1);
        if lose_disk {
            net.lose_disk(1);
        }
        net.run(20 * S);
        publish_slowly(&mut net, 0, handle, &sent[100..], MS);
        net.run(60 * S);
        net.start(1);
        named(&mut net, 1);
        assert!(net.settle(0, 30 * S), "{}", net.owing(0));
        assert!(net.payloads(1, sub) == sent);
        assert!(
            got(&net, 1, sub).iter().all(|g| !g.again),
            "none was sent before"
        );
    }
}

#[test]
fn what_somebody_passed_on_to_the_boot_before_may_come_again_and_says_so() {
    let mut net = mesh(1, 3);
    let sub = named(&mut net, 1);
    effective(&mut net, 1, sub);
    let other = net.subscribe(2, "file", |_| {});
    effective(&mut net, 2, other);
    // The stream is open there, which its publisher never hears: it sends nothing.
    net.one_way(1, 0, Rule::CUT);
    net.keep_datagrams();
    let handle = net.publisher(0, "file");
    net.publish_surely(0, handle, b"once");
    net.run(100 * MS);
    assert!(got(&net, 2, other).len() == 1 && got(&net, 1, sub).is_empty());
    let passed: Vec<Vec<u8>> = net
        .kept_from(0)
        .filter(|(to, bytes)| *to == net.address(2) && Class::of(bytes[0]) == Ok(Class::Fan))
        .map(|(_, bytes)| bytes.to_vec())
        .collect();
    passed.iter().for_each(|bytes| net.inject(0, 1, bytes));
    net.run(100 * MS);
    assert!(got(&net, 1, sub).len() == 1);
    net.kill(1);
    net.all_links(Rule::GOOD);
    net.start(1);
    named(&mut net, 1);
    assert!(net.settle(0, 30 * S), "{}", net.owing(0));
    let again: Vec<bool> = got(&net, 1, sub).iter().map(|got| got.again).collect();
    assert_eq!(again, [false, true]);
}

#[test]
fn what_was_given_up_while_a_node_was_away_is_told_to_its_next_boot() {
    let mut net = mesh_with(3, 2, |_, config| config.policy.retain = 4 << 20);
    let sub = named(&mut net, 1);
    effective(&mut net, 1, sub);
    net.kill(1);
    net.run(20 * S);
    // Of the first publisher nothing is left but its gap.
    for count in [100, 7900] {
        let handle = net.publisher(0, "file");
        for n in 0..count {
            net.publish_surely(0, handle, &bytes(1000, n));
        }
        net.drive(0, |core, _, _| core.close_publisher(handle));
    }
    net.run(2 * S);
    let lost = count(&net, 0, Outcome::Overflow);
    assert!((4000..5000).contains(&lost), "{lost} of 8000 given up");
    net.start(1);
    // The client takes its time: the node has told its empty table meanwhile.
    net.run(3 * S);
    assert!(named(&mut net, 1) == sub, "it is the same subscription");
    assert!(net.settle(0, 30 * S), "{}", net.owing(0));
    net.run(S);
    let told = gaps(&net, 1, sub);
    let missing: u64 = told.iter().map(|(from, to, _)| to - from).sum();
    assert!(missing == lost, "{told:?} of {lost}");
    assert!(got(&net, 1, sub).len() as u64 == 8000 - lost);
    assert!(delivered(&net, 0) == 8000 - lost);
}

#[test]
fn a_publisher_that_restarts_is_another_and_its_subscribers_go_on() {
    for seed in 0..6 {
        let mut net = mesh(seed, 3);
        net.all_links(RULES[seed as usize % 2]);
        let subs: Vec<(usize, u32)> = (0..2)
            .map(|n| (n, net.subscribe(n, "t", |s| s.ordered = true)))
            .collect();
        net.run(2 * S);
        for life in 0..4 {
            let handle = net.publisher(2, "t");
            let sent = lines(300);
            let before: Vec<usize> = subs.iter().map(|(n, s)| got(&net, *n, *s).len()).collect();
            publish_slowly(&mut net, 2, handle, &sent, MS / 4);
            if life % 2 == 0 {
                assert!(net.settle(2, 20 * S), "seed {seed} life {life}");
                for (&(n, sub), before) in subs.iter().zip(before) {
                    assert!(
                        net.payloads(n, sub)[before..] == sent,
                        "seed {seed} life {life}"
                    );
                }
            }
            net.kill(2);
            net.run(MS * (100 + 3000 * (life % 2)));
            net.start(2);
        }
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn what_an_earlier_life_subscribed_to_ends_though_both_dial_at_once() {
    for seed in 0..300 {
        let mut net = mesh_with(seed, 3, |_, c| c.policy.client_grace = 2 * S);
        net.all_links(Rule::far(20 + seed % 30));
        let sub = net.subscribe(1, "t", |s| s.client = "who does not come back".into());
        effective(&mut net, 1, sub);
        let other = net.subscribe(0, "other", |_| {});
        effective(&mut net, 0, other);
        let handle = net.publisher(0, "t");
        net.kill(1);
        for _ in 0..3 {
            net.publish_surely(0, handle, b"for whoever comes back");
            net.run(MS * (100 + 30 * (seed % 97)));
        }
        net.start(1);
        assert!(net.settle(0, 20 * S), "seed {seed}: {}", net.owing(0));
    }
}

#[test]
fn what_an_earlier_life_published_is_refused_after_it_though_it_is_news() {
    earlier_life_is_refused(0);
}

#[test]
fn what_an_earlier_life_published_is_refused_though_its_link_had_ended() {
    earlier_life_is_refused(150 * S);
}

// Datagrams kept back from a node that was down for so long are heard by its subscriber after it is back.
fn earlier_life_is_refused(down: u64) {
    for seed in 0..3 {
        let mut net = mesh(seed, 2);
        let sub = net.subscribe(1, "file", |_| {});
        effective(&mut net, 1, sub);
        let handle = net.publisher(0, "file");
        net.publish_surely(0, handle, b"heard");
        assert!(net.settle(0, S));
        // Somebody on the path keeps these to himself.
        net.one_way(0, 1, Rule::GOOD.without(Class::Fan));
        net.keep_datagrams();
        for _ in 0..8 {
            net.publish_surely(0, handle, b"kept back");
        }
        let is_fan = |bytes: &&[u8]| Class::of(bytes[0]) == Ok(Class::Fan);
        let back: Vec<Vec<u8>> = net
            .kept_datagrams()
            .filter(is_fan)
            .map(<[u8]>::to_vec)
            .collect();
        assert!(!back.is_empty(), "seed {seed}");
        net.kill(0);
        net.run(down);
        net.start(0);
        net.all_links(Rule::GOOD);
        net.run(2 * S);
        let handle = net.publisher(0, "file");
        net.publish_surely(0, handle, b"heard again");
        assert!(net.settle(0, 5 * S), "seed {seed}");
        let before = net.core(1).refusals().get("fan_session");
        for bytes in &back {
            net.inject(0, 1, bytes);
        }
        net.run(S);
        let refused = net.core(1).refusals().get("fan_session") - before;
        assert_eq!(refused, back.len() as u64, "seed {seed}");
        assert_eq!(net.payloads(1, sub), [&b"heard"[..], b"heard again"]);
    }
}

#[test]
fn everybody_restarts_in_turn_under_fire() {
    for seed in 0..3 {
        let mut net = mesh(seed, 4);
        net.all_links(Rule::HOSTILE);
        let sub = net.subscribe(3, "t", |s| s.client = "witness".into());
        net.run(2 * S);
        let handle = net.publisher(0, "t");
        let sent = lines(1500);
        for (n, payload) in sent.iter().enumerate() {
            net.publish_surely(0, handle, payload);
            net.run(4 * MS);
            match n {
                200 | 600 | 1000 => net.kill(3),
                300 | 700 | 1200 => {
                    net.start(3);
                    net.subscribe(3, "t", |s| s.client = "witness".into());
                }
                400 => net.kill(1),
                500 => net.start(1),
                _ => {}
            }
        }
        assert!(net.settle(0, 60 * S), "seed {seed}: {}", net.owing(0));
        let mut all = seqs(&net, 3, sub);
        all.sort_unstable();
        all.dedup();
        assert!(
            all.len() == 1500 && delivered(&net, 0) == 1500,
            "seed {seed}"
        );
    }
}
