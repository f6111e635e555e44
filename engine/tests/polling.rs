//! A shard that polls: while that mostly finds data it reads its data socket without asking, and it sleeps and wakes as any other.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{builder, pair, wait_for};
use tidings_engine::{Engine, Poll, PublisherOptions, Received, Subscriber, SubscriberOptions};

const WAIT: Duration = Duration::from_secs(60);
/// Reads of an empty socket that only a shard makes which reads without asking.
const EMPTY: u64 = 1_000;

fn expect(subscriber: &mut Subscriber, number: u64) {
    match subscriber.next_within(WAIT) {
        Some(Received::Message(message)) => assert_eq!(message.payload, number.to_le_bytes()),
        _ => panic!("message {number} did not come"),
    }
}

#[test]
fn a_shard_that_polls_reads_data_without_asking_and_hears_it_after_a_sleep() {
    // Shorter than the pauses between probes: it sleeps in between.
    let polling = || builder().poll(Poll::For(Duration::from_millis(20)));
    let (a, b, overlay) = pair("polling", polling);
    let options = SubscriberOptions {
        ordered: true,
        ..Default::default()
    };
    let mut subscriber = b.subscribe(overlay, &["ping"], options).unwrap();
    wait_for("the subscription is known", || {
        a.owed(overlay, "ping").unwrap() == 1
    });
    let mut publisher = a
        .publisher(overlay, "ping", PublisherOptions::default())
        .unwrap();
    let counters = |engine: &Engine| engine.stats().unwrap().shards[0].counters;
    let mut number = 0;
    let deadline = Instant::now() + WAIT;
    for _ in 0..2 {
        let before = counters(&b);
        while counters(&b).recv_empty < before.recv_empty + EMPTY {
            assert!(Instant::now() < deadline, "it asked all the time");
            // One by one, and closer together than it polls.
            for _ in 0..100 {
                publisher.publish(&u64::to_le_bytes(number)).unwrap();
                expect(&mut subscriber, number);
                number += 1;
            }
        }
        let before = counters(&b);
        wait_for("it sleeps", || {
            // To ask is to wake: less often than it would sleep.
            std::thread::sleep(Duration::from_millis(100));
            counters(&b).parks > before.parks
        });
    }
    publisher.publish(&number.to_le_bytes()).unwrap();
    expect(&mut subscriber, number);
}
