//! Slow subscribers and the bounded store: sentences 1 and 8.

use tidings_protocol::{MemberState, Outcome, PublishError, SlowPolicy};
use tidings_tests::net::{MS, Manner, Net, Rule, S, Told};

use crate::common::*;

const KIB: usize = 1 << 10;
const SMALL: usize = 4 << 20;

// Publishes until refused; how many were taken.
fn fill(net: &mut Net, handle: u32, payload: &[u8], most: usize) -> usize {
    (0..most)
        .take_while(|_| {
            let taken = net.publish(0, handle, payload).is_ok();
            net.run(MS / 5);
            taken
        })
        .count()
}

fn writable(net: &Net, since: u64) -> bool {
    let told = net.seen(0).told.iter();
    told.rev()
        .any(|(at, told)| *at > since && *told == Told::Writable)
}

#[test]
fn a_subscriber_without_room_gets_everything_in_order_later_and_slows_nobody() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh(seed as u64, 4);
        net.all_links(rule);
        let subs: Vec<(usize, u32)> = (1..4)
            .map(|n| (n, net.subscribe(n, "t", |s| s.ordered = true)))
            .collect();
        net.run(2 * S);
        net.behave(1, subs[0].1, Manner::Room(100));
        let handle = net.publisher(0, "t");
        let sent = lines(2000);
        let began = net.now();
        publish_slowly(&mut net, 0, handle, &sent, MS);
        assert!(
            net.now() - began < 3 * S,
            "seed {seed}: publishing keeps its rate"
        );
        net.run(S / 2);
        for &(n, sub) in &subs[1..] {
            assert!(net.payloads(n, sub) == sent, "seed {seed} node {n}");
        }
        assert!(got(&net, 1, subs[0].1).len() == 100);
        net.behave(1, subs[0].1, Manner::Ack);
        assert!(net.settle(0, 20 * S), "seed {seed}: {:?}", net.outcomes(0));
        assert!(net.payloads(1, subs[0].1) == sent, "seed {seed}");
        assert_quiet(&mut net, &[0, 1, 2, 3]);
    }
}

#[test]
fn one_slow_subscriber_does_not_move_the_p99_of_another() {
    let p99 = |slow: bool| {
        let mut net = mesh(1, 3);
        let subs: Vec<u32> = (1..3).map(|n| net.subscribe(n, "t", |_| {})).collect();
        net.run(2 * S);
        if slow {
            net.behave(1, subs[0], Manner::Room(0));
        }
        let handle = net.publisher(0, "t");
        let mut left = Vec::new();
        for payload in lines(2000) {
            net.publish_surely(0, handle, &payload);
            left.push(net.now());
            net.run(MS);
        }
        net.run(S);
        let got = got(&net, 2, subs[1]);
        assert!(got.len() == 2000);
        let mut late: Vec<u64> = got.iter().map(|g| g.at - left[g.seq as usize]).collect();
        late.sort_unstable();
        late[1980]
    };
    assert!(p99(true) <= p99(false) + MS);
}

// The p99 of the latency of 99 of 100 subscriptions of ten nodes, of which one takes nothing if it is `slow`.
fn p99_of_the_others(slow: bool) -> u64 {
    let mut net = mesh(1, 11);
    let subs: Vec<(usize, u32)> = (0..100)
        .map(|n| (1 + n % 10, net.subscribe(1 + n % 10, "t", |_| {})))
        .collect();
    net.run(3 * S);
    assert!(net.core(0).owed("t") == 100);
    let (at, of) = subs[0];
    if slow {
        net.behave(at, of, Manner::Room(0));
    }
    let handle = net.publisher(0, "t");
    let mut left = Vec::new();
    for payload in lines(1000) {
        net.publish_surely(0, handle, &payload);
        left.push(net.now());
        net.run(MS);
    }
    net.run(S);
    let mut late = Vec::new();
    for &(n, sub) in &subs[1..] {
        let got = got(&net, n, sub);
        assert!(got.len() == 1000, "node {n}");
        late.extend(got.iter().map(|g| g.at - left[g.seq as usize]));
    }
    net.behave(at, of, Manner::Ack);
    assert!(net.settle(0, 10 * S), "{}", net.owing(0));
    assert!(got(&net, at, of).len() == 1000, "by catch-up");
    late.sort_unstable();
    late[late.len() * 99 / 100]
}

#[test]
fn one_slow_of_a_hundred_does_not_double_the_p99_of_the_others() {
    let (with, without) = (p99_of_the_others(true), p99_of_the_others(false));
    assert!(with <= 2 * without, "{with} ns instead of {without}");
}

#[test]
fn two_publishers_that_want_more_than_the_path_takes_get_the_same() {
    let narrow = Rule {
        rate: Some((500_000, 60_000)),
        ..Rule::far(5)
    };
    for (seed, topics) in [["t", "t"], ["t", "u"]].into_iter().enumerate() {
        let mut net = mesh(seed as u64, 2);
        let sub = net.subscribe(1, "*", |_| {});
        effective(&mut net, 1, sub);
        net.one_way(0, 1, narrow);
        let handles = topics.map(|topic| net.publisher(0, topic));
        let payload = bytes(1000, 1);
        let mut refused = 0;
        for turn in 0..20_000 {
            for at in [turn % 2, 1 - turn % 2] {
                let many = std::iter::repeat_n(&payload[..], 20);
                refused += usize::from(net.publish_all(0, handles[at], many).is_err());
            }
            net.run(MS);
        }
        assert!(refused > 10_000, "it waits: {refused}");
        let of = |handle| {
            let got = got(&net, 1, sub).into_iter();
            got.filter(|g| g.publisher.handle == handle).count()
        };
        let [one, other] = handles.map(of);
        assert!(one + other > 7_000, "{topics:?}: {one} and {other}");
        let apart = one.abs_diff(other) * 100 / one.max(other);
        assert!(apart <= 20, "{topics:?}: {one} and {other}");
        assert!(net.core(0).memory().0 <= 64 << 20);
        let again = net.core(1).receive_counters().duplicates;
        assert!(
            again < 100,
            "{again} messages came another way while they waited to be sent"
        );
        net.one_way(0, 1, Rule::GOOD);
        assert!(net.settle(0, 20 * S), "{topics:?}: {}", net.owing(0));
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn one_held_message_delays_nobody_and_the_store_does_not_grow() {
    let mut net = mesh(1, 3);
    let subs: Vec<u32> = (1..3).map(|n| net.subscribe(n, "t", |_| {})).collect();
    net.run(2 * S);
    net.behave(1, subs[0], Manner::Keep);
    let handle = net.publisher(0, "t");
    let id = net.publisher_id(0, handle);
    let (mut peak, payload) = (0, bytes(KIB, 1));
    for seq in 0..6000 {
        net.publish_surely(0, handle, &payload);
        net.run(10 * MS);
        if seq > 0 {
            net.acknowledge(1, subs[0], id, seq, false);
        }
        peak = peak.max(net.core(0).memory().0);
    }
    net.run(S);
    assert!(net.owing(0) == 1 && got(&net, 2, subs[1]).len() == 6000);
    assert!(peak <= 16 * 65_536, "the store held {peak} bytes");
    net.acknowledge(1, subs[0], id, 0, false);
    assert!(net.settle(0, S));
    assert_quiet(&mut net, &[0, 1, 2]);
}

#[test]
fn a_full_store_gives_up_the_oldest_that_only_catch_up_needs_and_tells_both_sides() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh_with(seed as u64, 3, |_, c| c.policy.retain = SMALL);
        net.all_links(rule);
        let slow = net.subscribe(1, "t", |s| s.ordered = true);
        let live = net.subscribe(2, "t", |s| s.ordered = true);
        net.run(2 * S);
        net.behave(1, slow, Manner::Room(3));
        let handle = net.publisher(0, "t");
        let sent: Vec<Vec<u8>> = (0..9000).map(|n| bytes(KIB, n + 1)).collect();
        publish_slowly(&mut net, 0, handle, &sent, MS);
        net.run(2 * S);
        assert!(
            net.payloads(2, live) == sent,
            "seed {seed}: the live one misses nothing"
        );
        let failed = count(&net, 0, Outcome::Overflow);
        assert!(failed > 1000 && failed < 9000, "seed {seed}: {failed}");
        assert!(net.core(0).memory().0 <= SMALL);
        net.behave(1, slow, Manner::Ack);
        assert!(net.settle(0, 20 * S), "seed {seed}: {:?}", net.outcomes(0));
        net.run(S);
        let gone: u64 = gaps(&net, 1, slow).iter().map(|(a, b, _)| b - a).sum();
        // Failed means not known delivered: some of it had reached the node before it was given up.
        assert!(
            gone > 0 && gone <= count(&net, 0, Outcome::Overflow),
            "seed {seed}: {gone} holes"
        );
        assert!(got(&net, 1, slow).len() as u64 + gone == 9000);
        assert!(
            gaps(&net, 1, slow)
                .iter()
                .all(|gap| gap.2 == Outcome::Overflow)
        );
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn publish_would_block_only_while_live_or_blocking_subscriptions_need_everything() {
    for policy in [SlowPolicy::Block, SlowPolicy::Detach] {
        let mut net = mesh_with(1, 2, |_, c| c.policy.retain = SMALL);
        let sub = net.subscribe(1, "t", |s| s.policy = policy);
        effective(&mut net, 1, sub);
        net.behave(1, sub, Manner::Room(0));
        let handle = net.publisher(0, "t");
        let payload = bytes(KIB, 1);
        let taken = fill(&mut net, handle, &payload, 20_000);
        assert!((2000..6000).contains(&taken), "{policy:?}: {taken}");
        assert!(net.publish(0, handle, &payload) == Err(PublishError::WouldBlock));
        let blocked = net.now();
        net.run(8 * S);
        let gives_up = net.publish(0, handle, &payload).is_ok();
        assert!(gives_up == (policy == SlowPolicy::Detach), "{policy:?}");
        assert!(writable(&net, blocked) == gives_up || policy == SlowPolicy::Block);
        let before = net.now();
        net.behave(1, sub, Manner::Ack);
        net.run(S);
        assert!(
            gives_up || writable(&net, before),
            "{policy:?}: told that there is room"
        );
        net.publish_surely(0, handle, &payload);
        assert!(net.settle(0, 10 * S), "{policy:?}");
        let lost = count(&net, 0, Outcome::Overflow);
        assert!(
            (lost == 0) == (policy == SlowPolicy::Block),
            "{policy:?}: {lost}"
        );
        assert_quiet(&mut net, &[0, 1]);
    }
}

// Publishes so many, one after the other, no faster than a lossy path takes them; none may be refused.
fn publish_unhindered(net: &mut Net, handle: u32, count: usize) {
    let payload = bytes(KIB, 1);
    for n in 0..count {
        assert!(net.publish(0, handle, &payload).is_ok(), "{n} is refused");
        net.run(MS);
    }
}

// Of `count` messages the oldest failed for want of room, and none else; how many.
fn overflowed(net: &Net, handle: u32, count: u64) -> u64 {
    let told = outcomes_of(net, 0, handle);
    let lost = told.iter().filter(|o| o.2 == Outcome::Overflow);
    let mut lost: Vec<u64> = lost.map(|o| o.1).collect();
    lost.sort_unstable();
    let lost_count = lost.len() as u64;
    assert!(lost == (0..lost_count).collect::<Vec<_>>(), "the oldest");
    assert!(
        lost_count > count / 4 && lost_count < count,
        "{lost_count} of {count}"
    );
    lost_count
}

// The client gets all that the store kept, in order, and is told what it does not get. Of what failed some had reached its node.
fn comes_back(net: &mut Net, owner: usize, sub: u32, lost: u64, count: u64) {
    net.seen_mut(owner).manners.insert(sub, Manner::Ack);
    net.attach(owner, sub);
    assert!(net.settle(0, 20 * S), "{:?}", net.outcomes(0));
    net.run(S);
    let mut all = seqs(net, owner, sub);
    assert!(all.is_sorted());
    for (from, to, reason) in gaps(net, owner, sub) {
        assert!(to <= lost && reason == Outcome::Overflow);
        all.extend(from..to);
    }
    all.sort_unstable();
    assert!(all == (0..count).collect::<Vec<_>>());
    assert_quiet(net, &[0, 1]);
}

const FEW: u64 = 2000;
const MANY: u64 = 9000;

// A network with a named client's subscription at `owner` and a publisher at node 0 whose store takes less than half of MANY.
fn with_client(seed: u64, rule: Rule, owner: usize, policy: SlowPolicy) -> (Net, u32, u32) {
    let mut net = mesh_with(seed, 2, |_, c| c.policy.retain = SMALL);
    net.all_links(rule);
    let sub = net.subscribe(owner, "t", |s| {
        (s.client, s.ordered, s.policy) = ("till".into(), true, policy);
    });
    effective(&mut net, owner, sub);
    let handle = net.publisher(0, "t");
    (net, sub, handle)
}

#[test]
fn a_full_store_gives_up_at_once_what_only_a_client_that_is_gone_needs() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        for owner in [0, 1] {
            let (mut net, sub, handle) = with_client(seed as u64, rule, owner, SlowPolicy::Detach);
            net.detach(owner, sub);
            publish_unhindered(&mut net, handle, MANY as usize);
            let lost = overflowed(&net, handle, MANY);
            comes_back(&mut net, owner, sub, lost, MANY);
        }
    }
}

#[test]
fn a_store_that_waits_for_a_slow_client_has_room_as_soon_as_that_goes() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        for owner in [0, 1] {
            let (mut net, sub, handle) = with_client(seed as u64, rule, owner, SlowPolicy::Detach);
            net.behave(owner, sub, Manner::Room(0));
            let payload = bytes(KIB, 1);
            let taken = fill(&mut net, handle, &payload, MANY as usize);
            net.run(3 * S);
            assert!(
                net.publish(0, handle, &payload) == Err(PublishError::WouldBlock),
                "seed {seed} owner {owner}: one that is there has 5 s"
            );
            let before = net.now() - 1;
            net.detach(owner, sub);
            net.run(SOON);
            assert!(writable(&net, before), "seed {seed} owner {owner}");
            publish_unhindered(&mut net, handle, FEW as usize);
            let count = taken as u64 + FEW;
            let lost = overflowed(&net, handle, count);
            comes_back(&mut net, owner, sub, lost, count);
        }
    }
}

#[test]
fn a_client_that_comes_back_before_the_store_is_full_loses_nothing() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        for owner in [0, 1] {
            let (mut net, sub, handle) = with_client(seed as u64, rule, owner, SlowPolicy::Detach);
            net.detach(owner, sub);
            publish_unhindered(&mut net, handle, FEW as usize);
            net.behave(owner, sub, Manner::Room(0));
            net.attach(owner, sub);
            net.run(SOON);
            // It takes nothing yet, but it is there: the store keeps all that it can.
            let payload = bytes(KIB, 1);
            let more = fill(&mut net, handle, &payload, MANY as usize);
            assert!(more < (MANY - FEW) as usize, "seed {seed} owner {owner}");
            net.behave(owner, sub, Manner::Ack);
            assert!(net.settle(0, 20 * S), "seed {seed} owner {owner}");
            assert!(delivered(&net, 0) == FEW + more as u64);
            assert!(seqs(&net, owner, sub) == (0..FEW + more as u64).collect::<Vec<_>>());
            assert_quiet(&mut net, &[0, 1]);
        }
    }
}

#[test]
fn a_store_gives_up_at_once_what_a_client_needs_that_was_gone_before_the_link_was_begun_anew() {
    for seed in 0..6 {
        let (mut net, sub, handle) = with_client(seed, Rule::GOOD, 1, SlowPolicy::Detach);
        publish_unhindered(&mut net, handle, 1);
        assert!(net.settle(0, S));
        net.detach(1, sub);
        publish_unhindered(&mut net, handle, FEW as usize);
        net.link(0, 1, Rule::CUT);
        net.run(20 * S);
        net.link(0, 1, Rule::GOOD);
        let is_back = |net: &Net| net.core(0).members()[1].state == MemberState::Alive;
        assert!(net.run_till(10 * S, is_back));
        net.run(S / 2);
        assert!(net.owing(0) == FEW);
        publish_unhindered(&mut net, handle, (MANY - FEW) as usize);
        assert!(count(&net, 0, Outcome::Overflow) > 1000);
        net.attach(1, sub);
        assert!(net.settle(0, 20 * S));
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn a_store_gives_up_at_once_what_a_client_needs_that_did_not_come_back_with_its_node() {
    let (mut net, _, handle) = with_client(1, Rule::GOOD, 1, SlowPolicy::Detach);
    net.kill(1);
    publish_unhindered(&mut net, handle, FEW as usize);
    net.start(1);
    net.run(5 * S);
    assert!(net.core(0).members().len() == 2 && net.owing(0) == FEW);
    publish_unhindered(&mut net, handle, (MANY - FEW) as usize);
    overflowed(&net, handle, MANY);
}

#[test]
fn a_blocking_subscription_blocks_also_while_its_client_is_gone() {
    for owner in [0, 1] {
        let (mut net, sub, handle) = with_client(1, Rule::GOOD, owner, SlowPolicy::Block);
        net.detach(owner, sub);
        let payload = bytes(KIB, 1);
        let taken = fill(&mut net, handle, &payload, MANY as usize) as u64;
        net.run(8 * S);
        assert!(net.publish(0, handle, &payload) == Err(PublishError::WouldBlock));
        net.attach(owner, sub);
        assert!(net.settle(0, 20 * S) && delivered(&net, 0) == taken);
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn drop_newest_refuses_what_finds_no_room() {
    for owner in [0, 1] {
        let mut net = mesh(1, 2);
        let sub = net.subscribe(owner, "t", |s| {
            (s.policy, s.ordered) = (SlowPolicy::DropNewest, true);
        });
        effective(&mut net, owner, sub);
        net.behave(owner, sub, Manner::Room(10));
        let handle = net.publisher(0, "t");
        publish_all(&mut net, 0, handle, &lines(50));
        assert!(net.settle(0, 2 * S), "owner {owner}");
        assert!(delivered(&net, 0) == 10 && count(&net, 0, Outcome::Rejected) == 40);
        net.behave(owner, sub, Manner::Ack);
        net.publish_surely(0, handle, b"after");
        assert!(net.settle(0, 2 * S));
        let told: u64 = gaps(&net, owner, sub).iter().map(|(a, b, _)| b - a).sum();
        assert!(
            told == 40 && seqs(&net, owner, sub).last() == Some(&50),
            "owner {owner}"
        );
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn drop_oldest_keeps_the_newest() {
    for (owner, ordered) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut net = mesh(1, 2);
        let sub = net.subscribe(owner, "t", |s| {
            (s.policy, s.ordered) = (SlowPolicy::DropOldest, ordered);
        });
        effective(&mut net, owner, sub);
        net.behave(owner, sub, Manner::Room(0));
        let handle = net.publisher(0, "t");
        publish_all(&mut net, 0, handle, &lines(10_000));
        net.run(2 * S);
        let refused = count(&net, 0, Outcome::Rejected);
        assert!(
            refused == 10_000 - 4096,
            "owner {owner} {ordered}: {refused}"
        );
        net.behave(owner, sub, Manner::Ack);
        assert!(net.settle(0, 10 * S), "owner {owner} {ordered}");
        let mut seqs = seqs(&net, owner, sub);
        if !ordered {
            seqs.sort_unstable();
        }
        assert!(seqs == (refused..10_000).collect::<Vec<_>>());
        let told = [(0, refused, Outcome::Rejected)];
        assert!(
            !ordered || gaps(&net, owner, sub) == told,
            "owner {owner}: one gap, not one a message: {:?}",
            gaps(&net, owner, sub)
        );
        assert_quiet(&mut net, &[0, 1]);
    }
}

// How many messages come in 2 s to subscribers whose paths carry so many percent of 20 MB/s, and how often a node fell behind.
fn over_paths_of<const N: usize>(percent: [u64; N]) -> ([usize; N], u64) {
    let mut net = mesh_with(1, N + 1, |_, c| c.rcvbuf = 4 << 20);
    let subs: [(usize, u32); N] =
        std::array::from_fn(|at| (at + 1, net.subscribe(at + 1, "t", |_| {})));
    for (n, sub) in subs {
        effective(&mut net, n, sub);
        let rule = Rule {
            rate: Some((200_000 * percent[n - 1], 8 << 20)),
            ..Rule::GOOD
        };
        net.one_way(0, n, rule);
    }
    let handle = net.publisher(0, "t");
    let payload = bytes(1000, 1);
    let until = net.now() + 2 * S;
    while net.now() < until {
        let _ = net.publish_all(0, handle, std::iter::repeat_n(&payload[..], 100));
        net.run(MS);
    }
    let got = subs.map(|(n, sub)| got(&net, n, sub).len());
    (got, net.core(0).publish_counters().behind)
}

#[test]
fn a_node_as_fast_as_others_is_waited_for_and_a_much_slower_one_is_not() {
    for percent in [100, 95] {
        let (got, behind) = over_paths_of([100, 100, percent]);
        assert!(behind == 0, "{percent} %: {behind} times, {got:?}");
        assert!(got.iter().all(|got| *got > 30_000), "{percent} %: {got:?}");
    }
    let (got, behind) = over_paths_of([100, 100, 30]);
    assert!(behind > 0, "{got:?}");
    assert!(got[..2].iter().all(|got| *got > 30_000), "{got:?}");
    // Two that are as slow as one another do not excuse each other for long.
    let (got, behind) = over_paths_of([100, 100, 10, 10]);
    assert!(behind > 1, "{got:?}");
    assert!(got[..2].iter().all(|got| *got > 20_000), "{got:?}");
}

#[test]
fn a_publisher_does_not_wait_for_another_s_subscribers() {
    let mut net = mesh_with(1, 3, |_, c| c.rcvbuf = 4 << 20);
    for (n, topic) in [(1, "fast"), (2, "stuck")] {
        let sub = net.subscribe(n, topic, |_| {});
        effective(&mut net, n, sub);
    }
    let (fast, stuck) = (net.publisher(0, "fast"), net.publisher(0, "stuck"));
    let payload = bytes(1000, 1);
    net.publish_surely(0, fast, &payload);
    net.publish_surely(0, stuck, &payload);
    net.run(S);
    net.link(0, 2, Rule::CUT);
    for handle in [stuck, fast] {
        while net.publish(0, handle, &payload).is_ok() {}
    }
    let since = net.now();
    assert!(
        net.run_till(100 * MS, |net| writable(net, since)),
        "told as soon as its own subscribers have room"
    );
    assert!(net.publish(0, fast, &payload).is_ok());
    assert!(net.publish(0, stuck, &payload) == Err(PublishError::WouldBlock));
}

#[test]
fn a_local_subscription_with_much_to_take_takes_it_in_turns_that_wait_for_nothing() {
    const MANY: usize = 20_000;
    let mut net = mesh(1, 2);
    let sub = net.subscribe(0, "t", |_| {});
    effective(&mut net, 0, sub);
    net.behave(0, sub, Manner::Room(0));
    let handle = net.publisher(0, "t");
    publish_all(&mut net, 0, handle, &vec![b"x".to_vec(); MANY]);
    net.behave(0, sub, Manner::Ack);
    net.run(MS);
    assert!(got(&net, 0, sub).len() == MANY, "within a millisecond");
    assert!(net.settle(0, S));
}
