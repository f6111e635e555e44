//! WebSockets of a running daemon: frames of both kinds, acknowledgements and credit, publishing, presence, and how they end.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::http::{request, unix};
use common::{Node, stdout, within};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message, WebSocket};

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];
const WAIT: Duration = Duration::from_secs(20);

fn path(node: &Node) -> PathBuf {
    node.path().join("run/tidings/tidings.http.sock")
}

/// A client of its own making on top of somebody else's WebSocket.
struct Socket(WebSocket<UnixStream>);

/// What came: JSON, and the bytes behind it in a binary frame.
#[derive(Debug)]
enum Came {
    Text(Value),
    Binary(Value, Vec<u8>),
    Closed(u16),
}

impl Came {
    fn text(self) -> Value {
        match self {
            Self::Text(value) => value,
            other => panic!("no text: {other:?}"),
        }
    }
}

impl Socket {
    fn try_open(
        node: &Node,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Option<String>), (u16, Value)> {
        let way = UnixStream::connect(path(node)).unwrap();
        way.set_read_timeout(Some(WAIT)).unwrap();
        let mut request = format!("ws://localhost/v1/overlays/{target}")
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().insert(*name, value);
        }
        match tungstenite::client(request, way) {
            Ok((socket, answer)) => {
                let chosen = answer.headers().get("sec-websocket-protocol");
                let chosen = chosen.map(|name| name.to_str().unwrap().to_owned());
                Ok((Self(socket), chosen))
            }
            Err(HandshakeError::Failure(Error::Http(answer))) => {
                let body = answer.body().clone().unwrap_or_default();
                let told = serde_json::from_slice(&body).unwrap_or(Value::Null);
                Err((answer.status().as_u16(), told))
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// An open one, past its first frame.
    fn open(node: &Node, target: &str) -> Self {
        let (mut socket, _) = Self::try_open(node, target, &[]).unwrap();
        let open = socket.next().text();
        assert_eq!(
            (&open["type"], &open["pending"]),
            (&json!("open"), &json!([]))
        );
        socket
    }

    fn next(&mut self) -> Came {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => {
                    return Came::Text(serde_json::from_str(&text).unwrap());
                }
                Ok(Message::Binary(bytes)) => {
                    let (length, rest) = bytes.split_first_chunk::<4>().unwrap();
                    let (head, payload) = rest.split_at(u32::from_be_bytes(*length) as usize);
                    let head = serde_json::from_slice(head).unwrap();
                    return Came::Binary(head, payload.to_vec());
                }
                Ok(Message::Close(Some(frame))) => {
                    return Came::Closed(frame.code.into());
                }
                Ok(_) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    fn message(&mut self) -> Value {
        let told = self.next().text();
        assert_eq!(told["type"], "message", "{told}");
        told
    }

    fn closed(&mut self) -> u16 {
        loop {
            match self.next() {
                Came::Closed(code) => return code,
                // What it was about to say, and why it is closed.
                Came::Text(_) | Came::Binary(..) => {}
            }
        }
    }

    /// Nothing comes for a while.
    fn is_quiet(&mut self) -> bool {
        self.0
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let came = self.0.read();
        self.0.get_ref().set_read_timeout(Some(WAIT)).unwrap();
        matches!(came, Err(Error::Io(_)) | Ok(Message::Ping(_)))
    }

    fn say(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).unwrap();
    }

    fn acknowledge(&mut self, n: &Value) {
        self.say(&json!({ "type": "ack", "n": n }));
    }
}

fn publish(node: &Node, topic: &str, query: &str, body: &str) -> Value {
    let target = format!("/v1/overlays/demo/publish/{topic}{query}");
    let answer = unix(&path(node), "POST", &target, Some(body));
    assert!(answer.status < 300, "{answer:?}");
    answer.json()
}

fn subscriptions(node: &Node) -> Value {
    let stats = unix(&path(node), "GET", "/v1/overlays/demo/stats", None);
    stats.json()["subscriptions"].clone()
}

#[test]
fn a_message_counts_as_delivered_when_its_number_is_acknowledged() {
    let node = Node::start(&ARGS);
    let mut socket = Socket::open(&node, "demo/socket?pattern=a.*");
    let late = "/v1/overlays/demo/publish/a.b?confirm=delivered&timeout=300ms";
    let waited = unix(&path(&node), "POST", late, Some("0"));
    waited.is_error(504, "not_confirmed");
    let first = socket.message();
    assert_eq!((&first["n"], &first["seq"]), (&json!(1), &json!(0)));
    assert_eq!(
        (&first["data"], &first["again"]),
        (&json!("MA=="), &json!(false))
    );
    socket.acknowledge(&first["n"]);
    for n in 2..=4 {
        let publisher = std::thread::scope(|scope| {
            let told = scope.spawn(|| publish(&node, "a.b", "?confirm=delivered", "x"));
            let message = socket.message();
            assert_eq!(message["n"], n);
            match n % 2 {
                0 => socket.acknowledge(&message["n"]),
                _ => socket.say(&json!({ "type": "ack", "upto": n })),
            }
            told.join().unwrap()
        });
        assert_eq!(
            (&publisher["owed"], &publisher["delivered"]),
            (&json!(1), &json!(1))
        );
    }
    // Once more is no harm.
    socket.acknowledge(&first["n"]);
    publish(&node, "a.b", "", "y");
    assert_eq!(socket.message()["n"], 5);
}

#[test]
fn no_more_is_sent_than_was_granted_and_nothing_is_lost() {
    let node = Node::start(&ARGS);
    let mut socket = Socket::open(&node, "demo/socket?pattern=t&ordered&credit=3");
    for seq in 0..100 {
        publish(&node, "t", "", &format!("{seq}"));
    }
    let take = |socket: &mut Socket, from: u64, to: u64| {
        for seq in from..to {
            let message = socket.message();
            assert_eq!(
                (&message["n"], &message["seq"]),
                (&json!(seq + 1), &json!(seq))
            );
        }
    };
    take(&mut socket, 0, 3);
    assert!(socket.is_quiet());
    // One in the middle makes room for one.
    socket.acknowledge(&json!(2));
    take(&mut socket, 3, 4);
    assert!(socket.is_quiet());
    socket.say(&json!({ "type": "credit", "messages": 0 }));
    socket.say(&json!({ "type": "ack", "upto": 4 }));
    assert!(socket.is_quiet());
    socket.say(&json!({ "type": "credit", "messages": 20 }));
    take(&mut socket, 4, 24);
    assert!(socket.is_quiet());
    socket.say(&json!({ "type": "ack", "upto": 24 }));
    take(&mut socket, 24, 44);
    socket.say(&json!({ "type": "credit", "messages": 1024 }));
    take(&mut socket, 44, 100);
    assert!(socket.is_quiet());
}

#[test]
fn what_was_not_acknowledged_comes_again_to_the_next_socket_of_that_name() {
    let node = Node::start(&ARGS);
    let target = "demo/socket?pattern=t&client=till";
    let mut socket = Socket::open(&node, target);
    for body in ["0", "1", "2"] {
        publish(&node, "t", "", body);
    }
    let taken: Vec<Value> = (0..3).map(|_| socket.message()).collect();
    socket.acknowledge(&taken[1]["n"]);
    // Killed once that is known to have come.
    let outstanding = || {
        let stats = unix(&path(&node), "GET", "/v1/overlays/demo/stats", None).json();
        stats["publish"]["delivered"] == 1
    };
    assert!(within(WAIT, outstanding));
    drop(socket);
    // Meanwhile nobody is there.
    publish(&node, "t", "", "3");
    let mut next = Socket::open(&node, target);
    let mut again: Vec<(u64, bool)> = (0..3)
        .map(|_| next.message())
        .map(|told| (told["seq"].as_u64().unwrap(), told["again"] == true))
        .collect();
    again.sort_unstable();
    let seqs: Vec<u64> = again.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, [0, 2, 3]);
    assert!(again[0].1 && again[1].1, "{again:?}");
    next.say(&json!({ "type": "ack", "upto": 3 }));
    assert!(next.is_quiet());
    // Two of one name: the newer one has it, what the older one held included.
    publish(&node, "t", "", "4");
    assert_eq!(next.message()["seq"], 4);
    let mut newer = Socket::open(&node, target);
    assert_eq!(next.closed(), 4409);
    assert_eq!(newer.message()["seq"], 4);
    // Its end leaves the subscription, unless that is told to end.
    assert_eq!(subscriptions(&node), 1);
    newer.say(&json!({ "type": "unsubscribe" }));
    assert_eq!(newer.closed(), 1000);
    assert!(within(WAIT, || subscriptions(&node) == 0));
    // One without a name goes with its socket.
    let unnamed = Socket::open(&node, "demo/socket?pattern=t");
    assert_eq!(subscriptions(&node), 1);
    drop(unnamed);
    assert!(within(WAIT, || subscriptions(&node) == 0));
}

#[test]
fn a_socket_out_of_credit_hears_of_its_successor_and_does_not_end_what_that_has() {
    let node = Node::start(&ARGS);
    let target = "demo/socket?pattern=t&client=till&ordered&credit=1";
    let mut first = Socket::open(&node, target);
    for body in ["0", "1", "2"] {
        publish(&node, "t", "", body);
    }
    assert_eq!(first.message()["seq"], 0);
    // The others are there by now and wait for credit.
    assert!(first.is_quiet());
    let mut second = Socket::open(&node, target);
    // Nothing else wakes it before the next ping.
    let Message::Close(Some(told)) = first.0.read().unwrap() else {
        panic!("not told before all else");
    };
    assert_eq!(u16::from(told.code), 4409);
    assert_eq!(second.message()["seq"], 0);
    assert!(second.is_quiet());
    let mut third = Socket::open(&node, target);
    // It may be closed by now.
    let unsubscribe = json!({ "type": "unsubscribe" }).to_string();
    let _ = second.0.send(Message::text(unsubscribe));
    assert_eq!(second.closed(), 4409);
    assert_eq!(subscriptions(&node), 1);
    for seq in 0..3 {
        let message = third.message();
        assert_eq!(message["seq"], seq);
        third.acknowledge(&message["n"]);
    }
}

#[test]
fn a_socket_out_of_credit_ends_with_its_overlay_and_says_nothing_to_the_next_of_its_name() {
    let node = Node::start(&ARGS);
    let keyring = stdout(&node.run(&["keygen", "-"]));
    let wish = json!({ "name": "met", "keyring": keyring }).to_string();
    let make = || {
        let made = unix(&path(&node), "POST", "/v1/overlays", Some(&wish));
        assert_eq!(made.status, 201, "{made:?}");
    };
    make();
    let mut socket = Socket::open(&node, "met/socket?pattern=t&credit=1");
    for number in 0..2 {
        socket.say(&json!({ "type": "publish", "ref": number, "topic": "t", "data": "eA==" }));
    }
    // Two are accepted, and one comes.
    for _ in 0..3 {
        socket.next().text();
    }
    assert!(socket.is_quiet());
    unix(&path(&node), "DELETE", "/v1/overlays/met", None);
    make();
    // It may be closed by now.
    let late = json!({ "type": "publish", "ref": 2, "topic": "t", "data": "eA==" }).to_string();
    let _ = socket.0.send(Message::text(late));
    assert!(matches!(socket.next(), Came::Closed(4404)));
    let stats = unix(&path(&node), "GET", "/v1/overlays/met/stats", None).json();
    assert_eq!(stats["publish"]["accepted"], 0, "{stats}");
}

#[test]
fn bytes_are_exact_in_both_forms_and_both_ways() {
    let node = Node::start(&ARGS);
    let header = [("sec-websocket-protocol", "mqtt, tidings.binary")];
    let (mut binary, chosen) =
        Socket::try_open(&node, "demo/socket?pattern=t", &header).unwrap_or_else(|_| panic!());
    assert_eq!(chosen.as_deref(), Some("tidings.binary"));
    assert_eq!(binary.next().text()["type"], "open");
    let mut text = Socket::open(&node, "demo/socket?pattern=t");
    let every: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    for (number, payload) in [&[][..], &[0], &every].into_iter().enumerate() {
        let head =
            json!({ "type": "publish", "ref": number, "topic": "t", "confirm": "delivered" });
        let head = head.to_string();
        let mut frame = u32::try_from(head.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(head.as_bytes());
        frame.extend_from_slice(payload);
        text.0.send(Message::binary(frame)).unwrap();
        let mut said = Vec::new();
        for _ in 0..2 {
            let told = text.next().text();
            if told["type"] == "message" {
                use base64::Engine;
                let engine = base64::engine::general_purpose::STANDARD;
                let bytes = engine.decode(told["data"].as_str().unwrap()).unwrap();
                assert!(bytes == payload);
                text.acknowledge(&told["n"]);
            } else {
                assert_eq!(
                    (&told["type"], &told["ref"]),
                    (&json!("accepted"), &json!(number))
                );
                assert_eq!(
                    (&told["owed"], &told["unsynced"]),
                    (&json!(2), &json!(false))
                );
            }
            said.push(told["type"].clone());
        }
        assert_ne!(said[0], said[1]);
        let Came::Binary(head, bytes) = binary.next() else {
            panic!("no binary frame");
        };
        assert_eq!(
            (&head["type"], &head["data"]),
            (&json!("message"), &Value::Null)
        );
        assert!(bytes == payload);
        // No outcome before both have it.
        binary.acknowledge(&head["n"]);
        let told = text.next().text();
        let wanted = json!({ "type": "delivered", "ref": number, "delivered": 2 });
        assert_eq!(told, wanted);
    }
}

#[test]
fn what_is_published_over_a_socket_is_answered_in_order_and_refusals_leave_it_open() {
    let node = Node::start(&ARGS);
    let mut socket = Socket::open(&node, "demo/socket");
    for number in 0..50 {
        let topic = if number % 2 == 0 { "t" } else { "a..b" };
        socket.say(&json!({ "type": "publish", "ref": number, "topic": topic, "data": "eA==" }));
    }
    for number in 0..50 {
        let told = socket.next().text();
        assert_eq!(told["ref"], number);
        match number % 2 {
            0 => assert_eq!(
                (&told["type"], &told["seq"]),
                (&json!("accepted"), &json!(number / 2))
            ),
            _ => assert_eq!(
                (&told["type"], &told["error"]),
                (&json!("failed"), &json!("bad_topic"))
            ),
        }
    }
    let nobody = json!({ "type": "publish", "ref": 1, "topic": "t", "confirm": "delivered" });
    socket.say(&nobody);
    assert_eq!(socket.next().text()["error"], "no_subscriber");
    socket.say(&json!({ "type": "publish", "ref": 2, "topic": "t", "confirm": "surely" }));
    assert_eq!(socket.next().text()["error"], "bad_query");
    // A client that is away is owed it, and it fails with the client's subscription.
    let mut keeper = Socket::open(&node, "demo/socket?pattern=t&client=keeper");
    let mut patient = nobody.clone();
    patient["timeout"] = json!("25s");
    socket.say(&patient);
    assert_eq!(socket.next().text()["type"], "accepted");
    assert_eq!(keeper.message()["type"], "message");
    let mut hasty = nobody;
    (hasty["timeout"], hasty["ref"]) = (json!("100ms"), json!(9));
    socket.say(&hasty);
    assert_eq!(socket.next().text()["type"], "accepted");
    let late = socket.next().text();
    assert_eq!(
        (&late["ref"], &late["error"]),
        (&json!(9), &json!("not_confirmed"))
    );
    keeper.say(&json!({ "type": "unsubscribe" }));
    let failed = socket.next().text();
    assert_eq!(
        (&failed["type"], &failed["delivered"]),
        (&json!("failed"), &json!(0))
    );
    assert_eq!(
        failed["failed"],
        json!([{ "reason": "unsubscribed", "count": 1 }])
    );
}

#[test]
fn a_node_that_goes_out_of_service_takes_nothing_from_a_socket_either() {
    let node = Node::start(&ARGS);
    let mut socket = Socket::open(&node, "demo/socket");
    // What is owed keeps the node from going at once.
    let mut keeper = Socket::open(&node, "demo/socket?pattern=t&client=keeper");
    let message = json!({ "type": "publish", "ref": 1, "topic": "t" });
    socket.say(&message);
    assert_eq!(socket.next().text()["type"], "accepted");
    assert_eq!(keeper.message()["type"], "message");
    let drain = common::http::unix(&path(&node), "POST", "/v1/drain", Some("{}"));
    assert_eq!(drain.status, 202, "{drain:?}");
    socket.say(&message);
    let told = socket.next().text();
    assert_eq!(
        (&told["type"], &told["error"]),
        (&json!("failed"), &json!("draining"))
    );
}

#[test]
fn presence_is_told_over_the_same_socket_and_ends_with_its_overlay() {
    let (a, b) = (Node::start(&ARGS), Node::start(&ARGS));
    let keyring = stdout(&a.run(&["keygen", "-"]));
    let wish = json!({ "name": "met", "keyring": keyring }).to_string();
    for node in [&a, &b] {
        let made = unix(&path(node), "POST", "/v1/overlays", Some(&wish));
        assert_eq!(made.status, 201);
    }
    let mut socket = Socket::open(&a, "met/socket?presence&pattern=*");
    let snapshot = socket.next().text();
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["members"][0]["self"], true);
    let bind = unix(&path(&a), "GET", "/v1/node", None).json();
    let port = bind["bind"].as_str().unwrap().rsplit(':').next().unwrap();
    let join = json!({ "join": [format!("127.0.0.1:{port}")] }).to_string();
    unix(&path(&b), "PATCH", "/v1/overlays/met", Some(&join));
    let told = socket.next().text();
    assert_eq!(
        (&told["type"], &told["event"]),
        (&json!("presence"), &json!("member_in"))
    );
    assert_eq!(told["member"]["id"], told["id"]);
    // One that comes again under its name is another one.
    let mut watch = Socket::open(&a, "met/socket?presence");
    assert_eq!(watch.next().text()["type"], "snapshot");
    unix(&path(&a), "DELETE", "/v1/overlays/met", None);
    let made = unix(&path(&a), "POST", "/v1/overlays", Some(&wish));
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(watch.closed(), 4404);
    assert_eq!(socket.closed(), 4404);
}

#[test]
fn who_may_not_is_refused_before_the_first_frame() {
    let node = Node::start(&ARGS);
    let refused = |target: &str, headers: &[(&'static str, &str)]| {
        let (status, told) = Socket::try_open(&node, target, headers)
            .err()
            .expect("refused");
        assert!(
            told["detail"].is_string() && told["hint"].is_string(),
            "{told}"
        );
        (status, told["error"].as_str().unwrap().to_owned())
    };
    let wrong = [("authorization", "Bearer tdk_wrong")];
    assert_eq!(
        refused("demo/socket", &wrong),
        (401, "bad_credentials".into())
    );
    let made = unix(
        &path(&node),
        "POST",
        "/v1/overlays",
        Some("{\"name\": \"other\"}"),
    );
    let token = made.json()["token"]["secret"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let of_other = [("authorization", bearer.as_str())];
    assert_eq!(refused("demo/socket", &of_other), (403, "forbidden".into()));
    assert!(Socket::try_open(&node, "other/socket", &of_other).is_ok());
    let origin = [("origin", "https://evil.example")];
    assert_eq!(refused("demo/socket", &origin), (403, "cross_site".into()));
    assert_eq!(
        refused("none/socket?pattern=a", &[]),
        (404, "no_overlay".into())
    );
    assert_eq!(refused("none/socket", &[]), (404, "no_overlay".into()));
    assert_eq!(
        refused("demo/socket?pattern=a..b", &[]),
        (400, "bad_pattern".into())
    );
    assert_eq!(
        refused("demo/socket?client=a", &[]),
        (400, "bad_query".into())
    );
    let unknown = [("sec-websocket-protocol", "mqtt")];
    assert_eq!(
        refused("demo/socket", &unknown),
        (400, "bad_subprotocol".into())
    );
    let plain = unix(&path(&node), "GET", "/v1/overlays/demo/socket", None);
    plain.is_error(426, "upgrade_required");
    assert!(plain.head.contains("upgrade: websocket"), "{plain:?}");
    assert_eq!(subscriptions(&node), 0);
}

#[test]
fn a_token_that_is_revoked_ends_its_socket() {
    let node = Node::start(&ARGS);
    let tokens = "/v1/overlays/demo/tokens";
    let made = unix(&path(&node), "POST", tokens, Some("{\"name\": \"t\"}"));
    let bearer = format!("Bearer {}", made.json()["secret"].as_str().unwrap());
    let header = [("authorization", bearer.as_str())];
    let open = || {
        let (mut socket, _) = Socket::try_open(&node, "demo/socket?pattern=a", &header).unwrap();
        assert_eq!(socket.next().text()["type"], "open");
        socket
    };
    let (mut reads, mut publishes) = (open(), open());
    let revoked = unix(&path(&node), "DELETE", &format!("{tokens}/t"), None);
    assert_eq!(revoked.status, 204);
    publishes.say(&json!({ "type": "publish", "ref": 0, "topic": "a" }));
    assert_eq!(publishes.closed(), 4401);
    assert_eq!(reads.closed(), 4401);
    assert!(within(WAIT, || subscriptions(&node) == 0));
}

#[test]
fn junk_closes_its_socket_with_the_reason_and_hurts_nobody_else() {
    let node = Node::start(&ARGS);
    let mut other = Socket::open(&node, "demo/socket?pattern=t");
    let junk = [
        (Message::text("{"), 4400),
        (Message::text("{\"type\": \"nak\"}"), 4400),
        (Message::text("[".repeat(10_000)), 4400),
        (Message::text("{\"type\": \"ack\", \"n\": 1}"), 4400),
        (Message::text("{\"type\": \"ack\"}"), 4400),
        (
            Message::text("{\"type\": \"credit\", \"messages\": 1025}"),
            4400,
        ),
        (Message::binary(vec![255; 100]), 4400),
        (Message::binary(vec![0; 3 << 20]), 1009),
    ];
    for (frame, code) in junk {
        let mut socket = Socket::open(&node, "demo/socket?pattern=t");
        // Of a frame that is too long the end may not be taken any more.
        let _ = socket.0.send(frame.clone());
        assert_eq!(socket.closed(), code, "{}", frame.len());
    }
    // What no client library sends: reserved bits, an unknown kind, no mask, half a character.
    let frames: [(&[u8], u16); 5] = [
        (&[0xf1, 0x80, 0, 0, 0, 0], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0x81, 0x02, b'{', b'}'], 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
        (
            &[
                0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
            ],
            1009,
        ),
    ];
    for (bytes, code) in frames {
        let mut socket = Socket::open(&node, "demo/socket?pattern=t");
        socket.0.get_mut().write_all(bytes).unwrap();
        assert_eq!(socket.closed(), code, "{bytes:?}");
    }
    assert!(within(WAIT, || subscriptions(&node) == 1));
    publish(&node, "t", "", "x");
    assert_eq!(other.message()["n"], 1);
    let metrics = unix(&path(&node), "GET", "/metrics", None).body;
    assert!(metrics.contains("\ntidings_http_panics_total 0\n"));
}

#[test]
fn sockets_end_with_the_daemon_and_with_their_client() {
    let mut node = Node::start(&ARGS);
    let mut stays = Socket::open(&node, "demo/socket?pattern=t");
    let mut goes = Socket::open(&node, "demo/socket?pattern=t");
    goes.0.close(None).unwrap();
    assert!(matches!(
        goes.0.read(),
        Ok(Message::Close(_)) | Err(Error::ConnectionClosed)
    ));
    assert!(within(WAIT, || subscriptions(&node) == 1));
    assert!(node.run(&["leave"]).status.success());
    // The overlay is left before the service ends.
    assert!(matches!(stays.closed(), 4404 | 1001));
    assert!(node.wait());
}

#[test]
fn a_client_that_does_not_answer_pings_is_given_up_and_one_that_does_stays() {
    let node = Node::start(&ARGS);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let headers = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", key];
    let asked = request("GET", "/v1/overlays/demo/socket?pattern=t", &headers, None);
    let asked = String::from_utf8(asked).unwrap();
    let asked = asked.replace("Connection: close", "Connection: Upgrade");
    let mut silent = UnixStream::connect(path(&node)).unwrap();
    silent.write_all(asked.as_bytes()).unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut answers = Socket::open(&node, "demo/socket?pattern=t");
    assert!(within(WAIT, || subscriptions(&node) == 2));
    let begun = Instant::now();
    let pongs = std::thread::spawn(move || {
        let timeout = Some(Duration::from_millis(200));
        answers.0.get_ref().set_read_timeout(timeout).unwrap();
        while begun.elapsed() < Duration::from_secs(150) {
            // Reading answers pings.
            match answers.0.read() {
                Ok(Message::Text(_)) => return true,
                Ok(_) | Err(Error::Io(_)) => {}
                Err(_) => return false,
            }
        }
        false
    });
    let mut all = Vec::new();
    silent.read_to_end(&mut all).unwrap();
    assert!(
        begun.elapsed() > Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
    let close = [&[0x88, 8][..], &4408_u16.to_be_bytes(), b"silent"].concat();
    assert!(all.ends_with(&close), "{:?}", String::from_utf8_lossy(&all));
    assert!(within(WAIT, || subscriptions(&node) == 1));
    publish(&node, "t", "", "x");
    assert!(pongs.join().unwrap());
}

#[test]
fn sockets_count_as_connections_and_streams_and_give_both_back() {
    let node = Node::start(&ARGS);
    let mut sockets: Vec<Socket> = Vec::new();
    let count = || {
        let metrics = unix(&path(&node), "GET", "/metrics", None).body;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("tidings_http_connections "));
        line.unwrap().parse::<usize>().unwrap()
    };
    for _ in 0..8 {
        sockets.push(Socket::open(&node, "demo/socket"));
    }
    // And the one that asks.
    assert!(within(WAIT, || count() == 9));
    drop(sockets);
    assert!(within(WAIT, || count() == 1));
}
