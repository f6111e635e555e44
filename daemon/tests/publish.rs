//! Publishing over the management service of a running daemon: what is answered, what subscribers get, and what it outlives.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::http::{Answer, exchange, request, unix};
use common::{Node, stdout, tidings, within};
use serde_json::{Value, json};

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];

fn socket(node: &Node) -> PathBuf {
    node.path().join("run/tidings/tidings.http.sock")
}

/// Publishes these bytes, whatever they are.
fn publish(node: &Node, topic: &str, query: &str, message: &[u8]) -> Answer {
    let mut text = request(
        "POST",
        &format!("/v1/overlays/demo/publish/{topic}{query}"),
        &[&format!("Content-Length: {}", message.len())],
        None,
    );
    text.extend_from_slice(message);
    let mut way = std::os::unix::net::UnixStream::connect(socket(node)).unwrap();
    way.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    exchange(&mut way, &text)
}

/// A client that takes so many messages and ends.
fn subscriber(node: &Node, pattern: &str, count: &str) -> std::process::Child {
    let child = tidings(node.path())
        .args(["sub", "demo", pattern, "--count", count, "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let topic = pattern.replace('*', "x");
    let probe = || publish(node, &topic, "?confirm=delivered&timeout=1ms", b"probe");
    let standing = || probe().status != 409;
    assert!(within(Duration::from_secs(60), standing));
    child
}

fn messages(child: std::process::Child) -> Vec<Value> {
    let text = stdout(&child.wait_with_output().unwrap());
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_message_is_accepted_as_it_stands_and_its_outcomes_are_waited_for() {
    let node = Node::start(&ARGS);
    let alone = publish(&node, "a.b", "", b"nobody hears this");
    assert_eq!(alone.status, 202, "{alone:?}");
    let told = alone.json();
    assert_eq!((&told["seq"], &told["owed"]), (&json!(0), &json!(0)));
    assert_eq!(told["publisher"]["node"].as_str().unwrap().len(), 32);
    assert!(told["delivered"].is_null(), "{told}");
    publish(&node, "a.b", "?confirm=delivered", b"x").is_error(409, "no_subscriber");

    let child = subscriber(&node, "a.*", "3");
    let bytes = b"\0{\xff, as it stands";
    let sent = publish(&node, "a.b", "?confirm=delivered&timeout=20s", bytes);
    assert_eq!(sent.status, 200, "{sent:?}");
    let told = sent.json();
    assert_eq!((&told["owed"], &told["delivered"]), (&json!(1), &json!(1)));
    assert_eq!(told["failed"], json!([]));
    assert_eq!(told["seq"], 1, "nothing was published to nobody");
    let last = publish(&node, "a.%C3%A4", "", b"{\"json\": \"or not\"}");
    assert_eq!(last.json()["owed"], 1, "{last:?}");
    let got = messages(child);
    assert_eq!(got[1]["payload_hex"], "007bff2c206173206974207374616e6473");
    assert_eq!(got[2]["topic"], "a.\u{e4}");
    assert_eq!(got[2]["payload"], "{\"json\": \"or not\"}");
}

#[test]
fn a_client_that_is_away_is_still_owed_what_was_published() {
    let node = Node::start(&ARGS);
    // A named client that is away: its subscription stays.
    let stands = || {
        let named = node.run(&["sub", "demo", "kept", "--as", "keeper", "--idle", "0.1"]);
        assert!(named.status.success());
        let stats = unix(&socket(&node), "GET", "/v1/overlays/demo/stats", None);
        stats.json()["subscriptions"] == 1
    };
    assert!(within(Duration::from_secs(20), stands));
    let late = publish(&node, "kept", "?confirm=delivered&timeout=300ms", b"x");
    late.is_error(504, "not_confirmed");
    assert!(late.body.contains("still owed to 1 of 1"), "{late:?}");
    let back = node.run(&["sub", "demo", "kept", "--as", "keeper", "--count", "1"]);
    assert!(back.status.success(), "{}", stdout(&back));
    assert_eq!(stdout(&back).trim(), "x");
}

#[test]
fn what_cannot_be_published_is_refused_in_words() {
    let node = Node::start(&ARGS);
    let patch = json!({ "max_message": "1KiB" }).to_string();
    let changed = unix(&socket(&node), "PATCH", "/v1/overlays/demo", Some(&patch));
    assert_eq!(changed.status, 200);
    let large = publish(&node, "t", "", &[0; 1_025]);
    large.is_error(413, "too_large");
    assert!(large.body.contains("at most 1024"), "{large:?}");
    assert_eq!(publish(&node, "t", "", &[0; 1_024]).status, 202);
    for topic in ["a..b", "a.*", "*", "%07", ".a"] {
        publish(&node, topic, "", b"x").is_error(400, "bad_topic");
    }
    publish(&node, &"x".repeat(256), "", b"x").is_error(400, "bad_topic");
    publish(&node, "%ff", "", b"x").is_error(400, "bad_path");
    publish(&node, "t", "?confirm=surely", b"x").is_error(400, "bad_query");
    publish(&node, "t", "?confirm=delivered&timeout=1h", b"x").is_error(400, "bad_query");
    let none = unix(&socket(&node), "POST", "/v1/overlays/none/publish/t", None);
    none.is_error(404, "no_overlay");
}

#[test]
fn more_topics_than_publishers_and_an_overlay_that_goes_and_comes_again() {
    let node = Node::start(&ARGS);
    for topic in 0..70 {
        let sent = publish(&node, &format!("t{topic}"), "", b"x");
        assert_eq!(sent.status, 202, "{sent:?}");
    }
    // The first made room, and has another publisher; the last goes on.
    assert_eq!(publish(&node, "t69", "", b"x").json()["seq"], 1);
    assert_eq!(publish(&node, "t0", "", b"x").json()["seq"], 0);
    let ask = |method: &str, path: &str, body: Option<&str>| {
        unix(&socket(&node), method, path, body).status
    };
    for _ in 0..3 {
        let made = ask("POST", "/v1/overlays", Some("{\"name\": \"short\"}"));
        assert_eq!(made, 201);
        assert_eq!(ask("POST", "/v1/overlays/short/publish/t", None), 202);
        assert_eq!(ask("DELETE", "/v1/overlays/short", None), 204);
        assert_eq!(ask("POST", "/v1/overlays/short/publish/t", None), 404);
    }
    // Whoever publishes for the service is no client of the node.
    let clients_are_gone = || {
        let metrics = unix(&socket(&node), "GET", "/metrics", None).body;
        let mut clients = metrics
            .lines()
            .filter(|line| line.starts_with("tidings_clients{"));
        clients.all(|line| line.ends_with(" 0"))
    };
    assert!(within(Duration::from_secs(30), clients_are_gone));
}
