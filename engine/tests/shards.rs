//! Several shards in one node: overlays spread, come and go while it runs; what the kernel puts on the wrong shard crosses.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{builder, config, wait_for};
use tidings_engine::{
    Engine, EngineError, OverlayId, PublisherOptions, Received, SubscriberOptions,
};

const WAIT: Duration = Duration::from_secs(60);

fn exchange(from: &Engine, to: &Engine, overlay: OverlayId, count: u32) {
    let mut subscriber = to
        .subscribe(overlay, &["t"], SubscriberOptions::default())
        .unwrap();
    wait_for("subscription known", || {
        from.owed(overlay, "t").unwrap() == 1
    });
    let mut publisher = from
        .publisher(overlay, "t", PublisherOptions::default())
        .unwrap();
    for i in 0..count {
        publisher.publish_within(&i.to_le_bytes(), WAIT).unwrap();
    }
    for _ in 0..count {
        match subscriber.next_within(WAIT) {
            Some(Received::Message(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(subscriber);
    wait_for("subscription gone", || {
        from.owed(overlay, "t").unwrap() == 0
    });
}

#[test]
fn overlays_spread_over_the_shards_and_come_and_go_while_the_node_runs() {
    let (a, b) = (
        builder().shards(3).start().unwrap(),
        builder().shards(2).start().unwrap(),
    );
    let names = ["one", "two", "three", "four"];
    let mut ids = Vec::new();
    for name in names {
        let id = a.add_overlay(config(name, &[])).unwrap();
        b.add_overlay(config(name, &[&a])).unwrap();
        exchange(&a, &b, id, 200);
        ids.push(id);
    }
    let shards: Vec<usize> = a.overlays().iter().map(|entry| entry.shard).collect();
    for shard in 0..3 {
        assert!(shards.contains(&shard), "{shards:?}");
    }
    assert!(matches!(
        a.add_overlay(config("one", &[])),
        Err(EngineError::Exists)
    ));
    a.remove_overlay(ids[1]).unwrap();
    assert!(matches!(a.members(ids[1]), Err(EngineError::Unknown)));
    exchange(&b, &a, ids[2], 200);
    let stats = a.stats().unwrap();
    assert_eq!(stats.shards.len(), 3);
    assert_eq!(stats.overlays.len(), 3);
    // Handshakes arrive on shard 0 and cross; nothing else does.
    let handshakes: u64 = stats.shards.iter().map(|s| s.counters.hello_crossed).sum();
    let wrong: u64 = stats.shards.iter().map(|s| s.counters.wrong_shard).sum();
    assert!(handshakes > 0);
    assert_eq!(wrong, 0);
}

#[test]
fn two_overlays_with_one_steer_value_on_two_shards_both_work() {
    let steer = |name: &str| tidings_wire::steer(OverlayId::from_name(name), 0);
    let first = "overlay 0".to_owned();
    let second = (1..)
        .map(|i| format!("overlay {i}"))
        .find(|name| steer(name) == steer(&first))
        .unwrap();
    let (a, b) = (
        builder().shards(2).start().unwrap(),
        builder().shards(2).start().unwrap(),
    );
    for (shard, name) in [first, second].iter().enumerate() {
        let mut on_a = config(name, &[]);
        on_a.shard = Some(shard);
        let mut on_b = config(name, &[&a]);
        on_b.shard = Some(1 - shard);
        let id = a.add_overlay(on_a).unwrap();
        b.add_overlay(on_b).unwrap();
        exchange(&a, &b, id, 500);
        exchange(&b, &a, id, 500);
    }
    let stats = b.stats().unwrap();
    assert!(
        stats
            .shards
            .iter()
            .any(|shard| shard.counters.forwarded_in > 0)
    );
    assert!(
        stats
            .shards
            .iter()
            .all(|shard| shard.counters.drop_overlay == 0)
    );
}
