//! A shard that panics takes the process with it: better no node than a wrong one. Other threads are started again.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{builder, config, log, wait_for};
use tidings_engine::gateway::{Control, Gateway, GatewayConfig, Refused, Viewer};
use tidings_engine::{Member, MemberState, PresenceKind, Seed};
use tidings_wire::client::auth::Hello;
use tidings_wire::client::frame::split;
use tidings_wire::client::query::{Query, Topic};
use tidings_wire::client::{CLIENT_PROTOCOL, Reply};

const ROLE: &str = "TIDINGS_TEST_PANIC";

#[test]
fn a_panic_on_a_shard_aborts_the_process() {
    if std::env::var(ROLE).is_ok() {
        let engine = builder().start().unwrap();
        let overlay = engine.add_overlay(config("panic", &[])).unwrap();
        let answer = engine.on_shard(overlay, |_| panic!("on purpose"));
        unreachable!("the process lives on: {answer:?}");
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_panic_on_a_shard_aborts_the_process"])
        .env(ROLE, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status:?}");
}

/// Says that this process is the peer that panics when it is told to: whom to join, and where it keeps its state.
const PEER: &str = "TIDINGS_TEST_PANICKING_PEER";

fn be_a_peer(role: &str) {
    let (join, dir) = role.split_once(' ').unwrap();
    let engine = builder().data_dir(dir).start().unwrap();
    let seed: Seed = join.parse().unwrap();
    let overlay = engine
        .add_overlay(config("crash", &[]).join([seed]))
        .unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
    let answer = engine.on_shard(overlay, |_| panic!("on purpose"));
    unreachable!("the process lives on: {answer:?}");
}

#[test]
fn peers_take_a_panic_for_a_crash_and_the_node_rejoins_when_it_is_started_again() {
    if let Ok(role) = std::env::var(PEER) {
        return be_a_peer(&role);
    }
    let name = "peers_take_a_panic_for_a_crash_and_the_node_rejoins_when_it_is_started_again";
    let dir = tempfile::tempdir().unwrap();
    let engine = builder().start().unwrap();
    let overlay = engine.add_overlay(config("crash", &[])).unwrap();
    let mut presence = engine.presence(overlay).unwrap();
    let role = format!("{} {}", engine.local_addr(), dir.path().display());
    let spawn = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(PEER, &role)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let boot = || {
        let members = engine.members(overlay).unwrap();
        let alive = |member: &&Member| member.state == MemberState::Alive;
        let other = members.iter().skip(1).find(alive);
        other.map(|member| member.boot)
    };
    let mut child = spawn();
    wait_for("it joins", || boot().is_some());
    let first = boot();
    let began = Instant::now();
    child.stdin.take().unwrap().write_all(b"!").unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status:?}");
    assert!(began.elapsed() < Duration::from_secs(20));
    let began = Instant::now();
    let mut child = spawn();
    wait_for("it is back", || {
        boot().is_some_and(|boot| Some(boot) != first)
    });
    assert!(began.elapsed() < Duration::from_secs(60));
    child.kill().unwrap();
    child.wait().unwrap();
    let brief = Duration::from_millis(10);
    let told = std::iter::from_fn(|| presence.next_within(brief).map(|event| event.kind));
    let told: Vec<PresenceKind> = told.collect();
    assert!(told.contains(&PresenceKind::In), "{told:?}");
    assert!(
        !told.contains(&PresenceKind::Out),
        "it did not leave: {told:?}"
    );
}

#[test]
fn the_keeper_goes_on_after_a_panic_of_the_embedders_handler() {
    log::collect();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let engine = builder()
        .on_notice(move |_, _| {
            assert!(counted.fetch_add(1, Ordering::Relaxed) > 0, "first notice");
        })
        .start()
        .unwrap();
    let seed: Seed = "127.0.0.1:9".parse().unwrap();
    for name in ["keeper-1", "keeper-2"] {
        engine
            .add_overlay(config(name, &[]).join([seed.clone()]))
            .unwrap();
    }
    // Nobody is behind the seed: each overlay tells after 5 s that it waited in vain.
    wait_for("a second notice", || calls.load(Ordering::Relaxed) > 1);
    assert_eq!(engine.stats().unwrap().panics, 1);
    assert_eq!(
        log::lines(&["panicked", "thread=keeper", "first notice"]).len(),
        1
    );
    for name in ["keeper-1", "keeper-2"] {
        let told = log::lines(&["synced", &format!("overlay={name} ")]);
        assert_eq!(told.len(), 1, "one line, with the overlay's name: {told:?}");
    }
}

/// Answers every question but the first, at which it panics.
struct Clumsy(AtomicU32);

impl Control for Clumsy {
    fn answer(&self, _: Topic, _: &str, _: Viewer<'_>) -> Result<String, Refused> {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "first question");
        Ok("{}".to_owned())
    }

    fn leave(&self, _: &str, _: Viewer<'_>) -> Result<(), Refused> {
        Ok(())
    }
}

/// Logs in and asks. `None`: the connection ended before an answer came.
fn ask(socket: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let mut frames = Vec::new();
    let hello = Hello {
        version_min: CLIENT_PROTOCOL,
        version_max: CLIENT_PROTOCOL,
        nonce: [1; 32],
        prove: false,
        name: "",
    };
    hello.encode(&mut frames);
    let query = Query {
        request: 1,
        what: Topic::Node,
        overlay: "",
    };
    query.encode(&mut frames);
    stream.write_all(&frames).ok()?;
    let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        while let Some((raw, used)) = split(&input).unwrap() {
            if let Reply::Answer(answer) = Reply::decode(raw).unwrap() {
                return Some(answer.json.to_owned());
            }
            input.drain(..used);
        }
        let read = stream.read(&mut chunk).ok().filter(|&read| read > 0)?;
        input.extend_from_slice(&chunk[..read]);
    }
}

#[test]
fn clients_are_received_again_after_a_panic_of_the_control_thread() {
    log::collect();
    let engine = builder().start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("tidings.sock");
    let config = GatewayConfig {
        socket: socket.clone(),
        node_name: "clumsy".to_owned(),
        grants: Vec::new(),
        shard: None,
    };
    let gateway = Gateway::start(&engine, config, Box::new(Clumsy(AtomicU32::new(0)))).unwrap();
    assert_eq!(ask(&socket), None);
    wait_for("the control thread again", || ask(&socket).is_some());
    assert_eq!(engine.stats().unwrap().panics, 1);
    assert_eq!(
        log::lines(&["panicked", "thread=clients", "first question"]).len(),
        1
    );
    drop(gateway);
    assert!(!socket.exists());
}
