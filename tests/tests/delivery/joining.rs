//! Who finds whom: lists of seeds that are mostly wrong, seeds that move, keyrings that share some of their keys.

use std::net::SocketAddr;

use tidings_protocol::SyncStage;
use tidings_tests::net::{MS, Net, S};
use tidings_wire::{KeyRecord, Keyring, NodeId, OverlayId, Suite};

use crate::common::*;

fn ring(overlay: &str, slots: &[u8], primary: u8) -> Keyring {
    let record = |slot: &u8| KeyRecord::new(*slot, Suite::Aes256Gcm, [*slot + 1; 32]);
    let records = slots.iter().map(record).collect();
    Keyring::new(OverlayId::from_name(overlay), records, primary).expect("a valid keyring")
}

fn whole(net: &Net, nodes: &[usize]) -> bool {
    nodes.iter().all(|&n| {
        let core = net.core(n);
        core.is_synced() && core.members().len() == nodes.len()
    })
}

/// Each of them publishes to all of them.
fn all_talk(net: &mut Net, nodes: &[usize]) {
    let subs: Vec<(usize, u32)> = nodes
        .iter()
        .map(|&n| (n, net.subscribe(n, "t", |s| s.ordered = true)))
        .collect();
    for &(n, sub) in &subs {
        effective(net, n, sub);
    }
    for &n in nodes {
        let handle = net.publisher(n, "t");
        publish_slowly(net, n, handle, &lines(200), MS);
        assert!(net.settle(n, 5 * S), "node {n}: {:?}", net.outcomes(n));
        assert!(delivered(net, n) == 200 * nodes.len() as u64, "node {n}");
    }
    net.run(S);
    assert_quiet(net, nodes);
}

#[test]
fn one_good_seed_among_wrong_ones_of_every_kind_is_enough() {
    let seeds: Vec<SocketAddr> = [
        "10.0.0.4:7400",      // itself
        "10.9.9.9:7400",      // nobody
        "[2001:db8::1]:7400", // nobody, by the other family
        "10.0.0.3:7400",      // another overlay
        "10.0.0.1:7400",
    ]
    .map(|seed| seed.parse().expect("an address"))
    .to_vec();
    for seed in 0..4 {
        let wrong = seeds.clone();
        let mut net = Net::unstarted(seed, 4, move |n, config| {
            if n == 3 {
                config.seeds.clone_from(&wrong);
                config.seeds.rotate_left(seed as usize);
            }
        });
        net.give_keyring(2, ring("other", &[0], 0));
        (0..3).for_each(|n| net.start(n));
        net.run(3 * S);
        net.start(3);
        let joined = net.run_till(3 * S, |net| whole(net, &[0, 1, 3]));
        assert!(joined, "seed {seed}");
        net.run(60 * S);
        assert!(whole(&net, &[0, 1, 3]), "seed {seed}");
        assert!(net.core(2).members().len() == 1, "seed {seed}");
        all_talk(&mut net, &[0, 1, 3]);
    }
}

#[test]
fn seeds_that_come_back_at_other_addresses_are_joined_when_their_names_lead_there() {
    let mut net = mesh(1, 4);
    net.kill(0);
    net.run(900 * S);
    assert!((1..4).all(|n| net.core(n).is_synced()));
    let there: SocketAddr = "10.0.7.7:7401".parse().expect("an address");
    net.move_to(0, there);
    net.start(0);
    net.run(30 * S);
    assert!(net.core(0).members().len() == 1, "nobody can know");
    for n in 1..4 {
        net.drive(n, |core, now, _| core.set_seeds(now, &[there]));
    }
    let began = net.now();
    assert!(net.run_till(70 * S, |net| whole(net, &[0, 1, 2, 3])));
    assert!(
        net.now() - began < 10 * S,
        "{} ms",
        (net.now() - began) / MS
    );
    all_talk(&mut net, &[0, 1, 2, 3]);
}

/// Nodes that were told of nobody, each of which a beacon of node 0 reaches.
fn found(seed: u64, count: usize) -> Net {
    let mut net = Net::unstarted(seed, count, |_, config| {
        config.seeds.clear();
        config.discovers = true;
    });
    (0..count).for_each(|n| net.start(n));
    let (id, addr) = (net.id(0), net.address(0));
    for n in 0..count {
        net.drive(n, |core, now, _| core.on_found(now, &id, addr));
    }
    net
}

#[test]
fn nodes_that_were_told_of_nobody_meet_by_beacons_and_talk() {
    for seed in 0..4 {
        let mut net = found(seed, 4);
        assert!(net.core(0).found_len() == 0, "its own beacon");
        let began = net.now();
        assert!(net.run_till(10 * S, |net| whole(net, &[0, 1, 2, 3])));
        assert!(net.now() - began < 5 * S, "{} ms", (net.now() - began) / MS);
        all_talk(&mut net, &[0, 1, 2, 3]);
    }
}

#[test]
fn a_node_that_looks_for_others_and_finds_none_waits_for_them_and_then_is_alone() {
    let mut net = found(1, 1);
    net.run(4 * S);
    assert!(!net.core(0).is_synced());
    net.run(2 * S);
    // It goes on alone, and waits again once somebody is met.
    assert_eq!(net.core(0).sync_stage(), SyncStage::Alone);
    all_talk(&mut net, &[0]);
}

#[test]
fn beacons_of_nobody_cost_some_hellos_and_are_forgotten() {
    let mut net = found(2, 2);
    assert!(net.run_till(10 * S, |net| whole(net, &[0, 1])));
    net.keep_datagrams();
    let nobody = |n: u16| SocketAddr::from(([10, 9, (n >> 8) as u8, n as u8], 7400));
    // Ten new ones in each of a hundred seconds, as somebody might who recorded them.
    for second in 0..100u16 {
        for n in 0..10 {
            let (id, addr) = (NodeId([9; 16]), nobody(second * 10 + n));
            net.drive(0, |core, now, _| core.on_found(now, &id, addr));
        }
        net.run(S);
    }
    assert!(net.core(0).found_len() == 64);
    let asked_so_far = |net: &Net| {
        let there = |to: SocketAddr| to.ip().to_string().starts_with("10.9.");
        net.kept_from(0).filter(|(to, _)| there(*to)).count()
    };
    let asked = asked_so_far(&net);
    // A try is an H1, said four times at most: 10 new ones a second, 16 of those known in each round of 2 s.
    assert!((100..=100 * 18 * 4).contains(&asked), "{asked} HELLOs");
    net.run(200 * S);
    assert!(net.core(0).found_len() == 0);
    let before = asked_so_far(&net);
    net.run(60 * S);
    assert!(asked_so_far(&net) == before, "nobody is asked any more");
    all_talk(&mut net, &[0, 1]);
}

#[test]
fn who_shares_an_installed_key_meets_and_who_shares_none_does_not() {
    // In the middle of a rotation from slot 0 to slot 1, and one that missed it.
    for (seed, primaries) in [[0, 0], [0, 1], [1, 0], [1, 1]].into_iter().enumerate() {
        let mut net = Net::unstarted(seed as u64, 4, |_, _| {});
        net.give_keyring(0, ring("test", &[0, 1], primaries[0]));
        net.give_keyring(1, ring("test", &[0, 1], primaries[1]));
        net.give_keyring(2, ring("test", &[0], 0));
        net.give_keyring(3, ring("test", &[2], 2));
        (0..4).for_each(|n| net.start(n));
        let met = net.run_till(10 * S, |net| whole(net, &[0, 1, 2]));
        assert!(met, "{primaries:?}");
        net.run(20 * S);
        let strangers = net.core(3).members().len() - 1;
        assert!(strangers == 0, "{primaries:?}: it has no key of theirs");
        assert!(net.core(0).refusals().iter().any(|(_, count)| count > 0));
        all_talk(&mut net, &[0, 1, 2]);
    }
}
