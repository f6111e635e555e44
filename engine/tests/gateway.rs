//! Local clients, spoken for by their own frames: those who do not read, who break the protocol, whose overlay goes.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{builder, config, wait_for};
use tidings_engine::gateway::{Control, Gateway, GatewayConfig, Refused, Viewer};
use tidings_engine::{Engine, OverlayConfig, OverlayId};
use tidings_wire::client::auth::Hello;
use tidings_wire::client::frame::split;
use tidings_wire::client::publish::{AskOwed, Close, Open, PublishRun};
use tidings_wire::client::query::Topic;
use tidings_wire::client::subscribe::{Subscribe, Unsubscribe};
use tidings_wire::client::{AckMode, ErrorCode, Kind, Order, Policy, Reply};

const WAIT: Duration = Duration::from_secs(10);

/// Nobody asks these clients' daemon anything.
struct Silent;

impl Control for Silent {
    fn answer(&self, _: Topic, _: &str, _: Viewer<'_>) -> Result<String, Refused> {
        Ok("{}".to_owned())
    }

    fn leave(&self, _: &str, _: Viewer<'_>) -> Result<(), Refused> {
        Ok(())
    }
}

/// A node of two shards with the overlay `here` on the first and `there` on the second, and its door.
struct Node {
    engine: Engine,
    gateway: Gateway,
    there: OverlayId,
    folder: tempfile::TempDir,
}

impl Node {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl Fn(&mut OverlayConfig)) -> Self {
        let engine = builder().shards(2).start().unwrap();
        let ids = ["here", "there"]
            .into_iter()
            .enumerate()
            .map(|(shard, name)| {
                let mut config = config(name, &[]);
                config.shard = Some(shard);
                change(&mut config);
                engine.add_overlay(config).unwrap()
            });
        let there = ids.last().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = GatewayConfig {
            socket: folder.path().join("sock"),
            node_name: "node".into(),
            grants: Vec::new(),
            redelivery: Default::default(),
            shard: None,
        };
        let gateway = Gateway::start(&engine, config, Box::new(Silent)).unwrap();
        Self {
            engine,
            gateway,
            there,
            folder,
        }
    }

    /// A client whose connection is on the shard of `here`.
    fn client(&self) -> Peer {
        let mut peer = Peer {
            stream: UnixStream::connect(self.folder.path().join("sock")).unwrap(),
            input: Vec::new(),
        };
        peer.stream.set_read_timeout(Some(WAIT)).unwrap();
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            nonce: [3; 32],
            prove: false,
            name: "",
        };
        peer.send(|out| hello.encode(out));
        peer.find(|reply| matches!(reply, Reply::Welcome(_)).then_some(()));
        peer.open(0, "here");
        peer
    }
}

/// A client.
struct Peer {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Peer {
    fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// Takes frames until one is what is looked for.
    fn find<T>(&mut self, mut wanted: impl FnMut(&Reply<'_>) -> Option<T>) -> T {
        loop {
            let mut at = 0;
            let mut found = None;
            while let Some((raw, size)) = split(&self.input[at..]).unwrap() {
                found = wanted(&Reply::decode(raw).unwrap());
                at += size;
                if found.is_some() {
                    break;
                }
            }
            self.input.drain(..at);
            match found {
                Some(found) => return found,
                None => assert!(self.read() > 0, "the daemon closed the connection"),
            }
        }
    }

    fn read(&mut self) -> usize {
        let mut chunk = vec![0; 64 << 10];
        let read = self.stream.read(&mut chunk).unwrap();
        self.input.extend_from_slice(&chunk[..read]);
        read
    }

    /// All frames until the daemon closes.
    fn until_closed(&mut self) -> Vec<u8> {
        while self.read() > 0 {}
        std::mem::take(&mut self.input)
    }

    /// Opens a publisher on `t` of an overlay; its credit.
    fn open(&mut self, publisher: u32, overlay: &str) -> u64 {
        let open = Open {
            publisher,
            overlay,
            topic: "t",
        };
        self.send(|out| open.encode(out));
        self.find(|reply| match reply {
            Reply::Opened(opened) => Some(opened.credit),
            Reply::Error(refusal) => panic!("{refusal:?}"),
            _ => None,
        })
    }

    fn subscribe(&mut self, sub: u32, overlay: &str, policy: Policy) {
        let subscribe = Subscribe {
            sub,
            ack: AckMode::Client,
            order: Order::Ordered,
            policy,
            attempts: 0,
            every_ms: 0,
            overlay,
            pattern: "t",
        };
        self.send(|out| subscribe.encode(out));
        self.find(|reply| matches!(reply, Reply::Subscribed(_)).then_some(()));
    }

    fn publish(&mut self, publisher: u32, payloads: &[&[u8]]) {
        self.send(|out| {
            let mut run = PublishRun::begin(out, publisher);
            for payload in payloads {
                run.push(out, payload);
            }
        });
    }

    /// The next refusal: code, kind and number.
    fn refusal(&mut self) -> (ErrorCode, Option<Kind>, u32) {
        self.find(|reply| match reply {
            Reply::Error(refusal) => {
                Some((refusal.code, Kind::of(refusal.refused), refusal.number))
            }
            _ => None,
        })
    }

    /// Sends the same frame without ever reading, until the daemon takes no more for a second or has taken `most` of
    /// them. Returns how many it took, and what remains of the last.
    fn send_blindly<'a>(&mut self, frame: &'a [u8], most: usize) -> (usize, &'a [u8]) {
        let bytes = frame.repeat(4096);
        self.stream
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let mut sent = 0;
        while sent < most * frame.len() {
            match self.stream.write(&bytes[sent % frame.len()..]) {
                Ok(written) => sent += written,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        (sent / frame.len(), &frame[sent % frame.len()..])
    }
}

#[test]
fn what_a_client_asks_without_reading_is_not_read_until_it_reads() {
    let node = Node::start();
    // Each question is answered by 60 bytes and more; the daemon keeps 5 MiB, the kernel some.
    const MOST: usize = 400_000;
    let mut peer = node.client();
    let mut frame = Vec::new();
    AskOwed { publisher: 77 }.encode(&mut frame);
    let (taken, rest) = peer.send_blindly(&frame, MOST);
    assert!(taken < MOST, "{taken} questions were taken");
    for _ in 0..taken {
        assert_eq!(
            peer.refusal(),
            (ErrorCode::BadNumber, Some(Kind::AskOwed), 77)
        );
    }
    peer.send(|out| out.extend_from_slice(rest));
    peer.refusal();
    peer.open(1, "here");
}

#[test]
fn what_a_client_asks_another_shard_without_reading_is_not_read_until_it_reads() {
    let node = Node::start();
    // Each answer takes 16 bytes; beside what the two shards keep, links hold 16 MiB of each.
    const MOST: usize = 4_500_000;
    let mut peer = node.client();
    peer.open(1, "there");
    let mut frame = Vec::new();
    AskOwed { publisher: 1 }.encode(&mut frame);
    let (taken, rest) = peer.send_blindly(&frame, MOST);
    assert!(taken < MOST, "{taken} questions were taken");
    for _ in 0..taken {
        peer.find(|reply| matches!(reply, Reply::Owed(_)).then_some(()));
    }
    peer.send(|out| out.extend_from_slice(rest));
    peer.open(2, "there");
}

#[test]
fn an_overlay_that_goes_from_another_shard_is_told_for_each_number() {
    let node = Node::start();
    let mut peer = node.client();
    peer.open(4, "there");
    peer.subscribe(5, "there", Policy::Detach);
    node.engine.remove_overlay(node.there).unwrap();
    node.gateway.refresh();
    assert_eq!(
        peer.refusal(),
        (ErrorCode::Leaving, Some(Kind::Subscribe), 5)
    );
    assert_eq!(peer.refusal(), (ErrorCode::Leaving, Some(Kind::Publish), 4));
    // The connection stands, and the numbers are free.
    peer.open(4, "here");
    peer.subscribe(5, "here", Policy::Detach);
    let open = Open {
        publisher: 6,
        overlay: "there",
        topic: "t",
    };
    peer.send(|out| open.encode(out));
    assert_eq!(peer.refusal(), (ErrorCode::NoOverlay, Some(Kind::Open), 6));
}

#[test]
fn credit_spent_on_an_overlay_that_goes_comes_back() {
    let node = Node::start();
    let mut peer = node.client();
    // More than one connection's credit in all, most of it for nobody.
    for _ in 0..3 {
        peer.open(4, "there");
        for _ in 0..4 {
            peer.publish(4, &[&vec![7; 900_000]]);
            peer.find(|reply| matches!(reply, Reply::Accepted(_)).then_some(()));
        }
        node.engine.remove_overlay(node.there).unwrap();
        node.gateway.refresh();
        assert_eq!(peer.refusal(), (ErrorCode::Leaving, Some(Kind::Publish), 4));
        let mut again = config("there", &[]);
        again.shard = Some(1);
        node.engine.add_overlay(again).unwrap();
        node.gateway.refresh();
    }
}

#[test]
fn a_breach_on_another_shard_ends_the_connection_with_one_error() {
    let node = Node::start();
    let mut peer = node.client();
    let credit = peer.open(1, "there");
    let large = vec![0; 500_000];
    peer.publish(1, &vec![large.as_slice(); (credit / 500_000 + 1) as usize]);
    let bytes = peer.until_closed();
    let mut rest = bytes.as_slice();
    let mut fatal = 0;
    while let Some((raw, size)) = split(rest).unwrap() {
        rest = &rest[size..];
        if let Reply::Error(refusal) = Reply::decode(raw).unwrap() {
            assert!(
                refusal.fatal && refusal.code == ErrorCode::Protocol,
                "{refusal:?}"
            );
            fatal += 1;
        }
    }
    assert_eq!(fatal, 1);
}

#[test]
fn a_number_is_taken_whichever_overlay_has_it_and_free_when_it_ends() {
    let node = Node::start();
    let mut peer = node.client();
    peer.open(4, "there");
    peer.subscribe(5, "there", Policy::Detach);
    for (taken, overlay) in [(4, "here"), (4, "there"), (0, "there")] {
        let open = Open {
            publisher: taken,
            overlay,
            topic: "t",
        };
        peer.send(|out| open.encode(out));
        assert_eq!(
            peer.refusal(),
            (ErrorCode::BadNumber, Some(Kind::Open), taken)
        );
    }
    peer.send(|out| Close { publisher: 4 }.encode(out));
    peer.find(|reply| matches!(reply, Reply::Closed(_)).then_some(()));
    peer.open(4, "here");
    peer.send(|out| Unsubscribe { sub: 5 }.encode(out));
    peer.find(|reply| matches!(reply, Reply::Unsubscribed(_)).then_some(()));
    peer.subscribe(5, "here", Policy::Detach);
}

#[test]
fn a_publisher_whose_messages_wait_for_room_is_closed_once() {
    let node = Node::with(|config| config.retain = 4 << 20);
    let mut reader = node.client();
    reader.subscribe(1, "here", Policy::Block);
    let mut peer = node.client();
    let credit = peer.open(1, "here");
    let payload = vec![1; 400_000];
    let began = Instant::now();
    let mut sent = 0;
    // Until the store takes no more: then the credit stops.
    while sent + 400_004 <= credit && began.elapsed() < WAIT {
        peer.publish(1, &[&payload]);
        sent += 400_004;
    }
    let mut credit = credit;
    peer.stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    loop {
        let mut chunk = vec![0; 64 << 10];
        match peer.stream.read(&mut chunk) {
            Ok(read) => peer.input.extend_from_slice(&chunk[..read]),
            Err(_) => break,
        }
        let mut at = 0;
        while let Some((raw, size)) = split(&peer.input[at..]).unwrap() {
            if let Reply::Credit(more) = Reply::decode(raw).unwrap()
                && more.publisher == 1
            {
                credit = more.credit;
            }
            at += size;
        }
        peer.input.drain(..at);
        while sent + 400_004 <= credit {
            peer.publish(1, &[&payload]);
            sent += 400_004;
        }
    }
    peer.stream.set_read_timeout(Some(WAIT)).unwrap();
    for _ in 0..3 {
        peer.send(|out| Close { publisher: 1 }.encode(out));
    }
    for _ in 0..2 {
        assert_eq!(peer.refusal(), (ErrorCode::BadNumber, Some(Kind::Close), 1));
    }
    // It still closes, after what waits.
    drop(reader);
    peer.find(|reply| matches!(reply, Reply::Closed(_)).then_some(()));
    wait_for("the client is gone", || {
        let stats = node.engine.stats().unwrap();
        stats.shards.iter().all(|shard| shard.sessions <= 2)
    });
}

#[test]
fn a_client_that_broke_the_protocol_is_not_waited_for_though_it_reads_nothing() {
    let node = Node::start();
    let mut peer = node.client();
    peer.subscribe(1, "here", Policy::Detach);
    let mut other = node.client();
    other.open(1, "here");
    // More than the kernel keeps for somebody who does not read.
    for _ in 0..3 {
        other.publish(1, &[&vec![7; 900_000]]);
        other.find(|reply| matches!(reply, Reply::Accepted(_)).then_some(()));
    }
    let clients = || {
        let stats = node.engine.stats().unwrap();
        stats
            .shards
            .iter()
            .map(|shard| shard.sessions)
            .sum::<usize>()
    };
    assert_eq!(clients(), 2);
    peer.send(|out| out.extend_from_slice(&[0xff; 16]));
    wait_for("the connection has ended", || clients() == 1);
    // Who reads hears why, as long as it is waited for.
    other.send(|out| out.extend_from_slice(&[0xff; 16]));
    assert_eq!(other.refusal().0, ErrorCode::Protocol);
}
