//! Starting, leaving, coming back: identity, presence, what is held by another.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{builder, config, pair, wait_for};
use tidings_engine::{MemberState, PresenceKind, StartError, StorageError};

const WAIT: Duration = Duration::from_secs(10);

#[test]
fn presence_tells_of_those_who_come_and_leave() {
    let (a, b, overlay) = pair("presence", builder);
    wait_for("a sees b", || a.members(overlay).unwrap().len() == 2);
    let mut presence = a.presence(overlay).unwrap();
    assert_eq!(presence.snapshot().len(), 2);
    assert!(presence.snapshot().iter().any(|member| member.name == "b"));
    let c = builder().name("c").start().unwrap();
    c.add_overlay(config("presence", &[&b])).unwrap();
    let event = presence.next_within(WAIT).expect("c comes");
    assert_eq!((event.kind, event.node), (PresenceKind::In, c.node()));
    let node = c.node();
    c.shutdown();
    let event = presence.next_within(WAIT).expect("c leaves");
    assert_eq!((event.kind, event.node), (PresenceKind::Out, node));
    let members = a.members(overlay).unwrap();
    let gone = members.iter().find(|member| member.node == node).unwrap();
    assert_eq!(gone.state, MemberState::Left);
}

#[test]
fn a_node_comes_back_as_itself_and_finds_the_others_without_a_seed() {
    let dir = tempfile::tempdir().unwrap();
    let a = builder().name("a").start().unwrap();
    let overlay = a.add_overlay(config("back", &[])).unwrap();
    let b = builder().data_dir(dir.path()).start().unwrap();
    let node = b.node();
    b.add_overlay(config("back", &[&a])).unwrap();
    wait_for("b sees a", || b.members(overlay).unwrap().len() == 2);
    b.shutdown();
    let peers = dir
        .path()
        .join("overlays")
        .join(overlay.to_string())
        .join("peers");
    assert_eq!(
        std::fs::read_to_string(peers).unwrap(),
        format!("{}\n", a.local_addr())
    );

    let b = builder().data_dir(dir.path()).start().unwrap();
    assert_eq!(b.node(), node);
    b.add_overlay(config("back", &[])).unwrap();
    wait_for("b sees a again", || b.members(overlay).unwrap().len() == 2);
    let alive =
        |member: &tidings_engine::Member| member.node == node && member.state == MemberState::Alive;
    wait_for("a sees b again", || {
        a.members(overlay).unwrap().iter().any(alive)
    });
    let generation = std::fs::read_to_string(
        dir.path()
            .join("overlays")
            .join(overlay.to_string())
            .join("generation"),
    );
    assert_eq!(generation.unwrap(), "2\n");
}

#[test]
fn what_another_node_holds_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = builder().data_dir(dir.path()).start().unwrap();
    match builder().data_dir(dir.path()).start() {
        Err(StartError::Storage(StorageError::Held { pid })) => {
            assert_eq!(pid, std::process::id().to_string())
        }
        other => panic!("{:?}", other.map(|engine| engine.node())),
    }
    match builder().bind(first.local_addr()).start() {
        Err(StartError::Bind(addr, _)) => assert_eq!(addr, first.local_addr()),
        other => panic!("{:?}", other.map(|engine| engine.node())),
    }
}

/// Says that this process is the one that runs out of descriptors.
const STARVED: &str = "TIDINGS_TEST_DESCRIPTORS";

#[test]
fn a_node_that_finds_no_descriptors_is_refused_and_the_process_lives() {
    if std::env::var(STARVED).is_ok() {
        return start_with_ever_more_descriptors();
    }
    let name = "a_node_that_finds_no_descriptors_is_refused_and_the_process_lives";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(STARVED, "1")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
}

fn start_with_ever_more_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut by_shard = 0;
    for free in 0..200 {
        let current = Some(used + free);
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        match builder().shards(3).start() {
            Ok(_) => {
                assert!(by_shard > 0, "the shards' own descriptors were tried");
                return;
            }
            Err(StartError::Shard(_)) => by_shard += 1,
            Err(_) => {}
        }
    }
    panic!("200 descriptors are enough for three shards");
}

#[test]
fn sleeps_that_another_thread_ends_are_counted() {
    let node = builder().shards(1).start().unwrap();
    let woken = || node.stats().unwrap().shards[0].counters.wakes_by_thread;
    wait_for("the shard is woken", || woken() > 0);
}
