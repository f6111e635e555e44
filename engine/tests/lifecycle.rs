//! Starting, leaving, coming back: identity, presence, what is held by another.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use common::{builder, config, is_passing, pair, wait_for};
use tidings_engine::{
    Desk, EngineError, MemberState, Notice, PresenceKind, PublishError, PublishRefusal,
    PublisherOptions, Seed, StartError, StorageError,
};

const WAIT: Duration = Duration::from_secs(60);

/// Notes that it was woken.
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_watcher_that_polls_is_woken_by_the_next_change() {
    let (a, b, overlay) = pair("woken", builder);
    wait_for("a sees b", || a.members(overlay).unwrap().len() == 2);
    let mut presence = a.presence(overlay).unwrap();
    let woken = Arc::new(Woken(AtomicU32::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    while presence.poll_next(&mut context).is_ready() {}
    let before = woken.0.load(Ordering::SeqCst);
    let node = b.node();
    b.shutdown();
    wait_for("it is woken", || woken.0.load(Ordering::SeqCst) > before);
    let Poll::Ready(mut event) = presence.poll_next(&mut context) else {
        panic!("woken for nothing");
    };
    while is_passing(event.kind) {
        wait_for("the change", || match presence.poll_next(&mut context) {
            Poll::Ready(next) => {
                event = next;
                true
            }
            Poll::Pending => false,
        });
    }
    assert_eq!((event.kind, event.node), (PresenceKind::Out, node));
}

#[test]
fn presence_tells_of_those_who_come_and_leave() {
    let (a, b, overlay) = pair("presence", builder);
    wait_for("a sees b", || a.members(overlay).unwrap().len() == 2);
    let mut presence = a.presence(overlay).unwrap();
    assert_eq!(presence.snapshot().len(), 2);
    assert!(presence.snapshot().iter().any(|member| member.name == "b"));
    let c = builder().name("c").start().unwrap();
    c.add_overlay(config("presence", &[&b])).unwrap();
    let mut next = |what: &str| loop {
        let event = presence.next_within(WAIT).expect(what);
        if !is_passing(event.kind) {
            return event;
        }
    };
    let event = next("c comes");
    assert_eq!((event.kind, event.node), (PresenceKind::In, c.node()));
    let node = c.node();
    c.shutdown();
    let event = next("c leaves");
    assert_eq!((event.kind, event.node), (PresenceKind::Out, node));
    let members = a.members(overlay).unwrap();
    let gone = members.iter().find(|member| member.node == node).unwrap();
    assert_eq!(gone.state, MemberState::Left);
    assert!(!presence.is_closed());
    a.remove_overlay(overlay).unwrap();
    assert_eq!(a.add_overlay(config("presence", &[&b])).unwrap(), overlay);
    assert!(presence.is_closed(), "it is another overlay");
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

/// Copies what a node keeps, as a backup or a cloned machine would.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let there = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &there);
        } else {
            std::fs::copy(entry.path(), there).unwrap();
        }
    }
}

#[test]
fn of_two_nodes_from_one_copied_directory_the_older_ends_and_the_newer_goes_on() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other = builder().name("other").start().unwrap();
    let overlay = other.add_overlay(config("twins", &[])).unwrap();
    let start = |dir: &Path| {
        let conflicts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&conflicts);
        let node = builder().data_dir(dir).on_notice(move |_, notice| {
            counted.fetch_add(u32::from(*notice == Notice::IdConflict), Ordering::Relaxed);
        });
        let node = node.start().unwrap();
        node.add_overlay(config("twins", &[&other])).unwrap();
        (node, conflicts)
    };
    let (first, of_first) = start(dir.path());
    wait_for("it is there", || other.members(overlay).unwrap().len() == 2);
    copy(dir.path(), copied.path());
    let (second, of_second) = start(copied.path());
    assert_eq!(first.node(), second.node());
    assert_ne!(
        first.boot(),
        second.boot(),
        "no key of the one is the other's"
    );
    let began = Instant::now();
    wait_for("the older one ends", || first.overlays().is_empty());
    assert!(began.elapsed() < Duration::from_secs(30));
    wait_for("its owner is told", || {
        of_first.load(Ordering::Relaxed) == 1
    });
    let is_second = |member: &tidings_engine::Member| {
        member.node == second.node()
            && member.boot == second.boot()
            && member.state == MemberState::Alive
    };
    wait_for("the newer one is the member", || {
        other.members(overlay).unwrap().iter().any(is_second)
    });
    std::thread::sleep(Duration::from_secs(3));
    wait_for("the newer one stays it", || {
        other.members(overlay).unwrap().iter().any(is_second)
    });
    assert_eq!(of_second.load(Ordering::Relaxed), 0);
    assert_eq!(second.overlays().len(), 1);
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

#[test]
fn a_policy_changes_while_the_overlay_runs_and_open_publishers_keep_to_it() {
    let (a, b, overlay) = pair("policy", builder);
    wait_for("a sees b", || a.members(overlay).unwrap().len() == 2);
    let mut publisher = a
        .publisher(overlay, "t", PublisherOptions::default())
        .unwrap();
    let on_shard = a.on_shard(overlay, |desk| desk.publisher("t")).unwrap();
    let on_shard = on_shard.unwrap();
    let publish_on_shard = |bytes: usize| {
        let publish = move |desk: &mut Desk<'_>| desk.seat().publish(on_shard, &vec![7; bytes]);
        a.on_shard(overlay, publish).unwrap()
    };
    let mut subscriber = b.subscribe(overlay, &["t"], Default::default()).unwrap();
    let mut policy = a.policy(overlay).unwrap();
    policy.max_message = 1_000;
    a.set_policy(overlay, policy).unwrap();
    assert_eq!(a.policy(overlay).unwrap(), policy);
    let refused = publisher.publish(&[7; 1_001]);
    assert_eq!(refused, Err(PublishRefusal::TooLarge { limit: 1_000 }));
    let refused = publish_on_shard(1_001);
    assert_eq!(refused, Err(PublishError::TooLarge { limit: 1_000 }));
    policy.max_message = 4 << 20;
    a.set_policy(overlay, policy).unwrap();
    // More than a ring for messages of the limit of its time holds is for publishers that are opened from now on.
    let Err(PublishRefusal::TooLarge { limit }) = publisher.publish(&vec![7; 4 << 20]) else {
        panic!("it would wait for room for ever");
    };
    assert!(limit > 1 << 20);
    publisher.publish_within(&vec![7; limit], WAIT).unwrap();
    let received = subscriber.next_within(WAIT).expect("the message comes");
    assert!(matches!(received, tidings_engine::Received::Message(m) if m.payload.len() == limit));
    wait_for("there is room", || publish_on_shard(limit - 1).is_ok());
    let received = subscriber.next_within(WAIT).expect("the message comes");
    let is_it = |m: tidings_engine::Message<'_>| m.payload.len() == limit - 1;
    assert!(matches!(received, tidings_engine::Received::Message(m) if is_it(m)));
    let unknown = tidings_engine::OverlayId::from_name("other");
    assert!(matches!(
        a.set_policy(unknown, policy),
        Err(EngineError::Unknown)
    ));
}

#[test]
fn who_is_told_later_where_to_join_joins() {
    let a = builder().name("a").start().unwrap();
    let b = builder().name("b").start().unwrap();
    let overlay = a.add_overlay(config("later", &[])).unwrap();
    b.add_overlay(config("later", &[])).unwrap();
    a.set_join(overlay, &[Seed::Address(b.local_addr())])
        .unwrap();
    wait_for("they meet", || {
        [&a, &b]
            .iter()
            .all(|node| node.members(overlay).unwrap().len() == 2)
    });
}

#[test]
fn an_overlay_is_forgotten_when_it_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let a = builder().data_dir(dir.path()).start().unwrap();
    let overlay = a.add_overlay(config("forgotten", &[])).unwrap();
    assert!(matches!(
        a.forget_overlay(overlay),
        Err(EngineError::Exists)
    ));
    a.remove_overlay(overlay).unwrap();
    assert_eq!(a.kept_overlays().unwrap(), [overlay]);
    a.forget_overlay(overlay).unwrap();
    assert!(a.kept_overlays().unwrap().is_empty());
}
