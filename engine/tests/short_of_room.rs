//! Readers that leave their ring full: whoever shares the shard with them gets its messages all the same, and so do they.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{builder, config, wait_for};
use tidings_engine::{PublisherOptions, Received, Subscriber, SubscriberOptions};

const WAIT: Duration = Duration::from_secs(60);
const COUNT: u64 = 5_000;

/// Reads all messages, in whatever order they come.
fn read_all(mut subscriber: Subscriber) -> Subscriber {
    let mut seen = vec![false; COUNT as usize];
    for _ in 0..COUNT {
        let (sub, id) = match subscriber.next_within(WAIT) {
            Some(Received::Message(message)) => {
                assert_eq!(message.payload, [message.id.seq as u8; 1_000]);
                assert_eq!(message.topic, "t");
                (message.sub, message.id)
            }
            other => panic!("{other:?}"),
        };
        assert!(
            !std::mem::replace(&mut seen[id.seq as usize], true),
            "{id:?} twice"
        );
        subscriber.ack(sub, id);
    }
    subscriber.flush();
    subscriber
}

#[test]
fn a_reader_that_takes_nothing_is_waited_for_but_not_long() {
    let (a, b) = (builder().start().unwrap(), builder().start().unwrap());
    let small = |mut config: tidings_engine::OverlayConfig| {
        config.policy.max_message = 16 << 10;
        config
    };
    let overlay = a.add_overlay(small(config("short", &[]))).unwrap();
    b.add_overlay(small(config("short", &[&a]))).unwrap();
    let subscribe = |ring_bytes: usize| {
        let options = SubscriberOptions {
            ring_bytes,
            ..Default::default()
        };
        b.subscribe(overlay, &["t"], options).unwrap()
    };
    let (idle, eager) = (subscribe(64 << 10), subscribe(4 << 20));
    wait_for("subscriptions known", || a.owed(overlay, "t").unwrap() == 2);
    let reader = std::thread::spawn(move || read_all(eager));
    let options = PublisherOptions::default();
    let mut publisher = a.publisher(overlay, "t", options).unwrap();
    for seq in 0..COUNT {
        publisher.publish_within(&[seq as u8; 1_000], WAIT).unwrap();
    }
    let _eager = reader.join().unwrap();
    let held = || b.stats().unwrap().shards[0].counters.data_held;
    assert!(held() > 0, "the socket was left unread for a moment");
    let slow = || b.health(overlay).unwrap().slow_subscribers;
    let outstanding = || a.health(overlay).unwrap().ack_outstanding;
    wait_for("the idle one is told of", || slow() == 1);
    assert!((1..=COUNT).contains(&outstanding()), "{}", outstanding());
    let _idle = read_all(idle);
    assert!(publisher.settled_within(WAIT));
    wait_for("nothing waits", || (slow(), outstanding()) == (0, 0));
    let fetches = b.stats().unwrap().overlays[0].receive.fetches;
    assert!(fetches > 0, "what was missed was asked for");
}
