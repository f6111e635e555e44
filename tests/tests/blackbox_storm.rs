//! Nine nodes in a storm of overlapping faults: the logs of their clients, judged afterwards, show the delivery contract.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tidings_tests::blackbox::storm::{LOW_MEMLOCK, NO_IO_URING, Storm};
use tidings_tests::blackbox::{alone, clocks_can_be_shifted, figure, lasting};
use tidings_tests::lab;

const SECOND: Duration = Duration::from_secs(1);
/// TIDINGS_SEED=N takes another storm.
const SEED: u64 = 1;

#[test]
fn the_contract_holds_through_a_storm() {
    if !lab::ready() {
        return;
    }
    if !clocks_can_be_shifted() {
        lab::skipped(
            "kernel",
            "this kernel has no time namespaces: all nodes share one monotonic clock",
        );
    }
    let seed = std::env::var("TIDINGS_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let _turn = alone();
    let mut storm = Storm::gather(seed);
    for number in [LOW_MEMLOCK, NO_IO_URING] {
        let stats = storm.cluster().node(number).json(&["stats"]);
        assert_eq!(stats["shards"][0]["waits_by"], "epoll", "node {number}");
    }
    let aftermath = storm.blow(seed, lasting(180 * SECOND, 60 * SECOND));
    figure(format_args!("seed {seed}: {aftermath}"));
    assert_eq!(aftermath.verdict.count(), 0, "seed {seed}: {aftermath}");
    assert!(aftermath.settled.is_some(), "seed {seed}: {aftermath}");
    // A storm that did nothing to anybody, or in which nobody spoke, proves nothing.
    for kind in [
        "one-way cut",
        "cut by class",
        "partition",
        "rough links",
        "kill -9",
        "SIGSTOP",
        "rolling restart",
        "full disk",
        "client crash",
    ] {
        assert!(aftermath.deeds.contains_key(kind), "no {kind}");
    }
    let verdict = &aftermath.verdict;
    assert!(verdict.accepted > 1_000 && verdict.got > 5_000 && verdict.again > 0);
    assert!(verdict.outcomes["Delivered"] > 5_000);
    storm.wait_empty(120 * SECOND);
}
