//! Two processes over loopback: the subscriber is this test started once more, killed in the middle and started again.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{builder, config, wait_for};
use tidings_engine::{Outcome, OutcomeWish, PublisherOptions, Received, Seed, SubscriberOptions};

/// Says what to do to the process that is the subscriber: the publisher's address, and where to keep its state.
const ROLE: &str = "TIDINGS_TEST_SUBSCRIBER";
const WAIT: Duration = Duration::from_secs(60);

#[test]
fn a_subscriber_that_is_killed_and_comes_back_misses_nothing() {
    if let Ok(role) = std::env::var(ROLE) {
        return subscribe(&role);
    }
    const COUNT: u64 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let engine = builder().name("publisher").start().unwrap();
    let overlay = engine.add_overlay(config("two", &[])).unwrap();
    let role = format!("{} {}", engine.local_addr(), dir.path().display());
    let mut seen = HashSet::new();

    let mut child = spawn(&role);
    wait_for("subscription known", || {
        engine.owed(overlay, "t").unwrap() == 1
    });
    let options = PublisherOptions {
        outcomes: OutcomeWish::All,
        ..Default::default()
    };
    let mut publisher = engine.publisher(overlay, "t", options).unwrap();
    for seq in 0..COUNT {
        publisher.publish_within(&seq.to_le_bytes(), WAIT).unwrap();
    }
    let mut lines = lines(&mut child);
    while seen.len() < 100 {
        seen.insert(lines.next().unwrap().unwrap());
    }
    // SIGKILL: no farewell, no acknowledgement of what it has in hand.
    child.kill().unwrap();
    child.wait().unwrap();
    seen.extend(lines.map_while(Result::ok));

    let mut child = spawn(&role);
    let mut lines = self::lines(&mut child);
    let deadline = Instant::now() + Duration::from_secs(60);
    while (seen.len() as u64) < COUNT {
        assert!(Instant::now() < deadline, "{} of {COUNT}", seen.len());
        seen.insert(lines.next().expect("the subscriber runs").unwrap());
    }
    let mut delivered = 0;
    while delivered < COUNT {
        let range = publisher
            .outcome_within(Duration::from_secs(30))
            .expect("an outcome for each message");
        assert_eq!(range.outcome, Outcome::Delivered);
        delivered += range.to - range.from;
    }
    assert_eq!(delivered, COUNT, "exactly one outcome for each");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn spawn(role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_subscriber_that_is_killed_and_comes_back_misses_nothing",
            "--nocapture",
        ])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The numbers that a subscriber tells.
fn lines(child: &mut Child) -> impl Iterator<Item = std::io::Result<String>> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.filter(|line| line.as_ref().map_or(true, |line| line.starts_with("seq ")))
}

/// The child: prints and acknowledges for ever.
fn subscribe(role: &str) {
    let (join, dir) = role.split_once(' ').unwrap();
    let engine = builder().name("subscriber").data_dir(dir).start().unwrap();
    let seed: Seed = join.parse().unwrap();
    let overlay = engine.add_overlay(config("two", &[]).join([seed])).unwrap();
    let options = SubscriberOptions {
        client: "worker".into(),
        ..Default::default()
    };
    let mut subscriber = engine.subscribe(overlay, &["t"], options).unwrap();
    loop {
        let Some(Received::Message(message)) = subscriber.next_within(WAIT) else {
            continue;
        };
        let (sub, id) = (message.sub, message.id);
        println!(
            "seq {}",
            u64::from_le_bytes(message.payload.try_into().unwrap())
        );
        subscriber.ack(sub, id);
        if id.seq % 50 == 0 {
            subscriber.flush();
        }
    }
}
