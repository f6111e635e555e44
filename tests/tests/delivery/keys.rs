//! Keys come, seal and go while messages flow: none is lost, no member, and no link begins anew for it.

use tidings_protocol::{KeyUse, Member, Outcome};
use tidings_tests::net::{MS, Net, Rule, S};
use tidings_wire::digest::MemberState;
use tidings_wire::{Class, KeyRecord, Keyring, OverlayId, Suite};

use crate::common::*;

fn ring(records: &[(u8, Suite, u8)], primary: u8) -> Keyring {
    let record = |(slot, suite, key): &(u8, Suite, u8)| KeyRecord::new(*slot, *suite, [*key; 32]);
    let records = records.iter().map(record).collect();
    Keyring::new(OverlayId::from_name("test"), records, primary).expect("a valid keyring")
}

fn set(net: &mut Net, n: usize, records: &[(u8, Suite, u8)], primary: u8) {
    let ring = ring(records, primary);
    let set = net.drive(n, |core, now, _| core.set_keyring(now, ring));
    assert_eq!(set, Some(true));
}

fn used(net: &Net, n: usize) -> KeyUse {
    net.core(n).key_use(net.now())
}

/// Nodes that begin with these keys, and know each other.
fn holders(seed: u64, count: usize, records: &[(u8, Suite, u8)], primary: u8) -> Net {
    let mut net = Net::unstarted(seed, count, |_, _| {});
    for n in 0..count {
        net.give_keyring(n, ring(records, primary));
        net.start(n);
    }
    let whole = |net: &Net| {
        (0..count).all(|n| net.core(n).is_synced() && net.core(n).members().len() == count)
    };
    assert!(net.run_till(10 * S, whole), "nodes meet");
    net.run(S);
    net
}

/// How often links began, at all nodes.
fn links(net: &Net, count: usize) -> u64 {
    let peers = (0..count).flat_map(|n| net.core(n).peers());
    peers.map(|peer| peer.counters.links).sum()
}

/// Publishes for a while, 20 messages each 10 ms.
fn load(net: &mut Net, handle: u32, time: u64) -> u64 {
    let mut sent = 0;
    for _ in 0..time / (10 * MS) {
        for _ in 0..20 {
            net.publish_surely(0, handle, &bytes(200, sent));
            sent += 1;
        }
        net.run(10 * MS);
    }
    sent
}

/// Datagrams of streams that went from node 0 to each other.
fn live(net: &Net, count: usize) -> Vec<u64> {
    (1..count)
        .map(|n| net.datagrams(0, n, Class::Fan))
        .collect()
}

/// A second of the load went by the streams, to each.
fn is_live(net: &Net, before: &[u64]) {
    let now = live(net, before.len() + 1);
    let went: Vec<u64> = now.iter().zip(before).map(|(now, was)| now - was).collect();
    assert!(went.iter().all(|went| *went >= 90), "{went:?}");
}

const OLD: (u8, Suite, u8) = (0, Suite::Aes256Gcm, 1);
const NEW: (u8, Suite, u8) = (1, Suite::ChaCha20Poly1305, 2);

#[test]
fn keys_and_suites_rotate_under_load_and_neither_message_nor_link_is_lost() {
    for seed in 1..3 {
        let mut net = holders(seed, 4, &[OLD], 0);
        net.all_links(Rule {
            loss: 10,
            ..Rule::GOOD
        });
        let subs: Vec<u32> = (1..4)
            .map(|n| net.subscribe(n, "t", |s| s.ordered = true))
            .collect();
        (1..4).for_each(|n| effective(&mut net, n, subs[n - 1]));
        let handle = net.publisher(0, "t");
        let mut sent = load(&mut net, handle, S);
        let before = links(&net, 4);
        let rotations = [
            (OLD, NEW),
            (NEW, (2, Suite::Aes128Gcm, 3)),
            ((2, Suite::Aes128Gcm, 3), (0, Suite::Aes256Gcm, 4)),
        ];
        for (old, new) in rotations {
            for n in 0..4 {
                set(&mut net, n, &[old, new], old.0);
                sent += load(&mut net, handle, 100 * MS);
            }
            let has = |m: &Member| m.keys == (1 << old.0) | (1 << new.0);
            assert!(net.run_till(10 * S, |net| {
                (0..4).all(|n| net.core(n).members().iter().all(has))
            }));
            for n in (0..4).rev() {
                set(&mut net, n, &[old, new], new.0);
                sent += load(&mut net, handle, 100 * MS);
            }
            sent += load(&mut net, handle, 12 * S);
            for n in 0..4 {
                let new_only = KeyUse {
                    installed: (1 << old.0) | (1 << new.0),
                    primary: new.0,
                    used: 1 << new.0,
                };
                assert_eq!(used(&net, n), new_only, "node {n}");
                assert!(net.core(n).members().iter().all(|m| m.primary == new.0));
            }
            for n in 0..4 {
                set(&mut net, n, &[new], new.0);
            }
            let streamed = live(&net, 4);
            net.keep_datagrams();
            sent += load(&mut net, handle, S);
            let fan = |bytes: &&[u8]| bytes[0] == Class::Fan.first_byte();
            let mut sealed = net.kept_from(0).map(|(_, bytes)| bytes).filter(fan);
            assert!(
                sealed.all(|bytes| bytes[1] == new.1 as u8),
                "all under {new:?}"
            );
            is_live(&net, &streamed);
        }
        assert!(net.settle(0, 20 * S), "{} owed", net.owing(0));
        assert_eq!(links(&net, 4), before, "no link began anew");
        for n in 1..4 {
            assert!(seqs(&net, n, subs[n - 1]).into_iter().eq(0..sent));
        }
        assert_eq!(count(&net, 0, Outcome::Delivered), 3 * sent);
    }
}

#[test]
fn what_one_node_uses_alone_waits_for_the_others() {
    let mut net = holders(1, 3, &[OLD], 0);
    let subs = [1, 2].map(|n| net.subscribe(n, "t", |s| s.ordered = true));
    [1, 2]
        .into_iter()
        .for_each(|n| effective(&mut net, n, subs[n - 1]));
    let handle = net.publisher(0, "t");
    let mut sent = load(&mut net, handle, S);
    let before = links(&net, 3);
    // Node 1 has another key in the slot, node 2 has none.
    set(&mut net, 1, &[OLD, (1, Suite::ChaCha20Poly1305, 9)], 0);
    set(&mut net, 0, &[OLD, NEW], 1);
    net.keep_datagrams();
    sent += load(&mut net, handle, 20 * S);
    assert_eq!(used(&net, 0).used, 0b1);
    let fan = |bytes: &&[u8]| bytes[0] == Class::Fan.first_byte();
    let streamed = net.kept_from(0).map(|(_, bytes)| bytes).filter(fan).count();
    assert!(streamed > 1_000, "they stay in the stream: {streamed}");
    // Who gets the key changes over without being asked to.
    set(&mut net, 1, &[OLD, NEW], 0);
    set(&mut net, 2, &[OLD, NEW], 1);
    sent += load(&mut net, handle, 70 * S);
    assert_eq!(used(&net, 0).used, 0b10);
    assert_eq!(used(&net, 2).used & 0b10, 0b10);
    let streamed = live(&net, 3);
    sent += load(&mut net, handle, S);
    is_live(&net, &streamed);
    assert!(net.settle(0, 10 * S));
    assert_eq!(links(&net, 3), before);
    for n in [1, 2] {
        assert!(seqs(&net, n, subs[n - 1]).into_iter().eq(0..sent));
    }
}

#[test]
fn a_key_that_is_removed_while_it_is_used_costs_links_and_no_message() {
    for remover in [0, 1] {
        let mut net = holders(1, 3, &[OLD, NEW], 0);
        let subs = [1, 2].map(|n| net.subscribe(n, "t", |s| s.ordered = true));
        [1, 2]
            .into_iter()
            .for_each(|n| effective(&mut net, n, subs[n - 1]));
        let handle = net.publisher(0, "t");
        let mut sent = load(&mut net, handle, S);
        for n in 0..50 {
            net.publish_surely(0, handle, &bytes(3_000, n));
        }
        sent += 50;
        set(&mut net, remover, &[NEW], 1);
        assert_eq!(used(&net, remover).used & 0b1, 0, "what it held is gone");
        sent += load(&mut net, handle, 20 * S);
        // Nodes that do not agree upon a key get by catch-up what goes to all of them.
        (0..3).for_each(|n| set(&mut net, n, &[NEW], 1));
        sent += load(&mut net, handle, 10 * S);
        let streamed = live(&net, 3);
        sent += load(&mut net, handle, S);
        is_live(&net, &streamed);
        assert!(net.settle(0, 20 * S), "{} owed", net.owing(0));
        for n in [1, 2] {
            assert!(seqs(&net, n, subs[n - 1]).into_iter().eq(0..sent));
        }
        let alive = |m: &Member| m.state == MemberState::Alive;
        assert!((0..3).all(|n| net.core(n).members().iter().all(alive)));
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn what_waits_for_a_client_outlives_the_key_that_it_was_sealed_with() {
    let mut net = holders(1, 2, &[OLD], 0);
    let sub = net.subscribe(1, "t", |s| {
        s.client = "till".into();
        s.ordered = true;
    });
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    let mut sent = load(&mut net, handle, S);
    net.run(S);
    net.detach(1, sub);
    sent += load(&mut net, handle, S);
    for (records, primary) in [(&[OLD, NEW][..], 0), (&[OLD, NEW], 1)] {
        (0..2).for_each(|n| set(&mut net, n, records, primary));
        net.run(20 * S);
    }
    assert_eq!(
        [0, 1].map(|n| used(&net, n).used),
        [0b10; 2],
        "nothing is sent under it"
    );
    (0..2).for_each(|n| set(&mut net, n, &[NEW], 1));
    sent += load(&mut net, handle, S);
    net.run(5 * S);
    net.attach(1, sub);
    assert!(net.settle(0, 20 * S), "{} owed", net.owing(0));
    assert!(seqs(&net, 1, sub).into_iter().eq(0..sent));
}

#[test]
fn halves_that_rotated_apart_meet_by_any_key_that_both_have() {
    for (there, meet) in [(&[OLD, NEW][..], true), (&[OLD], false)] {
        let mut net = holders(1, 4, &[OLD], 0);
        let sub = net.subscribe(3, "t", |_| {});
        effective(&mut net, 3, sub);
        let handle = net.publisher(0, "t");
        let cut = |net: &mut Net, rule| {
            for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
                net.link(a, b, rule);
            }
        };
        cut(&mut net, Rule::CUT);
        net.run(15 * S);
        for (records, primary) in [(&[OLD, NEW][..], 1), (&[NEW], 1)] {
            (0..2).for_each(|n| set(&mut net, n, records, primary));
            net.run(20 * S);
        }
        (2..4).for_each(|n| set(&mut net, n, there, 0));
        publish_all(&mut net, 0, handle, &lines(50));
        cut(&mut net, Rule::GOOD);
        net.run(60 * S);
        let alive = |m: &Member| m.state == MemberState::Alive;
        for n in 0..4 {
            let members = net.core(n).members();
            assert_eq!(
                members.iter().filter(|m| alive(m)).count(),
                if meet { 4 } else { 2 }
            );
        }
        assert_eq!(net.owing(0), if meet { 0 } else { 50 });
        if !meet {
            assert!(net.core(0).refusals().get("open_slot") > 0);
            assert!(net.core(2).refusals().get("open_slot") > 0);
            (2..4).for_each(|n| set(&mut net, n, &[OLD, NEW], 0));
            net.run(60 * S);
            assert_eq!(net.owing(0), 0, "those that get the key are there again");
        }
        assert_eq!(count(&net, 0, Outcome::Delivered), 50);
    }
}

#[test]
fn links_over_which_nothing_is_said_and_streams_to_nodes_that_are_gone_do_not_hold_a_key() {
    // More than a node deals with, and one that all have a link to for a subscription that gets nothing.
    let count = 20;
    let mut net = holders(1, count, &[OLD], 0);
    let quiet = net.subscribe(3, "quiet", |_| {});
    effective(&mut net, 3, quiet);
    // Subscribers of a topic each, of which one leaves and one dies.
    let handles = [1, 2].map(|n| {
        let topic = format!("t{n}");
        let sub = net.subscribe(n, &topic, |_| {});
        effective(&mut net, n, sub);
        net.publisher(0, &topic)
    });
    for handle in handles {
        publish_all(&mut net, 0, handle, &lines(20));
    }
    assert!(net.settle(0, 5 * S));
    let left = net.drive(1, |core, now, _| core.leave(now));
    assert!(left.is_some());
    net.run(2 * S);
    net.kill(1);
    net.kill(2);
    net.run(30 * S);
    let there: Vec<usize> = (0..count).filter(|n| ![1, 2].contains(n)).collect();
    for (records, primary) in [(&[OLD, NEW][..], 0), (&[OLD, NEW], 1)] {
        let all = there.iter();
        all.for_each(|n| set(&mut net, *n, records, primary));
        net.run(10 * S);
    }
    for n in there {
        assert_eq!(used(&net, n).used, 0b10, "node {n}");
    }
}

#[test]
fn the_keyring_of_another_overlay_is_not_taken() {
    let mut net = mesh(1, 1);
    let record = KeyRecord::new(0, Suite::Aes128Gcm, [1; 32]);
    let other = Keyring::new(OverlayId::from_name("other"), vec![record], 0).expect("valid");
    let before = used(&net, 0);
    let set = net.drive(0, |core, now, _| core.set_keyring(now, other));
    assert_eq!((set, used(&net, 0)), (Some(false), before));
}
