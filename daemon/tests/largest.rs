//! `max_message` of an overlay that runs is changed, and the publishers that clients have open keep to it: idle ones, and some in
//! the middle of what they publish.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Node, Over, good, meet, tidings, within};
use tidings_client::{Client, Error, Event, Options, Order, Outcome, Publisher, SubscribeOptions};

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];
const WITHIN: Duration = Duration::from_secs(60);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Two nodes that have met, the first to publish and the other to subscribe.
fn nodes() -> (Node, Node) {
    let (from, to) = (Node::start(&ARGS), Node::start(&ARGS));
    meet(&from, &to);
    (from, to)
}

fn client(node: &Node) -> Client {
    Client::connect(Options::new(node.socket())).unwrap()
}

/// An ordered subscriber.
fn subscribed(node: &Node) -> Client {
    let mut client = client(node);
    let ordered = SubscribeOptions {
        order: Order::Ordered,
        ..SubscribeOptions::default()
    };
    client.subscribe("met", "t", ordered).unwrap();
    client
}

/// A publisher whose messages the subscriber is owed.
fn publisher(node: &Node) -> (Client, Publisher) {
    let mut client = client(node);
    let publisher = client.open("met", "t").unwrap();
    assert!(within(WITHIN, || client.owed(publisher).unwrap() == 1));
    (client, publisher)
}

/// For what is published at this node; the other one is left as it is.
fn change(node: &Node, max_message: &str) {
    let option = format!("max_message={max_message}");
    good(node.run(&["overlays", "change", "met", &option]));
}

/// Message `n`, of so many bytes.
fn message(n: u64, bytes: usize) -> Vec<u8> {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(bytes.max(8), n as u8);
    payload
}

/// Takes the next messages, if any come in time, and acknowledges them; their number.
fn take(client: &mut Client, time: Duration, look: impl FnMut(&[u8])) -> u64 {
    let taken = match client.next(Some(time)).unwrap() {
        Some(Event::Messages(messages)) => {
            let taken = messages.payloads.len() as u64;
            messages.payloads.for_each(look);
            let all = messages.all();
            client.acknowledge(&all);
            taken
        }
        Some(Event::Gap { count, reason, .. }) => panic!("{count} missing: {reason}"),
        _ => 0,
    };
    client.flush().unwrap();
    taken
}

/// The same until there are `count`.
fn receive(client: &mut Client, count: u64, mut look: impl FnMut(&[u8])) {
    let until = Instant::now() + WITHIN;
    let mut got = 0;
    while got < count {
        let left = until.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{got} of {count} came");
        got += take(client, left, &mut look);
    }
}

#[test]
fn what_is_larger_than_before_goes_on_a_publisher_that_was_open_and_idle() {
    let (from, to) = nodes();
    let mut subscriber = subscribed(&to);
    let (mut client, publisher) = publisher(&from);
    let large = message(1, 2 * MIB);
    let refused = client.publish(publisher, &large);
    assert!(matches!(refused, Err(Error::TooLarge { limit: MIB })));

    let mut command = tidings(from.path());
    let mut lines = command
        .args(["pub", "met", "t", "--lines", "--confirm", "delivered"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = lines.stdin.take().unwrap();
    input.write_all(b"short\n").unwrap();
    receive(&mut subscriber, 1, |got| assert_eq!(got, b"short\n"));

    change(&from, "3MiB");
    assert!(within(WITHIN, || {
        match client.publish(publisher, &large) {
            Ok(seq) => seq == 0,
            Err(error) => panic_unless_too_large(error),
        }
    }));
    assert_eq!(client.max_message(publisher), Some(3 * MIB));
    client.flush().unwrap();
    receive(&mut subscriber, 1, |got| assert!(got == large));

    // The first is as long as is read at once by the limit of before.
    let whole = [&vec![b'x'; MIB][..], b"\n"].concat();
    input.write_all(&whole).unwrap();
    receive(&mut subscriber, 1, |got| assert!(got == whole));
    let line = [&vec![b'x'; 2 * MIB][..], b"\n"].concat();
    input.write_all(&line).unwrap();
    drop(input);
    receive(&mut subscriber, 1, |got| assert!(got == line));
    let told = good(lines.wait_with_output().unwrap());
    assert!(told.contains("accepted 3, delivered 3, failed 0"), "{told}");
}

fn panic_unless_too_large(error: Error) -> bool {
    match error {
        Error::TooLarge { .. } => false,
        other => panic!("{other}"),
    }
}

/// What the publisher under load has come to.
#[derive(Default)]
struct Course {
    ends: AtomicBool,
    /// The largest message of now, and how many of that size it published.
    largest: AtomicUsize,
    count: AtomicUsize,
}

impl Course {
    /// Whether some messages of this size, the largest, were published.
    fn is_at(&self, largest: usize) -> bool {
        self.largest.load(Ordering::Relaxed) == largest && self.count.load(Ordering::Relaxed) > 2
    }
}

/// What became of what was published.
#[derive(Default)]
struct Account {
    published: u64,
    accepted: u64,
    owed: u64,
    delivered: u64,
}

impl Account {
    /// Takes the events that come within `time`, until none does.
    fn look(&mut self, client: &mut Client, time: Duration) {
        while let Some(event) = client.next(Some(time)).unwrap() {
            match event {
                Event::Accepted { count, owed, .. } => {
                    self.accepted += u64::from(count);
                    self.owed += u64::from(count) * u64::from(owed);
                }
                Event::Outcome { count, outcome, .. } => {
                    assert_eq!(outcome, Outcome::Delivered);
                    self.delivered += u64::from(count);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.accepted == self.published && self.delivered == self.owed
    }
}

/// Publishes small messages, and every now and then one of the largest that there may be, until the course ends.
fn publish(client: &mut Client, publisher: Publisher, course: &Course) -> Account {
    let mut account = Account::default();
    while !course.ends.load(Ordering::Relaxed) {
        let largest = client.max_message(publisher).unwrap();
        let is_largest = account.published % 16 == 15;
        let bytes = if is_largest { largest } else { 100 };
        match client.publish(publisher, &message(account.published, bytes)) {
            Ok(seq) => {
                assert_eq!(seq, account.published);
                account.published += 1;
                if is_largest {
                    if course.largest.swap(largest, Ordering::Relaxed) != largest {
                        course.count.store(0, Ordering::Relaxed);
                    }
                    course.count.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Lowered since it was asked for.
            Err(error) => assert!(!panic_unless_too_large(error)),
        }
        account.look(client, Duration::from_millis(1));
    }
    client.flush().unwrap();
    let until = Instant::now() + WITHIN;
    while !account.is_settled() && Instant::now() < until {
        account.look(client, Duration::from_millis(50));
    }
    account
}

#[test]
fn the_largest_message_is_raised_and_lowered_under_traffic_and_none_is_lost() {
    let (from, to) = nodes();
    let mut subscriber = subscribed(&to);
    let (mut client, publisher) = publisher(&from);
    let course = Course::default();
    let account = thread::scope(|scope| {
        let course = &course;
        let over = Over(&course.ends);
        let load = scope.spawn(move || publish(&mut client, publisher, course));
        let mut got = 0;
        let mut look = |payload: &[u8]| {
            assert!(payload == message(got, payload.len()), "message {got}");
            got += 1;
        };
        for (option, largest) in [
            ("64KiB", 64 * KIB),
            ("2MiB", 2 * MIB),
            ("1KiB", KIB),
            ("4MiB", 4 * MIB),
        ] {
            change(&from, option);
            let until = Instant::now() + WITHIN;
            while !course.is_at(largest) && !load.is_finished() {
                assert!(Instant::now() < until, "no messages of {option}");
                take(&mut subscriber, Duration::from_millis(20), &mut look);
            }
        }
        drop(over);
        while !load.is_finished() {
            take(&mut subscriber, Duration::from_millis(20), &mut look);
        }
        let account = load.join().unwrap();
        assert_eq!(got, account.published);
        account
    });
    assert!(account.is_settled(), "{} published", account.published);
    assert_eq!(account.delivered, account.published);
}
