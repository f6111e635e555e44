//! Accepted, effective, delivered, ordered, local: sentences 1, 2, 4, 6 and 7.

use tidings_protocol::{AckMode, Outcome, PublishError, SyncStage};
use tidings_tests::net::{MS, Manner, Net, Rule, S, Told};
use tidings_wire::Class;

use crate::common::*;

#[test]
fn every_subscriber_gets_every_message_whole_and_once() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh(seed as u64, 3);
        net.all_links(rule);
        let subs: Vec<(usize, u32)> = (0..3)
            .map(|n| (n, net.subscribe(n, "news.*", |_| {})))
            .collect();
        net.run(S);
        let handle = net.publisher(0, "news.local");
        let sent = lines(1000);
        publish_all(&mut net, 0, handle, &sent);
        assert!(net.settle(0, 20 * S), "seed {seed}: {:?}", net.outcomes(0));
        assert!(delivered(&net, 0) == 3000);
        for (n, sub) in subs {
            assert!(same(net.payloads(n, sub), &sent), "node {n}");
        }
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn a_batch_is_accepted_and_sent_as_its_messages_would_be() {
    let run = |singly: bool| {
        let mut net = mesh(5, 3);
        if singly {
            net.publish_singly();
        }
        net.subscribe(1, "far.*", |_| {});
        net.subscribe(2, "far.two", |s| s.ordered = true);
        net.subscribe(0, "far.near", |_| {});
        net.run(S);
        let topics = ["far.one", "far.two", "far.near", "nobody"];
        let handles = topics.map(|topic| net.publisher(0, topic));
        let mut accepted = Vec::new();
        for turn in 0..400 {
            if turn == 200 {
                // Those who are owed messages change.
                net.subscribe(2, "*", |_| {});
            }
            let handle = handles[turn % handles.len()];
            let of = |n: usize| {
                bytes(
                    if n % 29 == 28 {
                        9_000
                    } else {
                        (turn + n) * 7 % 150
                    },
                    1,
                )
            };
            let payloads: Vec<Vec<u8>> = (0..turn % 50 + 1).map(of).collect();
            let last = net.publish_all(0, handle, payloads.iter().map(Vec::as_slice));
            accepted.push(last.map(|accepted| (accepted.seq, accepted.owed)));
            if turn % 3 == 0 {
                net.run(MS / 4);
            }
        }
        assert!(net.settle(0, 20 * S));
        let counters = net.core(0).publish_counters();
        (accepted, counters, net.trace())
    };
    let (batches, singly) = (run(false), run(true));
    assert_eq!(batches.0, singly.0);
    assert_eq!(batches.1, singly.1);
    assert_eq!(batches.2, singly.2, "the same datagrams at the same times");
}

#[test]
fn a_hostile_network_changes_nothing_for_an_ordered_subscription() {
    for seed in 1..6 {
        let mut net = mesh(seed, 3);
        net.all_links(Rule::HOSTILE);
        let subs: Vec<(usize, u32)> = (1..3)
            .map(|n| (n, net.subscribe(n, "file", |s| s.ordered = true)))
            .collect();
        net.run(2 * S);
        let handle = net.publisher(0, "file");
        let sent = lines(3000);
        publish_all(&mut net, 0, handle, &sent);
        assert!(net.settle(0, 60 * S), "seed {seed}: {:?}", net.outcomes(0));
        assert!(delivered(&net, 0) == 6000);
        for (n, sub) in subs {
            assert!(net.payloads(n, sub) == sent, "seed {seed} node {n}");
        }
    }
}

#[test]
fn whatever_share_is_lost_doubled_or_sent_ahead_everything_arrives_once_and_in_order() {
    for (seed, loss) in [10, 50, 200].into_iter().enumerate() {
        let mut net = mesh(seed as u64, 3);
        let rule = Rule {
            loss,
            duplicate: 100,
            ahead: 250,
            ..Rule::HOSTILE
        };
        net.all_links(rule);
        let ordered = net.subscribe(1, "t", |s| s.ordered = true);
        let any = net.subscribe(2, "t", |_| {});
        net.run(3 * S);
        let handle = net.publisher(0, "t");
        let sent = lines(3000);
        let began = net.now();
        publish_all(&mut net, 0, handle, &sent);
        assert!(net.settle(0, 120 * S), "{loss}: {:?}", net.outcomes(0));
        println!("loss of {loss} in 1000: {} ms", (net.now() - began) / MS);
        assert!(delivered(&net, 0) == 6000);
        assert!(net.payloads(1, ordered) == sent, "{loss}");
        assert!(same(net.payloads(2, any), &sent), "{loss}");
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn publish_returns_the_number_and_how_many_subscriptions_are_owed() {
    let mut net = mesh(1, 3);
    let handle = net.publisher(0, "a.b");
    let accepted = net.publish(0, handle, b"x").unwrap();
    assert!((accepted.seq, accepted.owed) == (0, 0), "nobody is owed it");
    for (n, pattern) in [(0, "a.*"), (1, "a.b"), (1, "*"), (2, "b.*")] {
        let sub = net.subscribe(n, pattern, |_| {});
        effective(&mut net, n, sub);
    }
    let accepted = net.publish(0, handle, b"y").unwrap();
    assert!((accepted.seq, accepted.owed) == (1, 3));
    assert!(net.core(0).memory().0 > 0, "it sits in the store");
    assert!(net.settle(0, S));
    assert_quiet(&mut net, &[0, 1, 2]);
}

#[test]
fn a_closed_publisher_takes_nothing_and_its_messages_keep_their_guarantees() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    publish_all(&mut net, 0, handle, &lines(10));
    net.drive(0, |core, _, _| core.close_publisher(handle).unwrap());
    assert!(net.publish(0, handle, b"late") == Err(PublishError::Closed));
    assert!(net.settle(0, S) && delivered(&net, 0) == 10);
    let next = net.publisher(0, "t");
    assert!(next != handle, "a handle is unique within the boot");
}

#[test]
fn subscribe_returns_when_all_members_have_applied_it() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh(seed as u64, 4);
        net.all_links(rule);
        let sub = net.subscribe(3, "t", |_| {});
        assert!(net.core(0).owed("t") == 0, "not before it is applied");
        effective(&mut net, 3, sub);
        for n in 0..4 {
            assert!(net.core(n).owed("t") == 1, "node {n}");
        }
    }
}

#[test]
fn a_table_of_many_pages_is_confirmed_when_the_last_has_come() {
    let mut net = mesh(1, 2);
    let topic = |n| format!("a.topic.with.the.number.{n}");
    for n in 0..500 {
        net.subscribe(0, &topic(n), |_| {});
    }
    net.run(S);
    let narrow = Rule {
        rate: Some((200_000, 60_000)),
        ..Rule::GOOD
    };
    net.one_way(0, 1, narrow);
    net.kill(1);
    let sub = net.subscribe(0, &topic(500), |_| {});
    // It gets the whole table.
    net.start(1);
    effective(&mut net, 0, sub);
    assert!((0..=500).all(|n| net.core(1).owed(&topic(n)) == 1));
}

#[test]
fn subscribe_is_partial_after_two_seconds_and_names_the_others() {
    let mut net = mesh(1, 3);
    net.link(1, 2, Rule::CUT);
    let began = net.now();
    let sub = net.subscribe(1, "t", |_| {});
    let told = |net: &Net| {
        net.seen(1).told.iter().find_map(|(at, told)| match told {
            Told::Subscribed(s, missing) if *s == sub => Some((*at, missing.clone())),
            _ => None,
        })
    };
    assert!(net.run_till(3 * S, |net| told(net).is_some()));
    let (at, missing) = told(&net).unwrap();
    assert!((2 * S..2 * S + SOON).contains(&(at - began)));
    assert!(missing == [net.id(2)]);
}

#[test]
fn a_member_that_joins_later_knows_the_subscription_before_it_publishes() {
    for seed in 0..8 {
        let mut net = Net::unstarted(seed, 4, |_, _| {});
        (0..3).for_each(|n| net.start(n));
        net.run(3 * S);
        net.all_links(RULES[seed as usize % 2]);
        let subs: Vec<(usize, u32)> = (0..3)
            .map(|n| (n, net.subscribe(n, "first", |s| s.ordered = true)))
            .collect();
        net.run(3 * S);
        net.start(3);
        let handle = net.publisher(3, "first");
        let sent = lines(50);
        publish_all(&mut net, 3, handle, &sent);
        assert!(net.settle(3, 10 * S), "seed {seed}");
        for (n, sub) in subs {
            assert!(net.payloads(n, sub) == sent, "seed {seed} node {n}");
        }
    }
}

#[test]
fn a_node_that_joins_right_after_a_subscription_took_effect_owes_it() {
    for seed in 0..60 {
        let mut net = Net::unstarted(seed, 4, |_, _| {});
        (0..3).for_each(|n| net.start(n));
        net.run(3 * S);
        net.all_links(RULES[seed as usize % 2]);
        for n in 0..3 {
            let sub = net.subscribe(n, "first", |_| {});
            effective(&mut net, n, sub);
        }
        net.start(3);
        assert!(
            net.run_till(6 * S, |net| net.core(3).is_synced()),
            "seed {seed}"
        );
        assert!(net.core(3).owed("first") == 3, "seed {seed}");
    }
}

#[test]
fn who_starts_first_does_not_matter() {
    for first in 0..3 {
        let mut net = Net::unstarted(first as u64, 3, |_, _| {});
        net.start(first);
        let sub = net.subscribe(first, "t", |_| {});
        net.run(4 * S);
        (0..3).filter(|n| *n != first).for_each(|n| net.start(n));
        // Node 0 is everybody's seed and has nobody to wait for.
        net.run(4 * S);
        for n in 0..3 {
            let handle = net.publisher(n, "t");
            publish_all(&mut net, n, handle, &lines(20));
            assert!(net.settle(n, 10 * S), "first {first} publisher {n}");
        }
        assert!(got(&net, first, sub).len() == 60, "first {first}");
    }
}

// Whether a node was told this.
fn told(net: &Net, n: usize, what: &Told) -> bool {
    net.seen(n).told.iter().any(|(_, told)| told == what)
}

#[test]
fn publish_waits_at_most_five_seconds_for_somebody_to_join() {
    let mut net = Net::unstarted(1, 2, |n, config| {
        // The names of those to join lead nowhere yet.
        config.seeds.clear();
        config.joins = n == 1;
    });
    net.start(1);
    let began = net.now();
    let handle = net.publisher(1, "t");
    assert!(net.publish(1, handle, b"x") == Err(PublishError::WouldBlock));
    assert!(net.run_till(6 * S, |net| told(net, 1, &Told::Synced(false))));
    assert!((5 * S..5 * S + SOON).contains(&(net.now() - began)));
    assert!(told(&net, 1, &Told::Writable));
    assert!(net.publish(1, handle, b"x").is_ok());
    assert!(!net.core(1).is_synced(), "and that it is unsynced is told");
    assert!(net.core(1).sync_stage() == SyncStage::Alone);
}

#[test]
fn a_node_that_had_nobody_to_join_waits_once_it_has() {
    for seed in 0..20 {
        let mut net = Net::unstarted(seed, 3, |n, config| {
            if n == 2 {
                config.seeds.clear();
            }
        });
        net.all_links(RULES[seed as usize % 2]);
        (0..2).for_each(|n| net.start(n));
        net.run(3 * S);
        let sub = net.subscribe(1, "t", |_| {});
        effective(&mut net, 1, sub);
        net.start(2);
        let handle = net.publisher(2, "t");
        assert!(net.publish(2, handle, b"alone").unwrap().owed == 0);
        assert!(net.core(2).is_synced(), "there is nobody else");
        let seed_address = net.address(0);
        net.drive(2, |core, now, _| {
            core.begin_joining(now);
            core.set_seeds(now, &[seed_address]);
        });
        assert!(net.core(2).sync_stage() == SyncStage::Seeking);
        while !net.core(2).is_synced() {
            let refused = net.publish(2, handle, b"early");
            assert!(refused == Err(PublishError::WouldBlock), "seed {seed}");
            net.run(MS);
        }
        let accepted = net.publish(2, handle, b"now").unwrap();
        assert!(accepted.owed == 1, "seed {seed}");
        // With members there is nothing to wait for again, and a partition does not undo what is known.
        net.drive(2, |core, now, _| core.begin_joining(now));
        assert!(net.core(2).is_synced());
        (0..2).for_each(|n| net.link(n, 2, Rule::CUT));
        net.run(60 * S);
        assert!(net.core(2).is_synced(), "seed {seed}");
    }
}

#[test]
fn publish_waits_again_when_somebody_is_met_at_last() {
    for seed in 0..20 {
        let mut net = Net::unstarted(seed, 3, |_, _| {});
        net.all_links(RULES[seed as usize % 2]);
        net.start(2);
        net.run(8 * S);
        let handle = net.publisher(2, "t");
        assert!(net.publish(2, handle, b"x").unwrap().owed == 0);
        (0..2).for_each(|n| net.link(n, 2, Rule::CUT));
        (0..2).for_each(|n| net.start(n));
        // Of a member that nobody met yet nobody can tell.
        let paired = |net: &Net| (0..2).all(|n| net.core(n).members().len() == 2);
        assert!(net.run_till(10 * S, paired), "seed {seed}");
        let subs = [0, 1].map(|n| (n, net.subscribe(n, "t", |_| {})));
        for (n, sub) in subs {
            effective(&mut net, n, sub);
        }
        (0..2).for_each(|n| net.link(n, 2, RULES[seed as usize % 2]));
        let met = |net: &Net| net.core(2).members().len() > 1;
        assert!(net.run_till(20 * S, met), "seed {seed}");
        while !net.core(2).is_synced() {
            assert!(
                net.publish(2, handle, b"early") == Err(PublishError::WouldBlock),
                "seed {seed}"
            );
            net.run(MS);
        }
        let accepted = net.publish(2, handle, b"now").unwrap();
        assert!(accepted.owed == 2, "seed {seed}");
    }
}

#[test]
fn a_table_that_never_comes_makes_messages_unsynced_after_five_seconds() {
    let mut net = Net::unstarted(1, 3, |_, _| {});
    (0..2).for_each(|n| net.start(n));
    net.run(3 * S);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    net.link(1, 2, Rule::CUT);
    net.start(2);
    let began = net.now();
    let handle = net.publisher(2, "t");
    assert!(net.run_till(6 * S, |net| told(net, 2, &Told::Synced(false))));
    assert!((5 * S..5 * S + SOON).contains(&(net.now() - began)));
    assert!(net.publish(2, handle, b"x").unwrap().owed == 0);
    assert!(net.core(2).sync_stage() == SyncStage::Late);
    net.link(1, 2, Rule::GOOD);
    assert!(net.run_till(20 * S, |net| net.core(2).is_synced()));
    assert!(told(&net, 2, &Told::Synced(true)));
    assert!(net.publish(2, handle, b"x").unwrap().owed == 1);
}

#[test]
fn delivered_means_that_the_application_acknowledged() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    net.behave(1, sub, Manner::Keep);
    let handle = net.publisher(0, "t");
    publish_all(&mut net, 0, handle, &lines(10));
    net.run(2 * S);
    assert!(got(&net, 1, sub).len() == 10 && delivered(&net, 0) == 0);
    let id = net.publisher_id(0, handle);
    assert!(net.acknowledge(1, sub, id, 4, false) == 1);
    net.run(SOON);
    assert!(
        outcomes_of(&net, 0, handle)
            .iter()
            .map(|o| o.1)
            .collect::<Vec<_>>()
            == [4]
    );
    assert!(
        net.acknowledge(1, sub, id, 7, true) == 7,
        "all up to 7 but 4"
    );
    assert!(net.acknowledge(1, sub, id, 7, true) == 0, "once");
    net.run(SOON);
    assert!(delivered(&net, 0) == 8);
    assert!(net.acknowledge(1, sub, id, 99, true) == 2);
    assert!(net.settle(0, S));
}

#[test]
fn delivered_means_that_the_node_queued_it_where_the_subscription_says_so() {
    let mut net = mesh(1, 2);
    let node = net.subscribe(1, "t", |s| s.ack = AckMode::Node);
    let client = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, client);
    net.behave(1, node, Manner::Keep);
    net.behave(1, client, Manner::Keep);
    let handle = net.publisher(0, "t");
    publish_all(&mut net, 0, handle, &lines(10));
    net.run(S);
    assert!(delivered(&net, 0) == 10, "per subscription");
    net.acknowledge_all(1, client);
    assert!(net.settle(0, S) && delivered(&net, 0) == 20);
}

#[test]
fn unsubscribing_gives_every_outstanding_message_one_outcome() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        for owner in [0, 1] {
            let mut net = mesh(seed as u64, 3);
            net.all_links(rule);
            let sub = net.subscribe(owner, "t", |_| {});
            let other = net.subscribe(2, "t", |_| {});
            net.run(2 * S);
            net.behave(owner, sub, Manner::Keep);
            let handle = net.publisher(0, "t");
            publish_all(&mut net, 0, handle, &lines(200));
            net.run(SOON);
            let id = net.publisher_id(0, handle);
            net.acknowledge(owner, sub, id, 49, true);
            net.run(S);
            net.unsubscribe(owner, sub);
            assert!(net.settle(0, 5 * S), "seed {seed} owner {owner}");
            assert!(delivered(&net, 0) == 250);
            assert!(count(&net, 0, Outcome::Unsubscribed) == 150);
            assert!(got(&net, 2, other).len() == 200);
            let accepted = net.publish(0, handle, b"after").unwrap();
            assert!(accepted.owed == 1, "it is owed nothing any more");
            assert!(net.settle(0, 5 * S));
            assert_quiet(&mut net, &[0, 1, 2]);
        }
    }
}

#[test]
fn a_subscription_that_races_publishing_has_no_hole_after_its_first_message() {
    for seed in 0..24 {
        let mut net = mesh(seed, 3);
        net.all_links(RULES[seed as usize % 2]);
        let early = net.subscribe(1, "t", |_| {});
        net.run(2 * S);
        let handle = net.publisher(0, "t");
        let (sent, mut subs) = (lines(400), Vec::new());
        for (n, payload) in sent.iter().enumerate() {
            net.publish_surely(0, handle, payload);
            net.run(200_000 * (seed % 5));
            if n % 50 == 20 {
                let node = 1 + n / 50 % 2;
                let ordered = n / 100 % 2 == 0;
                subs.push((node, net.subscribe(node, "t", |s| s.ordered = ordered)));
            }
        }
        assert!(net.settle(0, 3 * S), "seed {seed}");
        assert!(got(&net, 1, early).len() == 400);
        for (node, sub) in subs {
            let mut seqs = seqs(&net, node, sub);
            seqs.sort_unstable();
            let whole = seqs.windows(2).all(|w| w[0] + 1 == w[1]);
            assert!(whole, "seed {seed}: no hole after the first");
            let to_the_end = seqs.last().is_none_or(|last| *last == 399);
            assert!(to_the_end, "seed {seed}: and none at the end");
        }
    }
}

#[test]
fn ordered_holds_per_publisher_while_the_topic_moves_between_streams() {
    for seed in 0..6 {
        let mut net = mesh(seed, 4);
        net.all_links(Rule::HOSTILE);
        let sub = net.subscribe(1, "t", |s| s.ordered = true);
        net.run(2 * S);
        let handles = [
            net.publisher(0, "t"),
            net.publisher(0, "t"),
            net.publisher(2, "t"),
        ];
        let mut others = Vec::new();
        for n in 0..600 {
            net.publish_surely(0, handles[0], format!("a{n}").as_bytes());
            net.publish_surely(0, handles[1], format!("b{n}").as_bytes());
            net.publish_surely(2, handles[2], format!("c{n}").as_bytes());
            if n % 60 == 0 {
                let node = 2 + n / 60 % 2;
                others.push((node, net.subscribe(node, "t", |_| {})));
            }
            if n % 90 == 89
                && let Some((node, sub)) = others.pop()
            {
                net.unsubscribe(node, sub);
            }
            net.run(300_000);
        }
        assert!(
            net.settle(0, 20 * S) && net.settle(2, 20 * S),
            "seed {seed}"
        );
        for (n, handle) in [(0, handles[0]), (0, handles[1]), (2, handles[2])] {
            let id = net.publisher_id(n, handle);
            let of = got(&net, 1, sub).into_iter().filter(|g| g.publisher == id);
            let seqs: Vec<u64> = of.map(|g| g.seq).collect();
            assert!(seqs == (0..600).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

#[test]
fn local_subscribers_get_their_copy_at_acceptance_and_nothing_is_sealed_for_them() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(0, "t", |_| {});
    effective(&mut net, 0, sub);
    let handle = net.publisher(0, "t");
    for n in 0..10 {
        net.publish(0, handle, b"x").unwrap();
        assert!(got(&net, 0, sub).len() == n + 1, "before publish returns");
        assert!(delivered(&net, 0) == n as u64 + 1);
    }
    assert!(net.core(0).publish_counters().sealed == 0);
    assert!(payload_datagrams(&net, 0, 1) == net.datagrams(0, 1, Class::Bulk));
    assert!(net.datagrams(0, 1, Class::Fan) == 0);
}

#[test]
fn a_local_subscriber_that_holds_or_has_no_room_gets_the_same_guarantees() {
    let mut net = mesh(1, 2);
    let keeps = net.subscribe(0, "t", |s| s.ordered = true);
    let full = net.subscribe(0, "t", |s| s.ordered = true);
    let remote = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, remote);
    net.behave(0, keeps, Manner::Keep);
    net.behave(0, full, Manner::Room(5));
    let handle = net.publisher(0, "t");
    let mut sent = lines(300);
    sent[77] = bytes(50_000, 7);
    publish_all(&mut net, 0, handle, &sent);
    net.run(S);
    assert!(delivered(&net, 0) == 305);
    net.behave(0, full, Manner::Ack);
    net.run(S);
    assert!(net.payloads(0, full) == sent && net.payloads(0, keeps) == sent);
    net.acknowledge_all(0, keeps);
    assert!(net.settle(0, S) && delivered(&net, 0) == 900);
    assert_quiet(&mut net, &[0, 1]);
}

#[test]
fn a_topic_without_subscribers_sends_no_payload_datagram() {
    let mut net = mesh(1, 3);
    let sub = net.subscribe(1, "other", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    let before: u64 = (1..3).map(|n| payload_datagrams(&net, 0, n)).sum();
    for payload in lines(500) {
        assert!(net.publish(0, handle, &payload).unwrap().owed == 0);
    }
    net.run(5 * S);
    let fan: u64 = (1..3).map(|n| net.datagrams(0, n, Class::Fan)).sum();
    let after: u64 = (1..3).map(|n| payload_datagrams(&net, 0, n)).sum();
    assert!(fan == 0 && net.core(0).publish_counters().sealed == 0);
    assert!(after <= before + 20, "nor bulk, but for anti-entropy");
    assert!(net.core(0).memory().0 == 0);
}

#[test]
fn payload_reaches_only_nodes_with_a_subscriber() {
    let mut net = mesh(1, 8);
    for n in [2, 5, 7] {
        let sub = net.subscribe(n, "t.*", |_| {});
        effective(&mut net, n, sub);
    }
    let handle = net.publisher(0, "t.x");
    publish_all(&mut net, 0, handle, &lines(100));
    assert!(net.settle(0, 5 * S));
    for from in 0..8 {
        for to in 0..8 {
            let fan = net.datagrams(from, to, Class::Fan);
            let expected = from == 0 && [2, 5, 7].contains(&to);
            assert!((fan > 0) == expected, "from {from} to {to}");
        }
    }
}

#[test]
fn a_message_is_sealed_once_however_many_nodes_subscribe() {
    for nodes in [2, 3, 9] {
        let mut net = mesh(1, nodes);
        for n in 1..nodes {
            let sub = net.subscribe(n, "t", |_| {});
            effective(&mut net, n, sub);
        }
        let handle = net.publisher(0, "t");
        for payload in lines(100) {
            net.publish_surely(0, handle, &payload);
            net.run(S / 100);
        }
        assert!(net.settle(0, 5 * S));
        let counters = net.core(0).publish_counters();
        assert!(counters.sealed == 100, "{nodes} nodes");
        assert!(counters.sent == 100 * (nodes as u64 - 1));
    }
}

#[test]
fn a_message_to_ten_thousand_subscriptions_of_a_node_is_sealed_and_sent_once() {
    let mut net = mesh(1, 2);
    for _ in 0..10_000 {
        net.subscribe(1, "t", |_| {});
    }
    let known = |net: &Net| net.core(0).owed("t") == 10_000;
    assert!(net.run_till(10 * S, known));
    let handle = net.publisher(0, "t");
    let accepted = net.publish(0, handle, b"x").unwrap();
    assert!(accepted.owed == 10_000);
    assert!(net.settle(0, 10 * S), "{}", net.owing(0));
    let counters = net.core(0).publish_counters();
    assert!((counters.sealed, counters.sent) == (1, 1));
    assert!(net.datagrams(0, 1, Class::Fan) == 1);
    assert!(delivered(&net, 0) == 10_000);
    assert_quiet(&mut net, &[0, 1]);
}

#[test]
fn a_node_that_leaves_gives_its_messages_their_outcome() {
    let mut net = mesh(1, 3);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    net.behave(1, sub, Manner::Keep);
    let handle = net.publisher(0, "t");
    publish_all(&mut net, 0, handle, &lines(20));
    net.run(SOON);
    net.drive(1, |core, now, _| core.leave(now));
    net.run(2 * S);
    net.kill(1);
    assert!(net.settle(0, 5 * S));
    assert!(count(&net, 0, Outcome::Left) == 20);
    assert!(net.publish(0, handle, b"x").unwrap().owed == 0);
}
