//! How a node ends by a signal, as the other one sees it: it leaves, or it stops and is waited for.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs::{self, File};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Node, fails_with_remedy, good, meet, run, stderr, tidings, within};

/// Longer than anything takes that shall happen.
const LONG: Duration = Duration::from_secs(20);

/// A UDP address that was free a moment ago: a node that comes back has to come back there.
fn free() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

fn signal(node: &Node, name: &str) {
    let pid = node.pid().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}

/// What a node is told of who comes and goes in `met`, in a file of its home. Ended when dropped.
struct Watch(Child);

impl Watch {
    fn of(node: &Node) -> Self {
        let file = File::create(node.path().join("presence")).unwrap();
        let child = tidings(node.path())
            .args(["members", "met", "--watch"])
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let watch = Self(child);
        assert!(within(LONG, || told(node).contains("this node")));
        watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn told(node: &Node) -> String {
    fs::read_to_string(node.path().join("presence")).unwrap()
}

/// The boot that a node says it has of the other one in `met`.
fn boots(node: &Node) -> String {
    let members = common::http::unix(&node.management(), "GET", "/v1/overlays/met/members", None);
    let members = members.json();
    let other = members
        .as_array()
        .unwrap()
        .iter()
        .find(|member| member["self"] != true)
        .cloned();
    other.map_or_else(String::new, |other| other["boot"].to_string())
}

/// Takes one message of the topic `t` as the client `keeper`, and goes.
fn take_one(node: &Node) -> Child {
    tidings(node.path())
        .args([
            "sub", "met", "t", "--as", "keeper", "--count", "1", "--idle", "60",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn taken(client: Child) -> String {
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_node_that_stops_and_comes_back_was_never_out_and_gets_what_came_meanwhile() {
    let bind = free();
    let args = [
        "run",
        "--bind",
        &bind,
        "--http",
        "off",
        "--name",
        "comes-back",
        "--on-terminate",
        "stop",
    ];
    let a = Node::start(&["run", "--bind", "127.0.0.1:0", "--http", "off"]);
    let mut b = Node::start(&args);
    meet(&a, &b);
    let client = take_one(&b);
    let first = ["pub", "met", "t", "first", "--wait-for", "1"];
    good(a.run(&[&first[..], &["--confirm", "delivered"]].concat()));
    assert_eq!(taken(client), "first");
    let _watch = Watch::of(&a);
    let before = boots(&a);
    signal(&b, "TERM");
    assert!(b.wait());
    // Owed to a subscription of a node that is away.
    good(a.run(&["pub", "met", "t", "meanwhile"]));
    b.restart(&args);
    assert!(within(2 * LONG, || boots(&a) != before), "{}", told(&a));
    assert_eq!(taken(take_one(&b)), "meanwhile");
    assert!(!told(&a).contains("member_out"), "{}", told(&a));
    // By the other signal it leaves, whatever is set.
    signal(&b, "INT");
    assert!(b.wait());
    assert!(within(LONG, || told(&a).contains("member_out")));
}

#[test]
fn without_that_setting_a_node_leaves_by_either_signal() {
    for name in ["TERM", "INT"] {
        let run = ["run", "--bind", "127.0.0.1:0", "--http", "off"];
        let (a, mut b) = (Node::start(&run), Node::start(&run));
        meet(&a, &b);
        let _watch = Watch::of(&a);
        signal(&b, name);
        assert!(b.wait());
        assert!(within(LONG, || told(&a).contains("member_out")), "{name}");
    }
}

#[test]
fn a_way_to_end_that_there_is_not_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["run", "--on-terminate", "vanish"]);
    fails_with_remedy(&output, 2, &["--on-terminate", "vanish", "\"stop\""]);
    let shown = run(home.path(), &["config", "show", "--on-terminate", "stop"]);
    assert!(good(shown).contains("node.on_terminate"));
    let bad = run(home.path(), &["doctor", "--on-terminate", "vanish"]);
    assert_eq!(bad.status.code(), Some(2), "{}", stderr(&bad));
}
