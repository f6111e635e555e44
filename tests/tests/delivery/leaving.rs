//! Clients that acknowledge and end their subscription at once: what they acknowledged was delivered, whatever the network does
//! to the two messages that say so. And nodes that nobody knew.

use tidings_protocol::Outcome;
use tidings_tests::net::{MS, Manner, Net, Rule, S};

use crate::common::*;

const MESSAGES: usize = 200;

// A subscription that holds everything unacknowledged.
fn holding(net: &mut Net, n: usize, pattern: &str) -> u32 {
    let sub = net.subscribe(n, pattern, |_| {});
    effective(net, n, sub);
    net.behave(n, sub, Manner::Keep);
    sub
}

fn publish_and_let_arrive(net: &mut Net, n: usize, sub: u32) {
    let handle = net.publisher(0, "t");
    publish_all(net, 0, handle, &lines(MESSAGES));
    let all = |net: &Net| got(net, n, sub).len() == MESSAGES;
    assert!(net.run_till(20 * S, all), "all arrive");
}

fn assert_all_delivered(net: &mut Net, seed: u64) {
    assert!(net.settle(0, 20 * S), "seed {seed}: {}", net.owing(0));
    let all = delivered(net, 0) == MESSAGES as u64 && count(net, 0, Outcome::Unsubscribed) == 0;
    assert!(all, "seed {seed}: {:?}", net.outcomes(0));
}

#[test]
fn what_was_acknowledged_before_the_end_is_delivered_on_any_link() {
    for seed in 1..=20 {
        let mut net = mesh(seed, 2);
        net.all_links(Rule::HOSTILE);
        let sub = holding(&mut net, 1, "t");
        publish_and_let_arrive(&mut net, 1, sub);
        net.acknowledge_and_unsubscribe(1, sub);
        assert_all_delivered(&mut net, seed);
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn a_turn_between_acknowledgement_and_end_changes_nothing() {
    for seed in 1..=20 {
        let mut net = mesh(seed, 2);
        net.all_links(Rule::HOSTILE);
        let sub = holding(&mut net, 1, "t");
        publish_and_let_arrive(&mut net, 1, sub);
        net.acknowledge_all(1, sub);
        net.unsubscribe(1, sub);
        assert_all_delivered(&mut net, seed);
    }
}

#[test]
fn what_was_acknowledged_is_told_again_when_the_link_is_made_anew() {
    for seed in 1..=5 {
        let mut net = mesh(seed, 2);
        let sub = holding(&mut net, 1, "t");
        publish_and_let_arrive(&mut net, 1, sub);
        net.link(0, 1, Rule::CUT);
        net.acknowledge_and_unsubscribe(1, sub);
        net.run(30 * S);
        net.link(0, 1, Rule::HOSTILE);
        assert_all_delivered(&mut net, seed);
    }
}

#[test]
fn a_local_subscription_acknowledges_and_ends_in_one_turn() {
    let mut net = mesh(1, 1);
    let sub = holding(&mut net, 0, "t");
    publish_and_let_arrive(&mut net, 0, sub);
    net.acknowledge_and_unsubscribe(0, sub);
    assert_all_delivered(&mut net, 1);
}

#[test]
fn what_was_not_acknowledged_fails_as_unsubscribed() {
    for seed in 1..=5 {
        let mut net = mesh(seed, 2);
        net.all_links(Rule::HOSTILE);
        let sub = holding(&mut net, 1, "t");
        publish_and_let_arrive(&mut net, 1, sub);
        let publisher = got(&net, 1, sub)[0].publisher;
        let settled = net.acknowledge(1, sub, publisher, 99, true);
        net.unsubscribe(1, sub);
        assert!(net.settle(0, 20 * S), "{}", net.owing(0));
        assert!(delivered(&net, 0) == settled && settled > 0, "seed {seed}");
        assert!(count(&net, 0, Outcome::Unsubscribed) == MESSAGES as u64 - settled);
    }
}

#[test]
fn subscriptions_that_come_and_go_without_end_do_not_keep_the_table_from_its_publishers() {
    let mut net = mesh(3, 2);
    net.all_links(Rule::HOSTILE);
    let handle = net.publisher(0, "t");
    for n in 0..100 {
        let sub = net.subscribe(1, "t", |_| {});
        net.run(30 * MS);
        let _ = net.publish(0, handle, &bytes(10, n + 1));
        net.run(5 * MS);
        net.unsubscribe(1, sub);
    }
    let stays = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, stays);
    net.publish_surely(0, handle, b"last");
    assert!(net.settle(0, 10 * S), "{}", net.owing(0));
    assert!(net.payloads(1, stays).contains(&b"last".to_vec()));
}

#[test]
fn what_was_acknowledged_before_the_node_leaves_is_delivered() {
    for seed in 1..=20 {
        let mut net = mesh(seed, 2);
        net.all_links(Rule::HOSTILE);
        let sub = holding(&mut net, 1, "t");
        publish_and_let_arrive(&mut net, 1, sub);
        net.link(
            0,
            1,
            Rule {
                loss: 200,
                ..Rule::HOSTILE
            },
        );
        net.acknowledge_all(1, sub);
        net.drive(1, |core, now, _| core.leave(now));
        let left = |net: &Net| net.core(1).has_left(net.now());
        assert!(net.run_till(2 * S, left), "seed {seed}");
        net.kill(1);
        assert_all_delivered(&mut net, seed);
    }
}

#[test]
fn a_node_that_nobody_ever_heard_of_leaves_at_once() {
    let mut net = Net::unstarted(1, 2, |_, _| {});
    // Its seed does not run, and its disk is new: it waits for a peer to tell its generation.
    net.lose_disk(1);
    net.start(1);
    net.drive(1, |core, now, _| core.leave(now));
    assert!(net.core(1).has_left(net.now()));
}

// Whether the subscription at node 1 soon has a message that node 0 publishes now, as the last of all.
fn brings_the_next(net: &mut Net, handle: u32, sub: u32) -> bool {
    let payload = net.now().to_be_bytes();
    net.publish_surely(0, handle, &payload);
    net.run_till(8 * S, |net| {
        let came = got(net, 1, sub);
        came.last().is_some_and(|got| got.payload == payload)
    })
}

#[test]
fn a_client_that_ends_its_subscription_and_makes_it_anew_waits_for_nothing() {
    for seed in 1..=50 {
        let mut net = mesh(seed, 2);
        net.all_links(Rule {
            loss: 100,
            ..Rule::far(2)
        });
        net.take_together();
        let handle = net.publisher(0, "t");
        let again = |net: &mut Net| {
            net.subscribe(1, "t", |s| {
                s.ordered = true;
                s.client = "again".into();
            })
        };
        let mut sub = again(&mut net);
        effective(&mut net, 1, sub);
        for round in 0..10 {
            for payload in lines(20) {
                net.publish_surely(0, handle, &payload);
                net.run(MS);
            }
            net.unsubscribe(1, sub);
            sub = again(&mut net);
            for payload in lines(20) {
                net.publish_surely(0, handle, &payload);
                net.run(MS);
            }
            net.run(S);
            assert!(
                brings_the_next(&mut net, handle, sub),
                "seed {seed} round {round}"
            );
        }
    }
}

#[test]
fn a_subscription_made_where_another_ended_waits_for_nothing() {
    for seed in 1..=60 {
        let mut net = mesh(seed, 3);
        net.all_links(Rule {
            loss: [0, 10, 100][seed as usize % 7 % 3],
            ..Rule::far([2, 10, 30][seed as usize % 3])
        });
        net.take_together();
        let handle = net.publisher(0, "t");
        // Another node's subscription comes and goes, and with every change the topic is defined anew.
        let mut other = None;
        let mut dice = seed;
        let mut publish = |net: &mut Net, count| {
            for payload in lines(count) {
                net.publish_surely(0, handle, &payload);
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if (dice >> 33) % 10 == 0 {
                    other = match other {
                        Some(sub) => {
                            net.unsubscribe(2, sub);
                            None
                        }
                        None => Some(net.subscribe(2, "t", |_| {})),
                    };
                }
                net.run(MS);
            }
        };
        let ordered = |net: &mut Net| net.subscribe(1, "t", |s| s.ordered = true);
        let mut sub = ordered(&mut net);
        effective(&mut net, 1, sub);
        for round in 0..10 {
            publish(&mut net, 20);
            net.unsubscribe(1, sub);
            publish(&mut net, round);
            sub = ordered(&mut net);
            publish(&mut net, 20);
            effective(&mut net, 1, sub);
            assert!(
                brings_the_next(&mut net, handle, sub),
                "seed {seed} round {round}"
            );
        }
    }
}
