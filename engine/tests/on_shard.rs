//! Handlers and sessions on the shard itself.
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{builder, config, pair, wait_for};
use tidings_engine::{
    Delivery, Event, Flushed, PublisherOptions, Received, Seat, Session, SubSpec,
    SubscriberOptions, Taken, Verdict,
};

const WAIT: Duration = Duration::from_secs(60);

#[test]
fn a_handler_answers_from_the_shard_and_a_source_publishes_from_it() {
    const COUNT: u64 = 5_000;
    let (a, b, overlay) = pair("echo", builder);
    b.on_shard(overlay, |desk| {
        let pong = desk.publisher("pong").unwrap();
        desk.subscribe(SubSpec::new("ping"), move |message, outbox| {
            match outbox.publish(pong, message.payload) {
                true => Taken::Acked,
                false => Taken::Full,
            }
        })
        .unwrap();
    })
    .unwrap();
    let mut pongs = a
        .subscribe(overlay, &["pong"], SubscriberOptions::default())
        .unwrap();
    wait_for("the echo is known", || {
        a.owed(overlay, "ping").unwrap() == 1
    });
    wait_for("the answers are owed", || {
        b.owed(overlay, "pong").unwrap() == 1
    });
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    a.on_shard(overlay, move |desk| {
        let ping = desk.publisher("ping").unwrap();
        desk.each_turn(move |seat| {
            let number = counter.load(Ordering::Relaxed);
            if number < COUNT && seat.publish(ping, &number.to_le_bytes()).is_ok() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            number < COUNT
        });
    })
    .unwrap();
    // Unordered: each comes once, in any order.
    let mut missing: std::collections::BTreeSet<u64> = (0..COUNT).collect();
    for expected in 0..COUNT {
        let (sub, id) = match pongs.next_within(WAIT) {
            Some(Received::Message(message)) => {
                let number = u64::from_le_bytes(message.payload.try_into().unwrap());
                assert!(missing.remove(&number), "{number} came twice");
                (message.sub, message.id)
            }
            other => panic!("at {expected}: {other:?}"),
        };
        pongs.ack(sub, id);
    }
    assert_eq!(sent.load(Ordering::Relaxed), COUNT);
}

/// A session that publishes each byte it reads on "bytes" and writes each message of "bytes" back: its own included.
struct Bytes {
    stream: UnixStream,
    publisher: RefCell<Option<u32>>,
    output: RefCell<Vec<u8>>,
}

impl Session for Bytes {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.stream.as_fd())
    }

    fn on_turn(&self, seat: &mut Seat<'_>) -> bool {
        let publisher = seat.open_publisher("bytes").unwrap();
        *self.publisher.borrow_mut() = Some(publisher);
        seat.subscribe(SubSpec::new("bytes")).unwrap();
        false
    }

    fn on_readable(&self, seat: &mut Seat<'_>) -> Verdict {
        let mut buffer = [0; 64];
        match (&self.stream).read(&mut buffer) {
            Ok(0) => Verdict::Close,
            Ok(read) => {
                let publisher = self.publisher.borrow().unwrap();
                for byte in &buffer[..read] {
                    seat.publish(publisher, &[*byte]).unwrap();
                }
                Verdict::Stay
            }
            Err(_) => Verdict::Stay,
        }
    }

    fn deliver(&self, _sub: u32, message: &Delivery<'_>) -> Taken {
        self.output.borrow_mut().extend_from_slice(message.payload);
        Taken::Acked
    }

    fn event(&self, _event: &Event<'_>) {}

    fn flush(&self, _seat: &mut Seat<'_>) -> Flushed {
        let mut output = self.output.borrow_mut();
        match (&self.stream).write(&output) {
            Ok(written) => drop(output.drain(..written)),
            Err(_) => return Flushed::Blocked,
        }
        if output.is_empty() {
            Flushed::Done
        } else {
            Flushed::Blocked
        }
    }

    fn on_close(&self, seat: &mut Seat<'_>) {
        let publisher = self.publisher.borrow_mut().take().unwrap();
        seat.close_publisher(publisher);
    }
}

#[test]
fn a_session_serves_a_descriptor_and_hears_what_it_publishes() {
    let (a, b, overlay) = pair("session", builder);
    let mut elsewhere = b
        .subscribe(overlay, &["bytes"], SubscriberOptions::default())
        .unwrap();
    wait_for("subscription known", || {
        a.owed(overlay, "bytes").unwrap() == 1
    });
    let (mut client, served) = UnixStream::pair().unwrap();
    served.set_nonblocking(true).unwrap();
    client.set_read_timeout(Some(WAIT)).unwrap();
    a.attach_session(overlay, move || {
        Box::new(Bytes {
            stream: served,
            publisher: RefCell::default(),
            output: RefCell::default(),
        })
    })
    .unwrap();
    wait_for("the session has subscribed", || {
        a.owed(overlay, "bytes").unwrap() == 2
    });
    client.write_all(b"tidings").unwrap();
    let mut back = [0; 7];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"tidings");
    for expected in b"tidings" {
        match elsewhere.next_within(WAIT) {
            Some(Received::Message(message)) => assert_eq!(message.payload, [*expected]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(a.stats().unwrap().shards[0].sessions, 1);
    drop(client);
    wait_for("the session has ended", || {
        a.stats().unwrap().shards[0].sessions == 0
    });
    // Publishers of other threads are not disturbed.
    let mut publisher = a
        .publisher(overlay, "bytes", PublisherOptions::default())
        .unwrap();
    publisher.publish(b"x").unwrap();
    assert!(matches!(
        elsewhere.next_within(WAIT),
        Some(Received::Message(_))
    ));
}

/// A session that reads one byte, then pauses.
struct Paused(UnixStream);

impl Session for Paused {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn on_readable(&self, _seat: &mut Seat<'_>) -> Verdict {
        // A byte at a time, and a pause after each.
        match (&self.0).read(&mut [0]) {
            Ok(0) => Verdict::Close,
            Ok(_) | Err(_) => Verdict::Pause,
        }
    }

    fn deliver(&self, _sub: u32, _message: &Delivery<'_>) -> Taken {
        Taken::Full
    }

    fn event(&self, _event: &Event<'_>) {}

    fn flush(&self, _seat: &mut Seat<'_>) -> Flushed {
        Flushed::Done
    }

    fn on_close(&self, _seat: &mut Seat<'_>) {}
}

#[test]
fn a_paused_session_costs_no_turns_and_still_hears_that_its_client_is_gone() {
    let (a, _b, overlay) = pair("paused", builder);
    let (mut client, served) = UnixStream::pair().unwrap();
    served.set_nonblocking(true).unwrap();
    a.attach_session(overlay, move || Box::new(Paused(served)))
        .unwrap();
    client.write_all(&[7; 100]).unwrap();
    let turns = || a.stats().unwrap().shards[0].counters.turns;
    std::thread::sleep(Duration::from_millis(100));
    let before = turns();
    std::thread::sleep(Duration::from_millis(500));
    let during = turns() - before;
    assert!(
        during < 500,
        "{during} turns in half a second: the shard spins"
    );
    // Nobody waits for input, but the end is told until the session has read up to it.
    drop(client);
    wait_for("the session has ended", || {
        let stats = a.stats().unwrap();
        stats.shards[0].sessions == 0
    });
}

/// A session whose descriptor takes nothing and which may hold ten messages.
struct Frozen {
    stream: UnixStream,
    held: Cell<usize>,
}

impl Session for Frozen {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.stream.as_fd())
    }

    fn on_turn(&self, seat: &mut Seat<'_>) -> bool {
        seat.subscribe(SubSpec::new("t")).unwrap();
        false
    }

    fn on_readable(&self, _seat: &mut Seat<'_>) -> Verdict {
        Verdict::Stay
    }

    fn deliver(&self, _sub: u32, _message: &Delivery<'_>) -> Taken {
        self.held.set(self.held.get() + 1);
        Taken::Kept
    }

    fn event(&self, _event: &Event<'_>) {}

    fn is_overrun(&self) -> bool {
        self.held.get() > 10
    }

    fn flush(&self, _seat: &mut Seat<'_>) -> Flushed {
        while (&self.stream).write(&[0; 1024]).is_ok() {}
        Flushed::Blocked
    }

    fn on_close(&self, _seat: &mut Seat<'_>) {}
}

#[test]
fn a_session_that_holds_too_much_ends_also_while_its_descriptor_takes_nothing() {
    let (a, _b, overlay) = pair("frozen", builder);
    let (_client, served) = UnixStream::pair().unwrap();
    served.set_nonblocking(true).unwrap();
    a.attach_session(overlay, move || {
        Box::new(Frozen {
            stream: served,
            held: Cell::new(0),
        })
    })
    .unwrap();
    wait_for("the session has subscribed", || {
        a.owed(overlay, "t").unwrap() == 1
    });
    let mut publisher = a
        .publisher(overlay, "t", PublisherOptions::default())
        .unwrap();
    for _ in 0..10 {
        publisher.publish_within(b"x", WAIT).unwrap();
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(a.stats().unwrap().shards[0].sessions, 1);
    publisher.publish_within(b"x", WAIT).unwrap();
    wait_for("the session has ended", || {
        a.stats().unwrap().shards[0].sessions == 0
    });
}

#[test]
fn a_session_whose_subscription_a_newer_one_took_over_cannot_let_go_of_it() {
    let engine = builder().start().unwrap();
    let overlay = engine.add_overlay(config("taken", &[])).unwrap();
    let spec = || {
        let mut spec = SubSpec::new("t");
        spec.client = "till".into();
        spec
    };
    let counts: [Arc<AtomicU64>; 2] = Default::default();
    let [older, newer] = counts.clone().map(|count| {
        move || {
            count.fetch_add(1, Ordering::Relaxed);
            Taken::Acked
        }
    });
    // 1: asked to, 2: done.
    let lets_go = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&lets_go);
    engine
        .on_shard(overlay, move |desk| {
            let sub = desk.subscribe(spec(), move |_, _| older()).unwrap();
            desk.each_turn(move |seat| {
                if asked.load(Ordering::Relaxed) == 1 {
                    seat.detach(sub);
                    seat.unsubscribe(sub);
                    asked.store(2, Ordering::Relaxed);
                }
                asked.load(Ordering::Relaxed) < 2
            });
        })
        .unwrap();
    engine
        .on_shard(overlay, move |desk| {
            desk.subscribe(spec(), move |_, _| newer()).unwrap();
        })
        .unwrap();
    let mut publisher = engine
        .publisher(overlay, "t", PublisherOptions::default())
        .unwrap();
    publisher.publish_within(b"x", WAIT).unwrap();
    let told = || counts.each_ref().map(|count| count.load(Ordering::Relaxed));
    wait_for("the newer one has it", || told() == [0, 1]);
    lets_go.store(1, Ordering::Relaxed);
    wait_for("the older one let go", || {
        lets_go.load(Ordering::Relaxed) == 2
    });
    publisher.publish_within(b"x", WAIT).unwrap();
    wait_for("the newer one goes on", || told() == [0, 2]);
}
