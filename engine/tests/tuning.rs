//! What a node is tuned for, as it shows on a running one.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{builder, pair, wait_for};
use tidings_engine::{Engine, PublisherOptions, SubscriberOptions, Tuning};

/// Longer than the second after which pools are looked at.
const QUIET: Duration = Duration::from_secs(4);

fn slots(engine: &Engine) -> usize {
    engine.stats().unwrap().shards[0].receive_slots
}

/// Two nodes, the second of which received until its pools grew: with the slots that it had at first.
fn grown(tuning: Tuning) -> (Engine, Engine, usize) {
    let (a, b, overlay) = pair("tuning", || builder().shards(1).tuning(tuning));
    let at_first = slots(&b);
    let mut subscriber = b
        .subscribe(overlay, &["t"], SubscriberOptions::default())
        .unwrap();
    wait_for("subscription known", || a.owed(overlay, "t").unwrap() == 1);
    let mut publisher = a
        .publisher(overlay, "t", PublisherOptions::default())
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while slots(&b) == at_first {
        assert!(Instant::now() < deadline, "the pools do not grow");
        for _ in 0..8 {
            let _ = publisher.publish_within(&[7; 512 << 10], Duration::from_secs(1));
        }
        while subscriber.next_within(Duration::from_millis(1)).is_some() {}
    }
    (a, b, at_first)
}

#[test]
fn a_balanced_node_gives_buffers_back_and_one_for_latency_keeps_them() {
    let (_a, b, at_first) = grown(Tuning::Balanced);
    wait_for("pools as at the start", || slots(&b) == at_first);
    let (_a, b, at_first) = grown(Tuning::Latency);
    std::thread::sleep(QUIET);
    assert!(slots(&b) > at_first);
}
