//! Local clients, spoken for by their own frames: those who do not read, who break the protocol, whose overlay goes.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{builder, config, wait_for};
use tidings_engine::gateway::{Control, Gateway, GatewayConfig, Refused, Viewer};
use tidings_engine::{Engine, OverlayConfig, OverlayId};
use tidings_wire::client::auth::Hello;
use tidings_wire::client::frame::split;
use tidings_wire::client::publish::{AskOwed, Close, Open, PublishRun};
use tidings_wire::client::query::Topic;
use tidings_wire::client::subscribe::{Ack, Subscribe, Unsubscribe};
use tidings_wire::client::{AckMode, ErrorCode, Kind, Order, Outcome, Policy, Reply};

const WAIT: Duration = Duration::from_secs(60);

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

    fn set_largest(&self, overlay: OverlayId, bytes: usize) {
        let mut policy = self.engine.policy(overlay).unwrap();
        policy.max_message = bytes;
        self.engine.set_policy(overlay, policy).unwrap();
    }

    /// A client whose connection is on the shard of `here`.
    fn client(&self) -> Peer {
        self.client_of("")
    }

    /// The same under a name.
    fn client_of(&self, name: &str) -> Peer {
        let mut peer = Peer {
            stream: UnixStream::connect(self.folder.path().join("sock")).unwrap(),
            input: Vec::new(),
            epoch: 0,
        };
        peer.stream.set_read_timeout(Some(WAIT)).unwrap();
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            nonce: [3; 32],
            prove: false,
            name,
        };
        peer.send(|out| hello.encode(out));
        peer.epoch = peer.find(|reply| match reply {
            Reply::Welcome(welcome) => Some(welcome.session_epoch),
            _ => None,
        });
        peer.open(0, "here");
        peer
    }
}

/// A client.
struct Peer {
    stream: UnixStream,
    input: Vec<u8>,
    epoch: u64,
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

    /// Takes frames until OPENED told this largest message for each of these publishers: the handle and the credit of each.
    fn told(&mut self, largest: usize, publishers: Range<u32>) -> BTreeMap<u32, (u32, u64)> {
        let mut told = BTreeMap::new();
        self.find(|reply| {
            if let Reply::Opened(opened) = reply
                && opened.max_message as usize == largest
                && publishers.contains(&opened.publisher)
            {
                told.insert(opened.publisher, (opened.handle, opened.credit));
            }
            (told.len() == publishers.len()).then(|| std::mem::take(&mut told))
        })
    }

    /// Publishes so many bytes, which are accepted.
    fn publishes(&mut self, publisher: u32, bytes: usize) {
        self.publish(publisher, &[&vec![1; bytes]]);
        self.find(|reply| match reply {
            Reply::Accepted(accepted) => (accepted.publisher == publisher).then_some(()),
            Reply::Error(refusal) => panic!("{refusal:?}"),
            _ => None,
        });
    }

    fn subscribe(&mut self, sub: u32, overlay: &str, policy: Policy) {
        self.begin_subscribe(sub, overlay, policy);
        self.find(|reply| matches!(reply, Reply::Subscribed(_)).then_some(()));
    }

    fn begin_subscribe(&mut self, sub: u32, overlay: &str, policy: Policy) {
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
    }

    /// The next `count` messages that come: seq, and whether an earlier session may have seen it. And an acknowledgement
    /// of them all.
    fn messages(&mut self, count: usize) -> (Vec<(u64, bool)>, Ack) {
        let mut got = Vec::new();
        let epoch = self.epoch;
        self.find(|reply| {
            let Reply::Deliver(deliver) = reply else {
                return None;
            };
            let seqs = (deliver.seq..).take(deliver.records.len());
            got.extend(seqs.map(|seq| (seq, deliver.again)));
            (got.len() >= count).then(|| {
                let ack = Ack {
                    sub: deliver.sub,
                    handle: deliver.handle,
                    node: deliver.node,
                    boot: deliver.boot,
                    from: got[0].0,
                    to: got[got.len() - 1].0,
                    session_epoch: epoch,
                };
                (std::mem::take(&mut got), ack)
            })
        })
    }

    /// The next outcome: first seq, count, and what.
    fn outcome(&mut self) -> (u64, u32, Outcome) {
        self.find(|reply| match reply {
            Reply::Outcome(range) => Some((range.from, range.count, range.result)),
            _ => None,
        })
    }

    /// Whether nothing comes for a while.
    fn hears_nothing(&mut self) -> bool {
        let brief = Some(Duration::from_millis(300));
        self.stream.set_read_timeout(brief).unwrap();
        let silent = self.input.is_empty() && self.stream.read(&mut [0; 64]).is_err();
        self.stream.set_read_timeout(Some(WAIT)).unwrap();
        silent
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
    // Each question is answered by 60 bytes and more; the daemon keeps 8 MiB, the kernel some.
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
    let node = Node::with(|config| config.policy.retain = 4 << 20);
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
        .set_read_timeout(Some(Duration::from_secs(3)))
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

#[test]
fn a_newer_login_gets_what_the_older_did_not_acknowledge_and_the_olders_late_word_counts_no_more() {
    let node = Node::start();
    for overlay in ["here", "there"] {
        let mut publisher = node.client();
        publisher.open(1, overlay);
        let mut older = node.client_of("till");
        older.subscribe(5, overlay, Policy::Detach);
        publisher.publish(1, &[b"x".as_slice(); 10]);
        let (got, all) = older.messages(10);
        assert_eq!(got, (0..10).map(|seq| (seq, false)).collect::<Vec<_>>());
        older.send(|out| Ack { to: 2, ..all }.encode(out));
        assert_eq!(publisher.outcome(), (0, 3, Outcome::Delivered));

        let mut newer = node.client_of("till");
        assert!(newer.epoch > older.epoch);
        let mut late = Vec::new();
        all.encode(&mut late);
        let _ = older.stream.write_all(&late);
        newer.begin_subscribe(7, overlay, Policy::Detach);
        let (got, rest) = newer.messages(7);
        assert_eq!(got, (3..10).map(|seq| (seq, true)).collect::<Vec<_>>());
        // Of the older one's number, and by its token in another's mouth.
        let _ = older.stream.write_all(&late);
        newer.send(|out| {
            Ack {
                session_epoch: older.epoch,
                ..rest
            }
            .encode(out)
        });
        assert!(publisher.hears_nothing(), "{overlay}");
        let told = older.until_closed();
        let (raw, _) = split(&told).unwrap().unwrap();
        let Reply::Error(refusal) = Reply::decode(raw).unwrap() else {
            panic!("told of something else");
        };
        assert!(refusal.fatal && refusal.code == ErrorCode::Fenced);

        newer.send(|out| rest.encode(out));
        assert_eq!(publisher.outcome(), (3, 7, Outcome::Delivered));
        assert!(publisher.hears_nothing(), "{overlay}");
        newer.send(|out| Unsubscribe { sub: 7 }.encode(out));
        newer.find(|reply| matches!(reply, Reply::Unsubscribed(_)).then_some(()));
    }
}

/// How long a newer login waits for what one that reads nothing was given before it.
fn time_to_take_over(overlay: &str) -> Duration {
    let node = Node::start();
    let mut publisher = node.client();
    publisher.open(1, overlay);
    let mut older = node.client_of("till");
    older.subscribe(5, overlay, Policy::Detach);
    // More than the daemon and the kernel keep for one who does not read.
    let payload = vec![7; 100_000];
    for _ in 0..80 {
        publisher.publish(1, &[&payload]);
        publisher.find(|reply| matches!(reply, Reply::Accepted(_)).then_some(()));
    }
    let began = Instant::now();
    let mut newer = node.client_of("till");
    newer.begin_subscribe(7, overlay, Policy::Detach);
    let (got, all) = newer.messages(80);
    let took = began.elapsed();
    assert!(got.iter().map(|got| got.0).eq(0..80));
    assert!(got[0].1, "{overlay}: the older one may have seen it");
    newer.send(|out| all.encode(out));
    // Until the older one is gone for good.
    std::thread::sleep(Duration::from_millis(2_500));
    publisher.publish(1, &[b"after"]);
    let (got, last) = newer.messages(1);
    assert_eq!(got, [(80, false)]);
    newer.send(|out| last.encode(out));
    let mut delivered = 0;
    while delivered < 81 {
        let (from, count, outcome) = publisher.outcome();
        assert_eq!((from, outcome), (delivered, Outcome::Delivered));
        delivered += u64::from(count);
    }
    newer.send(|out| Unsubscribe { sub: 7 }.encode(out));
    newer.find(|reply| matches!(reply, Reply::Unsubscribed(_)).then_some(()));
    took
}

#[test]
fn a_newer_login_takes_over_at_once_from_a_client_that_reads_nothing() {
    for overlay in ["here", "there"] {
        // A busy machine gets more tries.
        let mut tries = (0..5).map(|_| time_to_take_over(overlay));
        assert!(tries.any(|took| took < Duration::from_secs(1)), "{overlay}");
    }
}

#[test]
fn a_client_that_dies_in_mid_write_is_gone_within_a_second_and_disturbs_nobody() {
    let node = Node::start();
    let mut reader = node.client();
    reader.subscribe(1, "here", Policy::Detach);
    let clients = || {
        let stats = node.engine.stats().unwrap();
        let shards = stats.shards.iter();
        shards.map(|shard| shard.sessions).sum::<usize>()
    };
    let mut frame = Vec::new();
    let mut run = PublishRun::begin(&mut frame, 1);
    run.push(&mut frame, &vec![7; 600_000]);
    for whole in [1, 4, 5, 40, frame.len() / 2, frame.len() - 1] {
        // A busy machine gets more tries.
        let mut tries = (0..5).map(|_| {
            let mut peer = node.client();
            peer.open(1, "here");
            peer.send(|out| out.extend_from_slice(&frame[..whole]));
            let began = Instant::now();
            drop(peer);
            wait_for("it is gone", || clients() == 1);
            began.elapsed()
        });
        let is_short = |took| took < Duration::from_secs(1);
        assert!(tries.any(is_short), "{whole} bytes");
    }
    assert!(reader.hears_nothing(), "half a message is none");
    let mut peer = node.client();
    peer.open(1, "here");
    peer.publish(1, &[b"after"]);
    assert_eq!(reader.messages(1).0, [(0, false)]);
}

#[test]
fn clients_that_do_nothing_are_told_another_largest_message_on_every_shard() {
    const PUBLISHERS: Range<u32> = 1..3_000;
    let node = Node::with(|config| config.policy.max_message = 1_000);
    let overlays = [OverlayId::from_name("here"), node.there];
    let mut peer = node.client();
    peer.send(|out| {
        for publisher in PUBLISHERS {
            let overlay = ["here", "there"][publisher as usize % 2];
            let topic = "t";
            Open {
                publisher,
                overlay,
                topic,
            }
            .encode(out);
        }
    });
    let mut told = peer.told(1_000, PUBLISHERS);
    let refused = [(5_000, "here"), (5_001, "there")];
    for (publisher, overlay) in refused {
        peer.open(publisher, overlay);
    }
    for largest in [100_000, 500, 4 << 20] {
        for overlay in overlays {
            node.set_largest(overlay, largest);
        }
        let before = std::mem::replace(&mut told, peer.told(largest, PUBLISHERS));
        for (publisher, (handle, credit)) in &told {
            let (same, least) = before[publisher];
            assert_eq!(*handle, same);
            assert!(*credit >= least.max(largest as u64 + 4));
        }
        // What was allowed is taken, whatever the client was told since: it may have been on its way.
        for publisher in [10, 11] {
            peer.publishes(publisher, largest.max(100_000));
        }
        for (publisher, _) in refused.into_iter().filter(|_| largest == 500) {
            peer.publish(publisher, &[&[1; 100_001]]);
            let told = (ErrorCode::TooLarge, Some(Kind::Publish), publisher);
            assert_eq!(peer.refusal(), told);
        }
    }
}

#[test]
fn who_reads_nothing_is_told_the_last_largest_message_and_who_opens_meanwhile_is_too() {
    let node = Node::with(|config| config.policy.max_message = 1_000);
    let here = OverlayId::from_name("here");
    let (mut silent, mut opening) = (node.client(), node.client());
    let open = |publisher| Open {
        publisher,
        overlay: "here",
        topic: "t",
    };
    silent.send(|out| (1..3_000).for_each(|publisher| open(publisher).encode(out)));
    silent.told(1_000, 1..3_000);
    let last = 1_400;
    for largest in 1_001..=last {
        opening.send(|out| open(largest as u32).encode(out));
        node.set_largest(here, largest);
    }
    opening.told(last, 1_001..last as u32 + 1);
    // All that was told would be 38 MB, more than anybody may leave unread.
    let mut read = 0;
    let mut told = [false; 3_000];
    while told.contains(&false) {
        let publisher = silent.find(|reply| match reply {
            Reply::Opened(opened) => {
                read += 32;
                (opened.max_message as usize == last).then_some(opened.publisher)
            }
            _ => None,
        });
        told[publisher as usize] = true;
    }
    assert!(read < 16 << 20, "{read}");
}
