//! Server-sent events of a running daemon: presence and messages, what a reader is told, and what its end leaves.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use common::http::{request, unix};
use common::{Node, stdout, until, within};
use serde_json::{Value, json};

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];

fn socket(node: &Node) -> PathBuf {
    node.path().join("run/tidings/tidings.http.sock")
}

/// An open stream of events.
struct Stream {
    lines: BufReader<UnixStream>,
    head: String,
}

/// An event: its name, its id, its data.
type Event = (String, Option<String>, Value);

impl Stream {
    fn open(node: &Node, path: &str) -> Self {
        Self::open_with(node, path, &[])
    }

    fn open_with(node: &Node, path: &str, headers: &[&str]) -> Self {
        let mut way = UnixStream::connect(socket(node)).unwrap();
        way.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        way.write_all(&request("GET", path, headers, None)).unwrap();
        let mut stream = Self {
            lines: BufReader::new(way),
            head: String::new(),
        };
        while !stream.head.ends_with("\r\n\r\n") {
            assert!(stream.lines.read_line(&mut stream.head).unwrap() > 0);
        }
        stream
    }

    fn subscribe(node: &Node, query: &str) -> Self {
        let path = format!("/v1/overlays/demo/subscribe?{query}");
        let mut stream = Self::open(node, &path);
        let (name, _, data) = stream.next().unwrap();
        assert_eq!(
            (name.as_str(), data),
            ("subscribed", json!({ "pending": [] }))
        );
        stream
    }

    /// The next event of presence but of members that a busy machine keeps silent for a moment.
    fn next_lasting(&mut self) -> Event {
        let passing = ["member_quarantine", "member_rejoin"];
        loop {
            let event = self.next().unwrap();
            if !passing.contains(&event.0.as_str()) {
                return event;
            }
        }
    }

    /// The next event; none at the end. What is around the events' lines is of HTTP's chunks.
    fn next(&mut self) -> Option<Event> {
        let (mut name, mut id) = (None, None);
        loop {
            let mut line = String::new();
            // Not a time-out: a stream that says nothing has not ended.
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => {
                    let data = serde_json::from_str(value).unwrap();
                    return Some((name.unwrap(), id, data));
                }
                _ => {}
            }
        }
    }
}

fn publish(node: &Node, topic: &str, query: &str, body: &str) -> Value {
    let path = format!("/v1/overlays/demo/publish/{topic}{query}");
    let ask = || unix(&socket(node), "POST", &path, Some(body));
    // Nothing was published: a busy machine may be late to detach a slow reader, and there is no room until then.
    let answer = until(Duration::from_secs(60), |answer| answer.status != 503, ask);
    assert!(answer.status < 300, "{answer:?}");
    answer.json()
}

fn subscriptions(node: &Node) -> Value {
    let stats = unix(&socket(node), "GET", "/v1/overlays/demo/stats", None);
    stats.json()["subscriptions"].clone()
}

#[test]
fn messages_come_as_events_and_count_as_delivered_once_they_are_sent() {
    let node = Node::start(&ARGS);
    let mut stream = Stream::subscribe(&node, "pattern=a.*&pattern=b&ordered=true");
    assert!(stream.head.contains("text/event-stream"), "{}", stream.head);
    for (seq, topic) in [(0, "a.x"), (0, "b"), (1, "a.x")] {
        let body = format!("message {seq} of {topic}");
        let told = publish(&node, topic, "?confirm=delivered", &body);
        assert_eq!((&told["owed"], &told["delivered"]), (&json!(1), &json!(1)));
        let (name, id, data) = stream.next().unwrap();
        assert_eq!(name, "message");
        assert_eq!((&data["topic"], &data["seq"]), (&topic.into(), &seq.into()));
        assert_eq!(data["again"], false);
        assert_eq!(data["publisher"], told["publisher"]);
        let engine = base64::engine::general_purpose::STANDARD;
        let payload = engine.decode(data["data"].as_str().unwrap()).unwrap();
        assert_eq!(payload, body.as_bytes());
        let node_of = told["publisher"]["node"].as_str().unwrap();
        let id = id.unwrap();
        assert!(id.starts_with(node_of) && id.ends_with(&format!("/{seq}")));
    }
    // Large ones too, and many at a time, whole and in order.
    let large = "x".repeat(1 << 20);
    publish(&node, "b", "", &large);
    for _ in 0..200 {
        publish(&node, "b", "", &"y".repeat(1_000));
    }
    for seq in 1..=201 {
        let (_, _, data) = stream.next().unwrap();
        assert_eq!(data["seq"], seq);
    }
}

#[test]
fn a_reader_that_is_gone_takes_its_subscription_with_it_and_one_that_is_slow_stops_nobody() {
    let node = Node::start(&ARGS);
    let gone = Stream::subscribe(&node, "pattern=t");
    assert_eq!(subscriptions(&node), 1);
    drop(gone);
    assert!(within(Duration::from_secs(30), || subscriptions(&node) == 0));
    // It reads nothing, while another gets everything, also what has to wait for room in the store.
    let patch = json!({ "retain": "8MiB" }).to_string();
    let changed = unix(&socket(&node), "PATCH", "/v1/overlays/demo", Some(&patch));
    assert_eq!(changed.status, 200, "{changed:?}");
    let slow = Stream::subscribe(&node, "pattern=t");
    let mut other = Stream::subscribe(&node, "pattern=t&ack=node");
    let large = "x".repeat(200_000);
    for seq in 0..100 {
        publish(&node, "t", "", &large);
        let (_, _, data) = other.next().unwrap();
        assert_eq!(data["seq"], seq);
    }
    drop(slow);
    assert!(within(Duration::from_secs(30), || subscriptions(&node) == 1));
    let told = publish(&node, "t", "?confirm=delivered", "last");
    assert_eq!(told["delivered"], 1);
}

#[test]
fn presence_begins_with_everybody_and_tells_who_comes_and_goes() {
    let (a, b) = (Node::start(&ARGS), Node::start(&ARGS));
    let keyring = stdout(&a.run(&["keygen", "-"]));
    let wish = json!({ "name": "met", "keyring": keyring }).to_string();
    for node in [&a, &b] {
        let made = unix(&socket(node), "POST", "/v1/overlays", Some(&wish));
        assert_eq!(made.status, 201);
    }
    let mut stream = Stream::open(&a, "/v1/overlays/met/presence");
    let (name, _, data) = stream.next().unwrap();
    assert_eq!(name, "snapshot");
    assert_eq!(data["members"][0]["self"], true);
    let bind = unix(&socket(&a), "GET", "/v1/node", None).json();
    let port = bind["bind"].as_str().unwrap().rsplit(':').next().unwrap();
    let join = json!({ "join": [format!("127.0.0.1:{port}")] }).to_string();
    unix(&socket(&b), "PATCH", "/v1/overlays/met", Some(&join));
    let (name, _, data) = stream.next().unwrap();
    assert_eq!(name, "member_in");
    assert_eq!(data["member"]["id"], data["id"]);
    assert!(
        data["member"]["address"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1")
    );
    unix(&socket(&b), "DELETE", "/v1/overlays/met", None);
    let (name, _, told) = stream.next_lasting();
    assert_eq!((name.as_str(), &told["id"]), ("member_out", &data["id"]));
    assert_eq!(told["member"]["state"], "left");
}

#[test]
fn streams_end_with_their_overlay_and_with_the_daemon() {
    let mut node = Node::start(&ARGS);
    let made = unix(
        &socket(&node),
        "POST",
        "/v1/overlays",
        Some("{\"name\": \"short\"}"),
    );
    assert_eq!(made.status, 201);
    let mut short = Stream::open(&node, "/v1/overlays/short/subscribe?pattern=*");
    assert_eq!(short.next().unwrap().0, "subscribed");
    unix(&socket(&node), "DELETE", "/v1/overlays/short", None);
    assert_eq!(short.next().unwrap().0, "closed");
    assert!(short.next().is_none());
    let mut messages = Stream::subscribe(&node, "pattern=*");
    let mut presence = Stream::open(&node, "/v1/overlays/demo/presence");
    assert_eq!(presence.next().unwrap().0, "snapshot");
    assert!(node.run(&["leave"]).status.success());
    while messages.next().is_some() {}
    while presence.next().is_some() {}
    assert!(node.wait());
}

#[test]
fn presence_of_an_overlay_is_not_that_of_the_next_one_of_its_name() {
    let node = Node::start(&ARGS);
    let make = || {
        let wish = Some("{\"name\": \"short\"}");
        unix(&socket(&node), "POST", "/v1/overlays", wish).status
    };
    assert_eq!(make(), 201);
    let mut presence = Stream::open(&node, "/v1/overlays/short/presence");
    assert_eq!(presence.next().unwrap().0, "snapshot");
    unix(&socket(&node), "DELETE", "/v1/overlays/short", None);
    assert_eq!(make(), 201);
    let (name, _, data) = presence.next().unwrap();
    assert_eq!((name.as_str(), data), ("closed", json!({})));
    assert!(presence.next().is_none());
}

#[test]
fn what_cannot_be_subscribed_to_is_refused() {
    let node = Node::start(&ARGS);
    let ask = |path: &str| unix(&socket(&node), "GET", &format!("/v1/overlays/{path}"), None);
    ask("demo/subscribe").is_error(400, "bad_query");
    ask("demo/subscribe?pattern=a..b").is_error(400, "bad_pattern");
    ask("demo/subscribe?patern=a").is_error(400, "bad_query");
    ask("demo/presence?since=1").is_error(400, "bad_query");
    ask("none/subscribe?pattern=a").is_error(404, "no_overlay");
    ask("none/presence").is_error(404, "no_overlay");
    assert_eq!(subscriptions(&node), 0);
}

#[test]
fn a_token_that_is_revoked_reads_no_further() {
    let node = Node::start(&ARGS);
    let path = "/v1/overlays/demo/tokens";
    let made = unix(&socket(&node), "POST", path, Some("{\"name\": \"t\"}"));
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    let header = format!("Authorization: Bearer {secret}");
    let mut streams = ["subscribe?pattern=a", "presence"].map(|path| {
        let path = format!("/v1/overlays/demo/{path}");
        Stream::open_with(&node, &path, &[&header])
    });
    for stream in &mut streams {
        stream.next().unwrap();
    }
    let revoked = unix(&socket(&node), "DELETE", &format!("{path}/t"), None);
    assert_eq!(revoked.status, 204);
    for stream in &mut streams {
        assert_eq!(stream.next(), None);
    }
    assert!(within(Duration::from_secs(30), || subscriptions(&node) == 0));
}
