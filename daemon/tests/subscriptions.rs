//! The listing of subscriptions by running daemons: this node's clients, the other members', in parts and by Gossiperl's path.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::process::{Child, Stdio};
use std::time::Duration;

use common::http::unix;
use common::{Node, meet, tidings, within};
use serde_json::{Value, json};

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];

fn get(node: &Node, path: &str) -> Value {
    let answer = unix(&node.management(), "GET", path, None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn listed(node: &Node, query: &str) -> Value {
    get(node, &format!("/v1/overlays/met/subscriptions{query}"))
}

fn all(node: &Node) -> Vec<Value> {
    listed(node, "")["subscriptions"]
        .as_array()
        .unwrap()
        .clone()
}

/// A client that subscribes until it is killed.
struct Client(Child);

impl Client {
    fn start(node: &Node, args: &[&str]) -> Self {
        let child = tidings(node.path())
            .args(["sub", "met"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_lists_its_own_subscriptions_and_those_of_the_others() {
    let (a, b) = (Node::start(&ARGS), Node::start(&ARGS));
    meet(&a, &b);
    assert_eq!(listed(&a, ""), json!({ "subscriptions": [], "next": null }));
    let named = Client::start(&a, &["orders.*", "--as", "till", "--ordered"]);
    let _unnamed = Client::start(&b, &["*", "--ack", "node"]);
    assert!(within(Duration::from_secs(20), || all(&a).len() == 2
        && all(&b).len() == 2));
    let [own, other] = &all(&a)[..] else {
        panic!("two");
    };
    let told = a.run(&["subscriptions", "met"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let rows: Vec<Vec<&str>> = told
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[1][1..],
        ["orders.*", "till", "yes", "0", "yes"],
        "{told}"
    );
    assert_eq!(rows[2][1..], ["*", "-", "-", "-", "no"], "{told}");
    let id = |node: &Node| get(node, "/v1/node")["id"].clone();
    assert_eq!((&own["node"], &own["self"]), (&id(&a), &json!(true)));
    assert_eq!(
        (&own["pattern"], &own["client"]),
        (&json!("orders.*"), &json!("till"))
    );
    assert_eq!(
        (&own["named"], &own["ordered"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (&own["attached"], &own["behind"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(
        (&own["ack"], &own["policy"]),
        (&json!("client"), &json!("detach"))
    );
    assert_eq!((&other["node"], &other["self"]), (&id(&b), &json!(false)));
    assert_eq!(
        (&other["pattern"], &other["named"]),
        (&json!("*"), &json!(false))
    );
    assert_eq!(
        (&other["ack"], &other["ordered"]),
        (&json!("node"), &json!(false))
    );
    assert!(
        other["client"].is_null() && other["attached"].is_null(),
        "{other}"
    );
    assert!(other["node_name"].is_string(), "{other}");
    // In parts the others' follow this node's.
    let first = listed(&a, "?limit=1");
    assert_eq!(first["subscriptions"], json!([own]));
    let next = first["next"].as_str().unwrap();
    let second = listed(&a, &format!("?limit=1&after={next}"));
    assert_eq!(second, json!({ "subscriptions": [other], "next": null }));
    let last = format!("{}/{}", other["node"].as_str().unwrap(), other["sub"]);
    let beyond = listed(&a, &format!("?after={last}"));
    assert_eq!(beyond["subscriptions"], json!([]));
    // The other side sees the same pair, its own first, without the names of foreign clients.
    let there = all(&b);
    assert_eq!(
        (&there[0]["pattern"], &there[1]["pattern"]),
        (&json!("*"), &json!("orders.*"))
    );
    assert_eq!(
        (&there[1]["named"], &there[1]["client"]),
        (&json!(true), &Value::Null)
    );
    let old = get(&a, "/subscriptions/met");
    assert_eq!(
        (&old["operation"], &old["more"]),
        (&json!("subscriptions"), &json!(false))
    );
    let rows = old["subscriptions"].as_array().unwrap();
    assert_eq!(
        (&rows[0]["event_type"], &rows[0]["member_name"]),
        (&json!("orders.*"), &json!("till"))
    );
    assert_eq!(rows[1]["member_name"], rows[1]["origin"]);
    // A client that went may come back, and what comes meanwhile waits.
    drop(named);
    let sent = unix(
        &b.management(),
        "POST",
        "/v1/overlays/met/publish/orders.new",
        None,
    );
    assert_eq!(sent.json()["owed"], 2, "{sent:?}");
    let waits = || {
        let own = &all(&a)[0];
        own["attached"] == false && own["behind"] == 1
    };
    assert!(within(Duration::from_secs(20), waits), "{:?}", all(&a));
}

#[test]
fn a_long_list_comes_in_parts_each_entry_once() {
    let node = Node::start(&ARGS);
    let wish = Some("{\"name\": \"met\"}");
    let made = unix(&node.management(), "POST", "/v1/overlays", wish);
    assert_eq!(made.status, 201);
    let patterns: Vec<String> = (0..23).map(|number| format!("t{number:02}")).collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let _client = Client::start(&node, &patterns);
    assert!(within(Duration::from_secs(20), || all(&node).len() == 23));
    let (mut found, mut query) = (Vec::new(), "?limit=5".to_owned());
    for part in 0.. {
        let told = listed(&node, &query);
        let entries = told["subscriptions"].as_array().unwrap();
        assert_eq!(entries.len(), if part < 4 { 5 } else { 3 });
        found.extend(entries.iter().map(|entry| entry["pattern"].clone()));
        let Some(next) = told["next"].as_str() else {
            break;
        };
        query = format!("?limit=5&after={next}");
    }
    found.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    assert_eq!(found, patterns);
    let refused = |query: &str| {
        let path = format!("/v1/overlays/met/subscriptions{query}");
        unix(&node.management(), "GET", &path, None).is_error(400, "bad_query");
    };
    refused("?limit=1001");
    refused("?after=7");
}
