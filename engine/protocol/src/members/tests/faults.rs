//! Faults that last long or take many: what an hour of loss, a day apart, a pause or a slow processor may lead to.

use super::*;

fn suspected_by_all(world: &World, victim: usize) -> bool {
    world.up().filter(|node| node.at != victim).all(|node| {
        let state = node.state(victim);
        matches!(state, Some(MemberState::Suspect | MemberState::Dead))
    })
}

/// What a node was told of another, in order.
fn told(world: &World, at: usize, of: usize) -> Vec<&'static str> {
    let node = world.nodes[at].as_ref().unwrap();
    let events = node.events.iter().filter(|event| event.2 == id(of));
    events.map(|event| event.1).collect()
}

#[test]
fn one_silent_of_a_hundred_is_suspected_by_all_within_three_seconds_and_nobody_else_is() {
    for seed in 0..2 {
        let mut world = World::joined_seeded(100, seed);
        world.nodes[50] = None;
        let took = world.until(10 * SECOND, |world| suspected_by_all(world, 50));
        let took = took.unwrap();
        assert!(took <= 3 * SECOND, "seed {seed}: {} ms", took / MS);
        let dead = |world: &World| world.all_hold(50, MemberState::Dead);
        let took = world.until(20 * SECOND, dead).unwrap();
        assert!(took <= 12 * SECOND, "seed {seed}: {} ms", took / MS);
        world.run(10 * SECOND);
        assert!(world.agrees(), "seed {seed}");
        for node in world.up() {
            assert!(node.saw("member_unreachable") == 1, "seed {seed}");
        }
    }
}

#[test]
fn a_node_stopped_for_however_long_is_back_within_two_seconds() {
    for (seed, span) in [3, 10, 120].into_iter().enumerate() {
        let mut world = World::joined_seeded(8, seed as u64);
        world.asleep = Some(3);
        world.run(span * SECOND);
        world.asleep = None;
        let took = world.until(10 * SECOND, World::agrees).unwrap();
        assert!(took <= 2 * SECOND, "{span} s: {} ms", took / MS);
        world.run(20 * SECOND);
        assert!(world.agrees(), "{span} s");
        for node in world.up().filter(|node| node.at != 3) {
            let dead = node.saw("member_unreachable");
            assert!(dead <= usize::from(span > 3), "{span} s: {dead} times");
        }
    }
}

/// It gets the processor for so long of each period, and what comes meanwhile waits in its sockets.
fn slowed(world: &mut World, at: usize, runs: u64, period: u64, span: u64) {
    for _ in 0..span / period {
        world.asleep = Some(at);
        world.run(period - runs);
        world.asleep = None;
        world.run(runs);
    }
}

#[test]
fn a_node_with_a_twentieth_of_a_processor_is_not_dead_and_kills_nobody() {
    for (seed, period) in [100 * MS, SECOND].into_iter().enumerate() {
        let mut world = World::joined_seeded(8, seed as u64);
        slowed(&mut world, 3, period / 20, period, 120 * SECOND);
        for node in world.up() {
            assert!(
                node.saw("member_unreachable") == 0,
                "{} ms: node {} {:?}",
                period / MS,
                node.at,
                node.events
            );
        }
        assert!(world.until(2 * SECOND, World::agrees).is_some());
    }
}

#[test]
fn an_hour_with_a_third_of_all_datagrams_lost_ends_in_one_view() {
    let mut world = World::joined(6);
    world.loss = 30;
    world.run(3600 * SECOND);
    let deaths = |node: &Node| node.saw("member_unreachable");
    let deaths: usize = world.up().map(deaths).sum();
    println!("{deaths} times somebody was held dead");
    world.loss = 0;
    let took = world.until(10 * SECOND, World::agrees);
    assert!(took.is_some(), "nobody stays dead");
    // Six nodes hold five others each.
    assert!(deaths <= 30, "{deaths} times somebody was held dead");
}

#[test]
fn however_long_a_cluster_was_parted_it_is_whole_within_ten_seconds_of_contact() {
    const HOUR: u64 = 3600 * SECOND;
    for (count, span) in [(6, HOUR / 6), (4, 2 * HOUR), (2, 30 * HOUR)] {
        let mut world = World::joined(count);
        world.cut = |from, to| (from % 2) != (to % 2);
        world.run(span);
        world.cut = |_, _| false;
        let took = world.until(60 * SECOND, World::agrees);
        let took = took.unwrap();
        assert!(
            took <= 10 * SECOND,
            "{count} nodes, {} min: {} ms",
            span / SECOND / 60,
            took / MS
        );
    }
}

#[test]
fn a_node_that_leaves_while_parted_is_dead_to_the_others_and_out_after_the_heal() {
    for seed in 0..5 {
        let mut world = World::joined_seeded(8, seed);
        world.cut = |from, to| (from % 2) != (to % 2);
        world.run(30 * SECOND);
        let now = world.now;
        world.node(2).with(now, |members, ctx| members.leave(ctx));
        world.run(2 * SECOND);
        world.nodes[2] = None;
        world.run(60 * SECOND);
        for at in [0, 4, 6] {
            assert_eq!(told(&world, at, 2), ["member_out"], "seed {seed}");
        }
        for at in [1, 3, 5, 7] {
            let dead = ["member_quarantine", "member_unreachable"];
            assert_eq!(told(&world, at, 2), dead, "seed {seed}");
        }
        world.cut = |_, _| false;
        let out = |world: &World| world.agrees() && world.all_hold(2, MemberState::Left);
        assert!(world.until(60 * SECOND, out).is_some(), "seed {seed}");
        world.run(20 * SECOND);
        for at in [1, 3, 5, 7] {
            let all = told(&world, at, 2);
            assert_eq!(all[2..], ["member_out"], "seed {seed}: {all:?}");
        }
    }
}
