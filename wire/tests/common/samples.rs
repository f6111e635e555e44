//! One sample of every digest, each field with a value of its own.

use tidings_wire::digest::*;
use tidings_wire::{Boot, NodeId};

use super::vectors::Show;

pub struct Sample {
    pub name: &'static str,
    pub fields: Vec<(String, String)>,
    pub bytes: Vec<u8>,
}

/// 16 bytes that count up from `first`.
pub fn run<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first.wrapping_add(at as u8))
}

pub fn addrs() -> [Addr; 2] {
    ["192.0.2.1:7400", "[2001:db8::7]:7401"].map(|text| {
        let addr: std::net::SocketAddr = text.parse().unwrap();
        addr.into()
    })
}

macro_rules! sample {
    ($name:literal, $flags:expr, $ty:ident { $($($field:ident).+: $value:expr),* $(,)? } { $($tail:literal: $shown:expr),* } $put:expr) => {{
        let mut digest = $ty { head: Head::flagged($flags), ..Default::default() };
        let mut fields = vec![("flags".into(), $flags.show())];
        $(
            let value = $value;
            fields.push((stringify!($($field).+).replace(' ', ""), value.show()));
            digest.$($field).+ = value.into();
        )*
        $(fields.push(($tail.into(), $shown.show()));)*
        let mut body = [0; 2048];
        let mut writer = Writer::new(&mut body);
        let put: fn(&mut Writer<'_>, &$ty) -> bool = $put;
        assert!(put(&mut writer, &digest), "{} does not fit", $name);
        Sample { name: $name, fields, bytes: writer.as_bytes().to_vec() }
    }};
    ($name:literal, $ty:ident { $($rest:tt)* }) => {
        sample!($name, 0u8, $ty { $($rest)* } {} |writer, digest| writer.put(digest))
    };
}

pub fn hello() -> Vec<Sample> {
    vec![
        sample!("h1", 0u8, H1 {
            who.ver_min: 1u8, who.ver_max: 2u8, who.steer: 0x53u8, who.rx_index: 0xabc1_2345u32,
            who.rcvbuf: 65_536u32, who.id: NodeId(run(0x10)), who.boot: Boot(run(0x20)),
            who.nonce: run::<16>(0x30), who.target: NodeId(run(0x40)), who.hs: 0x0102_0304_0506_0708u64,
            who.generation: 9u64, who.caps: 0x11u64,
        } { "addrs": addrs().as_bytes() } |writer, h1| writer.put_h1(h1, &addrs())),
        sample!(
            "h2",
            H2 {
                ver: 1u8,
                id: NodeId(run(0x50)),
                boot: Boot(run(0x60)),
                nonce_i: run::<16>(0x30),
                nonce_r: run::<16>(0x70),
                h1_hash: run::<32>(0x80),
                known_generation: 9u64,
                caps: 0x12u64,
            }
        ),
        sample!("h3", 0u8, H3 {
            who.ver_min: 1u8, who.ver_max: 2u8, who.steer: 0x53u8, who.rx_index: 0xabc1_2345u32,
            who.rcvbuf: 65_536u32, who.id: NodeId(run(0x10)), who.boot: Boot(run(0x20)),
            who.nonce: run::<16>(0x30), who.target: NodeId(run(0x40)), who.hs: 0x0102_0304_0506_0708u64,
            who.generation: 9u64, who.caps: 0x11u64, responder: NodeId(run(0x50)),
            responder_boot: Boot(run(0x60)), nonce_r: run::<16>(0x70),
        } { "addrs": addrs().as_bytes(), "inner": run::<40>(0xa0) }
            |writer, h3| writer.put_h3(h3, &addrs(), &run::<40>(0xa0))),
        sample!(
            "cookie",
            Cookie {
                cookie: 0x1122_3344_5566_7788u64,
                nonce_i: run::<16>(0x30)
            }
        ),
        sample!(
            "beacon",
            Beacon {
                port: 7400u16,
                id: NodeId(run(0x10)),
                boot: Boot(run(0x20)),
                ip: addrs()[0].ip,
            }
        ),
    ]
}

pub fn pair() -> Vec<Sample> {
    let mut samples = liveness();
    samples.extend(acks());
    samples
}

fn liveness() -> Vec<Sample> {
    vec![
        sample!(
            "opened",
            LinkOpened {
                rx_index: 0x1230_0001u32,
                rcvbuf: 131_072u32,
                steer: 7u8,
                caps: 0x13u64,
                generation: 4u64,
            }
        ),
        sample!(
            "ping",
            Ping {
                no: 0x0102_0304u32,
                target: NodeId(run(0x10))
            }
        ),
        sample!("ack", Ack { no: 0x0102_0304u32 }),
        sample!(
            "ping_req",
            PingReq {
                no: 0x0506_0708u32,
                target: NodeId(run(0x20))
            }
        ),
        sample!("nack", Nack { no: 0x0506_0708u32 }),
        sample!("member", 0u8, Member {
            app_ver: 0x0001_0203u32, id: NodeId(run(0x10)), boot: Boot(run(0x20)), generation: 5u64,
            incarnation: 6u64, table: 7u64, state: 1u8, proto_ver: 1u8, keys: 0b101u8, primary: 2u8,
        } { "name": "alpha", "rack": "r1", "addrs": addrs().as_bytes(), "meta": b"zone=a\n".as_slice() }
            |writer, member| writer.put_member(member, "alpha", "r1", &addrs(), b"zone=a\n")),
        sample!(
            "rumour",
            Rumour {
                state: 2u8,
                id: NodeId(run(0x10)),
                generation: 5u64,
                incarnation: 6u64,
                accuser: NodeId(run(0x30)),
            }
        ),
        sample!(
            "you_are_dead",
            YouAreDead {
                generation: 5u64,
                incarnation: 6u64
            }
        ),
        sample!(
            "path_probe",
            PathProbe {
                no: 3u32,
                size: 1400u32
            }
        ),
        sample!(
            "path_ack",
            PathAck {
                no: 3u32,
                size: 1400u32
            }
        ),
    ]
}

fn acks() -> Vec<Sample> {
    vec![
        sample!("ctl", 0u8, Ctl { seq: 0x0a0b_0c0du32 } { "content": nested() }
            |writer, ctl| writer.put_ctl(ctl.seq.get(), &nested())),
        sample!(
            "ctl_ack",
            CtlAck {
                floor: 0x0a0b_0c0du32,
                bits: 0x8000_0000_0000_0006u64
            }
        ),
        sample!("bulk_ack", 1u8, BulkAck { floor: 77u32, delay_us: 250u32, credit: 1_048_576u64 }
            { "bitmap": "0000000000000006 8000000000000001" }
            |writer, ack| writer.put_bulk_ack(ack, &[6, 1 << 63 | 1])),
        sample!("fan_ack", 0u8, FanAck {
            delay_us: 150u32, session: 0x1111_2222_3333_4444u64, floor: 1000u64, credit: 8_388_608u64,
            recent: 1070u64,
        } { "bitmap": "0000000000000010 0000000000000040" }
            |writer, ack| writer.put_fan_ack(ack, &[0x10, 0x40])),
        sample!(
            "fan_beat",
            FanBeat {
                session: 0x1111_2222_3333_4444u64,
                next: 1071u64,
                bytes: 900_000u64
            }
        ),
    ]
}

/// TABLE_ACK then STREAM_CLOSE, as the content of a chunk.
pub fn nested() -> Vec<u8> {
    let mut body = [0; 64];
    let mut writer = Writer::new(&mut body);
    assert!(writer.put(&TableAck {
        version: 12.into(),
        ..Default::default()
    }));
    assert!(writer.put(&StreamClose {
        session: 13.into(),
        ..Default::default()
    }));
    writer.as_bytes().to_vec()
}

pub fn ctl() -> Vec<Sample> {
    vec![
        sample!(
            "stream_open",
            StreamOpen {
                size: 1200u32,
                session: 0x1111_2222_3333_4444u64,
                floor: 1000u64,
                slot: 3u8,
                suite: 2u8,
                lane: 1u8,
            }
        ),
        sample!(
            "stream_ready",
            StreamReady {
                result: 1u32,
                session: 0x1111_2222_3333_4444u64
            }
        ),
        sample!(
            "stream_close",
            StreamClose {
                session: 0x1111_2222_3333_4444u64
            }
        ),
        sample!(
            "delivered",
            Delivered {
                sub: 1u32,
                handle: 2u32,
                count: 3u32,
                from: 4u64,
                result: 6u32
            }
        ),
        sample!(
            "deferred",
            Deferred {
                sub: 1u32,
                handle: 2u32,
                from: 4u64
            }
        ),
        sample!("deferred_gone", Deferred::GONE, Deferred {
            sub: 1u32, handle: 2u32, from: 4u64,
        } {} |writer, digest| writer.put(digest)),
        sample!("resumed", Resumed { sub: 1u32 }),
        sample!(
            "fetch",
            Fetch {
                sub: 1u32,
                handle: 2u32,
                count: 3u32,
                from: 4u64,
                max_bytes: 65_536u32
            }
        ),
        sample!(
            "fetched",
            Fetched {
                sub: 1u32,
                handle: 2u32,
                count: 3u32,
                from: 4u64
            }
        ),
        sample!(
            "gap",
            Gap {
                sub: 1u32,
                handle: 2u32,
                count: 3u32,
                from: 4u64,
                reason: 5u32
            }
        ),
        sample!(
            "table_ack",
            TableAck {
                version: 0x0102_0304_0506_0708u64
            }
        ),
        sample!(
            "table_ask",
            TableAsk {
                have: 0x0102_0304_0506_0708u64
            }
        ),
        sample!(
            "bucket_ask",
            BucketAsk {
                bitmap: run::<32>(1)
            }
        ),
    ]
}

pub fn bulk() -> Vec<Sample> {
    vec![
        sample!("bulk", 0u8, Bulk { seq: 0x0a0b_0c0du32 } { "content": nested() }
            |writer, bulk| writer.put_bulk(bulk.seq.get(), &nested())),
        sample!(
            "table",
            Table {
                count: 2u32,
                version: 8u64,
                base: 7u64
            }
        ),
        sample!("sub_add", 0u8, SubAdd {
            sub: 1u32, client: 0x99aa_bbcc_ddee_ff00u64, attempts: 3u32, every_ms: 5000u32, ack: 1u8, order: 1u8,
            policy: 3u8,
        } { "pattern": "orders.*" } |writer, sub| writer.put_sub_add(sub, "orders.*")),
        sample!("sub_del", SubDel { sub: 1u32 }),
        sample!("table_end", TableEnd { version: 8u64 }),
        sample!("buckets", 0u8, Buckets { first: 128u16 } { "hashes": "0102030405060708 1112131415161718" }
            |writer, buckets| writer.put_buckets(
                buckets.first.get(), &[0x0102_0304_0506_0708, 0x1112_1314_1516_1718])),
        sample!(
            "retired",
            Retired {
                handle: 2u32,
                count: 3u32
            }
        ),
        sample!("backlog", 0u8, Backlog { sub: 1u32, handle: 2u32, count: 3u32, from: 4u64 }
            { "topic": "orders.new" } |writer, backlog| writer.put_backlog(backlog, "orders.new")),
        sample!("catchup", 0u8, Catchup { sub: 1u32, handle: 2u32, offset: 5u32, seq: 4u64, total: 11u32 }
            { "payload": b"world!".as_slice() } |writer, catchup| writer.put_catchup(catchup, b"world!")),
    ]
}

pub fn fan() -> Vec<Sample> {
    vec![
        sample!("define", 0u8, Define { handle: 2u32, seq: 0x0102_0304_0506_0708u64 } { "topic": "orders.new" }
            |writer, define| writer.put_define(define.handle.get(), define.seq.get(), "orders.new")),
        sample!("message_with_seq", 1u8, Message { handle: 2u32 } { "seq": 9u64, "payload": b"hello".as_slice() }
            |writer, message| writer.put_message(message.handle.get(), Some(9), b"hello")),
        sample!("message", 0u8, Message { handle: 2u32 } { "payload": b"hello".as_slice() }
            |writer, message| writer.put_message(message.handle.get(), None, b"hello")),
        sample!("fragment", 0u8, Fragment { handle: 2u32, seq: 9u64, offset: 6u32, total: 12u32 }
            { "payload": b"world!".as_slice() } |writer, fragment| writer.put_fragment(fragment, b"world!")),
    ]
}

pub fn all() -> Vec<Sample> {
    [hello(), pair(), ctl(), bulk(), fan()]
        .into_iter()
        .flatten()
        .collect()
}

/// All samples of a group as one body.
pub fn body(samples: &[Sample]) -> Vec<u8> {
    let mut body = vec![0; 4096];
    let mut writer = Writer::new(&mut body);
    for sample in samples {
        assert!(writer.put_encoded(&sample.bytes));
    }
    writer.as_bytes().to_vec()
}

trait AsBytes {
    fn as_bytes(&self) -> Vec<u8>;
}

impl AsBytes for [Addr; 2] {
    fn as_bytes(&self) -> Vec<u8> {
        zerocopy::IntoBytes::as_bytes(self.as_slice()).to_vec()
    }
}
