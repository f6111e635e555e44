//! What comes from outside: datagrams that are cut, changed, recorded, of other versions or other overlays, from anywhere. They
//! are refused and counted, answered with nothing, and nothing is kept of them.

use std::net::SocketAddr;

use tidings_protocol::MemberState;
use tidings_tests::net::{MS, Net, Rule, S, Told};
use tidings_wire::digest::{Beacon, H1, Writer};
use tidings_wire::{
    Boot, Class, HELLO_HEADER, HelloKind, KeyRecord, Keyring, NodeId, OverlayId, Suite, TAG,
    hello_gate, hello_seal, limits, steer,
};

use crate::common::*;

/// Somewhere that is no node.
fn elsewhere(n: u32) -> SocketAddr {
    SocketAddr::from(([77, (n >> 16) as u8, (n >> 8) as u8, n as u8], 7400))
}

/// Nodes whose every datagram is kept. Nodes 1 and 2 subscribe to what node 0 publishes; there is a stream to both.
fn overheard(seed: u64, count: usize) -> (Net, u32, [u32; 2]) {
    let mut net = Net::unstarted(seed, count, |_, _| {});
    net.keep_datagrams();
    (0..count).for_each(|n| net.start(n));
    net.run(5 * S);
    let subs = [1, 2].map(|n| net.subscribe(n, "t", |s| s.ordered = true));
    net.run(2 * S);
    let handle = net.publisher(0, "t");
    publish_slowly(&mut net, 0, handle, &lines(20), 10 * MS);
    assert!(net.settle(0, 2 * S));
    (net, handle, subs)
}

/// What a node said to another so far.
fn recorded(net: &Net, from: usize, to: usize) -> Vec<Vec<u8>> {
    let own = net.kept_from(from).filter(|(at, _)| *at == net.address(to));
    own.map(|(_, bytes)| bytes.to_vec()).collect()
}

/// The first datagram of each class that was said between two nodes.
fn one_of_each(net: &Net, from: usize, to: usize) -> Vec<Vec<u8>> {
    let all = recorded(net, from, to);
    let first = |class: &Class| all.iter().find(|d| Class::of(d[0]) == Ok(*class)).cloned();
    [Class::Hello, Class::Pair, Class::Bulk, Class::Fan]
        .iter()
        .filter_map(first)
        .collect()
}

fn refusals(net: &Net, n: usize) -> u64 {
    net.core(n).refusals().iter().map(|(_, count)| count).sum()
}

/// What a node holds.
fn state(net: &Net, n: usize) -> impl PartialEq + use<> {
    let core = net.core(n);
    let sessions = net.seen(n).got.len();
    (
        core.members().len(),
        core.peers().len(),
        core.stream_counts(),
        core.memory(),
        sessions,
    )
}

/// Hands a datagram to a node; how many it sends in the same moment.
fn hand(net: &mut Net, n: usize, from: SocketAddr, mut bytes: Vec<u8>) -> usize {
    // What is due at this moment anyway is no answer.
    net.drive(n, |core, now, seen| core.handle_timeout(now, seen));
    let before = net.kept_from(n).count();
    net.drive(n, |core, now, seen| {
        core.handle_datagram(now, from, &mut bytes, seen);
    });
    net.kept_from(n).count() - before
}

/// It is counted once, and that is all.
fn is_refused(net: &mut Net, n: usize, from: SocketAddr, bytes: Vec<u8>, what: &str) {
    let (before, count) = (state(net, n), refusals(net, n));
    let answers = hand(net, n, from, bytes);
    assert!(answers == 0, "{what}: answered");
    assert!(refusals(net, n) == count + 1, "{what}: counted once");
    assert!(state(net, n) == before, "{what}: nothing is kept");
}

fn still_works(net: &mut Net, handle: u32) {
    let subs: Vec<usize> = [1, 2].map(|n| net.seen(n).got.len()).to_vec();
    publish_slowly(net, 0, handle, &lines(20), MS);
    assert!(net.settle(0, 2 * S));
    for (n, before) in [1, 2].into_iter().zip(subs) {
        assert!(net.seen(n).got.len() == before + 20, "node {n}");
    }
}

#[test]
fn a_datagram_of_another_length_is_counted_and_nothing_else() {
    let (mut net, handle, _) = overheard(1, 3);
    let real = one_of_each(&net, 0, 1);
    assert!(real.len() == 4, "every class was said");
    let from = net.address(0);
    for datagram in real {
        for len in (0..=16).chain([datagram.len() - 1, datagram.len() + 1, 65_507]) {
            let mut other = datagram.clone();
            other.resize(len, 0);
            is_refused(&mut net, 1, from, other, &format!("{len} bytes"));
        }
    }
    still_works(&mut net, handle);
}

#[test]
fn another_version_class_or_reserved_bit_is_counted_and_nothing_else() {
    let (mut net, handle, _) = overheard(2, 3);
    let from = net.address(0);
    for datagram in one_of_each(&net, 0, 1) {
        let class = datagram[0] & 15;
        let reserved: &[usize] = match Class::of(datagram[0]) {
            Ok(Class::Hello) => &[2],
            Ok(Class::Fan) => &[25, 31],
            _ => &[],
        };
        let firsts = [class, 0x20 | class, 0xf0 | class, 0x10, 0x15, 0x1f];
        let bent = firsts.map(|first| (0, first));
        let bits = reserved.iter().map(|at| (*at, datagram[*at] | 0x80));
        for (at, byte) in bent.into_iter().chain(bits) {
            let mut other = datagram.clone();
            other[at] = byte;
            is_refused(&mut net, 1, from, other, &format!("byte {at} = {byte:#x}"));
        }
    }
    still_works(&mut net, handle);
}

/// An H1 as good as any, of a node that nobody knows.
fn h1(ring: &Keyring, versions: (u8, u8)) -> Vec<u8> {
    let mut bytes = vec![0; limits::MIN_H1_DATAGRAM];
    let end = bytes.len() - TAG;
    let mut h1 = H1::default();
    (h1.who.ver_min, h1.who.ver_max) = versions;
    (h1.who.id, h1.who.boot) = (NodeId([9; 16]), Boot([9; 16]));
    (h1.who.hs, h1.who.generation) = (1.into(), 1.into());
    let mut writer = Writer::new(&mut bytes[HELLO_HEADER..end]);
    assert!(writer.put_h1(&h1, &[]));
    let (slot, lane) = (ring.primary_slot(), steer(ring.overlay(), 0));
    hello_seal(ring, slot, HelloKind::H1, lane, [5; 32], 0, &mut bytes).expect("it fits");
    bytes
}

#[test]
fn a_hello_of_other_versions_gets_no_answer() {
    let (mut net, handle, _) = overheard(3, 3);
    let ring = net.keyring();
    for versions in [(2, 9), (0, 0), (255, 255)] {
        let counted = net.core(0).refusals().get("hello_version");
        let what = format!("{versions:?}");
        is_refused(&mut net, 0, elsewhere(1), h1(&ring, versions), &what);
        assert!(net.core(0).refusals().get("hello_version") == counted + 1);
    }
    assert!(
        hand(&mut net, 0, elsewhere(1), h1(&ring, (1, 9))) == 1,
        "one of several versions is enough"
    );
    still_works(&mut net, handle);
}

#[test]
fn a_beacon_at_a_nodes_own_port_is_refused_though_its_seal_holds() {
    let (mut net, handle, _) = overheard(3, 3);
    let ring = net.keyring();
    let mut bytes = vec![0; HELLO_HEADER + size_of::<Beacon>() + TAG];
    let end = bytes.len() - TAG;
    let beacon = Beacon::new(NodeId([7; 16]), Boot([7; 16]), elsewhere(1));
    assert!(Writer::new(&mut bytes[HELLO_HEADER..end]).put(&beacon));
    let (slot, lane) = (ring.primary_slot(), steer(ring.overlay(), 0));
    hello_seal(&ring, slot, HelloKind::Beacon, lane, [5; 32], 0, &mut bytes).expect("it fits");
    is_refused(&mut net, 0, elsewhere(1), bytes, "a beacon");
    assert!(net.core(0).refusals().get("hello_beacon") == 1);
    assert!(net.core(0).found_len() == 0);
    still_works(&mut net, handle);
}

#[test]
fn what_one_node_was_sent_another_refuses() {
    let (mut net, handle, _) = overheard(4, 4);
    let ring = net.keyring();
    for (from, to) in [(0, 1), (1, 0)] {
        let addr = net.address(from);
        for datagram in recorded(&net, from, to) {
            // Whoever asks is answered, and nothing is remembered of it.
            let asks = hello_gate(&ring, &datagram) == Ok(HelloKind::H1);
            let what = format!("{:?} from {from} to {to}", Class::of(datagram[0]));
            if !asks {
                is_refused(&mut net, 3, addr, datagram.clone(), &what);
            }
            // Node 2 has the stream, and had this of it: it says again that it has it, no more.
            if from == 0 && !asks {
                let (before, count) = (state(&net, 2), refusals(&net, 2));
                hand(&mut net, 2, addr, datagram);
                assert!(refusals(&net, 2) == count + 1, "{what}: counted once");
                assert!(state(&net, 2) == before, "{what}: nothing is kept");
            }
        }
    }
    still_works(&mut net, handle);
}

#[test]
fn a_datagram_that_comes_after_any_window_is_refused_and_was_repaired_long_before() {
    let mut net = mesh(5, 2);
    let sub = net.subscribe(1, "t", |s| s.ordered = true);
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    net.publish_surely(0, handle, b"the stream is open");
    assert!(net.settle(0, S));
    net.keep_datagrams();
    net.one_way(0, 1, Rule::GOOD.without(Class::Fan));
    net.publish_surely(0, handle, b"held up");
    net.run(MS / 10);
    net.one_way(0, 1, Rule::GOOD);
    let late = recorded(&net, 0, 1);
    let late = late.iter().find(|d| Class::of(d[0]) == Ok(Class::Fan));
    let late = late.expect("it was sent").clone();
    assert!(net.settle(0, S), "it is repaired");
    net.keep_datagrams();
    let from = net.address(0);
    let mut sent = 0;
    for places in [1, 2047, 2048, 4096, 8191, 8192, 9000] {
        while sent < places {
            net.publish_surely(0, handle, b"another");
            net.run(200_000);
            sent += 1;
        }
        assert!(net.settle(0, S));
        let came = net.core(1).receive_counters().delivered;
        let count = refusals(&net, 1);
        hand(&mut net, 1, from, late.clone());
        assert!(refusals(&net, 1) == count + 1, "{places} later");
        assert!(net.core(1).receive_counters().delivered == came);
    }
    let counters = net.core(0).publish_counters();
    assert!((counters.behind, counters.catchup) == (0, 0));
    assert!(seqs(&net, 1, sub) == (0..9002).collect::<Vec<_>>());
}

#[test]
fn a_recorded_h1_from_a_hundred_thousand_addresses_costs_less_than_it_brings() {
    let (mut net, handle, _) = overheard(6, 3);
    let ring = net.keyring();
    let h1 = recorded(&net, 1, 0);
    let h1 = h1
        .into_iter()
        .find(|d| hello_gate(&ring, d) == Ok(HelloKind::H1));
    let h1 = h1.expect("node 1 joined through node 0");
    net.keep_datagrams();
    let (members, peers) = (net.core(0).members().len(), net.core(0).peers().len());
    let began = net.now();
    for n in 0..100_000 {
        net.drive(0, |core, now, seen| {
            core.handle_datagram(now, elsewhere(n), &mut h1.clone(), seen);
        });
        net.run_until(began + u64::from(n + 1) * 10_000);
    }
    let strange = |to: SocketAddr| to.ip().to_string().starts_with("77.");
    let answers: Vec<&[u8]> = net
        .kept_from(0)
        .filter(|(to, _)| strange(*to))
        .map(|(_, bytes)| bytes)
        .collect();
    let kinds = answers.iter().map(|d| hello_gate(&ring, d));
    let h2 = kinds.filter(|kind| *kind == Ok(HelloKind::H2)).count();
    assert!((1..=20_000).contains(&h2), "{h2} were answered");
    assert!(answers.iter().all(|answer| answer.len() <= h1.len()));
    assert!(answers.len() < 50_000, "{} answers", answers.len());
    let after = (net.core(0).members().len(), net.core(0).peers().len());
    assert!(after == (members, peers), "nobody new");
    let told = net.seen(0).told.iter().filter(|(at, _)| *at > began);
    let presence = told.filter(|(_, told)| matches!(told, Told::Presence(..)));
    assert!(presence.count() == 0, "nobody is held for anything");
    still_works(&mut net, handle);
}

#[test]
fn the_same_key_in_another_overlay_is_no_key() {
    let mut net = Net::unstarted(7, 3, |_, _| {});
    let record = || vec![KeyRecord::new(0, Suite::ChaCha20Poly1305, [7; 32])];
    let other = Keyring::new(OverlayId::from_name("other"), record(), 0).expect("valid");
    net.give_keyring(2, other);
    (0..3).for_each(|n| net.start(n));
    net.run(20 * S);
    assert!(net.core(2).members().len() == 1, "alone");
    assert!((0..2).all(|n| net.core(n).members().len() == 2));
    assert!(net.datagrams(2, 0, Class::Hello) > 2, "it asked");
    let answers: u64 = [Class::Hello, Class::Pair, Class::Bulk, Class::Fan]
        .map(|class| net.datagrams(0, 2, class))
        .iter()
        .sum();
    assert!(answers == 0, "no answer of any kind");
    assert!(refusals(&net, 0) >= net.datagrams(2, 0, Class::Hello));
}

#[test]
fn a_million_datagrams_recorded_before_a_restart_leave_nothing_after_it() {
    let (mut net, handle, _) = overheard(8, 3);
    publish_slowly(&mut net, 0, handle, &lines(1000), MS);
    assert!(net.settle(0, 2 * S));
    let ring = net.keyring();
    let mut old = Vec::new();
    for from in [0, 2] {
        let addr = net.address(from);
        let asks = |d: &[u8]| hello_gate(&ring, d) == Ok(HelloKind::H1);
        let all = recorded(&net, from, 1).into_iter().filter(|d| !asks(d));
        old.extend(all.map(|datagram| (addr, datagram)));
    }
    assert!(old.len() > 1500, "{}", old.len());
    net.kill(1);
    net.start(1);
    net.run(5 * S);
    net.subscribe(1, "t", |s| s.ordered = true);
    net.run(S);
    // What may happen at any time within a span happens now, since the node is awake.
    net.drive(1, |_, _, _| ());
    net.keep_datagrams();
    let (before, count) = (state(&net, 1), refusals(&net, 1));
    let mut said = 0;
    while said < 1_000_000 {
        for (from, datagram) in &old {
            let (from, mut bytes) = (*from, datagram.clone());
            // At one moment: nothing else happens, and nothing is due.
            net.drive(1, |core, now, seen| {
                core.handle_datagram(now, from, &mut bytes, seen);
            });
            said += 1;
        }
    }
    assert!(refusals(&net, 1) == count + said, "each is refused");
    assert!(state(&net, 1) == before, "nothing is kept");
    assert!(net.kept_from(1).count() == 0, "nothing is answered");
    net.run(5 * S);
    let members = net.core(1).members();
    assert!(members.iter().all(|m| m.state == MemberState::Alive));
    still_works(&mut net, handle);
}
