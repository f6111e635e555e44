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
    let two = "[node]\nshards = 2\n";
    let (node, file) = node(&["a"], &(two.to_owned() + &overlay("a", "shard = 0")));
    let reload = || common::http::unix(&node.management(), "POST", "/v1/reload", None).json();
    let moved = overlay("a", "max_message = \"1KiB\"\nshard = 2");
    fs::write(&file, two.replace('2', "3") + &moved).unwrap();
    for applied in [&["overlay a: max_message 1MiB -> 1KiB"][..], &[]] {
        let report = reload();
        assert_eq!(report["applied"], serde_json::json!(applied));
        let place = format!("({}:2)", file.display());
        let refused = [
            format!("node.shards 2 -> 3 {place}: it holds from the next start of the node on"),
            "overlay a: shard 0 -> 2: it holds from the next start of the node on".to_owned(),
        ];
        assert_eq!(report["refused"], serde_json::json!(refused));
    }
    assert!(!publishes(&node, "a", 2_000) && publishes(&node, "a", 1_000));
    fs::write(&file, two.to_owned() + &overlay("a", "shard = 1")).unwrap();
    let report = reload();
    assert_eq!(report["refused"], serde_json::json!([]));
    let applied = report["applied"].as_array().unwrap();
    assert!(
        applied.contains(&"overlay a: shard 0 -> 1".into()),
        "{report}"
    );
    assert!(publishes(&node, "a", 2_000));
}

#[test]
fn an_overlay_for_a_shard_that_the_next_start_makes_runs_and_changes_until_then() {
    let file = |shards: u32, overlays: &str| format!("[node]\nshards = {shards}\n{overlays}");
    let (node, path) = node(&["a", "b"], &file(2, &overlay("a", "")));
    fs::write(
        &path,
        file(4, &(overlay("a", "") + &overlay("b", "shard = 3"))),
    )
    .unwrap();
    let report = common::http::unix(&node.management(), "POST", "/v1/reload", None).json();
    assert_eq!(report["applied"], serde_json::json!(["overlay b: started"]));
    let change = |option: &str| node.run(&["overlays", "change", "b", option]);
    let changed = change("max_message=1KiB");
    assert!(changed.status.success(), "{}", stderr(&changed));
    assert!(!publishes(&node, "b", 2_000) && publishes(&node, "b", 1_000));
    let moved = change("shard=2");
    assert!(
        stderr(&moved).contains("this node runs 2"),
        "{}",
        stderr(&moved)
    );
    let moved = change("shard=0");
    assert!(moved.status.success(), "{}", stderr(&moved));
}

#[test]
fn what_a_change_made_while_running_overrules_is_told_with_its_line_and_how_it_is_taken_back() {
    let text = |retain: &str| overlay("a", &format!("retain = \"{retain}\""));
    let (node, file) = node(&["a"], &text("16MiB"));
    let told = |args: &[&str]| {
        let output = node.run(args);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    told(&["overlays", "change", "a", "retain=32MiB"]);
    fs::write(&file, text("64MiB")).unwrap();
    let wanted = format!(
        "does not hold: overlay a: retain 64MiB ({}:4): 32MiB was set while the node ran and wins; take it back with `tidings overlays change a retain=`\n",
        file.display()
    );
    assert_eq!(told(&["reload"]), wanted);
    assert_eq!(told(&["reload"]), wanted, "as long as it is so");
    // The remedy, as it is told.
    let shown = told(&["overlays", "change", "a", "retain="]);
    assert!(shown.contains("64MiB"), "{shown}");
    assert_eq!(told(&["reload"]), "nothing has changed\n");
    fs::write(&file, text("16MiB")).unwrap();
    assert_eq!(
        told(&["reload"]),
        "holds now: overlay a: retain 64MiB -> 16MiB\n"
    );
}

#[test]
fn what_is_logged_changes_by_a_reload() {
    let node = Node::plain();
    let file = node.path().join("tidings.toml");
    let text = fs::read_to_string(&file).unwrap();
    let log = || fs::read_to_string(node.path().join("log")).unwrap();
    for (level, told, is_logged) in [
        ("error", "info -> error", false),
        ("warn,tidings=info", "error -> warn,tidings=info", true),
    ] {
        let with = text.replace("[node]\n", &format!("[node]\nlog = \"{level}\"\n"));
        fs::write(&file, with).unwrap();
        let output = node.run(&["reload"]);
        let told = format!("node.log {told}");
        assert_eq!(stdout(&output), format!("holds now: {told}\n"));
        // Its last line comes after the change.
        assert_eq!(log().contains(&told), is_logged, "{}", log());
    }
    fs::write(&file, text.replace("[node]\n", "[node]\nlog = \"debgu\"\n")).unwrap();
    let output = node.run(&["reload"]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains("node.log") && told.contains("write a level"),
        "{told}"
    );
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
