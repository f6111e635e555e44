//! Every interleaving of the lock-free parts: run with
//! `RUSTFLAGS="--cfg loom" cargo test -p tidings-engine --lib queue --release`.

use std::task::{Wake, Waker};

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex};

use super::bell::{Flag, Parker, Signal};
use super::call::Call;
use super::notify::Notify;
use super::positions::{Positions, ReadEnd, WriteEnd};
use super::sync::{AtomicU64, Ordering};

/// An eventfd: stays signalled until it is cleared.
#[derive(Default)]
struct Event {
    signalled: Mutex<bool>,
    changed: Condvar,
}

impl Signal for Event {
    fn signal(&self) {
        *self.signalled.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Event {
    fn sleep(&self) {
        let mut signalled = self.signalled.lock().unwrap();
        while !*signalled {
            signalled = self.changed.wait(signalled).unwrap();
        }
        *signalled = false;
    }
}

#[test]
fn the_two_ends_of_a_ring_never_touch_the_same_word_and_lose_nothing() {
    loom::model(|| {
        const WORDS: usize = 2;
        let positions = Arc::new(Positions::new(WORDS as u64));
        let words: Arc<Vec<UnsafeCell<u64>>> =
            Arc::new((0..WORDS).map(|_| UnsafeCell::new(0)).collect());
        let (p, w) = (Arc::clone(&positions), Arc::clone(&words));
        let writer = loom::thread::spawn(move || {
            let mut end = WriteEnd::default();
            for value in 1..=3u64 {
                while !end.fits(&p, 1) {
                    loom::thread::yield_now();
                }
                // SAFETY: loom checks that nobody else accesses the word meanwhile; that is the test.
                w[end.offset(&p) as usize].with_mut(|word| unsafe { *word = value });
                end.publish(&p, 1);
            }
        });
        let mut end = ReadEnd::default();
        for value in 1..=3u64 {
            while end.readable(&positions) == 0 {
                loom::thread::yield_now();
            }
            // SAFETY: as above.
            let read = words[end.offset(&positions) as usize].with(|word| unsafe { *word });
            assert_eq!(read, value);
            end.advance(1);
            end.release(&positions);
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_parked_shard_hears_of_everything_that_was_added() {
    loom::model(|| {
        let parker = Arc::new(Parker::new(Event::default()));
        let queue = Arc::new(AtomicU64::new(0));
        let (p, q) = (Arc::clone(&parker), Arc::clone(&queue));
        let writer = loom::thread::spawn(move || {
            for _ in 0..2 {
                q.fetch_add(1, Ordering::Relaxed);
                p.wake();
            }
        });
        let mut seen = 0;
        while seen < 2 {
            seen += queue.swap(0, Ordering::Relaxed);
            if seen < 2 {
                parker.prepare();
                if queue.load(Ordering::Relaxed) == 0 {
                    parker.signal().sleep();
                }
                parker.awake();
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn of_two_threads_that_ring_one_takes_the_flag_and_the_sleeper_sees_both_entries() {
    loom::model(|| {
        let flag = Arc::new(Flag::new(true));
        let queue = Arc::new(AtomicU64::new(0));
        let rung = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (flag, queue, rung) =
                    (Arc::clone(&flag), Arc::clone(&queue), Arc::clone(&rung));
                loom::thread::spawn(move || {
                    queue.fetch_add(1, Ordering::Relaxed);
                    if flag.take() {
                        rung.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(rung.load(Ordering::Relaxed), 1);
        assert_eq!(queue.load(Ordering::Relaxed), 2);
    });
}

// What a ring's reader sees of it: a position that only grows, stored and loaded without a fence.
fn add(written: &AtomicU64, upto: u64) {
    written.store(upto, Ordering::Release);
}

#[test]
fn a_session_looks_at_everything_that_was_added_before_a_call() {
    loom::model(|| {
        let shared = Arc::new((Call::new(), AtomicU64::new(0), Event::default()));
        let theirs = Arc::clone(&shared);
        let writer = loom::thread::spawn(move || {
            let (call, written, event) = &*theirs;
            for upto in 1..=2 {
                add(written, upto);
                if call.call().is_some() {
                    event.signal();
                }
            }
        });
        let (call, written, event) = &*shared;
        call.born(7);
        loop {
            call.answer();
            if written.load(Ordering::Acquire) == 2 {
                break;
            }
            event.sleep();
        }
        writer.join().unwrap();
    });
}

#[test]
fn an_agent_whose_ring_was_full_hears_of_the_room_that_was_made() {
    loom::model(|| {
        let shared = Arc::new((Flag::new(false), AtomicU64::new(0), Event::default()));
        let theirs = Arc::clone(&shared);
        let home = loom::thread::spawn(move || {
            let (blocked, read, event) = &*theirs;
            add(read, 1);
            if blocked.take() {
                event.signal();
            }
        });
        let (blocked, read, event) = &*shared;
        while read.load(Ordering::Acquire) == 0 {
            blocked.raise();
            if read.load(Ordering::Acquire) == 0 {
                event.sleep();
            }
        }
        home.join().unwrap();
    });
}

/// Signals an event: the waker of a thread that sleeps on it.
struct Signals(Arc<Event>);

impl Wake for Signals {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.signal();
    }
}

#[test]
fn a_reader_that_registered_is_woken_by_what_is_written_after_its_last_look() {
    loom::model(|| {
        let shared = Arc::new((Notify::new(), AtomicU64::new(0)));
        let theirs = Arc::clone(&shared);
        let writer = loom::thread::spawn(move || {
            let (notify, written) = &*theirs;
            for upto in 1..=2 {
                add(written, upto);
                notify.notify();
            }
        });
        let event = Arc::new(Event::default());
        let waker = Waker::from(std::sync::Arc::new(Signals(Arc::clone(&event))));
        let (notify, written) = &*shared;
        loop {
            notify.register(&waker);
            if written.load(Ordering::Acquire) == 2 {
                break;
            }
            event.sleep();
        }
        writer.join().unwrap();
    });
}
