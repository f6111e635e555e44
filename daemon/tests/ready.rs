//! When a node is ready: for a balancer that asks `/readyz`, and for a service manager that waits for READY=1.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use common::http::unix;
use common::{Node, meet, tidings, within};
use serde_json::Value;

/// Longer than anything takes that shall happen.
const LONG: Duration = Duration::from_secs(20);
/// Nobody answers there.
const NOBODY: &str = "127.0.0.1:9";

fn is_ready(node: &Node) -> bool {
    unix(&node.management(), "GET", "/readyz", None).status == 200
}

/// What `/readyz` says of an overlay.
fn detail(node: &Node, overlay: &str) -> String {
    let checks = unix(&node.management(), "GET", "/readyz?verbose", None).json();
    let name = format!("overlay {overlay}");
    let mut checks = checks["checks"].as_array().unwrap().iter();
    let check = checks.find(|check| check["name"] == name.as_str());
    check.unwrap()["detail"].as_str().unwrap().to_owned()
}

fn is_synced(node: &Node, overlay: &str) -> bool {
    let path = format!("/v1/overlays/{overlay}");
    unix(&node.management(), "GET", &path, None).json()["synced"] == true
}

fn join(node: &Node, overlay: &str, seeds: &[&str]) {
    let wish = serde_json::json!({ "join": seeds }).to_string();
    let path = format!("/v1/overlays/{overlay}");
    let changed = unix(&node.management(), "PATCH", &path, Some(&wish));
    assert_eq!(changed.status, 200, "{changed:?}");
}

#[test]
fn the_first_node_of_a_cluster_is_ready_though_it_met_nobody() {
    let node = Node::start(&["run", "--bind", "127.0.0.1:0", "--join", NOBODY]);
    assert!(
        within(LONG, || is_ready(&node)),
        "{}",
        detail(&node, "demo")
    );
    assert_eq!(detail(&node, "demo"), "nobody was met; it goes on alone");
    assert!(!is_synced(&node, "demo"), "that is told all the same");
}

#[test]
fn an_overlay_that_is_given_somebody_to_join_is_not_synced_until_it_has() {
    let node = Node::start(&["run", "--bind", "127.0.0.1:0"]);
    let made = unix(
        &node.management(),
        "POST",
        "/v1/overlays",
        Some(r#"{"name": "made"}"#),
    );
    assert_eq!(made.status, 201, "{made:?}");
    assert!(is_synced(&node, "made"), "there is nobody else");
    join(&node, "made", &[NOBODY]);
    assert!(!is_synced(&node, "made"));
    assert!(within(LONG, || is_ready(&node)));
    assert_eq!(detail(&node, "made"), "nobody was met; it goes on alone");
    // Other seeds for the old ones begin nothing: whoever waited for 5 s goes on.
    join(&node, "made", &[NOBODY, "127.0.0.1:10"]);
    assert!(is_ready(&node));
}

#[test]
fn a_node_that_lost_the_others_stays_ready() {
    let [a, mut b] = [(); 2].map(|()| Node::start(&["run", "--bind", "127.0.0.1:0"]));
    meet(&a, &b);
    assert!(within(LONG, || is_synced(&a, "met") && is_ready(&a)));
    b.kill();
    let is_missed = || {
        let members = unix(&a.management(), "GET", "/v1/overlays/met/members", None).json();
        let is_gone = |member: &Value| member["state"] == "dead";
        members.as_array().unwrap().iter().any(is_gone)
    };
    assert!(within(3 * LONG, is_missed));
    assert!(is_ready(&a) && is_synced(&a, "met"));
}

/// Starts a node that joins nobody, under a manager whose socket is returned, too.
fn notifying(flags: &[&str]) -> (UnixDatagram, Node) {
    let home = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(home.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(LONG)).unwrap();
    let child = tidings(home.path())
        .args(["run", "--bind", "127.0.0.1:0", "--join", NOBODY])
        .args(flags)
        .env("NOTIFY_SOCKET", home.path().join("notify"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (manager, Node::of(home, child))
}

fn told(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let len = manager.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..len].to_vec()).unwrap()
}

#[test]
fn the_manager_hears_that_it_is_ready_when_messages_are_taken() {
    let (manager, node) = notifying(&[]);
    assert_eq!(told(&manager), "READY=1");
    // Said at the start it would come 5 s before this.
    let soon = Duration::from_secs(3);
    assert!(
        within(soon, || is_ready(&node)),
        "{}",
        detail(&node, "demo")
    );
}

#[test]
fn a_node_that_may_wait_for_longer_takes_messages_and_is_not_ready() {
    let (manager, node) = notifying(&["--ready-timeout", "1h"]);
    let waits = "nobody was met yet; node.ready_timeout is not over";
    assert!(
        within(LONG, || detail(&node, "demo") == waits),
        "{}",
        detail(&node, "demo")
    );
    let sent = unix(
        &node.management(),
        "POST",
        "/v1/overlays/demo/publish/t",
        Some("x"),
    );
    assert_eq!(sent.status, 202, "{sent:?}");
    assert!(!is_ready(&node));
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 64]).is_err(), "it is told nothing");
    let shown = node.run(&["config", "show", "--effective", "--ready-timeout", "1h"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let mut lines = shown.lines();
    let line = lines.find(|line| line.contains("node.ready_timeout"));
    let line = line.unwrap_or_else(|| panic!("{shown}"));
    assert!(
        line.contains("1h") && line.contains("--ready-timeout"),
        "{line}"
    );
}
