//! Overlays that move between shards while they are in use: nothing is lost, nobody is told, whoever asks is answered.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{builder, config, is_passing, pair, wait_for};
use tidings_engine::{
    Engine, EngineError, OutcomeWish, OverlayId, PublisherOptions, Received, SubSpec,
    SubscriberOptions, Taken,
};

const WAIT: Duration = Duration::from_secs(60);
const MESSAGES: u32 = 100_000;
const MOVES: usize = 40;

fn shard_of(engine: &Engine, overlay: OverlayId) -> usize {
    let entries = engine.overlays();
    let entry = entries.iter().find(|entry| entry.id == overlay);
    entry.unwrap().shard
}

#[test]
fn an_overlay_moves_back_and_forth_under_load_and_no_message_is_lost_or_out_of_order() {
    let (a, b, overlay) = pair("moves", || builder().shards(3));
    wait_for("both see both", || {
        let both = |engine: &Engine| engine.members(overlay).unwrap().len() == 2;
        both(&a) && both(&b)
    });
    let mut presence = a.presence(overlay).unwrap();
    let ordered = SubscriberOptions {
        ordered: true,
        ..SubscriberOptions::default()
    };
    let mut subscriber = b.subscribe(overlay, &["t"], ordered).unwrap();
    wait_for("subscription known", || a.owed(overlay, "t").unwrap() == 1);
    let all = PublisherOptions {
        outcomes: OutcomeWish::All,
        ..PublisherOptions::default()
    };
    let mut publisher = a.publisher(overlay, "t", all).unwrap();
    let moved = AtomicBool::new(false);
    thread::scope(|scope| {
        let moved = &moved;
        let publishing = scope.spawn(move || {
            let mut count = 0_u32;
            // As long as it moves, and so many at least.
            while count < MESSAGES || !moved.load(Ordering::Acquire) {
                publisher
                    .publish_within(&count.to_le_bytes(), WAIT)
                    .unwrap();
                count += 1;
                while publisher.try_outcome().is_some() {}
            }
            (publisher, count)
        });
        let (a, b) = (&a, &b);
        let moving = scope.spawn(move || {
            for round in 0..MOVES {
                let engine = if round % 2 == 0 { a } else { b };
                let to = (shard_of(engine, overlay) + 1 + round % 2) % 3;
                engine.move_overlay(overlay, to).unwrap();
                assert_eq!(shard_of(engine, overlay), to);
                thread::sleep(Duration::from_millis(5));
            }
            moved.store(true, Ordering::Release);
        });
        let mut next = 0_u32;
        let mut read = |until: &dyn Fn(u32) -> bool| {
            while !until(next) {
                match subscriber.next_within(WAIT) {
                    Some(Received::Message(message)) => {
                        assert_eq!(message.payload, next.to_le_bytes());
                        let (sub, id) = (message.sub, message.id);
                        subscriber.ack(sub, id);
                        next += 1;
                    }
                    other => panic!("{other:?} after {next} messages"),
                }
            }
        };
        read(&|_| publishing.is_finished());
        let (mut publisher, count) = publishing.join().unwrap();
        read(&|next| next == count);
        subscriber.flush();
        moving.join().unwrap();
        assert!(a.wait_settled(overlay, WAIT).unwrap());
        while let Some(outcome) = publisher.try_outcome() {
            assert_eq!(outcome.outcome, tidings_engine::Outcome::Delivered);
        }
    });
    while let Some(event) = presence.try_next() {
        assert!(is_passing(event.kind), "{event:?}");
    }
}

#[test]
fn whoever_asks_while_an_overlay_moves_is_answered_and_counts_it_once() {
    let engine = builder().shards(2).start().unwrap();
    let overlay = engine.add_overlay(config("asked", &[])).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (engine, over) = (&engine, &over);
        for _ in 0..2 {
            scope.spawn(move || {
                while !over.load(Ordering::Acquire) {
                    assert_eq!(engine.members(overlay).unwrap().len(), 1);
                    assert_eq!(engine.stats().unwrap().overlays.len(), 1);
                    // Opened where it is, and closed where it is by then.
                    drop(
                        engine
                            .publisher(overlay, "t", PublisherOptions::default())
                            .unwrap(),
                    );
                }
            });
        }
        for round in 0..200 {
            engine.move_overlay(overlay, (round + 1) % 2).unwrap();
        }
        over.store(true, Ordering::Release);
    });
    wait_for("all publishers are closed", || {
        let stats = engine.stats().unwrap();
        stats.overlays[0].ports == 0
    });
}

#[test]
fn an_overlay_with_handlers_stays_and_one_that_is_gone_is_unknown() {
    let (a, b, overlay) = pair("handlers", || builder().shards(2));
    let runs_on = shard_of(&b, overlay);
    let (tx, rx) = std::sync::mpsc::channel();
    b.on_shard(overlay, move |desk| {
        desk.subscribe(SubSpec::new("t"), move |message, _| {
            tx.send(message.payload.to_vec()).unwrap();
            Taken::Acked
        })
        .unwrap();
    })
    .unwrap();
    let refused = b.move_overlay(overlay, 1 - runs_on);
    assert!(
        matches!(refused, Err(EngineError::HasHandlers)),
        "{refused:?}"
    );
    assert_eq!(shard_of(&b, overlay), runs_on);
    wait_for("subscription known", || a.owed(overlay, "t").unwrap() == 1);
    let mut publisher = a
        .publisher(overlay, "t", PublisherOptions::default())
        .unwrap();
    publisher.publish_within(b"stays", WAIT).unwrap();
    assert_eq!(rx.recv_timeout(WAIT).unwrap(), b"stays");
    let missing = a.move_overlay(overlay, 2);
    assert!(
        matches!(missing, Err(EngineError::NoShard(2))),
        "{missing:?}"
    );
    a.remove_overlay(overlay).unwrap();
    let unknown = a.move_overlay(overlay, 0);
    assert!(matches!(unknown, Err(EngineError::Unknown)), "{unknown:?}");
}

#[test]
fn another_overlay_takes_the_slot_that_one_left_and_both_go_on() {
    let (a, b, first) = pair("first", || builder().shards(2));
    let mut subscriber = b
        .subscribe(first, &["t"], SubscriberOptions::default())
        .unwrap();
    for engine in [&a, &b] {
        let was = shard_of(engine, first);
        engine.move_overlay(first, 1 - was).unwrap();
    }
    let second = a.add_overlay(config("second", &[])).unwrap();
    b.add_overlay(config("second", &[&a])).unwrap();
    assert_ne!(
        shard_of(&a, first),
        shard_of(&a, second),
        "the emptier shard"
    );
    let mut others = b
        .subscribe(second, &["t"], SubscriberOptions::default())
        .unwrap();
    for (overlay, subscriber) in [(first, &mut subscriber), (second, &mut others)] {
        wait_for("subscription known", || a.owed(overlay, "t").unwrap() == 1);
        let mut publisher = a
            .publisher(overlay, "t", PublisherOptions::default())
            .unwrap();
        for i in 0..1_000_u32 {
            publisher.publish_within(&i.to_le_bytes(), WAIT).unwrap();
        }
        for i in 0..1_000_u32 {
            match subscriber.next_within(WAIT) {
                Some(Received::Message(message)) => assert_eq!(message.payload, i.to_le_bytes()),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn whoever_asks_while_the_other_shard_stands_still_is_answered_when_it_goes_on() {
    let engine = builder().shards(2).start().unwrap();
    let placed = |name: &str, shard: usize| {
        let mut config = config(name, &[]);
        config.shard = Some(shard);
        engine.add_overlay(config).unwrap()
    };
    let (moves, stays) = (placed("moves", 0), placed("stays", 1));
    let (begun, stands) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let engine = &engine;
        scope.spawn(move || {
            let still = move |_: &mut tidings_engine::Desk<'_>| {
                begun.send(()).unwrap();
                thread::sleep(Duration::from_millis(500));
            };
            engine.on_shard(stays, still).unwrap();
        });
        stands.recv_timeout(WAIT).unwrap();
        for _ in 0..4 {
            // At the old shard, before it leaves or after.
            scope.spawn(move || assert_eq!(engine.members(moves).unwrap().len(), 1));
        }
        scope.spawn(move || engine.move_overlay(moves, 1).unwrap());
        for _ in 0..4 {
            scope.spawn(move || assert_eq!(engine.members(moves).unwrap().len(), 1));
        }
    });
    assert_eq!(shard_of(&engine, moves), 1);
    // Another takes the place that is free, and goes the same way.
    let another = placed("another", 0);
    engine.move_overlay(another, 1).unwrap();
    engine.move_overlay(moves, 0).unwrap();
    assert_eq!(
        (shard_of(&engine, moves), shard_of(&engine, another)),
        (0, 1)
    );
    assert_eq!(engine.members(another).unwrap().len(), 1);
}
