//! Where the system refuses io_uring, shards wait with epoll, and say so.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{builder, log, pair, wait_for};
use tidings_engine::{PublisherOptions, Received, SubscriberOptions, Waiting};

/// Makes `io_uring_setup` fail with EPERM for this thread and all that it starts.
fn refuse_io_uring() {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
        step(RETURN, 0, 0, refuse),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: plain call with integers.
    let rc = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(rc, 0);
    // SAFETY: the program lives through the call, which copies it.
    let rc = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    assert_eq!(rc, 0);
}

#[test]
fn without_io_uring_a_node_waits_with_epoll_and_works() {
    log::collect();
    refuse_io_uring();
    let (a, b, overlay) = pair("fallback", || builder().shards(2));
    for engine in [&a, &b] {
        let stats = engine.stats().unwrap();
        let mut shards = stats.shards.iter();
        assert!(shards.all(|shard| shard.waiting == Some(Waiting::Epoll)));
    }
    let told = log::lines(&["io_uring is refused here"]);
    assert_eq!(told.len(), 2, "one line for each node: {told:?}");
    let mut subscriber = b
        .subscribe(overlay, &["t"], SubscriberOptions::default())
        .unwrap();
    wait_for("subscription known", || a.owed(overlay, "t").unwrap() == 1);
    let mut publisher = a
        .publisher(overlay, "t", PublisherOptions::default())
        .unwrap();
    for i in 0..1_000u32 {
        publisher
            .publish_within(&i.to_le_bytes(), Duration::from_secs(30))
            .unwrap();
    }
    for _ in 0..1_000u32 {
        match subscriber.next_within(Duration::from_secs(30)) {
            Some(Received::Message(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}
