//! How old messages are told to have been when they were acknowledged.

use tidings_protocol::Outcome;
use tidings_protocol::latency::Latency;
use tidings_tests::net::{MS, Manner, Rule, S};

use crate::common::*;

#[test]
fn the_age_of_a_delivery_is_the_time_until_its_acknowledgement() {
    let mut net = mesh(1, 2);
    net.all_links(Rule {
        delay: (10 * MS, 0),
        ..Rule::GOOD
    });
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    for _ in 0..50 {
        net.publish_each(0, &[handle; 20], &bytes(64, 3));
        assert!(net.settle(0, 5 * S));
    }
    let latency = net.core(0).latency();
    assert_eq!(latency.count(), 1_000);
    // There and back, and not much more.
    let least = Latency::quantile(latency.counts(), 0.0).unwrap();
    assert!(least >= 20 * MS, "{least}");
    let median = Latency::quantile(latency.counts(), 0.5).unwrap();
    assert!(median < 60 * MS, "{median}");
    assert!(latency.sum_ns() >= 1_000 * u128::from(20 * MS));
    // The subscriber's own node publishes nothing.
    assert_eq!(net.core(1).latency().count(), 0);
}

#[test]
fn a_message_that_waited_for_its_subscriber_is_as_old_as_it_is_and_a_failed_one_has_no_age() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    net.behave(1, sub, Manner::Keep);
    let handle = net.publisher(0, "t");
    net.publish_each(0, &[handle; 3], b"kept");
    net.run(2 * S);
    assert_eq!(net.core(0).latency().count(), 0);
    net.acknowledge_all(1, sub);
    assert!(net.settle(0, 5 * S));
    let latency = net.core(0).latency().clone();
    assert_eq!(latency.count(), 3);
    assert!((2 * S..3 * S).contains(&latency.max_ns()));
    net.publish_each(0, &[handle; 3], b"never acknowledged");
    net.run(S);
    net.unsubscribe(1, sub);
    assert!(net.settle(0, 5 * S));
    assert_eq!(net.outcomes(0)[&Outcome::Unsubscribed], 3);
    assert_eq!(*net.core(0).latency(), latency);
}
