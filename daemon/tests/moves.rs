//! Overlays that move between shards under their clients, on both hosts: the connections stand, and no message is lost or out of order.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Node, good, meet, within};
use tidings_client::{Client, Event, Options, Order, Outcome, SubscribeOptions};

const ARGS: [&str; 5] = ["run", "--bind", "127.0.0.1:0", "--shards", "3"];
const WITHIN: Duration = Duration::from_secs(60);
/// Of each overlay, at each host.
const MOVES: usize = 12;

/// A client whose connection is on the shard of `home`.
fn client(node: &Node, home: &str) -> Client {
    let mut client = Client::connect(Options::new(node.socket())).unwrap();
    client.open(home, "home").unwrap();
    client
}

/// Publishes numbers until `over`, and some more; how many, each of which both subscribers had and acknowledged.
fn publish(mut client: Client, over: &AtomicBool) -> u64 {
    let publisher = client.open("met", "t").unwrap();
    assert!(within(WITHIN, || client.owed(publisher).unwrap() == 2));
    let (mut published, mut delivered) = (0_u64, 0_u64);
    let mut look = |client: &mut Client, time| {
        while let Some(event) = client.next(Some(time)).unwrap() {
            match event {
                Event::Accepted { owed, .. } => assert_eq!(owed, 2),
                Event::Outcome { count, outcome, .. } => {
                    assert_eq!(outcome, Outcome::Delivered);
                    delivered += u64::from(count);
                }
                other => panic!("{other:?}"),
            }
        }
        delivered
    };
    while !over.load(Ordering::Acquire) || published % 1_000 != 0 {
        let seq = client.publish(publisher, &published.to_le_bytes());
        assert_eq!(seq.unwrap(), published);
        published += 1;
        if published.is_multiple_of(256) {
            look(&mut client, Duration::ZERO);
        }
    }
    client.flush().unwrap();
    let until = Instant::now() + WITHIN;
    while look(&mut client, Duration::from_millis(20)) < 2 * published {
        assert!(Instant::now() < until, "{published} were published");
    }
    published
}

/// Takes what two publishers publish, each in order, until it has heard of the end of both: how many of each, and that nothing is left.
fn take(mut client: Client, ends: &dyn Fn() -> Option<u64>) -> u64 {
    let mut next = Vec::new();
    loop {
        let all: u64 = next.iter().map(|(_, count)| count).sum();
        if ends() == Some(all) {
            return all;
        }
        match client.next(Some(Duration::from_millis(20))).unwrap() {
            Some(Event::Messages(messages)) => {
                let at = next.iter().position(|(of, _)| *of == messages.publisher);
                let at = at.unwrap_or_else(|| {
                    next.push((messages.publisher, 0_u64));
                    next.len() - 1
                });
                for payload in messages.payloads {
                    assert_eq!(payload, next[at].1.to_le_bytes());
                    next[at].1 += 1;
                }
                let all = messages.all();
                client.acknowledge(&all);
            }
            Some(Event::Subscribed { .. }) | None => {}
            Some(other) => panic!("{other:?}"),
        }
        client.flush().unwrap();
    }
}

#[test]
fn overlays_move_under_clients_here_and_elsewhere_and_no_message_is_lost_or_out_of_order() {
    let (from, to) = (Node::start(&ARGS), Node::start(&ARGS));
    meet(&from, &to);
    let ordered = || SubscribeOptions {
        order: Order::Ordered,
        ..SubscribeOptions::default()
    };
    // On each host one whose connection lives with the overlay, and one that reaches it from another.
    let homes = ["met", "demo"];
    let subscribers = homes.map(|home| {
        let mut client = client(&to, home);
        client.subscribe("met", "t", ordered()).unwrap();
        client
    });
    let publishers = homes.map(|home| client(&from, home));
    let over = AtomicBool::new(false);
    let total = std::sync::OnceLock::new();
    thread::scope(|scope| {
        let (over, total) = (&over, &total);
        let publishing = publishers.map(|client| scope.spawn(move || publish(client, over)));
        let taking =
            subscribers.map(|client| scope.spawn(move || take(client, &|| total.get().copied())));
        for round in 0..MOVES {
            for (overlay, at) in [("met", 1), ("demo", 2)] {
                for node in [&from, &to] {
                    // Sometimes both are on the same shard.
                    let shard = format!("shard={}", (round * at + at) % 3);
                    good(node.run(&["overlays", "change", overlay, &shard]));
                }
            }
        }
        over.store(true, Ordering::Release);
        let published: u64 = publishing.map(|it| it.join().unwrap()).iter().sum();
        assert!(published > 0);
        total.set(published).unwrap();
        for taken in taking.map(|it| it.join().unwrap()) {
            assert_eq!(taken, published);
        }
    });
}
