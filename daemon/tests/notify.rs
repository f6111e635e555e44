//! What the service manager hears of a daemon: its socket, played by the test.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::stopped::Stopped;
use common::{Node, tidings};

/// Longer than anything takes that shall happen.
const LONG: Duration = Duration::from_secs(20);

/// Starts a daemon whose manager listens at `socket`.
fn start(socket: &OsStr, environment: &[(&str, &str)]) -> Node {
    let home = tempfile::tempdir().unwrap();
    let child = tidings(home.path())
        .args(["run", "--bind", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", socket)
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Node::of(home, child)
}

/// A manager's socket in a directory of its own, and the daemon that it is told to.
fn started(environment: &[(&str, &str)]) -> (tempfile::TempDir, UnixDatagram, Node) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let node = start(path.as_os_str(), environment);
    (dir, manager, node)
}

/// The next datagram within `time`.
fn next(manager: &UnixDatagram, time: Duration) -> Option<String> {
    let time = time.max(Duration::from_millis(1));
    manager.set_read_timeout(Some(time)).unwrap();
    let mut bytes = [0; 4096];
    match manager.recv(&mut bytes) {
        Ok(len) => Some(String::from_utf8(bytes[..len].to_vec()).unwrap()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// Whether a datagram that begins so comes within `time`; others are passed over.
fn hears(manager: &UnixDatagram, wanted: &str, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match next(manager, left) {
            Some(told) if told.starts_with(wanted) => return true,
            None => return false,
            Some(_) => {}
        }
    }
}

#[test]
fn the_manager_hears_when_the_node_is_up_how_it_is_and_that_it_stops() {
    let (_dir, manager, mut node) = started(&[]);
    let mut told = [next(&manager, LONG).unwrap(), next(&manager, LONG).unwrap()];
    told.sort();
    assert_eq!(told[0], "READY=1");
    assert_eq!(told[1], "STATUS=1 overlay, 1 member alive, 0 suspect");
    let pid = node.pid().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(next(&manager, LONG).unwrap(), "STOPPING=1");
    assert!(node.wait());
    assert_eq!(next(&manager, Duration::from_millis(50)), None);
}

#[test]
fn a_socket_with_an_abstract_name_is_told_too() {
    let name = format!("tidings-notify-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    let _node = start(OsStr::new(&format!("@{name}")), &[]);
    assert!(hears(&manager, "READY=1", LONG));
}

#[test]
fn a_daemon_whose_manager_cannot_be_reached_runs_all_the_same() {
    let _node = start(OsStr::new("/nowhere/at/all"), &[]);
    let _node = start(OsStr::new("nonsense"), &[]);
}

#[test]
fn the_watchdog_of_another_process_is_not_answered() {
    let asked = [("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")];
    let (_dir, manager, _node) = started(&asked);
    assert!(!hears(&manager, "WATCHDOG=1", Duration::from_secs(1)));
}

#[test]
fn a_shard_that_does_not_answer_stops_the_signs_of_life_until_it_does() {
    let (_dir, manager, node) = started(&[("WATCHDOG_USEC", "200000")]);
    for _ in 0..2 {
        assert!(hears(&manager, "WATCHDOG=1", LONG));
    }
    let Some(stopped) = Stopped::thread(&node, "tidings-0") else {
        return;
    };
    // What was said before, which a busy machine may be late to say.
    let since = Instant::now();
    while next(&manager, Duration::from_secs(1)).is_some() {
        assert!(since.elapsed() < LONG, "it goes on");
    }
    assert!(!hears(&manager, "WATCHDOG=1", Duration::from_secs(2)));
    drop(stopped);
    assert!(hears(&manager, "WATCHDOG=1", LONG));
}
