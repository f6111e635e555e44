//! In the steady state nothing is allocated per message: a counting allocator around everything that both nodes do.

#![allow(clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{builder, pair, wait_for};
use tidings_engine::{OutcomeWish, PublisherOptions, Received, SubscriberOptions};

struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count() {
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const WAIT: Duration = Duration::from_secs(10);
const COUNT: u64 = 200_000;
/// Messages that the publisher is ahead at most: the subscriber's ring never fills, so nothing goes to catch-up.
const AHEAD: u64 = 8_000;

#[test]
fn the_steady_state_allocates_nothing_per_message() {
    let (a, b, overlay) = pair("allocations", || builder().without_io_uring());
    let mut subscriber = b
        .subscribe(overlay, &["t"], SubscriberOptions::default())
        .unwrap();
    wait_for("subscription known", || a.owed(overlay, "t").unwrap() == 1);
    let options = PublisherOptions {
        outcomes: OutcomeWish::Failures,
        ..Default::default()
    };
    let mut publisher = a.publisher(overlay, "t", options).unwrap();
    let mut run = |count: u64| {
        let read = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let (subscriber, read) = (&mut subscriber, &read);
            scope.spawn(move || {
                for seen in 1..=count {
                    let (sub, id) = match subscriber.next_within(WAIT) {
                        Some(Received::Message(message)) => (message.sub, message.id),
                        other => panic!("{other:?}"),
                    };
                    subscriber.ack(sub, id);
                    read.store(seen, Ordering::Relaxed);
                }
                subscriber.flush();
            });
            for sent in 0..count {
                while sent - read.load(Ordering::Relaxed) > AHEAD {
                    std::thread::yield_now();
                }
                publisher.publish_within(&[5; 64], WAIT).unwrap();
            }
        });
    };
    run(COUNT);
    let turns = |engine: &tidings_engine::Engine| engine.stats().unwrap().shards[0].counters.turns;
    let before = turns(&a) + turns(&b);
    ALLOCATIONS.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    run(COUNT);
    COUNTING.store(false, Ordering::Relaxed);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    let turns = turns(&a) + turns(&b) - before;
    println!(
        "{allocations} allocations, {turns} turns, {} messages",
        COUNT
    );
    // Waiting threads make a waker each time they sleep, timers and tables change now and then: a few per turn are not
    // "per message".
    assert!(
        allocations < COUNT / 20,
        "{allocations} allocations for {} messages",
        COUNT
    );
}
