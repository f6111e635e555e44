//! What `tidings stats` shows of queues, stores and clients.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::{Node, run, tidings, within};
use serde_json::Value;

fn stats(node: &Node) -> Value {
    let output = node.run(&["stats", "--format", "json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn clients(node: &Node) -> u64 {
    let stats = stats(node);
    let shards = stats["shards"].as_array().unwrap();
    shards
        .iter()
        .map(|shard| shard["clients"].as_u64().unwrap())
        .sum()
}

/// A node with two shards: clients are served on the first, the overlay `far` lives on the second.
fn two_shards() -> (tempfile::TempDir, Node) {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    assert!(
        run(home.path(), &["keygen", &path("far.key")])
            .status
            .success()
    );
    let config = "[node]\nbind = \"127.0.0.1:0\"\nshards = 2\n[client]\nshard = 0\n\
        [[overlay]]\nname = \"demo\"\nshard = 0\n[[overlay]]\nname = \"far\"\nkey_file = \"far.key\"\nshard = 1\n";
    fs::write(path("tidings.toml"), config).unwrap();
    let node = Node::start(&["--config", &path("tidings.toml")]);
    (home, node)
}

fn subscribe(node: &Node, overlay: &str) -> Child {
    tidings(node.path())
        .args(["sub", overlay, "news"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn clients_are_counted_once_wherever_their_overlay_lives() {
    let (_home, node) = two_shards();
    assert_eq!(clients(&node), 0);
    let far = &mut subscribe(&node, "far");
    // Its subscription stands on the other shard, where an agent of its connection serves it.
    let stands = || {
        let stats = stats(&node);
        let overlays = stats["overlays"].as_array().unwrap();
        let far = overlays.iter().find(|overlay| overlay["name"] == "far");
        far.unwrap()["subscriptions"] == 1
    };
    assert!(within(Duration::from_secs(60), stands));
    assert_eq!(clients(&node), 1);
    far.kill().unwrap();
    far.wait().unwrap();
    assert!(within(Duration::from_secs(60), || clients(&node) == 0));
}

#[test]
fn depths_of_queues_and_stores_are_shown() {
    let node = Node::start(&["--bind", "127.0.0.1:0"]);
    // A named client's subscription outlives it: what is published now stays in the store.
    let stands = || {
        let asked = node.run(&["sub", "demo", "jobs", "--as", "worker", "--idle", "0.1"]);
        assert!(asked.status.success());
        stats(&node)["overlays"][0]["subscriptions"] == 1
    };
    assert!(within(Duration::from_secs(20), stands));
    assert!(node.run(&["pub", "demo", "jobs", "wait"]).status.success());
    let stats = stats(&node);
    let shard = &stats["shards"][0];
    assert!(shard["queued"].is_u64(), "{stats}");
    let overlay = &stats["overlays"][0];
    assert!(overlay["store_bytes"].as_u64().unwrap() > 0, "{stats}");
    assert_eq!(overlay["subscriptions"], 1);
    for depth in [
        "held_bytes",
        "ports",
        "streams_out",
        "streams_in",
        "table_version",
    ] {
        assert!(overlay[depth].is_u64(), "{depth} in {stats}");
    }
    assert_eq!(overlay["membership"]["probes_failed"], 0);
    assert_eq!(overlay["publish"]["accepted"], 1);
    assert_eq!(overlay["receive"]["evicted"], 0);
}
