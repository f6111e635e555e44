//! The verbs that manage a running node over the management service's Unix socket.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use common::http::Service;
use common::{Node, fails_with_remedy, good, run, tidings};
use serde_json::Value;

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];

fn json(output: Output) -> Value {
    serde_json::from_str(&good(output)).unwrap()
}

#[test]
fn overlays_are_made_shown_changed_and_removed() {
    let node = Node::start(&ARGS);
    let made = good(node.run(&[
        "overlays",
        "create",
        "news",
        "retain=8MiB",
        "--join",
        "127.0.0.1:9",
    ]));
    assert!(made.contains("\nretain               8MiB\n"), "{made}");
    assert!(made.lines().last().unwrap().starts_with("tt_"), "{made}");
    let shown = json(node.run(&["overlays", "show", "news", "--format", "json"]));
    assert_eq!(shown["options"]["join"][0], "127.0.0.1:9");
    let change = [
        "overlays",
        "change",
        "news",
        "redelivery.attempts=3",
        "retain=",
        "--format",
        "json",
    ];
    let changed = json(node.run(&change));
    assert_eq!(changed["options"]["redelivery"]["attempts"], 3);
    assert_eq!(
        changed["options"]["retain"], "64MiB",
        "taken back to the default"
    );
    let listed = good(node.run(&["overlays"]));
    assert!(listed.contains("\nnews "), "{listed}");
    good(node.run(&["overlays", "remove", "news"]));
    assert!(!good(node.run(&["overlays"])).contains("news"));

    fails_with_remedy(&node.run(&["overlays", "show", "news"]), 1, &["news"]);
    fails_with_remedy(&node.run(&["overlays", "remove", "demo"]), 1, &["demo"]);
    fails_with_remedy(
        &node.run(&["overlays", "change", "demo"]),
        2,
        &["OPTION=VALUE"],
    );
    fails_with_remedy(
        &node.run(&["overlays", "change", "demo", "retian=1MiB"]),
        2,
        &["retian"],
    );
    fails_with_remedy(
        &node.run(&["overlays", "change", "demo", "retain=1"]),
        2,
        &["retain"],
    );
}

#[test]
fn an_overlay_is_made_with_a_key_of_ones_own() {
    let node = Node::start(&ARGS);
    let key = node.path().join("news.key");
    let file = key.to_str().unwrap();
    good(node.run(&["keygen", file, "--suite", "chacha20-poly1305"]));
    let made = json(node.run(&[
        "overlays",
        "create",
        "news",
        "--key-file",
        file,
        "--format",
        "json",
    ]));
    assert_eq!(made["suite"], "chacha20-poly1305");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = node.run(&["overlays", "create", "more", "--key-file", file]);
    fails_with_remedy(&refused, 2, &["news.key", "chmod 600"]);
}

/// A node whose banner is in the file `out` of its home, where the client of the management service looks for it.
fn with_banner() -> Node {
    let home = tempfile::tempdir().unwrap();
    let out = fs::File::create(home.path().join("out")).unwrap();
    let child = tidings(home.path()).args(ARGS).stdout(out).spawn().unwrap();
    Node::of(home, child)
}

#[test]
fn tokens_are_made_rotated_and_ended_and_their_secrets_work_meanwhile() {
    let node = with_banner();
    let service = Service::of(&node);
    let works = |secret: &str| {
        let bearer = format!("Authorization: Bearer {secret}");
        let answer = service.ask("GET", "/v1/overlays/demo", &[&bearer]);
        answer.status == 200
    };
    let first = good(node.run(&["tokens", "add", "demo", "grafana", "--expires", "30d"]));
    assert!(works(first.trim()), "{first}");
    let file = node.path().join("secret");
    let path = file.to_str().unwrap();
    let told = good(node.run(&["tokens", "rotate", "demo", "grafana", "--file", path]));
    let second = fs::read_to_string(&file).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!told.contains(second.trim()), "{told}");
    assert!(works(second.trim()) && !works(first.trim()));
    let third = json(node.run(&[
        "tokens", "rotate", "demo", "grafana", "--grace", "1h", "--format", "json",
    ]));
    assert!(works(second.trim()) && works(third["secret"].as_str().unwrap()));
    let listed = good(node.run(&["tokens", "list", "demo"]));
    assert_eq!(listed.matches("grafana").count(), 2, "{listed}");
    assert!(!listed.contains("tt_"), "{listed}");
    good(node.run(&["tokens", "remove", "demo", "grafana"]));
    assert!(!works(second.trim()) && !works(third["secret"].as_str().unwrap()));

    fails_with_remedy(
        &node.run(&["tokens", "remove", "demo", "grafana"]),
        1,
        &["grafana"],
    );
    fails_with_remedy(
        &node.run(&["tokens", "add", "demo", "x", "--file", path]),
        2,
        &["--file"],
    );
    let listed = json(node.run(&["tokens", "list", "demo", "--format", "json"]));
    assert_eq!(
        listed,
        Value::Array(Vec::new()),
        "nothing was made for a file that cannot be"
    );
    fails_with_remedy(
        &node.run(&["tokens", "add", "demo", "x", "--expires", "30"]),
        2,
        &["--expires"],
    );
}

#[test]
fn a_reload_tells_what_holds() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("news.key");
    good(run(home.path(), &["keygen", key.to_str().unwrap()]));
    let config = home.path().join("t.toml");
    let write = |more: &str, retain: &str| {
        let overlay = "[[overlay]]\nname = \"news\"\nkey_file = \"news.key\"\n";
        let node = "[node]\nbind = \"127.0.0.1:0\"\n";
        fs::write(&config, format!("{node}{more}\n{overlay}{retain}\n")).unwrap();
    };
    write("", "");
    let args = ["run", "--config", config.to_str().unwrap()];
    let node = Node::start_in(home, &args);
    assert_eq!(good(node.run(&["reload"])), "nothing has changed\n");
    write("rack = \"r\"\nshards = 3", "retain = \"8MiB\"");
    let told = good(node.run(&["reload"]));
    for line in [
        "holds now: overlay news: node.rack \"\" -> r\n",
        "holds now: overlay news: retain 64MiB -> 8MiB\n",
        "does not hold: node.shards as tuning and cores say -> 3 (",
    ] {
        assert!(told.contains(line), "{told}");
    }
    write("bnid = 1", "");
    fails_with_remedy(&node.run(&["reload"]), 2, &["bnid"]);
}

#[test]
fn without_a_node_the_socket_and_a_remedy_are_told() {
    let home = tempfile::tempdir().unwrap();
    let refused = run(home.path(), &["reload"]);
    fails_with_remedy(&refused, 1, &["run/tidings/tidings.http.sock"]);
    let socket = home.path().join("open/x.sock");
    fs::create_dir(home.path().join("open")).unwrap();
    fs::set_permissions(home.path().join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = run(
        home.path(),
        &["reload", "--http-socket", socket.to_str().unwrap()],
    );
    fails_with_remedy(&refused, 1, &["not trusted", "chmod go-w"]);
}
