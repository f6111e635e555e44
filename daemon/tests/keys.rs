//! Keys of running nodes: a rotation by hand and by one command, with messages on their way; what is refused; where they are kept.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use common::load::Load;
use common::{Node, fails_with_remedy, good, run, stderr, stdout, text, tidings, within};
use serde_json::Value;

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];
const SOON: Duration = Duration::from_secs(60);

fn json(node: &Node, args: &[&str]) -> Value {
    let all = [args, &["--format", "json"]].concat();
    serde_json::from_str(&good(node.run(&all))).unwrap()
}

/// A new key in a file.
fn key(dir: &Path, slot: &str, suite: &str) -> PathBuf {
    let file = dir.join(format!("{slot}-{suite}.key"));
    let args = ["keygen", text(&file), "--slot", slot, "--suite", suite];
    good(run(dir, &args));
    file
}

/// Nodes with an overlay of this key, made while they run, that know each other.
fn nodes(count: usize, key: &Path) -> Vec<Node> {
    let nodes: Vec<Node> = (0..count).map(|_| Node::start(&ARGS)).collect();
    let bound = |node: &Node| {
        let overlays = json(node, &["members", "demo"]);
        overlays[0]["address"].as_str().unwrap().to_owned()
    };
    let first = bound(&nodes[0]);
    for node in &nodes {
        let create = ["overlays", "create", "news", "--key-file", text(key)];
        good(node.run(&[&create[..], &["--join", &first]].concat()));
    }
    let whole = |node: &Node| json(node, &["members", "news"]).as_array().unwrap().len() == count;
    assert!(within(SOON, || nodes.iter().all(whole)), "the nodes meet");
    nodes
}

/// The slots of a node's keys of the overlay, and the one that seals.
fn keys(node: &Node) -> (Vec<u64>, u64) {
    let keys = json(node, &["keys", "list", "news"]);
    let slots = keys["keys"].as_array().unwrap().iter();
    let slots = slots.map(|key| key["slot"].as_u64().unwrap()).collect();
    (slots, keys["primary"].as_u64().unwrap())
}

#[test]
fn a_rotation_by_hand_refuses_what_would_lose_somebody() {
    let dir = tempfile::tempdir().unwrap();
    let old = key(dir.path(), "0", "aes-256-gcm");
    let new = key(dir.path(), "1", "aes-192-gcm");
    let nodes = nodes(3, &old);
    let load = Load::begin(&nodes[0], &nodes[1]);
    let name = |node: &Node| json(node, &["members", "news"])[0]["name"].to_string();
    let host = name(&nodes[0]).trim_matches('"').to_owned();

    fails_with_remedy(
        &nodes[0].run(&["keys", "use", "news", "1"]),
        2,
        &["no key in slot 1", "only in 0"],
    );
    good(nodes[0].run(&["keys", "install", "news", text(&new)]));
    let again = good(nodes[0].run(&["keys", "install", "news", text(&new)]));
    assert!(again.contains("aes-192-gcm"), "as it was: {again}");
    fails_with_remedy(
        &nodes[0].run(&["keys", "use", "news", "1"]),
        1,
        &["is not on", &host, "by force"],
    );
    for node in &nodes[1..] {
        good(node.run(&["keys", "install", "news", text(&new)]));
    }
    let uses = |node: &Node| node.run(&["keys", "use", "news", "1"]).status.success();
    assert!(within(SOON, || uses(&nodes[0])), "all have it");
    fails_with_remedy(
        &nodes[0].run(&["keys", "remove", "news", "1"]),
        1,
        &["the one that seals"],
    );
    fails_with_remedy(
        &nodes[0].run(&["keys", "remove", "news", "0"]),
        1,
        &["in use", &host],
    );
    fails_with_remedy(
        &nodes[0].run(&["keys", "status", "news"]),
        1,
        &[&host, "seals with key 0"],
    );
    for node in &nodes[1..] {
        assert!(within(SOON, || uses(node)));
    }
    let removes = |node: &Node| node.run(&["keys", "remove", "news", "0"]).status.success();
    for node in &nodes {
        assert!(
            within(SOON, || removes(node)),
            "nobody depends on it any more"
        );
        assert_eq!(keys(node), (vec![1], 1));
    }
    load.end(&nodes[1]);
    let settled = |node: &Node| {
        let status = node.run(&["keys", "status", "news"]);
        status.status.success() && stdout(&status).contains(&host)
    };
    assert!(within(SOON, || nodes.iter().all(settled)), "all are alike");
    let overlays = json(&nodes[2], &["overlays", "show", "news"]);
    assert_eq!(
        (&overlays["suite"], &overlays["members"]),
        (&"aes-192-gcm".into(), &3.into())
    );
    for node in &nodes {
        let prints = json(node, &["keys", "list", "news"])["keys"][0]["fingerprint"].clone();
        assert_eq!(
            prints,
            json(&nodes[0], &["keys", "list", "news"])["keys"][0]["fingerprint"]
        );
    }
}

#[test]
fn one_command_on_every_host_rotates_and_goes_on_where_it_was_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let old = key(dir.path(), "0", "aes-256-gcm");
    let mut nodes = nodes(3, &old);
    let load = Load::begin(&nodes[0], &nodes[1]);
    for (slot, suite) in [("1", "chacha20-poly1305"), ("0", "aes-128-gcm")] {
        let new = key(dir.path(), slot, suite);
        let rotate = |node: &Node, time: &str| {
            tidings(node.path())
                .args(["keys", "rotate", "news", text(&new), "--timeout", time])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let alone = rotate(&nodes[0], "1s").wait_with_output().unwrap();
        fails_with_remedy(
            &alone,
            1,
            &["do not have the new key", "run the same rotation there"],
        );
        // A node that is restarted on the way has what it had.
        let before = keys(&nodes[2]);
        nodes[2].kill();
        nodes[2].restart(&ARGS);
        assert_eq!(keys(&nodes[2]), before);
        let all: Vec<Child> = nodes.iter().map(|node| rotate(node, "5m")).collect();
        for (rotation, node) in all.into_iter().zip(&nodes) {
            let told = good(rotation.wait_with_output().unwrap());
            assert!(told.contains("is removed"), "{told}");
            let slot = slot.parse().unwrap();
            assert_eq!(keys(node), (vec![slot], slot));
        }
        let again = good(rotate(&nodes[0], "1s").wait_with_output().unwrap());
        assert_eq!(
            again.lines().count(),
            1,
            "there is nothing left to do: {again}"
        );
    }
    load.end(&nodes[1]);
}

/// What `keys status` says of who is behind, with its exit code.
fn laggards(node: &Node) -> (Option<i32>, Value) {
    let output = node.run(&["keys", "status", "news", "--format", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), told["laggards"].clone())
}

/// The address of a node in the overlay, which tells it from others of the same name.
fn address(node: &Node) -> String {
    let own = json(node, &["members", "news"])[0]["address"].clone();
    own.as_str().unwrap().to_owned()
}

#[test]
fn a_dead_member_that_lacks_the_key_holds_a_rotation_up_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let old = key(dir.path(), "0", "aes-256-gcm");
    let new = key(dir.path(), "1", "aes-128-gcm");
    let mut nodes = nodes(2, &old);
    assert!(within(SOON, || laggards(&nodes[0])
        == (Some(0), serde_json::json!([]))));
    let off = address(&nodes[1]);
    nodes[1].kill();
    good(nodes[0].run(&["keys", "install", "news", text(&new)]));
    assert!(within(SOON, || laggards(&nodes[0]).1[0]["state"] == "dead"));
    let (code, told) = laggards(&nodes[0]);
    assert_eq!(
        (code, &told[0]["lacks"]),
        (Some(1), &serde_json::json!([1]))
    );
    let status = nodes[0].run(&["keys", "status", "news"]);
    fails_with_remedy(&status, 1, &[&off, "which is dead, lacks key 1"]);
    let refused = [
        &*off,
        "which is dead",
        "install key 1 there",
        "--force",
        "forgotten",
    ];
    fails_with_remedy(&nodes[0].run(&["keys", "use", "news", "1"]), 1, &refused);
    let rotate = |node: &Node, time: &str| {
        let args = ["keys", "rotate", "news", text(&new), "--timeout", time];
        tidings(node.path())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let stopped = rotate(&nodes[0], "1s").wait_with_output().unwrap();
    let told = [&*off, "which is dead", "start it", "--force", "forgotten"];
    fails_with_remedy(&stopped, 1, &told);
    assert_eq!(keys(&nodes[0]), (vec![0, 1], 0), "before it seals");
    good(nodes[0].run(&["keys", "use", "news", "1", "--force"]));
    fails_with_remedy(&nodes[0].run(&["keys", "remove", "news", "0"]), 1, &refused);
    // It comes back under the key that it has, and both go on where they are.
    nodes[1].restart(&ARGS);
    let both: Vec<Child> = nodes.iter().map(|node| rotate(node, "5m")).collect();
    for (rotation, node) in both.into_iter().zip(&nodes) {
        good(rotation.wait_with_output().unwrap());
        assert_eq!(keys(node), (vec![1], 1));
    }
    assert!(within(SOON, || laggards(&nodes[0]).0 == Some(0)));
    // A loaded machine may suspect it for a moment.
    let is_alive = || json(&nodes[0], &["members", "news"])[1]["state"] == "alive";
    assert!(within(SOON, is_alive));
}

#[test]
fn who_has_another_key_in_the_slot_is_named_as_the_one_that_does_not_follow() {
    let dir = tempfile::tempdir().unwrap();
    let old = key(dir.path(), "0", "aes-256-gcm");
    let nodes = nodes(2, &old);
    // Made twice instead of brought from one host to the other.
    let twice = ["aes-128-gcm", "aes-192-gcm"].map(|suite| key(dir.path(), "1", suite));
    for (node, key) in nodes.iter().zip(&twice) {
        good(node.run(&["keys", "install", "news", text(key)]));
    }
    for node in &nodes {
        let uses = || node.run(&["keys", "use", "news", "1"]).status.success();
        assert!(within(SOON, uses), "of the others only slots are known");
    }
    for (node, other) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
        let other = address(other);
        let remove = || stderr(&node.run(&["keys", "remove", "news", "0"]));
        let depends = format!("({other}) depend on it");
        assert!(within(SOON, || remove().contains(&depends)), "{}", remove());
        assert!(remove().contains("another key in slot 1"), "{}", remove());
        let is_told = || {
            let (code, told) = laggards(node);
            let is_it = told[0]["address"] == *other;
            code == Some(1) && is_it && told[0]["talks_under"] == serde_json::json!([0])
        };
        assert!(within(SOON, is_told), "{:?}", laggards(node));
        let status = node.run(&["keys", "status", "news"]);
        let named = [&*other, "still talks under key 0", "compare fingerprints"];
        fails_with_remedy(&status, 1, &named);
    }
    let args = ["keys", "rotate", "news", text(&twice[0]), "--timeout", "1s"];
    let other = address(&nodes[1]);
    let named = [
        "still talk under an old key",
        &other,
        "compare fingerprints",
    ];
    fails_with_remedy(&nodes[0].run(&args), 1, &named);
    assert_eq!(keys(&nodes[0]), (vec![0, 1], 1), "no member is lost by it");
    // A loaded machine may suspect it for a moment.
    let is_alive = || json(&nodes[0], &["members", "news"])[1]["state"] == "alive";
    assert!(within(SOON, is_alive));
}

#[test]
fn another_key_in_the_slot_is_refused_and_junk_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let old = key(dir.path(), "0", "aes-256-gcm");
    let other = key(dir.path(), "0", "aes-128-gcm");
    let nodes = nodes(1, &old);
    let install = |file: &Path| nodes[0].run(&["keys", "install", "news", text(file)]);
    fails_with_remedy(&install(&other), 1, &["another key in slot 0", "--slot 1"]);
    let junk = dir.path().join("junk");
    fs::write(&junk, "tidings-keyring 1\n1 rot13 primary 00\n").unwrap();
    fails_with_remedy(&install(&junk), 2, &["mode"]);
    fs::set_permissions(&junk, fs::Permissions::from_mode(0o600)).unwrap();
    fails_with_remedy(&install(&junk), 2, &["line 2"]);
    fails_with_remedy(&install(&dir.path().join("none")), 2, &["none"]);
    fails_with_remedy(&nodes[0].run(&["keys", "list", "olds"]), 1, &["olds"]);
    assert_eq!(keys(&nodes[0]), (vec![0], 0));
}

#[test]
fn a_key_file_is_replaced_as_a_whole_and_what_stands_in_it_counts_after_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let old = key(dir.path(), "0", "aes-256-gcm");
    let new = key(dir.path(), "1", "chacha20-poly1305");
    let link = dir.path().join("news.key");
    symlink(&old, &link).unwrap();
    let config = dir.path().join("t.toml");
    fs::write(
        &config,
        "[[overlay]]\nname = \"news\"\nkey_file = \"news.key\"\n",
    )
    .unwrap();
    let args = [&ARGS[..], &["--config", text(&config)]].concat();
    let mut node = Node::start(&args);
    good(node.run(&["keys", "install", "news", text(&new)]));
    good(node.run(&["keys", "use", "news", "1"]));
    let mode = fs::metadata(&old).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(
        fs::symlink_metadata(&link)
            .unwrap()
            .file_type()
            .is_symlink()
    );
    node.kill();
    node.restart(&args);
    assert_eq!(keys(&node), (vec![0, 1], 1));

    // Changed by hand: nothing else changes it before it was read again.
    fs::copy(&new, &old).unwrap();
    let refused = node.run(&["keys", "use", "news", "0"]);
    fails_with_remedy(&refused, 1, &["is not what the node runs with", "SIGHUP"]);
    let told = good(node.run(&["reload"]));
    assert!(told.contains("holds now: overlay news: keys"), "{told}");
    assert_eq!(keys(&node), (vec![1], 1));
    assert!(good(node.run(&["reload"])).contains("nothing has changed"));

    // Damaged: the reload is refused and the keys stay.
    fs::write(&old, "tidings-keyring 1\n").unwrap();
    fails_with_remedy(&node.run(&["reload"]), 2, &["no record is marked primary"]);
    assert_eq!(keys(&node), (vec![1], 1));
}

#[test]
fn a_reload_does_not_take_keys_that_would_lose_a_member() {
    let dir = tempfile::tempdir().unwrap();
    let old = key(dir.path(), "0", "aes-256-gcm");
    let config = dir.path().join("t.toml");
    let file = dir.path().join("news.key");
    fs::copy(&old, &file).unwrap();
    let others = nodes(1, &old);
    let bound = json(&others[0], &["members", "news"])[0]["address"].to_string();
    let overlay = "[[overlay]]\nname = \"news\"\nkey_file = \"news.key\"\n";
    fs::write(&config, format!("{overlay}join = [{bound}]\n")).unwrap();
    let node = Node::start(&[&ARGS[..], &["--config", text(&config)]].concat());
    let both = || json(&node, &["members", "news"]).as_array().unwrap().len() == 2;
    assert!(within(SOON, both));
    let new = key(dir.path(), "1", "aes-128-gcm");
    fs::copy(&new, &file).unwrap();
    let told = good(node.run(&["reload"]));
    assert!(
        told.contains("does not hold: overlay news: keys: key 1 is not on"),
        "{told}"
    );
    assert_eq!(keys(&node), (vec![0], 0));
    // Put there by hand, step by step, it is a rotation.
    let (old, new) = (
        fs::read_to_string(&old).unwrap(),
        fs::read_to_string(&new).unwrap(),
    );
    let line = |text: &str, role: &str| text.lines().nth(1).unwrap().replace("primary", role);
    let write = |old_role: &str, new_role: &str| {
        let text = format!(
            "tidings-keyring 1\n{}\n{}\n",
            line(&old, old_role),
            line(&new, new_role)
        );
        fs::write(&file, text).unwrap();
        good(node.run(&["reload"]))
    };
    assert!(write("primary", "installed").contains("holds now: overlay news: keys"));
    let other = dir.path().join("1-aes-128-gcm.key");
    good(others[0].run(&["keys", "install", "news", text(&other)]));
    let uses = || write("installed", "primary").contains("holds now: overlay news: keys");
    assert!(within(SOON, || uses() || keys(&node).1 == 1));
    assert!(within(SOON, || others[0]
        .run(&["keys", "use", "news", "1"])
        .status
        .success()));
    fs::write(&file, &new).unwrap();
    assert!(within(SOON, || {
        good(node.run(&["reload"]));
        keys(&node) == (vec![1], 1)
    }));
    assert!(both());
}
