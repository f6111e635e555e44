//! The delivery contract, sentence by sentence, on the in-process network.

use tidings_protocol::Outcome;
use tidings_tests::net::{Net, Rule, S};

// Three nodes that know each other, node 0 about to publish.
fn three(seed: u64) -> Net {
    let mut net = Net::new(seed, 3);
    net.run(2 * S);
    net
}

fn lines(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| format!("line {n} {}", "x".repeat(n % 90)).into_bytes())
        .collect()
}

fn publish_all(net: &mut Net, n: usize, handle: u32, payloads: &[Vec<u8>]) {
    for payload in payloads {
        net.publish_surely(n, handle, payload);
    }
}

// The same payloads in any order.
fn same(mut got: Vec<Vec<u8>>, sent: &[Vec<u8>]) -> bool {
    let mut sent = sent.to_vec();
    got.sort_unstable();
    sent.sort_unstable();
    got == sent
}

fn delivered(net: &Net, n: usize) -> u64 {
    net.outcomes(n)
        .get(&Outcome::Delivered)
        .copied()
        .unwrap_or(0)
}

#[test]
fn every_subscriber_gets_every_message_whole_and_once() {
    let mut net = three(1);
    let subs: Vec<(usize, u32)> = (0..3)
        .map(|n| (n, net.subscribe(n, "news.*", |_| {})))
        .collect();
    net.run(S);
    let handle = net.publisher(0, "news.local");
    let sent = lines(1000);
    publish_all(&mut net, 0, handle, &sent);
    assert!(
        net.run_till(10 * S, |net| delivered(net, 0) == 3000),
        "{:?}",
        net.outcomes(0)
    );
    for (n, sub) in subs {
        assert!(same(net.payloads(n, sub), &sent), "node {n}");
    }
}

#[test]
fn a_hostile_network_changes_nothing_for_an_ordered_subscription() {
    for seed in 1..6 {
        let mut net = three(seed);
        net.all_links(Rule::HOSTILE);
        let subs: Vec<(usize, u32)> = (1..3)
            .map(|n| (n, net.subscribe(n, "file", |s| s.ordered = true)))
            .collect();
        net.run(2 * S);
        let handle = net.publisher(0, "file");
        let sent = lines(3000);
        publish_all(&mut net, 0, handle, &sent);
        assert!(
            net.run_till(60 * S, |net| delivered(net, 0) == 6000),
            "seed {seed}: {:?}",
            net.outcomes(0)
        );
        for (n, sub) in subs {
            assert!(net.payloads(n, sub) == sent, "seed {seed} node {n}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut net = three(seed);
        net.all_links(Rule::HOSTILE);
        net.subscribe(1, "*", |_| {});
        net.run(S);
        let handle = net.publisher(0, "a");
        publish_all(&mut net, 0, handle, &lines(200));
        net.run(5 * S);
        net.trace()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
