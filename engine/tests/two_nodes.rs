//! Two nodes in one process, over loopback: the embedding API from end to end.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use common::{builder, config, pair, wait_for};
use tidings_engine::{
    Engine, MessageId, Outcome, OutcomeWish, OverlayId, PublishRefusal, PublisherOptions, Received,
    Subscriber, SubscriberOptions,
};

const WAIT: Duration = Duration::from_secs(60);
/// For what does not come.
const BRIEF: Duration = Duration::from_millis(500);

fn all() -> PublisherOptions {
    PublisherOptions {
        outcomes: OutcomeWish::All,
        ..PublisherOptions::default()
    }
}

/// Whether somebody was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

fn wait_owed(engine: &Engine, overlay: OverlayId, topic: &str, owed: u32) {
    wait_for("subscriptions known", || {
        engine.owed(overlay, topic).unwrap() == owed
    });
}

#[test]
fn every_message_arrives_once_in_order_and_is_reported_delivered() {
    const COUNT: u64 = 20_000;
    let (a, b, overlay) = pair("order", builder);
    let mut subscriber = b
        .subscribe(
            overlay,
            &["orders.*"],
            SubscriberOptions {
                ordered: true,
                ..Default::default()
            },
        )
        .unwrap();
    wait_owed(&a, overlay, "orders.new", 1);
    let mut publisher = a.publisher(overlay, "orders.new", all()).unwrap();
    let reader = std::thread::spawn(move || {
        for expected in 0..COUNT {
            let (sub, id) = match subscriber.next_within(WAIT) {
                Some(Received::Message(message)) => {
                    assert_eq!(message.id.seq, expected);
                    assert_eq!(message.payload, expected.to_le_bytes());
                    assert_eq!(message.topic, "orders.new");
                    assert!(!message.again);
                    (message.sub, message.id)
                }
                other => panic!("at {expected}: {other:?}"),
            };
            subscriber.ack(sub, id);
        }
        subscriber.flush();
        subscriber
    });
    for seq in 0..COUNT {
        let published = publisher.publish_within(&seq.to_le_bytes(), WAIT).unwrap();
        assert_eq!((published.seq, published.owed), (seq, 1));
    }
    let mut delivered = 0;
    while delivered < COUNT {
        let range = publisher
            .outcome_within(WAIT)
            .expect("an outcome for each message");
        assert_eq!((range.outcome, range.node), (Outcome::Delivered, b.node()));
        delivered += range.to - range.from;
    }
    let _subscriber = reader.join().unwrap();
    assert_eq!(delivered, COUNT);
    a.shutdown();
    b.shutdown();
}

#[test]
fn a_local_subscriber_gets_its_copy_and_large_messages_pass() {
    let (a, b, overlay) = pair("large", builder);
    let mut local = a
        .subscribe(overlay, &["*"], SubscriberOptions::default())
        .unwrap();
    let mut remote = b
        .subscribe(overlay, &["big"], SubscriberOptions::default())
        .unwrap();
    wait_owed(&a, overlay, "big", 2);
    let mut publisher = a.publisher(overlay, "big", all()).unwrap();
    for size in [0usize, 1, 1_200, 70_000, 1 << 20] {
        let payload: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        assert_eq!(publisher.publish_within(&payload, WAIT).unwrap().owed, 2);
        for subscriber in [&mut local, &mut remote] {
            let (sub, id) = match subscriber.next_within(WAIT) {
                Some(Received::Message(message)) => {
                    assert!(message.payload == payload, "{size} bytes");
                    (message.sub, message.id)
                }
                other => panic!("{other:?}"),
            };
            subscriber.ack(sub, id);
            subscriber.flush();
        }
    }
    let too_large = vec![0; (1 << 20) + 1];
    assert_eq!(
        publisher.publish(&too_large),
        Err(PublishRefusal::TooLarge { limit: 1 << 20 })
    );
    drop((a, b));
    assert_eq!(publisher.publish(b"late"), Err(PublishRefusal::Closed));
    assert!(local.next_within(WAIT).is_none() && local.is_closed());
}

#[test]
fn who_leaves_its_messages_unread_is_woken_by_its_end_alone() {
    let (a, b, overlay) = pair("unread", builder);
    let options = || SubscriberOptions {
        client: "till".into(),
        ..Default::default()
    };
    let mut older = b.subscribe(overlay, &["t"], options()).unwrap();
    wait_owed(&a, overlay, "t", 1);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let context = &mut Context::from_waker(&waker);
    assert!(older.poll_closed(context).is_pending());
    let mut publisher = a.publisher(overlay, "t", all()).unwrap();
    publisher.publish_within(b"x", WAIT).unwrap();
    assert!(older.next_within(WAIT).is_some());
    publisher.publish_within(b"x", WAIT).unwrap();
    wait_for("a message unread", || {
        older
            .poll_ready(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    });
    assert!(!woken.0.load(Ordering::Acquire));
    let newer = b.subscribe(overlay, &["t"], options()).unwrap();
    assert!(woken.0.load(Ordering::Acquire));
    assert!(older.poll_closed(context).is_ready());
    assert!(older.try_next().is_some(), "it can still be read");
    drop(newer);
}

#[test]
fn of_two_subscribers_of_one_name_the_newer_has_what_the_older_did_not_acknowledge() {
    let (a, b, overlay) = pair("names", builder);
    let options = || SubscriberOptions {
        client: "till".into(),
        ordered: true,
        ..Default::default()
    };
    let take = |subscriber: &mut Subscriber, count: usize| -> Vec<(u32, MessageId, bool)> {
        let next = |_| match subscriber.next_within(WAIT) {
            Some(Received::Message(message)) => (message.sub, message.id, message.again),
            other => panic!("{other:?}"),
        };
        (0..count).map(next).collect()
    };
    let mut older = b.subscribe(overlay, &["t"], options()).unwrap();
    wait_owed(&a, overlay, "t", 1);
    let mut publisher = a.publisher(overlay, "t", all()).unwrap();
    for _ in 0..10 {
        publisher.publish_within(b"x", WAIT).unwrap();
    }
    let olders = take(&mut older, 10);
    olders[..3].iter().for_each(|got| older.ack(got.0, got.1));
    older.flush();
    let mut delivered = 0;
    while delivered < 3 {
        delivered += publisher.outcome_within(WAIT).unwrap().to - delivered;
    }

    assert!(!older.is_superseded() && !older.is_closed());
    let mut newer = b.subscribe(overlay, &["t"], options()).unwrap();
    assert!(older.is_superseded() && older.is_closed());
    let newers = take(&mut newer, 7);
    let again = olders[3..].iter().map(|got| (got.0, got.1, true));
    assert!(newers.iter().copied().eq(again));
    olders[3..].iter().for_each(|got| older.ack(got.0, got.1));
    older.flush();
    assert_eq!(publisher.outcome_within(BRIEF), None, "too late");
    drop(older);
    publisher.publish_within(b"x", WAIT).unwrap();
    let last = take(&mut newer, 1);
    assert_eq!((last[0].1.seq, last[0].2), (10, false));
    newers
        .iter()
        .chain(&last)
        .for_each(|got| newer.ack(got.0, got.1));
    newer.flush();
    while delivered < 11 {
        let range = publisher.outcome_within(WAIT).unwrap();
        assert_eq!((range.from, range.outcome), (delivered, Outcome::Delivered));
        delivered = range.to;
    }
    // A name is owed what comes while nobody is there, until its subscription is ended.
    let subs = newer.subs().to_vec();
    assert!(!newer.is_superseded());
    drop(newer);
    publisher.publish_within(b"x", WAIT).unwrap();
    assert_eq!(publisher.outcome_within(BRIEF), None, "it may come back");
    b.unsubscribe(overlay, &subs).unwrap();
    let range = publisher.outcome_within(WAIT).unwrap();
    assert_eq!((range.from, range.outcome), (11, Outcome::Unsubscribed));
    b.unsubscribe(overlay, &subs).unwrap();
    a.shutdown();
    b.shutdown();
}

#[test]
fn a_publisher_is_settled_when_every_subscription_that_was_owed_has_its_outcome() {
    const COUNT: u64 = 10;
    let b = builder().name("b").start().unwrap();
    let overlay = b.add_overlay(config("settled", &[])).unwrap();
    let mut subscriber = b
        .subscribe(overlay, &["t"], SubscriberOptions::default())
        .unwrap();
    // The publisher's node does not know the subscription yet: what `publish` tells is a hint.
    let a = builder().name("a").start().unwrap();
    a.add_overlay(config("settled", &[&b])).unwrap();
    let options = PublisherOptions {
        outcomes: OutcomeWish::Nothing,
        ..PublisherOptions::default()
    };
    let mut publisher = a.publisher(overlay, "t", options).unwrap();
    assert!(publisher.is_settled());
    for seq in 0..COUNT {
        publisher.publish_within(&seq.to_le_bytes(), WAIT).unwrap();
    }
    for seq in 0..COUNT {
        let (sub, id) = match subscriber.next_within(WAIT) {
            Some(Received::Message(message)) => (message.sub, message.id),
            other => panic!("{other:?}"),
        };
        if seq < COUNT - 1 {
            subscriber.ack(sub, id);
            subscriber.flush();
        }
    }
    assert!(!publisher.settled_within(Duration::from_millis(300)));
    // The last one is never acknowledged: its subscription ends.
    drop(subscriber);
    assert!(publisher.settled_within(WAIT));
    assert_eq!(publisher.try_outcome(), None, "none was asked for");

    // Owed to nobody, but known so only when it is accepted.
    let began = std::time::Instant::now();
    for _ in 0..100 {
        publisher.publish(b"to nobody").unwrap();
        assert!(publisher.settled_within(WAIT));
    }
    assert!(began.elapsed() < WAIT, "the wait ends when it is settled");
    glommio::LocalExecutor::default().run(async { assert!(publisher.settled().await) });
    publisher.publish(b"to nobody").unwrap();
    // A node that is gone settles nothing more, and nobody waits for it.
    drop(a);
    let began = std::time::Instant::now();
    publisher.settled_within(WAIT);
    assert!(began.elapsed() < WAIT);
}

#[test]
fn the_failures_of_a_settled_publisher_are_there_to_be_read() {
    let (a, b, overlay) = pair("failures", builder);
    let subscriber = b
        .subscribe(overlay, &["t"], SubscriberOptions::default())
        .unwrap();
    wait_owed(&a, overlay, "t", 1);
    let mut publisher = a
        .publisher(overlay, "t", PublisherOptions::default())
        .unwrap();
    for _ in 0..100 {
        publisher.publish_within(b"x", WAIT).unwrap();
    }
    wait_for("all are accepted", || {
        a.stats().unwrap().overlays[0].publish.accepted == 100
    });
    assert!(!publisher.is_settled());
    drop(subscriber);
    assert!(publisher.settled_within(WAIT));
    let mut failed = 0;
    while let Some(range) = publisher.try_outcome() {
        assert_eq!(range.outcome, Outcome::Unsubscribed);
        failed += range.to - range.from;
    }
    assert_eq!(failed, 100);
}

#[test]
fn asynchronous_waits_work_with_any_executor() {
    let (a, b, overlay) = pair("async", builder);
    let mut subscriber = b
        .subscribe(overlay, &["t"], SubscriberOptions::default())
        .unwrap();
    wait_owed(&a, overlay, "t", 1);
    let mut publisher = a.publisher(overlay, "t", all()).unwrap();
    let reader = std::thread::spawn(move || {
        glommio::LocalExecutor::default().run(async move {
            for _ in 0..100 {
                let (sub, id) = match subscriber.next().await {
                    Some(Received::Message(message)) => (message.sub, message.id),
                    other => panic!("{other:?}"),
                };
                subscriber.ack(sub, id);
                subscriber.flush();
            }
            subscriber
        })
    });
    glommio::LocalExecutor::default().run(async {
        for _ in 0..100 {
            publisher.room().await;
            publisher.publish(b"hello").unwrap();
            let range = publisher.outcome().await.unwrap();
            assert_eq!(range.outcome, Outcome::Delivered);
        }
    });
    reader.join().unwrap();
}
