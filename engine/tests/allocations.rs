//! In the steady state nothing is allocated per message: a counting allocator around everything that both nodes do, shards
//! and threads of the embedder alike.

#![allow(clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use common::{builder, pair, wait_for};
use tidings_engine::{
    Engine, OutcomeWish, OverlayId, PublisherOptions, Received, SubSpec, Subscriber,
    SubscriberOptions, Taken,
};

struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Where the first of them came from, for the message of a test that fails.
static SITES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());
const SITES_MAX: usize = 2000;

thread_local! {
    /// This thread notes a site; what that allocates does not count.
    static NOTING: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: every call goes to the system's allocator unchanged; what counting allocates goes there, too, and is not counted.
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
    if !COUNTING.load(Ordering::Relaxed) || NOTING.replace(true) {
        return;
    }
    if ALLOCATIONS.fetch_add(1, Ordering::Relaxed) < SITES_MAX as u64 {
        let site = Backtrace::force_capture();
        SITES.lock().unwrap().push(site);
    }
    NOTING.set(false);
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const WAIT: Duration = Duration::from_secs(60);
/// Messages before counting begins: what grows with use has grown then.
const WARM_UP: u64 = 200_000;
const COUNT: u64 = 1_000_000;
/// Allocations that may remain, of a million messages: an array that is fuller than ever before and doubles,
const REMAIN: u64 = 100;
/// and so many times those of the same time without messages: membership's probes and gossip a few times a second. A slow
/// machine takes long for a million messages.
const IDLE: f64 = 2.0;
/// How long those are counted.
const IDLE_TIME: Duration = Duration::from_secs(2);
/// Times that a count is made until it is low enough.
const ROUNDS: usize = 5;
/// Bytes that the publisher is ahead at most: neither the subscriber's ring nor a socket's buffer fills, so nothing goes to
/// catch-up and nothing is repaired.
const AHEAD: u64 = 512 << 10;

/// The same in messages of one size.
fn ahead(size: usize) -> u64 {
    AHEAD / size as u64
}

/// The counter is one for the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// Counts what `run` allocates, once warm. A hiccup of the machine lets more wait than ever before, and what keeps it grows:
/// then the count is made again, now that it has grown.
/// Whether it was low enough is told by [`assert_none`], once the threads of the test are done.
fn measure(a: &Engine, b: &Engine, mut run: impl FnMut(u64)) -> bool {
    run(WARM_UP);
    let (idle, time) = counted(|| std::thread::sleep(IDLE_TIME));
    let idle = idle as f64 / time.as_secs_f64();
    println!("{idle:.1} allocations a second without messages");
    (0..ROUNDS).any(|_| measure_once(a, b, &mut run, idle))
}

/// Allocations while it runs, and how long it does.
fn counted(run: impl FnOnce()) -> (u64, Duration) {
    SITES.lock().unwrap().clear();
    ALLOCATIONS.store(0, Ordering::Relaxed);
    let began = Instant::now();
    COUNTING.store(true, Ordering::Relaxed);
    run();
    COUNTING.store(false, Ordering::Relaxed);
    (ALLOCATIONS.load(Ordering::Relaxed), began.elapsed())
}

fn assert_none(low: bool) {
    assert!(
        low,
        "{REMAIN} allocations or more for {COUNT} messages, beside {IDLE} times those of the time, {ROUNDS} times"
    );
}

/// Whether they were few, where there are `idle` a second without messages.
fn measure_once(a: &Engine, b: &Engine, run: &mut impl FnMut(u64), idle: f64) -> bool {
    let turns = || [a, b].map(|engine| engine.stats().unwrap().shards[0].counters.turns);
    let before = turns();
    let (allocations, time) = counted(|| run(COUNT));
    let after = turns();
    println!(
        "{allocations} allocations in {time:.1?}, {} + {} turns, {COUNT} messages",
        after[0] - before[0],
        after[1] - before[1],
    );
    let is_low = (allocations as f64) < REMAIN as f64 + IDLE * idle * time.as_secs_f64();
    if !is_low {
        tell_sites();
    }
    is_low
}

/// Prints the frames of this repository at each site, and how often it allocated.
fn tell_sites() {
    let mut sites: BTreeMap<String, usize> = BTreeMap::new();
    for site in std::mem::take(&mut *SITES.lock().unwrap()) {
        *sites.entry(frames(&site.to_string())).or_default() += 1;
    }
    for (frames, count) in sites {
        println!("{count} times\n{frames}");
    }
}

/// The lines of this repository that a trace goes through, innermost first.
fn frames(trace: &str) -> String {
    let own = trace.lines().map(str::trim).filter(|line| {
        let elsewhere = ["/rustc/", "/registry/", "allocations.rs"];
        line.starts_with("at ") && !elsewhere.iter().any(|part| line.contains(part))
    });
    own.take(6).map(|line| format!("    {line}\n")).collect()
}

/// Through the rings of the any-thread API.
fn by_rings(name: &str, size: usize) {
    let _alone = alone();
    let (a, b, overlay) = pair(name, || builder().without_io_uring());
    let mut subscriber = b
        .subscribe(overlay, &["t"], SubscriberOptions::default())
        .unwrap();
    wait_for("subscription known", || a.owed(overlay, "t").unwrap() == 1);
    let options = PublisherOptions {
        outcomes: OutcomeWish::Failures,
        ..Default::default()
    };
    let mut publisher = a.publisher(overlay, "t", options).unwrap();
    let payload = vec![5; size];
    let read = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (subscriber, read, over) = (&mut subscriber, &read, &over);
        scope.spawn(move || read_all(subscriber, read, over));
        let mut sent = 0;
        let low = measure(&a, &b, |count| {
            for _ in 0..count {
                while sent - read.load(Ordering::Relaxed) > ahead(size) {
                    std::thread::yield_now();
                }
                publisher.publish_within(&payload, WAIT).unwrap();
                sent += 1;
            }
            while read.load(Ordering::Relaxed) < sent {
                std::thread::yield_now();
            }
        });
        over.store(true, Ordering::Relaxed);
        assert_none(low);
    });
}

/// Reads and acknowledges until it is over.
fn read_all(subscriber: &mut Subscriber, read: &AtomicU64, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let (sub, id) = match subscriber.next_within(Duration::from_millis(100)) {
            Some(Received::Message(message)) => (message.sub, message.id),
            Some(other) => panic!("{other:?}"),
            None => continue,
        };
        subscriber.ack(sub, id);
        read.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counters that the handlers and the test share.
#[derive(Default)]
struct Progress {
    wanted: AtomicU64,
    read: AtomicU64,
    over: AtomicBool,
}

/// Messages that a source publishes a turn.
const A_TURN: u64 = 64;

/// A source on one node's shard that goes on until it has published what is wanted.
fn publish_on_shard(engine: &Engine, overlay: OverlayId, size: usize, progress: &Arc<Progress>) {
    let progress = Arc::clone(progress);
    let setting_up = move |desk: &mut tidings_engine::Desk<'_>| {
        let publisher = desk.publisher("t").unwrap();
        let (payload, mut sent) = (vec![5; size], 0);
        desk.each_turn(move |seat| {
            let wanted = progress.wanted.load(Ordering::Relaxed);
            let wanted = wanted.min(progress.read.load(Ordering::Relaxed) + ahead(size));
            for _ in 0..A_TURN.min(wanted.saturating_sub(sent)) {
                match seat.publish(publisher, &payload) {
                    Ok(_) => sent += 1,
                    Err(_) => break,
                }
            }
            !progress.over.load(Ordering::Relaxed)
        });
    };
    engine.on_shard(overlay, setting_up).unwrap();
}

/// Through handlers on the shards themselves.
fn on_shards(name: &str, size: usize) {
    let _alone = alone();
    let (a, b, overlay) = pair(name, || builder().without_io_uring());
    let progress = Arc::new(Progress::default());
    let reader = Arc::clone(&progress);
    b.on_shard(overlay, move |desk| {
        desk.subscribe(SubSpec::new("t"), move |_, _| {
            reader.read.fetch_add(1, Ordering::Relaxed);
            Taken::Acked
        })
        .unwrap();
    })
    .unwrap();
    wait_for("subscription known", || a.owed(overlay, "t").unwrap() == 1);
    publish_on_shard(&a, overlay, size, &progress);
    let low = measure(&a, &b, |count| {
        let wanted = progress.wanted.fetch_add(count, Ordering::Relaxed) + count;
        while progress.read.load(Ordering::Relaxed) < wanted {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    progress.over.store(true, Ordering::Relaxed);
    assert_none(low);
}

#[test]
fn small_messages_of_other_threads_allocate_nothing() {
    by_rings("rings-64", 64);
}

#[test]
fn messages_of_a_kibibyte_of_other_threads_allocate_nothing() {
    by_rings("rings-1024", 1024);
}

#[test]
fn small_messages_of_handlers_on_the_shards_allocate_nothing() {
    on_shards("shards-64", 64);
}

#[test]
fn messages_of_a_kibibyte_of_handlers_on_the_shards_allocate_nothing() {
    on_shards("shards-1024", 1024);
}
