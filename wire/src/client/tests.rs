//! Every frame comes back as it was sent, no bytes make a decoder panic, and the golden bytes in `vectors/` hold.

use proptest::prelude::*;

use super::auth::{Challenge, Hello, NO_NUMBER, Proof, Refusal, Welcome};
use super::codes::{AckMode, ErrorCode, Order, Outcome, Policy};
use super::frame::{FrameError, HEAD_SIZE, Kind, MAX_FRAME, frame_size, split};
use super::presence::{Change, FLAG_REACHED, FLAG_SNAPSHOT, Presence, Unwatch, Watch};
use super::publish::{
    Accepted, AskOwed, CONNECTION, Close, Closed, Credit, Open, Opened, OutcomeRange, Owed,
    PublishRun,
};
use super::query::{Answer, Leave, Query, Topic};
use super::subscribe::{
    Ack, DeliverKey, DeliverRun, Gap, Names, Subscribe, Subscribed, Unsubscribe, Unsubscribed,
};
use super::{Reply, Request, valid_client_name};
use crate::ids::{Boot, NodeId};

const NODE: NodeId = NodeId([0x11; 16]);
const BOOT: Boot = Boot([0x22; 16]);

fn encoded(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    fill(&mut out);
    out
}

fn publish_frame(publisher: u32, payloads: &[&[u8]]) -> Vec<u8> {
    encoded(|out| {
        let mut run = PublishRun::begin(out, publisher);
        for payload in payloads {
            assert!(run.fits(out, payload.len()));
            run.push(out, payload);
        }
    })
}

fn deliver_frame(key: DeliverKey, topic: &str, seq: u64, payloads: &[&[u8]]) -> Vec<u8> {
    encoded(|out| {
        let mut run = DeliverRun::begin(out, key, topic, seq);
        for (payload, seq) in payloads.iter().zip(seq..) {
            assert!(run.continues(out, &key, seq, payload.len()));
            run.push(out, payload);
        }
    })
}

/// One of each frame, with its name, in the order of the kinds.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let key = DeliverKey {
        sub: 2,
        handle: 9,
        node: NODE,
        boot: BOOT,
        again: true,
    };
    let mut names = Vec::new();
    let nonce = [0x33; 32];
    let proof = [0x44; 32];
    vec![
        (
            "hello",
            encoded(|out| {
                Hello {
                    version_min: 1,
                    version_max: 1,
                    nonce,
                    prove: true,
                    name: "worker-1",
                }
                .encode(out)
            }),
        ),
        ("proof", encoded(|out| Proof { proof }.encode(out))),
        (
            "subscribe",
            encoded(|out| {
                Subscribe {
                    sub: 2,
                    ack: AckMode::Client,
                    order: Order::Ordered,
                    policy: Policy::Detach,
                    attempts: 3,
                    every_ms: 5000,
                    overlay: "demo",
                    pattern: "orders.*",
                }
                .encode(out)
            }),
        ),
        (
            "unsubscribe",
            encoded(|out| Unsubscribe { sub: 2 }.encode(out)),
        ),
        (
            "ack",
            encoded(|out| {
                Ack {
                    sub: 2,
                    handle: 9,
                    node: NODE,
                    boot: BOOT,
                    from: 40,
                    to: 41,
                    session_epoch: 7,
                }
                .encode(out)
            }),
        ),
        (
            "open",
            encoded(|out| {
                Open {
                    publisher: 5,
                    overlay: "demo",
                    topic: "orders.new",
                }
                .encode(out)
            }),
        ),
        ("close", encoded(|out| Close { publisher: 5 }.encode(out))),
        ("publish", publish_frame(5, &[b"hello", b"", b"world"])),
        (
            "ask-owed",
            encoded(|out| AskOwed { publisher: 5 }.encode(out)),
        ),
        (
            "watch",
            encoded(|out| {
                Watch {
                    watch: 3,
                    overlay: "demo",
                }
                .encode(out)
            }),
        ),
        ("unwatch", encoded(|out| Unwatch { watch: 3 }.encode(out))),
        (
            "query",
            encoded(|out| {
                Query {
                    request: 8,
                    what: Topic::Members,
                    overlay: "demo",
                }
                .encode(out)
            }),
        ),
        (
            "leave",
            encoded(|out| {
                Leave {
                    request: 8,
                    overlay: "",
                }
                .encode(out)
            }),
        ),
        (
            "challenge",
            encoded(|out| {
                Challenge {
                    node: NODE,
                    boot: BOOT,
                    nonce: [0x55; 32],
                    proof,
                }
                .encode(out)
            }),
        ),
        (
            "welcome",
            encoded(|out| {
                Welcome {
                    version: 1,
                    max_frame: MAX_FRAME as u32,
                    node: NODE,
                    boot: BOOT,
                    session_epoch: 7,
                    credit: 8 << 20,
                    name: "host-a",
                }
                .encode(out)
            }),
        ),
        (
            "error",
            encoded(|out| {
                Refusal {
                    code: ErrorCode::NoOverlay,
                    fatal: false,
                    refused: Kind::Open as u8,
                    number: 5,
                    text: "no overlay named x",
                }
                .encode(out)
            }),
        ),
        (
            "subscribed",
            encoded(|out| {
                let pending = Names::pack(["host-b", "host-c"], &mut names);
                Subscribed {
                    sub: 2,
                    node_sub: 0x1234,
                    partial: true,
                    pending,
                }
                .encode(out)
            }),
        ),
        (
            "unsubscribed",
            encoded(|out| Unsubscribed { sub: 2 }.encode(out)),
        ),
        (
            "deliver",
            deliver_frame(key, "orders.new", 40, &[b"hello", b"world"]),
        ),
        (
            "gap",
            encoded(|out| {
                Gap {
                    sub: 2,
                    handle: 9,
                    node: NODE,
                    boot: BOOT,
                    from: 42,
                    count: 3,
                    reason: Outcome::Overflow,
                    topic: "orders.new",
                }
                .encode(out)
            }),
        ),
        (
            "opened",
            encoded(|out| {
                Opened {
                    publisher: 5,
                    handle: 9,
                    max_message: 1 << 20,
                    owed: 2,
                    credit: 1 << 21,
                }
                .encode(out)
            }),
        ),
        ("closed", encoded(|out| Closed { publisher: 5 }.encode(out))),
        (
            "accepted",
            encoded(|out| {
                Accepted {
                    publisher: 5,
                    owed: 2,
                    from: 0,
                    count: 3,
                    unsynced: false,
                }
                .encode(out)
            }),
        ),
        (
            "outcome",
            encoded(|out| {
                OutcomeRange {
                    publisher: 5,
                    sub: 0x1234,
                    node: NODE,
                    from: 0,
                    count: 3,
                    result: Outcome::Delivered,
                }
                .encode(out)
            }),
        ),
        (
            "credit",
            encoded(|out| {
                Credit {
                    publisher: CONNECTION,
                    credit: 9 << 20,
                }
                .encode(out)
            }),
        ),
        (
            "owed",
            encoded(|out| {
                Owed {
                    publisher: 5,
                    owed: 2,
                }
                .encode(out)
            }),
        ),
        (
            "presence",
            encoded(|out| {
                Presence {
                    watch: 3,
                    change: Change::In,
                    flags: FLAG_SNAPSHOT | FLAG_REACHED,
                    node: NODE,
                    ip: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1],
                    port: 7400,
                    name: "host-b",
                    metadata: b"rack=3",
                }
                .encode(out)
            }),
        ),
        (
            "answer",
            encoded(|out| {
                Answer {
                    request: 8,
                    json: "[]",
                }
                .encode(out)
            }),
        ),
    ]
}

#[test]
fn there_is_a_sample_of_every_kind() {
    let kinds: Vec<Kind> = samples()
        .iter()
        .filter_map(|(_, bytes)| Kind::of(bytes[4]))
        .collect();
    assert_eq!(kinds, Kind::ALL);
}

#[test]
fn samples_match_the_golden_bytes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/client-frames.hex");
    let mut text = String::from(
        "# One frame of each kind of the local client protocol: name = hex bytes.\n\
         # Made by the test `samples_match_the_golden_bytes` with TIDINGS_WRITE_VECTORS=1.\n",
    );
    for (name, bytes) in samples() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{name} = {hex}\n"));
    }
    if std::env::var_os("TIDINGS_WRITE_VECTORS").is_some() {
        std::fs::write(path, &text).expect("vectors are writable");
    }
    assert_eq!(
        std::fs::read_to_string(path).expect("vectors are in the repository"),
        text
    );
}

/// Decodes in the direction that the kind has.
fn decode(bytes: &[u8]) -> Result<(), FrameError> {
    let Some((raw, _)) = split(bytes)? else {
        return Ok(());
    };
    if raw.kind & 0x80 == 0 {
        Request::decode(raw).map(drop)
    } else {
        Reply::decode(raw).map(drop)
    }
}

#[test]
fn samples_decode_and_every_shorter_body_is_refused_or_shorter_text() {
    for (name, bytes) in samples() {
        decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        for cut in HEAD_SIZE..bytes.len() {
            let mut short = bytes[..cut].to_vec();
            super::frame::seal_length(&mut short, 0);
            let refused = decode(&short).is_err();
            let text_tail = matches!(name, "answer" | "error");
            assert!(refused || text_tail, "{name} cut to {cut} bytes was taken");
        }
    }
}

#[test]
fn every_prefix_of_a_stream_waits_for_more() {
    for (_, bytes) in samples() {
        for cut in 0..bytes.len() {
            assert_eq!(split(&bytes[..cut]), Ok(None));
        }
    }
}

#[test]
fn a_length_beyond_the_bound_is_refused_before_the_frame_is_there() {
    let mut bytes = (MAX_FRAME as u32 + 1).to_le_bytes().to_vec();
    assert_eq!(frame_size(&bytes), Err(FrameError::TooLong));
    bytes = 3u32.to_le_bytes().to_vec();
    assert_eq!(frame_size(&bytes), Err(FrameError::TooShort));
    bytes = (MAX_FRAME as u32).to_le_bytes().to_vec();
    assert_eq!(frame_size(&bytes), Ok(Some(MAX_FRAME + 4)));
}

#[test]
fn reserved_bytes_and_kinds_of_the_other_direction_are_refused() {
    let mut bytes = encoded(|out| Close { publisher: 1 }.encode(out));
    bytes[6] = 1;
    assert_eq!(split(&bytes), Err(FrameError::Reserved));
    let bytes = encoded(|out| Closed { publisher: 1 }.encode(out));
    let (raw, _) = split(&bytes).unwrap().unwrap();
    assert_eq!(Request::decode(raw), Err(FrameError::UnknownKind(0xA1)));
    assert!(matches!(
        Reply::decode(raw),
        Ok(Reply::Closed(Closed { publisher: 1 }))
    ));
}

#[test]
fn a_client_skips_kinds_that_it_does_not_know_and_a_daemon_refuses_them() {
    let bytes = [4, 0, 0, 0, 0xEE, 0, 0, 0];
    let (raw, used) = split(&bytes).unwrap().unwrap();
    assert_eq!(used, 8);
    assert_eq!(Reply::decode(raw), Ok(Reply::Unknown(0xEE)));
    assert_eq!(Request::decode(raw), Err(FrameError::UnknownKind(0xEE)));
}

#[test]
fn client_names_are_short_and_plain() {
    assert!(valid_client_name("worker-1.eu_west"));
    assert!(!valid_client_name(""));
    assert!(!valid_client_name("a b"));
    assert!(!valid_client_name(&"x".repeat(65)));
}

#[test]
fn an_error_without_a_number_says_so() {
    let bytes = encoded(|out| {
        Refusal {
            code: ErrorCode::Busy,
            fatal: true,
            refused: 0,
            number: NO_NUMBER,
            text: "",
        }
        .encode(out)
    });
    let (raw, _) = split(&bytes).unwrap().unwrap();
    let Ok(Reply::Error(refusal)) = Reply::decode(raw) else {
        panic!("not an error frame")
    };
    assert!(refusal.fatal && refusal.number == NO_NUMBER && refusal.code == ErrorCode::Busy);
}

fn request(bytes: &[u8]) -> Request<'_> {
    Request::decode(split(bytes).unwrap().unwrap().0).unwrap()
}

fn reply(bytes: &[u8]) -> Reply<'_> {
    Reply::decode(split(bytes).unwrap().unwrap().0).unwrap()
}

proptest! {
    #[test]
    fn any_bytes_decode_without_panic(kind in any::<u8>(), flags in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = vec![0, 0, 0, 0, kind, flags, 0, 0];
        bytes.extend_from_slice(&body);
        super::frame::seal_length(&mut bytes, 0);
        let (raw, used) = split(&bytes).unwrap().unwrap();
        prop_assert_eq!(used, bytes.len());
        let _ = Request::decode(raw);
        let _ = Reply::decode(raw);
        let _ = split(&body);
    }

    #[test]
    fn publish_comes_back(publisher in any::<u32>(), payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..20)) {
        let views: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let bytes = publish_frame(publisher, &views);
        let Request::Publish(publish) = request(&bytes) else { panic!("not a publish") };
        prop_assert_eq!(publish.publisher, publisher);
        prop_assert_eq!(publish.bytes, views.iter().map(|p| p.len() + 4).sum::<usize>());
        prop_assert_eq!(publish.records.collect::<Vec<_>>(), views);
    }

    #[test]
    fn deliver_comes_back(sub in any::<u32>(), handle in any::<u32>(), node in any::<[u8; 16]>(), boot in any::<[u8; 16]>(), again in any::<bool>(), seq in 0..u64::MAX / 2, topic in "[a-z.]{1,40}", payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..20)) {
        let views: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let key = DeliverKey { sub, handle, node: NodeId(node), boot: Boot(boot), again };
        let bytes = deliver_frame(key, &topic, seq, &views);
        let Reply::Deliver(deliver) = reply(&bytes) else { panic!("not a deliver") };
        prop_assert_eq!((deliver.sub, deliver.handle, deliver.node, deliver.boot), (sub, handle, NodeId(node), Boot(boot)));
        prop_assert_eq!((deliver.again, deliver.seq, deliver.topic), (again, seq, topic.as_str()));
        prop_assert_eq!(deliver.records.collect::<Vec<_>>(), views);
    }

    #[test]
    fn subscriptions_come_back(sub in any::<u32>(), modes in (0..2usize, 0..2usize, 0..4usize), attempts in any::<u32>(), every_ms in any::<u32>(), overlay in ".{0,60}", pattern in ".{0,60}", names in prop::collection::vec(".{0,60}", 0..9)) {
        let frame = Subscribe { sub, ack: AckMode::ALL[modes.0], order: Order::ALL[modes.1], policy: Policy::ALL[modes.2], attempts, every_ms, overlay: &overlay, pattern: &pattern };
        let bytes = encoded(|out| frame.encode(out));
        prop_assert_eq!(request(&bytes), Request::Subscribe(frame));
        let mut scratch = Vec::new();
        let frame = Subscribed { sub, node_sub: attempts, partial: modes.0 == 1, pending: Names::pack(&names, &mut scratch) };
        let bytes = encoded(|out| frame.encode(out));
        prop_assert_eq!(reply(&bytes), Reply::Subscribed(frame));
        prop_assert_eq!(frame.pending.collect::<Vec<_>>(), names);
    }

    #[test]
    fn small_frames_come_back(number in any::<u32>(), other in any::<u32>(), big in any::<u64>(), id in any::<[u8; 16]>(), flag in any::<bool>(), text in ".{0,60}", outcome in 0..Outcome::ALL.len()) {
        let (node, boot) = (NodeId(id), Boot(id));
        let result = Outcome::ALL[outcome];
        let requests = [
            Request::Unsubscribe(Unsubscribe { sub: number }),
            Request::Ack(Ack { sub: number, handle: other, node, boot, from: big, to: !big, session_epoch: !big }),
            Request::Open(Open { publisher: number, overlay: &text, topic: &text }),
            Request::Close(Close { publisher: number }),
            Request::AskOwed(AskOwed { publisher: number }),
            Request::Watch(Watch { watch: number, overlay: &text }),
            Request::Unwatch(Unwatch { watch: number }),
            Request::Query(Query { request: number, what: Topic::Stats, overlay: &text }),
            Request::Leave(Leave { request: number, overlay: &text }),
        ];
        for frame in requests {
            let bytes = encoded(|out| match frame {
                Request::Unsubscribe(frame) => frame.encode(out),
                Request::Ack(frame) => frame.encode(out),
                Request::Open(frame) => frame.encode(out),
                Request::Close(frame) => frame.encode(out),
                Request::AskOwed(frame) => frame.encode(out),
                Request::Watch(frame) => frame.encode(out),
                Request::Unwatch(frame) => frame.encode(out),
                Request::Query(frame) => frame.encode(out),
                Request::Leave(frame) => frame.encode(out),
                _ => unreachable!("not in the list"),
            });
            prop_assert_eq!(request(&bytes), frame);
        }
        let replies = [
            Reply::Unsubscribed(Unsubscribed { sub: number }),
            Reply::Opened(Opened { publisher: number, handle: other, max_message: !other, owed: number, credit: big }),
            Reply::Closed(Closed { publisher: number }),
            Reply::Accepted(Accepted { publisher: number, owed: other, from: big, count: !other, unsynced: flag }),
            Reply::Outcome(OutcomeRange { publisher: number, sub: other, node, from: big, count: !other, result }),
            Reply::Credit(Credit { publisher: number, credit: big }),
            Reply::Owed(Owed { publisher: number, owed: other }),
            Reply::Gap(Gap { sub: number, handle: other, node, boot, from: big, count: !big, reason: result, topic: &text }),
            Reply::Answer(Answer { request: number, json: &text }),
        ];
        for frame in replies {
            let bytes = encoded(|out| match frame {
                Reply::Unsubscribed(frame) => frame.encode(out),
                Reply::Opened(frame) => frame.encode(out),
                Reply::Closed(frame) => frame.encode(out),
                Reply::Accepted(frame) => frame.encode(out),
                Reply::Outcome(frame) => frame.encode(out),
                Reply::Credit(frame) => frame.encode(out),
                Reply::Owed(frame) => frame.encode(out),
                Reply::Gap(frame) => frame.encode(out),
                Reply::Answer(frame) => frame.encode(out),
                _ => unreachable!("not in the list"),
            });
            prop_assert_eq!(reply(&bytes), frame);
        }
    }
}
