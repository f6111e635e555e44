//! The transport layer: acknowledgements, credit, heartbeats, congestion.

use std::collections::BTreeSet;

use tidings_protocol::{Outcome, PresenceKind, Profile};
use tidings_tests::net::{MS, Net, Rule, S, Told};
use tidings_wire::Class;

use crate::common::*;

fn payload_bytes(net: &Net, from: usize, to: usize) -> u64 {
    [Class::Fan, Class::Bulk]
        .iter()
        .filter_map(|class| net.sent.get(&(from, to, *class as u8)))
        .map(|(_, bytes)| bytes)
        .sum()
}

#[test]
fn heartbeats_find_a_lost_tail() {
    for seed in 0..4 {
        let mut net = mesh(seed, 2);
        let sub = net.subscribe(1, "t", |_| {});
        effective(&mut net, 1, sub);
        let handle = net.publisher(0, "t");
        net.publish_surely(0, handle, b"the stream is open");
        assert!(net.settle(0, S));
        net.one_way(0, 1, Rule::GOOD.without(Class::Fan));
        net.publish_surely(0, handle, b"lost");
        net.run(MS);
        net.one_way(0, 1, Rule::GOOD);
        let began = net.now();
        assert!(net.settle(0, 3 * S), "seed {seed}");
        assert!(
            net.now() - began < 100 * MS,
            "seed {seed}: within some round trips"
        );
    }
}

#[test]
fn lost_acknowledgements_are_repeated_until_heard() {
    for seed in 0..3 {
        let mut net = mesh(seed, 2);
        let sub = net.subscribe(1, "t", |s| s.ordered = true);
        effective(&mut net, 1, sub);
        net.one_way(
            1,
            0,
            Rule {
                loss: 500,
                ..Rule::HOSTILE
            },
        );
        let handle = net.publisher(0, "t");
        let sent = lines(1000);
        publish_slowly(&mut net, 0, handle, &sent, MS);
        assert!(net.settle(0, 30 * S), "seed {seed}: {}", net.owing(0));
        assert!(net.payloads(1, sub) == sent);
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1]);
    }
}

#[test]
fn a_datagram_that_comes_twice_is_acknowledged_twice_at_once() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    net.publish_surely(0, handle, b"the stream is open");
    assert!(net.settle(0, S));
    net.keep_datagrams();
    net.publish_surely(0, handle, b"twice");
    assert!(net.settle(0, S));
    let is_fan = |bytes: &&[u8]| Class::of(bytes[0]) == Ok(Class::Fan);
    let sent: Vec<Vec<u8>> = net
        .kept_datagrams()
        .filter(is_fan)
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(sent.len(), 1);
    net.run(S);
    // What may happen at any time within a span happens now, since the node is awake.
    net.drive(1, |_, _, _| ());
    let before = net.datagrams(1, 0, Class::Pair);
    net.inject(0, 1, &sent[0]);
    net.run(MS);
    assert_eq!(net.datagrams(1, 0, Class::Pair), before + 1);
    assert!(net.payloads(1, sub).len() == 2, "and is delivered once");
}

#[test]
fn thirty_seconds_without_acknowledgements_lose_nothing() {
    for seed in 0..3 {
        let mut net = mesh(seed, 3);
        let subs: Vec<(usize, u32)> = (1..3)
            .map(|n| (n, net.subscribe(n, "t", |s| s.ordered = true)))
            .collect();
        net.run(2 * S);
        let handle = net.publisher(0, "t");
        let rule = RULES[seed as usize % 2];
        net.all_links(rule);
        let sent = lines(2000);
        publish_slowly(&mut net, 0, handle, &sent[..200], MS);
        net.one_way(1, 0, rule.without(Class::Pair));
        publish_slowly(&mut net, 0, handle, &sent[200..1200], 30 * MS);
        net.run(S);
        assert!(
            got(&net, 2, subs[1].1).len() == 1200,
            "seed {seed}: the other goes on"
        );
        net.all_links(rule);
        publish_slowly(&mut net, 0, handle, &sent[1200..], MS);
        assert!(net.settle(0, 40 * S), "seed {seed}: {}", net.owing(0));
        for (n, sub) in subs {
            assert!(net.payloads(n, sub) == sent, "seed {seed} node {n}");
        }
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn in_flight_stays_below_the_share_of_the_receivers_buffer() {
    for share in [16_384u32, 65_536, 212_992] {
        let mut net = mesh_with(1, 2, move |_, c| c.rcvbuf = share);
        let sub = net.subscribe(1, "t", |_| {});
        effective(&mut net, 1, sub);
        let handle = net.publisher(0, "t");
        for n in 0..2000 {
            net.publish_surely(0, handle, &bytes(1000, n + 1));
        }
        assert!(net.settle(0, 10 * S));
        let before = payload_bytes(&net, 0, 1);
        net.one_way(1, 0, Rule::CUT);
        for n in 0..1000 {
            let _ = net.publish(0, handle, &bytes(1000, n + 1));
        }
        net.run(S);
        let flight = payload_bytes(&net, 0, 1) - before;
        assert!(flight <= u64::from(share), "{flight} bytes for {share}");
        assert!(flight >= u64::from(share) / 2, "{flight} bytes for {share}");
    }
}

#[test]
fn in_flight_stays_below_the_credit() {
    let mut net = Net::with(1, 2, |_, c| {
        (c.rcvbuf, c.policy.max_datagram) = (64 << 20, 9000)
    });
    net.all_links(Rule::far(10));
    net.subscribe(1, "t", |_| {});
    net.run(5 * S);
    let handle = net.publisher(0, "t");
    let (payload, mut most) = (bytes(8000, 1), 0);
    for _ in 0..300 {
        let many = std::iter::repeat_n(&payload[..], 1000);
        let _ = net.publish_all(0, handle, many);
        net.run(MS);
        most = most.max(net.core(0).peers()[0].window.1);
    }
    assert!(most <= 8 << 20, "{most} bytes");
    assert!(most >= 7 << 20, "{most} bytes: something else held it back");
}

// Bytes a second that arrive of a long row of messages over a path, and the share of datagrams sent again, in 1/1000.
fn goodput(rule: Rule, seconds: u64) -> (u64, u64) {
    let mut net = Net::with(2, 2, |_, c| c.rcvbuf = 4 << 20);
    // From the first datagram on: a path that grows longer at once looks like loss.
    net.all_links(rule);
    let sub = net.subscribe(1, "t", |_| {});
    net.run(5 * S);
    let handle = net.publisher(0, "t");
    let payload = bytes(1000, 1);
    let end = net.now() + seconds * S;
    while net.now() < end {
        let many = std::iter::repeat_n(&payload[..], 200);
        let _ = net.publish_all(0, handle, many);
        net.run(2 * MS);
    }
    let counters = net.core(0).publish_counters();
    let arrived = got(&net, 1, sub).len() as u64 * 1000 / seconds;
    (arrived, counters.repairs * 1000 / counters.sent.max(1))
}

#[test]
fn a_clean_long_path_is_filled() {
    let (rate, again) = goodput(Rule::far(10), 3);
    assert!(rate > 20_000_000, "{rate} bytes a second");
    assert!(again == 0, "{again} in 1000 again");
}

#[test]
fn a_narrow_path_is_used_and_not_flooded() {
    let narrow = Rule {
        rate: Some((2_000_000, 60_000)),
        ..Rule::far(10)
    };
    let (rate, again) = goodput(narrow, 6);
    assert!(rate > 1_300_000, "{rate} bytes a second");
    assert!(again < 60, "{again} in 1000 again");
}

#[test]
fn random_loss_decreases_at_most_once_in_a_round_trip() {
    let lossy = Rule {
        loss: 10,
        ..Rule::far(10)
    };
    let (rate, again) = goodput(lossy, 4);
    assert!(rate > 400_000, "{rate} bytes a second");
    assert!(again < 30, "{again} in 1000 again");
}

#[test]
fn reordering_alone_does_not_slow_the_stream_down() {
    let shuffled = Rule {
        delay: (9 * MS, 2 * MS),
        ..Rule::GOOD
    };
    let (rate, again) = goodput(shuffled, 3);
    assert!(rate > 10_000_000, "{rate} bytes a second");
    assert!(again < 20, "{again} in 1000 again");
}

#[test]
fn control_survives_a_flood_of_payload_on_a_narrow_path() {
    let mut net = mesh(1, 3);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let narrow = Rule {
        rate: Some((500_000, 40_000)),
        ..Rule::far(5)
    };
    net.one_way(0, 1, narrow);
    let handle = net.publisher(0, "t");
    let payload = bytes(1000, 1);
    for _ in 0..5000 {
        let _ = net.publish_all(0, handle, std::iter::repeat_n(&payload[..], 100));
        net.run(4 * MS);
    }
    assert!(deaths(&net, 0) == 0, "nobody is held dead");
    assert!(
        got(&net, 1, sub).len() > 5000,
        "{}",
        got(&net, 1, sub).len()
    );
}

// The slowest of 99 in 100 looks at the round trip from node 0 to node 1 while `act` goes on for so many milliseconds.
fn rtt_while(net: &mut Net, span: u64, mut act: impl FnMut(&mut Net)) -> u64 {
    let mut seen = Vec::new();
    for ms in 0..span {
        act(net);
        net.run(MS);
        if ms % 20 == 0 {
            let peers = net.core(0).peers();
            let peer = peers.iter().find(|peer| peer.node == net.id(1));
            seen.extend(peer.and_then(|peer| peer.rtt));
        }
    }
    seen.sort_unstable();
    seen[seen.len() * 99 / 100]
}

fn deaths(net: &Net, n: usize) -> usize {
    let told = net.seen(n).told.iter();
    let dead = |told: &Told| matches!(told, Told::Presence(PresenceKind::Unreachable, _));
    told.filter(|(_, told)| dead(told)).count()
}

#[test]
fn round_trips_stay_below_a_tenth_of_a_second_while_twice_what_the_path_takes_is_offered() {
    let mut net = mesh(1, 3);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let narrow = Rule {
        rate: Some((1_000_000, 80_000)),
        ..Rule::far(5)
    };
    net.one_way(0, 1, narrow);
    let handle = net.publisher(0, "t");
    let payload = bytes(1000, 1);
    let slowest = rtt_while(&mut net, 20_000, |net| {
        let _ = net.publish_all(0, handle, [&payload[..]; 2].into_iter());
    });
    assert!(slowest < 100 * MS, "{} ms", slowest / MS);
    assert!((0..3).all(|n| deaths(&net, n) == 0));
    assert!(got(&net, 1, sub).len() > 12_000);
}

// 10 Mbit/s, 200 ms there and back, 2 % lost.
const WIDE_AREA: Rule = Rule {
    loss: 20,
    rate: Some((1_250_000, 1_250_000)),
    ..Rule::far(100)
};

#[test]
fn a_wide_area_link_keeps_its_members_and_its_queue_short() {
    let mut net = mesh_with(1, 4, |_, c| c.policy.profile = Profile::WAN);
    net.all_links(WIDE_AREA);
    let subs = [1, 2, 3].map(|n| (n, net.subscribe(n, "t", |s| s.ordered = true)));
    net.run(5 * S);
    let handle = net.publisher(0, "t");
    let payload = bytes(1000, 1);
    let slowest = rtt_while(&mut net, 60_000, |net| {
        let _ = net.publish_all(0, handle, [&payload[..]; 2].into_iter());
    });
    assert!(slowest < 400 * MS, "{} ms", slowest / MS);
    assert!((0..4).all(|n| deaths(&net, n) == 0));
    let counts = subs.map(|(n, sub)| got(&net, n, sub).len());
    println!("{counts:?} messages in a minute, {} ms", slowest / MS);
    assert!(counts.iter().all(|count| *count > 1_000));
}

#[test]
fn what_is_told_again_comes_beside_a_stream_that_is_given_more_than_the_path_takes() {
    let mut net = mesh_with(1, 2, |_, c| c.policy.profile = Profile::WAN);
    net.all_links(WIDE_AREA);
    // Ordered: what comes while its first messages are told again waits for them, and goes to catch-up.
    let sub = net.subscribe(1, "t", |s| s.ordered = true);
    net.run(5 * S);
    let handle = net.publisher(0, "t");
    let payload = bytes(1000, 1);
    for _ in 0..30_000 {
        let _ = net.publish_all(0, handle, [&payload[..]; 2].into_iter());
        net.run(MS);
    }
    let (told, owed) = (got(&net, 1, sub).len(), net.owing(0));
    assert!(told > 500, "{told} messages in half a minute, {owed} owed");
}

#[test]
fn a_path_that_swallows_what_it_carried_is_found_out_soon_and_short_messages_go_on() {
    for (seed, rule) in RULES.into_iter().cycle().take(20).enumerate() {
        let mut net = mesh_with(seed as u64, 3, |_, c| c.policy.max_datagram = 8952);
        net.all_links(rule);
        net.run(8 * S);
        let subs = [1, 2].map(|n| (n, net.subscribe(n, "t.*", |s| s.ordered = true)));
        for (n, sub) in subs {
            effective(&mut net, n, sub);
        }
        let [large, short] = ["t.large", "t.short"].map(|topic| net.publisher(0, topic));
        let full = vec![b'x'; 6000];
        for _ in 0..50 {
            net.publish_surely(0, large, &full);
            net.run(10 * MS);
        }
        assert!(net.settle(0, 5 * S));
        let mtu = 1452;
        net.one_way(0, 2, Rule { mtu, ..rule });
        let mut slowest = 0;
        let mut sent = Vec::new();
        for n in 0..400u64 {
            if n % 4 == 0 {
                net.publish_surely(0, large, &full);
            }
            net.publish_surely(0, short, &n.to_le_bytes());
            sent.push(net.now());
            net.run(10 * MS);
        }
        assert!(net.settle(0, 10 * S), "seed {seed}: {}", net.owing(0));
        for got in got(&net, 2, subs[1].1) {
            if got.topic == "t.short" {
                slowest = slowest.max(got.at - sent[got.seq as usize]);
            }
        }
        // Three time-outs of TCP's shortest.
        assert!(slowest <= 600 * MS, "seed {seed}: {} ms", slowest / MS);
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

#[test]
fn more_streams_than_one_turn_can_acknowledge_are_all_acknowledged() {
    const SETS: u64 = 160;
    let mut net = mesh(1, 10);
    // Node 1 is in every set, so that all streams end there.
    for set in 0..SETS {
        let topic = format!("t{set}");
        for n in (1..10).filter(|n| *n == 1 || set >> (n - 2) & 1 == 1) {
            net.subscribe(n, &topic, |_| {});
        }
    }
    net.run(3 * S);
    net.all_links(Rule::far(5));
    net.take_together();
    let handles: Vec<u32> = (0..SETS)
        .map(|set| net.publisher(0, &format!("t{set}")))
        .collect();
    // So often that no pause lets the acknowledgements of some get through alone.
    for _ in 0..500 {
        net.publish_each(0, &handles, b"x");
        net.run(10 * MS);
    }
    assert!(net.core(1).stream_counts().1 == SETS as usize);
    assert!(net.settle(0, 5 * S), "{}", net.owing(0));
    let counters = net.core(0).publish_counters();
    assert!(
        (counters.behind, counters.repairs) == (0, 0),
        "{} fell behind, {} repairs",
        counters.behind,
        counters.repairs
    );
}

#[test]
fn what_goes_to_a_peer_and_comes_from_it_is_counted() {
    let mut lost: Vec<f64> = (0..9).map(lost_of_those_counted).collect();
    lost.sort_by(f64::total_cmp);
    // Some are only late: of some seeds more than of others.
    let median = lost[4];
    assert!(
        (0.01..0.04).contains(&median) && lost[8] < 0.1,
        "2 % are lost: {lost:?} held lost"
    );
}

// Counters of both ends, and what the network says. Gives the share of datagrams held lost.
fn lost_of_those_counted(seed: u64) -> f64 {
    let mut net = mesh(seed, 2);
    net.all_links(Rule::HOSTILE);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    publish_slowly(&mut net, 0, handle, &lines(2000), MS / 5);
    assert!(net.settle(0, 20 * S));
    let [out, back] = [0, 1].map(|n| {
        let peers = net.core(n).peers();
        assert!(peers.len() == 1 && peers[0].node == net.id(1 - n));
        peers[0].clone()
    });
    let sent: u64 = [Class::Pair, Class::Bulk, Class::Fan]
        .map(|class| net.datagrams(0, 1, class))
        .iter()
        .sum();
    assert!(out.counters.datagrams_out == sent);
    let (came, again) = (back.counters.datagrams_in, back.counters.duplicates);
    let all = came + again;
    assert!(
        again > 0 && (sent * 19 / 20..sent * 21 / 20).contains(&all),
        "2 % are lost and 1 % doubled: {came} and {again} of {sent}"
    );
    let (lost, repairs) = (out.counters.lost, out.counters.repairs);
    assert!(
        lost.abs_diff(repairs) < 20,
        "{lost} held lost, {repairs} repaired"
    );
    assert!((back.counters.open_failed, out.counters.links) == (0, 1));
    let rtt = out.rtt.expect("a path that was measured");
    assert!((3 * MS..12 * MS).contains(&rtt), "{rtt} ns");
    assert!(out.window.0 > out.window.1);
    lost as f64 / sent as f64
}

// The mean size of payload datagrams from node 0 to node `to` while `act` runs.
fn mean_size(net: &mut Net, to: usize, act: impl FnOnce(&mut Net)) -> u64 {
    let sent = |net: &Net| {
        let count = net.sent.get(&(0, to, Class::Fan as u8));
        count.copied().unwrap_or_default()
    };
    let before = sent(net);
    act(net);
    let after = sent(net);
    (after.1 - before.1) / (after.0 - before.0)
}

// Many messages a turn, so that datagrams are full.
fn publish_in_batches(net: &mut Net, handle: u32, sent: &[Vec<u8>]) {
    for part in sent.chunks(200) {
        let taken = net.publish_all(0, handle, part.iter().map(|payload| &payload[..]));
        assert!(taken.is_ok());
        net.run(20 * MS);
    }
}

#[test]
fn datagrams_become_as_large_as_every_path_of_a_stream_carries() {
    for (mtu, size) in [(9000, 1448), (1420, 1400), (1300, 1200)] {
        let mut net = mesh(1, 3);
        net.link(0, 2, Rule { mtu, ..Rule::GOOD });
        let handle = net.publisher(0, "t");
        let subs = [1, 2].map(|n| (n, net.subscribe(n, "t", |s| s.ordered = true)));
        for (n, sub) in subs {
            effective(&mut net, n, sub);
        }
        // The links are new, and node 2's was probed before its path was made narrow.
        net.kill(2);
        net.run(10 * S);
        net.start(2);
        assert!(net.run_till(10 * S, |net| net.core(2).is_synced()));
        let sub = net.subscribe(2, "t", |s| s.ordered = true);
        effective(&mut net, 2, sub);
        let sent = lines(3000);
        publish_all(&mut net, 0, handle, &sent[..10]);
        net.run(5 * S);
        let mean = mean_size(&mut net, 2, |net| {
            publish_in_batches(net, handle, &sent[10..]);
            assert!(net.settle(0, 10 * S));
        });
        assert!(
            (size - 150..=size).contains(&mean),
            "{mean} instead of {size} bytes"
        );
        assert!(net.payloads(2, sub) == sent);
        assert!(net.payloads(1, subs[0].1) == sent);
    }
}

#[test]
fn a_path_that_becomes_narrower_loses_nothing() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        let mut net = mesh(seed as u64, 3);
        net.all_links(rule);
        net.run(5 * S);
        let subs = [1, 2].map(|n| (n, net.subscribe(n, "t", |s| s.ordered = true)));
        for (n, sub) in subs {
            effective(&mut net, n, sub);
        }
        let handle = net.publisher(0, "t");
        let sent = lines(6000);
        let mean = mean_size(&mut net, 2, |net| {
            publish_in_batches(net, handle, &sent[..2000]);
            net.run(S);
        });
        assert!(mean > 1250, "seed {seed}: {mean}");
        net.one_way(0, 2, Rule { mtu: 1300, ..rule });
        publish_in_batches(&mut net, handle, &sent[2000..4000]);
        assert!(net.settle(0, 20 * S), "seed {seed}");
        let mean = mean_size(&mut net, 2, |net| {
            publish_in_batches(net, handle, &sent[4000..]);
            assert!(net.settle(0, 10 * S));
        });
        assert!(mean <= 1200, "seed {seed}: {mean}");
        for (n, sub) in subs {
            assert!(net.payloads(n, sub) == sent, "seed {seed} node {n}");
        }
        assert!(delivered(&net, 0) == 12_000);
        net.all_links(Rule::GOOD);
        assert_quiet(&mut net, &[0, 1, 2]);
    }
}

// Sessions of the streams whose datagrams were sent.
fn sessions(net: &Net) -> BTreeSet<[u8; 8]> {
    let fan = net
        .kept_datagrams()
        .filter(|d| Class::of(d[0]) == Ok(Class::Fan));
    fan.map(|d| d[16..24].try_into().expect("8 bytes"))
        .collect()
}

// Publishes the first message of a publisher, for which the session of a stream is drawn after `seed`.
fn publish_first(net: &mut Net, n: usize, handle: u32, payload: &[u8], seed: u8) {
    net.drive(n, |core, _, _| core.reseed([seed; 32]));
    net.publish_surely(n, handle, payload);
    net.drive(n, |core, _, _| core.reseed([seed + 1 + n as u8; 32]));
}

// Two publishers, at nodes 0 and 1, of which the second draws the session of the first for a stream to nodes 2 and 3; node 2
// has the first one's by then, or both come `together`.
fn two_of_one_session(seed: u64, rule: Rule, together: bool) {
    let context = format!("seed {seed} together {together}");
    let mut net = mesh(seed, 4);
    net.all_links(rule);
    let both = net.subscribe(2, "t.*", |s| s.ordered = true);
    let one = net.subscribe(3, "t.b", |s| s.ordered = true);
    net.run(2 * S);
    let handles = [net.publisher(0, "t.a"), net.publisher(1, "t.b")];
    let sent = [1, 1001].map(|first| (first..first + 300).map(|k| bytes(50, k)).collect());
    let sent: [Vec<Vec<u8>>; 2] = sent;
    net.keep_datagrams();
    publish_first(&mut net, 0, handles[0], &sent[0][0], 9);
    if !together {
        net.run(S);
    }
    publish_first(&mut net, 1, handles[1], &sent[1][0], 9);
    let publish = |net: &mut Net, range: std::ops::Range<usize>| {
        for k in range {
            net.publish_surely(0, handles[0], &sent[0][k]);
            net.publish_surely(1, handles[1], &sent[1][k]);
            net.run(MS);
        }
        net.run(2 * S);
        assert!(net.owing(0) + net.owing(1) == 0, "{context}");
    };
    publish(&mut net, 1..200);
    net.all_links(Rule::GOOD);
    let catchup = |net: &Net| [0, 1].map(|n| net.core(n).publish_counters().catchup);
    let before = catchup(&net);
    assert!(
        before[1] > 0 || (together && before[0] > 0),
        "{context}: one is refused"
    );
    publish(&mut net, 200..300);
    assert!(catchup(&net) == before, "{context}: live again");
    assert!(sessions(&net).len() == 2, "{context}: another session");
    assert!(net.outcomes(0) == [(Outcome::Delivered, 300)].into());
    assert!(net.outcomes(1) == [(Outcome::Delivered, 600)].into());
    for (n, sent) in sent.iter().enumerate() {
        let from = net.publisher_id(n, handles[n]);
        let got = got(&net, 2, both);
        let of = got.iter().filter(|g| g.publisher == from);
        assert!(of.map(|g| &g.payload).eq(sent), "{context}: publisher {n}");
    }
    assert!(net.payloads(3, one) == sent[1], "{context}");
    assert_quiet(&mut net, &[0, 1, 2, 3]);
    let streams = [0, 1, 2, 3].map(|n| net.core(n).stream_counts());
    assert!(
        streams == [(1, 0), (1, 0), (0, 2), (0, 1)],
        "{context}: the refused one ended: {streams:?}"
    );
}

#[test]
fn a_publisher_whose_session_another_has_at_one_node_draws_again_and_nothing_is_lost() {
    for (seed, rule) in RULES.into_iter().enumerate() {
        two_of_one_session(seed as u64, rule, false);
        two_of_one_session(seed as u64, rule, true);
    }
}

#[test]
fn a_datagram_that_comes_after_the_end_of_its_link_leaves_nothing_to_do_for_ever() {
    let mut net = mesh(1, 3);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    net.publish_surely(0, handle, b"the stream is open");
    assert!(net.settle(0, S));
    net.link(0, 1, Rule::CUT);
    net.link(0, 2, Rule::CUT);
    net.keep_datagrams();
    net.publish_surely(0, handle, b"late");
    let fan = |d: &&[u8]| Class::of(d[0]) == Ok(Class::Fan);
    let late = net
        .kept_datagrams()
        .find(fan)
        .expect("it was sent")
        .to_vec();
    net.run(40 * S);
    let linked = |net: &Net| {
        let peers = net.core(1).peers();
        peers
            .iter()
            .any(|p| p.node == net.id(0) && p.address.is_some())
    };
    assert!(!linked(&net), "the link has ended");
    net.inject(0, 1, &late);
    net.run(10 * MS);
    let deadline = net.core(1).deadline();
    assert!(deadline.is_some_and(|at| at > net.now()), "{deadline:?}");
}

#[test]
fn outcomes_do_not_queue_behind_one_another() {
    let mut net = mesh(1, 2);
    net.all_links(Rule::far(1));
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    // 125,000 turns a second, each with a delivery to report, and 8,000 datagrams a second to do so.
    let sent = lines(60_000);
    let before = net.datagrams(1, 0, Class::Pair);
    publish_slowly(&mut net, 0, handle, &sent, 8_000);
    let owed = sent.len() as u64 - delivered(&net, 0);
    assert!(owed < 1_000, "{owed} outcomes are 8 ms and more late");
    let told = net.datagrams(1, 0, Class::Pair) - before;
    assert!(told < 4_200, "{told} datagrams in 0.48 s");
    assert!(net.settle(0, S));
}

#[test]
fn a_heartbeat_is_answered_once_what_came_before_it_is_read() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    publish_all(&mut net, 0, handle, &lines(10));
    assert!(net.settle(0, S));
    // Payload waits unread at node 1, as behind a reader without room, while the publisher asks.
    let delay = 40 * MS;
    net.one_way(0, 1, Rule::GOOD.without(Class::Fan));
    let unread = lines(50);
    publish_all(&mut net, 0, handle, &unread);
    let held: Vec<u64> = (0..delay / MS)
        .map(|_| {
            net.drive(1, |core, _, _| core.note_unread(true));
            net.run(MS);
            net.core(0).publish_counters().lost
        })
        .collect();
    assert!(net.core(0).publish_counters().beats > 0, "it was asked");
    assert_eq!(held.last(), Some(&0), "unread is not lost");
    // Now it is read, and was not there: that much is lost.
    net.drive(1, |core, _, _| core.note_unread(false));
    net.run(20 * MS);
    assert!(net.core(0).publish_counters().lost > 0);
    net.all_links(Rule::GOOD);
    assert!(net.settle(0, 10 * S));
}
