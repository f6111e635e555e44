//! Overlays that are made, changed and removed while the node runs, over the management service's Unix socket. What is left when
//! the node is killed at any moment is in `kills.rs`.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::http::{Answer, unix};
use common::load::Load;
use common::{Node, run, stderr, stdout, within};
use serde_json::{Value, json};

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];

fn socket(node: &Node) -> PathBuf {
    node.path().join("run/tidings/tidings.http.sock")
}

fn ask(node: &Node, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let body = body.map(Value::to_string);
    unix(&socket(node), method, path, body.as_deref())
}

fn names(node: &Node) -> Vec<String> {
    let list = ask(node, "GET", "/v1/overlays", None).json();
    let names = list.as_array().unwrap().iter();
    names
        .map(|overlay| overlay["name"].as_str().unwrap().to_owned())
        .collect()
}

fn kept(node: &Node) -> Value {
    let text = fs::read_to_string(node.path().join("data/tidings/state.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn publishes(node: &Node, overlay: &str, bytes: usize) -> bool {
    let message = "x".repeat(bytes);
    node.run(&["pub", overlay, "t", &message]).status.success()
}

#[test]
fn an_overlay_is_made_changed_and_removed_and_each_of_it_outlives_a_crash() {
    let mut node = Node::start(&ARGS);
    let wish =
        json!({ "name": "news", "options": { "max_message": "1KiB", "join": ["127.0.0.1:9"] } });
    let made = ask(&node, "POST", "/v1/overlays", Some(&wish));
    assert_eq!(made.status, 201, "{made:?}");
    let told = made.json();
    assert_eq!(told["options"]["max_message"], "1KiB");
    assert_eq!(told["suite"], "aes-256-gcm");
    let secret = told["token"]["secret"].as_str().unwrap();
    assert!(secret.starts_with("tt_"));
    ask(&node, "POST", "/v1/overlays", Some(&wish)).is_error(409, "exists");
    // The key of a keyring is in the state, and nowhere else.
    let keyring = kept(&node)["overlays"]["news"]["keyring"].to_string();
    let key = keyring
        .split_whitespace()
        .max_by_key(|word| word.len())
        .unwrap();
    let key = key.trim_matches(|c: char| !c.is_ascii_hexdigit());
    assert!(key.len() >= 64 && !made.body.contains(key));
    assert!(!publishes(&node, "news", 2_000) && publishes(&node, "news", 1_000));

    node.kill();
    node.restart(&ARGS);
    assert_eq!(names(&node), ["demo", "news"]);
    assert!(!publishes(&node, "news", 2_000));
    let patch = json!({ "max_message": "4KiB", "redelivery": { "attempts": 3 } });
    let changed = ask(&node, "PATCH", "/v1/overlays/news", Some(&patch));
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(
        changed.json()["options"]["redelivery"],
        json!({ "attempts": 3, "every": "5s" })
    );
    assert!(publishes(&node, "news", 2_000));

    node.kill();
    node.restart(&ARGS);
    let now = ask(&node, "GET", "/v1/overlays/news", None).json();
    assert_eq!(now["options"]["max_message"], "4KiB");
    assert_eq!(now["options"]["join"], json!(["127.0.0.1:9"]));
    let whole = json!({ "retain": "8MiB" });
    let replaced = ask(&node, "PUT", "/v1/overlays/news", Some(&whole)).json();
    assert_eq!(replaced["options"]["retain"], "8MiB");
    assert_eq!(replaced["options"]["max_message"], "1MiB");
    assert_eq!(replaced["options"]["join"], json!([]));

    let removed = ask(&node, "DELETE", "/v1/overlays/news", None);
    assert_eq!(removed.status, 204, "{removed:?}");
    ask(&node, "GET", "/v1/overlays/news", None).is_error(404, "no_overlay");
    node.kill();
    node.restart(&ARGS);
    assert_eq!(names(&node), ["demo"]);
    assert_eq!(kept(&node)["overlays"], json!({}));
}

#[test]
fn two_nodes_that_are_given_the_same_key_meet() {
    let (a, b) = (Node::start(&ARGS), Node::start(&ARGS));
    let keyring = stdout(&a.run(&["keygen", "--suite", "aes-192-gcm", "-"]));
    let bind = ask(&a, "GET", "/v1/node", None).json();
    let port = bind["bind"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    let wish = json!({ "name": "met", "keyring": keyring });
    assert_eq!(ask(&a, "POST", "/v1/overlays", Some(&wish)).status, 201);
    let made = ask(&b, "POST", "/v1/overlays", Some(&wish));
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["suite"], "aes-192-gcm");
    let join = json!({ "join": [format!("127.0.0.1:{port}")] });
    assert_eq!(
        ask(&b, "PATCH", "/v1/overlays/met", Some(&join)).status,
        200
    );
    let meet = || {
        let members = ask(&a, "GET", "/v1/overlays/met/members", None).json();
        members.as_array().unwrap().len() == 2
    };
    assert!(within(Duration::from_secs(20), meet));
    // A farewell, not a silence.
    assert_eq!(ask(&b, "DELETE", "/v1/overlays/met", None).status, 204);
    let left = || {
        let members = ask(&a, "GET", "/v1/overlays/met/members", None).json();
        members
            .as_array()
            .unwrap()
            .iter()
            .any(|member| member["state"] == "left")
    };
    assert!(within(Duration::from_secs(30), left));
}

#[test]
fn two_nodes_that_look_for_each_other_meet_and_what_they_do_is_counted() {
    let (a, b) = (Node::start(&ARGS), Node::start(&ARGS));
    let keyring = stdout(&a.run(&["keygen", "-"]));
    let wish = json!({ "name": "met", "keyring": keyring });
    assert_eq!(ask(&a, "POST", "/v1/overlays", Some(&wish)).status, 201);
    let options = || ask(&a, "GET", "/v1/overlays/met", None).json()["options"].clone();
    assert_eq!(options()["discovery"], "off");
    let patch = |way: Value| {
        let patch = json!({ "discovery": way });
        ask(&a, "PATCH", "/v1/overlays/met", Some(&patch))
    };
    patch(json!("wan")).is_error(400, "bad_options");
    // One from its beginning, the other while it runs.
    let looks = json!({ "name": "met", "keyring": keyring, "options": { "discovery": "lan" } });
    assert_eq!(ask(&b, "POST", "/v1/overlays", Some(&looks)).status, 201);
    assert_eq!(patch(json!("lan")).status, 200);
    assert_eq!(options()["discovery"], "lan");
    let soon = Duration::from_secs(20);
    let meet = || {
        let members = ask(&a, "GET", "/v1/overlays/met/members", None).json();
        members.as_array().unwrap().len() == 2
    };
    assert!(within(soon, meet));
    let counted = |sample: &str| {
        let metrics = ask(&a, "GET", "/metrics", None).body;
        let line = metrics.lines().find(|line| line.starts_with(sample));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{sample} in {metrics}"))
    };
    let heard = || counted("tidings_beacons_total{fate=\"heard\"}") >= 1.0;
    assert!(within(soon, heard));
    let found = || counted("tidings_found_addresses{overlay=\"met\"}") >= 1.0;
    assert!(within(soon, found));
    assert!(counted("tidings_beacons_total{fate=\"sent\"}") >= 1.0);
    assert_eq!(counted("tidings_beacon_addresses"), 1.0);
    assert_eq!(
        counted("tidings_beacons_refused_total{reason=\"forged\"}"),
        0.0
    );
    assert_eq!(patch(Value::Null).status, 200);
    assert_eq!(options()["discovery"], "off");
    assert!(within(soon, || counted("tidings_beacon_addresses") == 0.0));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let node = Node::start(&ARGS);
    let before = fs::read_to_string(node.path().join("data/tidings/state.json")).unwrap();
    let post = |wish: Value| ask(&node, "POST", "/v1/overlays", Some(&wish));
    post(json!({ "name": "" })).is_error(400, "bad_options");
    post(json!({ "name": " a" })).is_error(400, "bad_options");
    post(json!({ "name": "superuser" })).is_error(400, "bad_options");
    post(json!({ "name": "user:a" })).is_error(400, "bad_options");
    post(json!({ "name": "a".repeat(256) })).is_error(400, "bad_options");
    post(json!({ "name": "a", "keyring": "nonsense" })).is_error(400, "bad_options");
    let long = format!(
        "{}# {}\n",
        stdout(&node.run(&["keygen", "-"])),
        "x".repeat(1 << 20)
    );
    let made = post(json!({ "name": "long", "keyring": long }));
    assert_eq!(made.status, 201, "{made:?}");
    assert!(
        kept(&node).to_string().len() < 10_000,
        "comments are not kept"
    );
    assert_eq!(ask(&node, "DELETE", "/v1/overlays/long", None).status, 204);
    let many = vec!["a"; 65];
    post(json!({ "name": "a", "options": { "join": many } })).is_error(400, "bad_options");
    let two = json!({ "retain": "4MiB", "max_message": "4MiB" });
    post(json!({ "name": "a", "options": two })).is_error(400, "bad_options");
    post(json!({ "name": "a", "suite": "rot13" })).is_error(400, "bad_suite");
    post(json!({ "name": "a", "token": "two words" })).is_error(400, "bad_name");
    post(json!({ "name": "a", "options": { "retian": "8MiB" } })).is_error(400, "bad_json");
    let refused = post(json!({ "name": "a", "options": { "retain": "1KiB" } }));
    refused.is_error(400, "bad_options");
    assert!(refused.body.contains("overlay.retain"), "{refused:?}");
    post(json!({ "name": "demo" })).is_error(409, "exists");
    let patch = |patch: Value| ask(&node, "PATCH", "/v1/overlays/demo", Some(&patch));
    patch(json!({ "retain": 8 })).is_error(400, "bad_options");
    patch(json!({ "profile": "moon" })).is_error(400, "bad_options");
    ask(&node, "PATCH", "/v1/overlays/none", Some(&json!({}))).is_error(404, "no_overlay");
    ask(&node, "DELETE", "/v1/overlays/none", None).is_error(404, "no_overlay");
    // It stands in the configuration, be it by default.
    ask(&node, "DELETE", "/v1/overlays/demo", None).is_error(409, "configured");
    let after = fs::read_to_string(node.path().join("data/tidings/state.json")).unwrap();
    assert_eq!(before, after);
    assert_eq!(names(&node), ["demo"]);
    let list = |folder: &str| fs::read_dir(node.path().join(folder)).unwrap().count();
    assert_eq!(list("data/tidings/overlays"), 1);
}

#[test]
fn an_overlay_moves_to_another_shard_and_is_there_after_a_crash() {
    let mut node = Node::start(&[&ARGS[..], &["--shards", "2"]].concat());
    let patch = |node: &Node, patch: Value| ask(node, "PATCH", "/v1/overlays/demo", Some(&patch));
    let shard = |node: &Node| {
        let told = ask(node, "GET", "/v1/overlays/demo", None).json();
        (told["shard"].clone(), told["options"]["shard"].clone())
    };
    let (runs_on, _) = shard(&node);
    assert_eq!(runs_on, 0, "the only one has its choice of both");
    let publish = |node: &Node| {
        let published = ask(
            node,
            "POST",
            "/v1/overlays/demo/publish/t",
            Some(&json!({ "n": 1 })),
        );
        assert!((200..300).contains(&published.status), "{published:?}");
    };
    // What takes the messages of the service goes with the overlay.
    publish(&node);
    let taken = patch(&node, json!({ "shard": 1, "retain": "8MiB" }));
    assert_eq!(taken.status, 200, "{taken:?}");
    assert_eq!(taken.json()["shard"], 1);
    assert_eq!(shard(&node), (json!(1), json!(1)));
    publish(&node);
    assert!(publishes(&node, "demo", 10));
    node.kill();
    node.restart(&[&ARGS[..], &["--shards", "2"]].concat());
    assert_eq!(shard(&node), (json!(1), json!(1)));
    let none = patch(&node, json!({ "shard": 2, "retain": "9MiB" }));
    none.is_error(400, "bad_options");
    let taken_back = patch(&node, json!({ "shard": null, "retain": null }));
    assert_eq!(taken_back.status, 200, "it stays where it is");
    assert_eq!(shard(&node), (json!(1), Value::Null));
    assert_eq!(kept(&node)["overlays"], json!({}));
}

#[test]
fn where_it_joins_changes_while_messages_flow_and_none_is_lost() {
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(&ARGS)).collect();
    let keyring = stdout(&nodes[0].run(&["keygen", "-"]));
    let address = |node: &Node| {
        let members = ask(node, "GET", "/v1/overlays/demo/members", None).json();
        members[0]["addresses"][0].as_str().unwrap().to_owned()
    };
    let join = |node: &Node, at: &Node| {
        let patch = json!({ "join": [address(at)] });
        ask(node, "PATCH", "/v1/overlays/news", Some(&patch))
    };
    for node in &nodes {
        let wish = json!({ "name": "news", "keyring": keyring });
        assert_eq!(ask(node, "POST", "/v1/overlays", Some(&wish)).status, 201);
    }
    let meets = |node: &Node, count: usize| {
        within(Duration::from_secs(20), || {
            let members = ask(node, "GET", "/v1/overlays/news/members", None).json();
            members.as_array().unwrap().len() == count
        })
    };
    assert_eq!(join(&nodes[1], &nodes[0]).status, 200);
    assert!(nodes[..2].iter().all(|node| meets(node, 2)));
    let load = Load::begin(&nodes[0], &nodes[1]);
    // Both ends of the messages are told of a third, which knows of nobody.
    for node in &nodes[..2] {
        assert_eq!(join(node, &nodes[2]).status, 200);
    }
    assert!(nodes.iter().all(|node| meets(node, 3)));
    load.end(&nodes[1]);
}

#[test]
fn a_flag_is_not_overruled() {
    let flags = ["--join", "127.0.0.1:9", "--discover"];
    let node = Node::start(&[&ARGS[..], &flags].concat());
    let patch = |patch: Value| ask(&node, "PATCH", "/v1/overlays/demo", Some(&patch));
    let refused = patch(json!({ "join": ["127.0.0.1:10"] }));
    refused.is_error(409, "fixed");
    assert!(refused.body.contains("--join"), "{refused:?}");
    let refused = patch(json!({ "discovery": "off" }));
    refused.is_error(409, "fixed");
    assert!(refused.body.contains("--discover"), "{refused:?}");
    assert_eq!(patch(json!({ "retain": "8MiB" })).status, 200);
    assert_eq!(patch(json!({ "retain": null })).status, 200);
    assert_eq!(
        kept(&node)["overlays"],
        json!({}),
        "taken back is as never set"
    );
}

#[test]
fn the_configuration_is_reloaded_over_the_service_and_says_what_came_of_it() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("tidings.toml");
    let text = |more: &str| format!("[node]\nbind = \"127.0.0.1:0\"\n{more}");
    fs::write(&file, text("")).unwrap();
    let node = Node::start_in(home, &["run", "--config", file.to_str().unwrap()]);
    let reload = || ask(&node, "POST", "/v1/reload", None);
    assert_eq!(reload().json(), json!({ "applied": [], "refused": [] }));
    fs::write(
        &file,
        text("shards = 3\nrack = \"r2\"\nmetadata = { zone = \"b\" }\n[[overlay]]\nname = \"demo\"\nretain = \"8MiB\"\n"),
    )
    .unwrap();
    let report = reload().json();
    assert_eq!(
        report["applied"],
        json!([
            "overlay demo: node.metadata {  } -> { zone = \"b\" }",
            "overlay demo: node.rack \"\" -> r2",
            "overlay demo: retain 64MiB -> 8MiB"
        ])
    );
    let refused = report["refused"][0].as_str().unwrap();
    assert!(
        refused.starts_with("node.shards as tuning and cores say -> 3 ("),
        "{report}"
    );
    let members = ask(&node, "GET", "/v1/overlays/demo/members", None).json();
    assert_eq!(members[0]["metadata"], json!({ "zone": "b" }));
    assert_eq!(members[0]["rack"], "r2");
    // What was changed stays above what the file says.
    let patch = json!({ "retain": "16MiB" });
    assert_eq!(
        ask(&node, "PATCH", "/v1/overlays/demo", Some(&patch)).status,
        200
    );
    fs::write(
        &file,
        text("[[overlay]]\nname = \"demo\"\nretain = \"32MiB\"\n"),
    )
    .unwrap();
    assert_eq!(reload().status, 200);
    let retain =
        || ask(&node, "GET", "/v1/overlays/demo", None).json()["options"]["retain"].clone();
    assert_eq!(retain(), "16MiB");
    let patch = json!({ "retain": null });
    assert_eq!(
        ask(&node, "PATCH", "/v1/overlays/demo", Some(&patch)).status,
        200
    );
    assert_eq!(retain(), "32MiB");
    fs::write(&file, "[[overlay]").unwrap();
    reload().is_error(400, "bad_options");
    assert_eq!(retain(), "32MiB");
}

#[test]
fn what_was_changed_of_an_overlay_ends_with_its_entry_in_the_file() {
    let home = tempfile::tempdir().unwrap();
    let made = run(
        home.path(),
        &["keygen", home.path().join("a.key").to_str().unwrap()],
    );
    assert!(made.status.success());
    let file = home.path().join("tidings.toml");
    let node_text = "[node]\nbind = \"127.0.0.1:0\"\n";
    let with = format!("{node_text}[[overlay]]\nname = \"a\"\nkey_file = \"a.key\"\n");
    fs::write(&file, &with).unwrap();
    let node = Node::start_in(home, &["run", "--config", file.to_str().unwrap()]);
    let patch = json!({ "retain": "8MiB" });
    assert_eq!(
        ask(&node, "PATCH", "/v1/overlays/a", Some(&patch)).status,
        200
    );
    let token = ask(
        &node,
        "POST",
        "/v1/overlays/a/tokens",
        Some(&json!({ "name": "t" })),
    );
    assert_eq!(token.status, 201);
    assert!(kept(&node)["overlays"]["a"]["options"]["retain"] == "8MiB");
    fs::write(&file, format!("overlay = []\n{node_text}")).unwrap();
    assert_eq!(ask(&node, "POST", "/v1/reload", None).status, 200);
    assert_eq!(kept(&node)["overlays"], json!({}));
    let again = ask(
        &node,
        "POST",
        "/v1/overlays/a/tokens",
        Some(&json!({ "name": "t" })),
    );
    again.is_error(404, "no_overlay");
    // The name is free.
    let wish = json!({ "name": "a" });
    assert_eq!(ask(&node, "POST", "/v1/overlays", Some(&wish)).status, 201);
}

#[test]
fn an_overlay_that_comes_later_has_the_tags_of_now() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("tidings.toml");
    let text = |zone: &str| {
        format!(
            "[node]\nbind = \"127.0.0.1:0\"\nrack = \"{zone}\"\nmetadata = {{ zone = \"{zone}\" }}\n"
        )
    };
    fs::write(&file, text("a")).unwrap();
    let node = Node::start_in(home, &["run", "--config", file.to_str().unwrap()]);
    fs::write(&file, text("b")).unwrap();
    assert_eq!(ask(&node, "POST", "/v1/reload", None).status, 200);
    assert_eq!(
        ask(&node, "POST", "/v1/overlays", Some(&json!({ "name": "x" }))).status,
        201
    );
    let members = ask(&node, "GET", "/v1/overlays/x/members", None).json();
    assert_eq!(members[0]["metadata"], json!({ "zone": "b" }));
    assert_eq!(members[0]["rack"], "b");
}

#[test]
fn a_damaged_state_is_told_and_left_alone() {
    let mut node = Node::start(&ARGS);
    node.kill();
    let path = node.path().join("data/tidings/state.json");
    fs::write(&path, "{ \"version\": 1, \"over").unwrap();
    let output = run(node.path(), &ARGS);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains("state.json is damaged") && told.contains("remedy"),
        "{told}"
    );
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{ \"version\": 1, \"over"
    );
}
