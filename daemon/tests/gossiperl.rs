//! The paths of Gossiperl against a running daemon: what a program that was written for it sends, and what it gets.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::http::{Answer, exchange, request, unix};
use common::{Node, stdout, tidings, within};
use serde_json::{Value, json};

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];
const KEY: &str = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";

fn socket(node: &Node) -> PathBuf {
    node.path().join("run/tidings/tidings.http.sock")
}

fn ask(node: &Node, method: &str, path: &str, body: &Value) -> Answer {
    unix(&socket(node), method, path, Some(&body.to_string()))
}

fn get(node: &Node, path: &str) -> Answer {
    unix(&socket(node), "GET", path, None)
}

/// Everything that such a program says of an overlay, and that means something here.
fn description(port: &str) -> Value {
    json!({
        "ip": "0.0.0.0",
        "port": port.parse::<u16>().unwrap(),
        "rack_name": "dc1",
        "racks": { "dc1": ["127.0.0.1"], "dc2": ["10.9.9.9"] },
        "symmetric_key": KEY,
        "redelivery_retry_max": 2,
        "redelivery_retry_every": 3,
    })
}

fn port(node: &Node) -> String {
    let bind = get(node, "/v1/node").json()["bind"].clone();
    let port = bind.as_str().unwrap().rsplit(':').next().unwrap();
    port.to_owned()
}

#[test]
fn an_overlay_lives_through_the_old_paths() {
    let node = Node::start(&ARGS);
    let about = description("7");
    let made = ask(&node, "POST", "/overlays/old", &about);
    assert_eq!(made.status, 201, "{made:?}");
    let told = made.json();
    assert_eq!(told["operation"], "add_overlay");
    assert_eq!(told["overlays"], json!(["demo", "old"]));
    assert!(told["timestamp"].as_u64().unwrap() > 1_600_000_000);
    let token = told["token"].as_str().unwrap();
    assert!(
        made.head
            .contains(&format!("x-session-token: {}", token.to_lowercase()))
    );
    ask(&node, "POST", "/overlays/old", &about).is_error(409, "exists");
    let shown = get(&node, "/configuration/old");
    assert!(!shown.body.contains(KEY), "{shown:?}");
    let shown = shown.json()["configuration"].clone();
    assert_eq!(shown["racks"], json!({ "default": ["127.0.0.1:7"] }));
    assert_eq!(shown["redelivery_retry_max"], 2);
    assert_eq!(shown["redelivery_retry_every"], 3.0);
    assert_eq!(
        (&shown["symmetric_key"], &shown["multicast"]),
        (&json!("protected"), &json!("off"))
    );
    let options = get(&node, "/v1/overlays/old").json()["options"].clone();
    assert_eq!(
        options["redelivery"],
        json!({ "attempts": 3, "every": "3s" })
    );

    let set = ask(
        &node,
        "PUT",
        "/overlays/old/redelivery_retry_every",
        &json!(9),
    );
    assert_eq!(
        (set.status, &set.json()["property"]),
        (202, &json!("redelivery_retry_every"))
    );
    let both = get(&node, "/configuration/old").json()["configuration"].clone();
    assert_eq!(
        (
            &both["redelivery_retry_every"],
            &both["redelivery_retry_max"]
        ),
        (&json!(9.0), &json!(2))
    );
    let group = json!({ "ip": "239.255.84.68", "ttl": 1 });
    let set = ask(&node, "PUT", "/overlays/old/multicast", &group);
    assert_eq!(set.status, 202, "{set:?}");
    let shown = get(&node, "/configuration/old").json()["configuration"].clone();
    assert_eq!(shown["multicast"], group);
    let options = get(&node, "/v1/overlays/old").json()["options"].clone();
    assert_eq!(options["discovery"], "lan");
    // All of it: what is left out is the default again.
    let whole = ask(
        &node,
        "PUT",
        "/overlays/old",
        &json!({ "symmetric_key": KEY }),
    );
    assert_eq!(
        (whole.status, &whole.json()["operation"]),
        (200, &json!("reconfigure_overlay"))
    );
    let shown = get(&node, "/configuration/old").json()["configuration"].clone();
    assert_eq!(
        (&shown["racks"]["default"], &shown["redelivery_retry_max"]),
        (&json!([]), &json!(0))
    );
    let names = get(&node, "/tokens").json();
    assert_eq!(names["tokens"], json!([{ "old": "first" }]));
    let removed = ask(&node, "DELETE", "/overlays/old", &Value::Null);
    assert_eq!(
        (removed.status, &removed.json()["overlays"]),
        (202, &json!(["demo"]))
    );
    get(&node, "/configuration/old").is_error(404, "no_overlay");
    assert_eq!(get(&node, "/overlays").json()["overlays"], json!(["demo"]));
}

#[test]
fn two_nodes_of_the_old_description_meet_and_are_told_of() {
    let (a, b) = (Node::start(&ARGS), Node::start(&ARGS));
    assert_eq!(
        ask(&a, "POST", "/overlays/met", &description("9")).status,
        201
    );
    assert_eq!(
        ask(&b, "POST", "/overlays/met", &description(&port(&a))).status,
        201
    );
    let members = |node: &Node| get(node, "/membership/met").json()["membership"].clone();
    // A busy machine may keep one from answering for a moment.
    let are_reachable = || {
        let members = members(&a);
        let mut states = members.as_array().unwrap().iter().map(|m| &m["state"]);
        states.len() == 2 && states.all(|state| state == "reachable")
    };
    assert!(within(Duration::from_secs(60), are_reachable));
    let both = members(&a);
    assert_eq!(
        both[0]["port"],
        json!(port(&a).parse::<u16>().unwrap()),
        "itself first"
    );
    for member in both.as_array().unwrap() {
        assert!(
            member["heartbeat"].is_u64() && member["ip"].is_string(),
            "{member}"
        );
    }
    // A seed that is named anew.
    let racks = json!({ "any": [format!("127.0.0.1:{}", port(&b))] });
    assert_eq!(ask(&a, "PUT", "/overlays/met/racks", &racks).status, 202);
    assert_eq!(ask(&b, "DELETE", "/overlays/met", &Value::Null).status, 202);
    let alone = || members(&a).as_array().unwrap().len() == 1;
    assert!(
        within(Duration::from_secs(30), alone),
        "who left is not listed"
    );
}

#[test]
fn a_digest_is_published_as_json_whatever_the_order_of_its_keys() {
    let node = Node::start(&ARGS);
    let subscriber = tidings(node.path())
        .args([
            "sub", "demo", "orders.*", "--count", "2", "--format", "json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stands = || get(&node, "/v1/overlays/demo/stats").json()["subscriptions"] == 1;
    assert!(within(Duration::from_secs(60), stands));
    for body in [
        r#"{"type": "orders.new", "id": 7, "to": "x"}"#,
        r#"{"to": "x", "id": 7, "type": "orders.new"}"#,
    ] {
        // Nobody said then that it is JSON.
        let text = request(
            "POST",
            "/digest/demo",
            &[&format!("Content-Length: {}", body.len())],
            None,
        );
        let mut way = std::os::unix::net::UnixStream::connect(socket(&node)).unwrap();
        let answer = exchange(&mut way, &[&text, body.as_bytes()].concat());
        assert_eq!(
            (answer.status, answer.json()),
            (202, json!({ "status": "ok" }))
        );
    }
    let got = stdout(&subscriber.wait_with_output().unwrap());
    for line in got.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        assert_eq!(message["topic"], "orders.new");
        let fields: Value = serde_json::from_str(message["payload"].as_str().unwrap()).unwrap();
        assert_eq!(fields, json!({ "id": 7, "to": "x" }));
    }
    assert_eq!(got.lines().count(), 2);
    let digest = |body: Value| ask(&node, "POST", "/digest/demo", &body);
    digest(json!({ "id": 7 })).is_error(400, "no_type");
    digest(json!([1])).is_error(400, "bad_json");
    digest(json!({ "type": "a..b" })).is_error(400, "bad_topic");
    digest(json!({ "t": [{ "id": 7, "i32": 1 }] })).is_error(409, "old_form");
    let told = get(&node, "/statistics/demo").json();
    assert_eq!(
        (&told["window"], &told["enabled"]),
        (&json!("total"), &json!(true))
    );
    let counts: Value = serde_json::from_str(told["statistics"].as_str().unwrap()).unwrap();
    assert_eq!(counts["messages_published"], 2);
    assert_eq!(get(&node, "/statistics/demo/1h").json()["window"], "1h");
    get(&node, "/statistics/demo/2h").is_error(412, "no_window");
}

#[test]
fn what_means_nothing_here_is_refused_and_changes_nothing() {
    let node = Node::start(&ARGS);
    let with = |more: Value| {
        let mut about = description("7");
        let object = about.as_object_mut().unwrap();
        object.extend(more.as_object().unwrap().clone());
        ask(&node, "POST", "/overlays/old", &about)
    };
    for (option, value) in [
        ("symmetric_key", json!("a phrase")),
        ("secret", json!("shared")),
        ("multicast", json!({ "ip": "239.1.1.1" })),
        ("gossip_round_every", json!(2)),
        ("quarantine_after", json!(20)),
        ("incoming_data_buffer_size", json!(1)),
        ("nonsense", json!(1)),
        ("redelivery_retry_every", json!("5")),
        ("redelivery_retry_every", json!(0)),
        ("ip", json!("10.255.0.1")),
    ] {
        let refused = with(json!({ option: value }));
        assert_eq!(refused.status, 409, "{option}: {refused:?}");
        assert!(!refused.body.contains("a phrase"), "{refused:?}");
    }
    with(json!({ "gossip_round_every": 2 })).is_error(409, "refused_option");
    with(json!({ "rack_name": "dc9" })).is_error(412, "no_rack_seeds");
    ask(&node, "POST", "/overlays/old", &json!({})).is_error(409, "no_key");
    let set = |property: &str, value: Value| {
        ask(&node, "PUT", &format!("/overlays/demo/{property}"), &value)
    };
    for property in ["ip", "iface", "port", "member_name", "symmetric_key"] {
        assert_eq!(set(property, json!("x")).status, 409, "{property}");
    }
    set("multicast", json!({ "ip": "239.1.1.1" })).is_error(409, "refused_option");
    set("multicast", json!({ "ip": "239.255.84.68", "ttl": 4 })).is_error(409, "refused_option");
    set("racks", json!({ "a": [], "b": [] })).is_error(412, "no_rack_seeds");
    ask(&node, "PUT", "/overlays/none/racks", &json!({ "a": [] })).is_error(404, "no_overlay");
    let other = json!({ "symmetric_key": KEY });
    ask(&node, "PUT", "/overlays/demo", &other).is_error(409, "unchangeable");
    ask(&node, "PUT", "/overlays/none", &other).is_error(404, "no_overlay");
    ask(&node, "DELETE", "/overlays/demo", &Value::Null).is_error(409, "configured");
    get(&node, "/subscriptions/none").is_error(404, "no_overlay");
    let kept = std::fs::read_to_string(node.path().join("data/tidings/state.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["overlays"], json!({}));
    let again = ask(&node, "POST", "/reconfigure", &Value::Null);
    assert_eq!(
        (again.status, &again.json()["status"]),
        (202, &json!("reconfigured"))
    );
}
