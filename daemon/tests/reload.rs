//! The configuration read again while the node runs, and what it runs with told.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Node, run, stderr, stdout, within};

const SOON: Duration = Duration::from_secs(60);

fn hang_up(node: &Node) {
    let pid = node.pid().to_string();
    let kill = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    assert!(kill.success());
}

fn overlays(node: &Node) -> Vec<String> {
    let output = node.run(&["overlays", "--format", "json"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = list.as_array().unwrap().iter();
    names
        .map(|overlay| overlay["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A node with a configuration file, with keys for overlays of these names beside it.
fn node(names: &[&str], text: &str) -> (Node, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    for name in names {
        let file = home.path().join(format!("{name}.key"));
        let made = run(home.path(), &["keygen", file.to_str().unwrap()]);
        assert!(made.status.success(), "{}", stderr(&made));
    }
    let file = home.path().join("tidings.toml");
    fs::write(&file, text).unwrap();
    let args = ["run", "--bind", "127.0.0.1:0", "--config"];
    let file_arg = file.to_str().unwrap().to_owned();
    let node = Node::start_in(home, &[&args[..], &[&file_arg]].concat());
    (node, file)
}

fn overlay(name: &str, more: &str) -> String {
    format!("[[overlay]]\nname = \"{name}\"\nkey_file = \"{name}.key\"\n{more}\n")
}

fn publishes(node: &Node, overlay: &str, bytes: usize) -> bool {
    let message = "x".repeat(bytes);
    node.run(&["pub", overlay, "t", &message]).status.success()
}

#[test]
fn overlays_begin_end_and_change_as_the_file_says_now() {
    let names = ["a", "b", "c"];
    let text = overlay("a", "") + &overlay("b", "");
    let (node, file) = node(&names, &text);
    assert_eq!(overlays(&node), ["a", "b"]);
    assert!(publishes(&node, "a", 2_000));
    let text = overlay("a", "max_message = \"1KiB\"") + &overlay("c", "");
    fs::write(&file, text).unwrap();
    hang_up(&node);
    assert!(within(SOON, || overlays(&node) == ["a", "c"]));
    assert!(within(SOON, || !publishes(&node, "a", 2_000)));
    assert!(publishes(&node, "a", 1_000) && publishes(&node, "c", 2_000));
    let kept = || fs::read_dir(node.path().join("data/tidings/overlays")).unwrap();
    assert!(
        within(SOON, || kept().count() == 2),
        "of the one that ended nothing is kept"
    );
}

#[test]
fn a_mistake_anywhere_changes_nothing_and_the_node_goes_on() {
    let (node, file) = node(&["a", "b"], &overlay("a", ""));
    let socket = node.path().join("run/tidings/tidings.http.sock");
    let reload = || common::http::unix(&socket, "POST", "/v1/reload", None);
    for mistake in [
        overlay("b", "retian = \"8MiB\""),
        overlay("b", "") + &overlay("missing", ""),
        "[[overlay]".to_owned(),
    ] {
        fs::write(&file, mistake).unwrap();
        reload().is_error(400, "bad_options");
        assert_eq!(overlays(&node), ["a"]);
    }
    fs::write(&file, overlay("a", "") + &overlay("b", "")).unwrap();
    assert_eq!(reload().status, 200);
    assert_eq!(overlays(&node), ["a", "b"]);
}

#[test]
fn what_a_running_overlay_cannot_take_is_told_each_time_and_the_rest_holds() {
    let (node, file) = node(&["a"], &overlay("a", ""));
    let socket = node.path().join("run/tidings/tidings.http.sock");
    let ask = |method: &str, path: &str| common::http::unix(&socket, method, path, None);
    let moved = overlay("a", "max_message = \"1KiB\"\nshard = 0");
    fs::write(&file, moved).unwrap();
    for applied in [&["overlay a: options"][..], &[]] {
        let report = ask("POST", "/v1/reload").json();
        assert_eq!(report["applied"], serde_json::json!(applied));
        let refused = report["refused"][0].as_str().unwrap();
        assert!(refused.contains("shard"), "{report}");
    }
    assert!(!publishes(&node, "a", 2_000) && publishes(&node, "a", 1_000));
    fs::write(&file, overlay("a", "")).unwrap();
    let report = ask("POST", "/v1/reload").json();
    assert_eq!(report["refused"], serde_json::json!([]));
    assert!(publishes(&node, "a", 2_000));
}

#[test]
fn a_node_that_is_told_of_no_overlay_runs_none() {
    let (node, _) = node(&[], "overlay = []\n");
    assert!(overlays(&node).is_empty());
}

fn show(home: &Path, args: &[&str]) -> String {
    let output = run(home, &[&["config", "show"], args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn each_value_is_told_with_where_it_comes_from() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("t.toml");
    fs::write(
        &file,
        "[node]\nshards = 3\n[[overlay]]\nname = \"demo\"\nretain = \"8MiB\"\n",
    )
    .unwrap();
    let data = home.path().join("data/tidings");
    fs::create_dir_all(&data).unwrap();
    let state = data.join("state.json");
    fs::write(
        &state,
        r#"{ "version": 1, "overlays": { "demo": { "created": false, "options": { "retain": "16MiB" } } } }"#,
    )
    .unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&state, private).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let given = show(home.path(), &[&config[..], &["--shards", "4"]].concat());
    assert!(given.contains("flag --shards"), "{given}");
    assert!(!given.contains("park_max"), "{given}");
    let line = given.lines().find(|line| line.contains("retain")).unwrap();
    assert!(line.contains("16MiB") && line.ends_with("changed while running"));
    let all = show(home.path(), &[&config[..], &["--effective"]].concat());
    let line = all.lines().find(|line| line.contains("shards")).unwrap();
    assert!(
        line.contains("  3  ") && line.ends_with("t.toml:2"),
        "{line}"
    );
    let line = all.lines().find(|line| line.contains("park_max")).unwrap();
    assert!(line.contains("1d") && line.ends_with("default"), "{line}");
    fs::write(&state, "{").unwrap();
    let damaged = run(home.path(), &["config", "show"]);
    assert_eq!(damaged.status.code(), Some(2));
    assert!(stderr(&damaged).contains("state.json is damaged"));
    assert!(stderr(&damaged).contains("remedy: bring"));
}
