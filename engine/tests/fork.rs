//! A process that forks: the shards stay with the parent, so that nothing in the child seals anything.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{builder, pair, wait_for};
use tidings_engine::{PublisherOptions, Received, SubscriberOptions};

const WAIT: Duration = Duration::from_secs(60);

#[test]
fn what_a_forked_child_publishes_goes_nowhere_and_its_parent_goes_on() {
    let (a, b, overlay) = pair("fork", builder);
    let mut subscriber = b
        .subscribe(overlay, &["t"], SubscriberOptions::default())
        .unwrap();
    wait_for("subscription known", || a.owed(overlay, "t").unwrap() == 1);
    let options = PublisherOptions::default();
    let mut publisher = a.publisher(overlay, "t", options).unwrap();
    publisher.publish_within(b"parent", WAIT).unwrap();
    // SAFETY: the child calls nothing that allocates or waits for another thread, and ends itself.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        for _ in 0..1_000 {
            let _ = publisher.publish(b"child");
        }
        // SAFETY: plain call with an integer; nothing of the parent is dropped here.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the pointer is to an integer that lives through the call.
    let ended = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((ended, status), (child, 0), "the child ended by itself");
    for _ in 0..100 {
        publisher.publish_within(b"parent", WAIT).unwrap();
    }
    for seq in 0..101 {
        match subscriber.next_within(WAIT) {
            Some(Received::Message(message)) => {
                assert_eq!((message.id.seq, message.payload), (seq, &b"parent"[..]));
            }
            other => panic!("at {seq}: {other:?}"),
        }
    }
    let more = subscriber.next_within(Duration::from_millis(500));
    assert!(more.is_none(), "{more:?}");
}
