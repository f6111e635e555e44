//! An insider: a peer with the right key that makes a proper link to a live core and then says anything. Nothing that it says may
//! panic, and no subscription is given a message twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tidings_protocol::props::Input;
use tidings_protocol::{AckMode, Core, CoreConfig, PublisherId, SlowPolicy, SubSpec};
use tidings_wire::digest::{
    Ack, BulkAck, CtlAck, Digest, Digests, H1, H2, H3, Introduction, Member, StreamOpen, SubAdd,
    Table, TableEnd, Writer,
};
use tidings_wire::{
    Boot, Class, FAN_HEADER, FanTx, HELLO_HEADER, HelloKind, Keyring, NodeId, OverlayId,
    PAIR_HEADER, PairIdentity, PairKeys, TAG, hello_hash, hello_open, hello_seal, limits, steer,
};

use super::wire::{SLOT, ring};
use crate::net::{MS, Manner, S, Seen};

const STEPS_MAX: usize = 64;
/// Index that we chose for what comes to us, and the session of our stream.
const INDEX: u32 = 0x0120_0001;
const SESSION: u64 = 0x5e55;

const US: NodeId = NodeId([0x11; 16]);
const OUR_BOOT: Boot = Boot([0x12; 16]);
const CORE: NodeId = NodeId([0x21; 16]);
const ITS_BOOT: Boot = Boot([0x22; 16]);

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 7400))
}

struct Insider {
    now: u64,
    core: Core,
    seen: Seen,
    subs: Vec<u32>,
    handles: Vec<u32>,
    ring: Keyring,
    keys: Option<PairKeys>,
    // Where the core takes PAIR and BULK, once it said so.
    index: u32,
    fan: FanTx,
    // Chunks that we sent, and the highest that came, by channel: CTL, BULK.
    sent: [u32; 2],
    came: [u32; 2],
    // Streams that exist, ours first.
    sessions: Vec<u64>,
    table: u64,
    incarnation: u64,
    counted: usize,
    got: BTreeSet<(u32, PublisherId, u64)>,
}

fn introduction() -> Introduction {
    Introduction {
        ver_min: 1,
        ver_max: 1,
        rx_index: INDEX.into(),
        rcvbuf: (1 << 20).into(),
        id: US,
        boot: OUR_BOOT,
        nonce: [7; 16],
        hs: 1.into(),
        generation: 1.into(),
        caps: (1 << 32).into(),
        ..Default::default()
    }
}

// A body of what `write` puts.
fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut body = [0; 1400];
    let mut writer = Writer::new(&mut body);
    write(&mut writer);
    writer.as_bytes().to_vec()
}

// Room for a header, the body, a tag.
fn frame(header: usize, body: &[u8]) -> Vec<u8> {
    [&vec![0; header], body, &[0; TAG]].concat()
}

impl Insider {
    fn new() -> Self {
        let ring = ring(7);
        let mut config = CoreConfig::new(CORE, ITS_BOOT, "core");
        config.addresses = vec![addr(1)];
        config.generation = Some(1);
        let mut core = Core::new(config, ring.share(), S, [3; 32]);
        core.grant_slots(0);
        let mut seen = Seen::default();
        let mut subs = Vec::new();
        for (pattern, ordered) in [("*", false), ("a.*", true)] {
            let mut spec = SubSpec::new(pattern);
            (spec.client, spec.ordered) = ("client".into(), ordered);
            subs.push(core.subscribe(S, spec, &mut seen).expect("a valid pattern"));
        }
        let handles = ["a.b", "c"].map(|topic| core.open_publisher(topic).expect("a topic"));
        Self {
            now: S,
            core,
            seen,
            subs,
            handles: handles.to_vec(),
            keys: None,
            index: 0,
            fan: FanTx::new(&ring, SLOT, US, OUR_BOOT, SESSION, 0).expect("a slot"),
            ring,
            sent: [0; 2],
            came: [0; 2],
            sessions: vec![SESSION],
            table: 0,
            incarnation: 0,
            counted: 0,
            got: BTreeSet::new(),
        }
    }

    // Hands a datagram over, as we or from elsewhere, and hears what the core says to us.
    fn hand(&mut self, from: SocketAddr, mut datagram: Vec<u8>) {
        self.core
            .handle_datagram(self.now, from, &mut datagram, &mut self.seen);
        self.listen();
    }

    fn listen(&mut self) {
        for _ in 0..4 {
            self.core.flush(self.now, &mut self.seen);
            let mut out = Vec::new();
            for run in self.core.transmits() {
                assert!(run.segment > 0 && run.segment <= 65_507);
                let all = run
                    .bytes
                    .chunks(run.segment)
                    .map(|d| (run.class, d.to_vec()));
                out.extend(all.filter(|_| run.to == addr(2)));
            }
            self.core.sent();
            let mut answers = Vec::new();
            for (class, bytes) in out {
                self.hear(class, bytes, &mut answers);
            }
            self.count();
            if answers.is_empty() {
                return;
            }
            for datagram in answers {
                let mut datagram = datagram;
                self.core
                    .handle_datagram(self.now, addr(2), &mut datagram, &mut self.seen);
            }
        }
    }

    fn count(&mut self) {
        for got in &self.seen.got[self.counted..] {
            let new = self.got.insert((got.sub, got.publisher, got.seq));
            assert!(new || got.again, "a message comes twice only if it says so");
        }
        self.counted = self.seen.got.len();
    }

    // What a well-behaved node answers to everything, so that the link lives.
    fn hear(&mut self, class: Class, mut bytes: Vec<u8>, answers: &mut Vec<Vec<u8>>) {
        let Some(keys) = &mut self.keys else {
            return;
        };
        let rx = match class {
            Class::Pair => &mut keys.pair_rx,
            Class::Bulk => &mut keys.bulk_rx,
            _ => return,
        };
        let Ok(opened) = rx.open(&mut bytes) else {
            return;
        };
        let (counter, body) = (opened.counter, opened.body.to_vec());
        rx.mark(counter);
        let mut pings = Vec::new();
        for digest in Digests::new(&body) {
            match digest.expect("the core writes what it can read") {
                Digest::Opened(opened) => self.index = opened.rx_index.get(),
                Digest::Ping(ping) => pings.push(ping.no),
                Digest::Ctl(chunk) => {
                    self.came[0] = self.came[0].max(chunk.fixed.seq.get() + 1);
                    for digest in chunk.digests() {
                        if let Ok(Digest::StreamOpen(open)) = digest {
                            self.sessions.push(open.session.get());
                        }
                    }
                }
                Digest::Bulk(chunk) => self.came[1] = self.came[1].max(chunk.fixed.seq.get() + 1),
                _ => {}
            }
        }
        let came = self.came;
        let body = written(|writer| {
            for no in pings {
                let ack = Ack {
                    no,
                    ..Default::default()
                };
                assert!(writer.put(&ack));
            }
            let ctl = CtlAck {
                floor: came[0].into(),
                ..Default::default()
            };
            let bulk = BulkAck {
                floor: came[1].into(),
                ..Default::default()
            };
            assert!(writer.put(&ctl) && writer.put_bulk_ack(&bulk, &[]));
        });
        answers.extend(self.sealed(Class::Pair, &body));
    }

    fn sealed(&mut self, class: Class, body: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.as_mut()?;
        let tx = match class {
            Class::Bulk => &mut keys.bulk_tx,
            _ => &mut keys.pair_tx,
        };
        let mut datagram = frame(PAIR_HEADER, body);
        tx.seal(self.index, 0, &mut datagram).ok()?;
        Some(datagram)
    }

    fn say(&mut self, class: Class, body: &[u8]) {
        if let Some(datagram) = self.sealed(class, body) {
            self.hand(addr(2), datagram);
        }
    }

    fn hello(&mut self, kind: HelloKind, salt: u8, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        let least = limits::MIN_H1_DATAGRAM - HELLO_HEADER - TAG;
        body.resize(body.len().max(least), 0);
        let mut datagram = frame(HELLO_HEADER, &body);
        let lane = steer(OverlayId::from_name("test"), 0);
        hello_seal(&self.ring, SLOT, kind, lane, [salt; 32], 0, &mut datagram).expect("it fits");
        datagram
    }

    // The proper handshake: afterwards there is a link, and the core holds us for a member.
    fn connect(&mut self) {
        let who = introduction();
        let h1 = H1 {
            who,
            ..Default::default()
        };
        let body = written(|writer| assert!(writer.put_h1(&h1, &[])));
        let mut datagram = self.hello(HelloKind::H1, 1, &body);
        let hash = hello_hash(&datagram);
        self.core
            .handle_datagram(self.now, addr(2), &mut datagram, &mut self.seen);
        self.core.flush(self.now, &mut self.seen);
        let mut answer = None;
        for run in self.core.transmits() {
            answer = Some(run.bytes.to_vec());
        }
        self.core.sent();
        let mut answer = answer.expect("an H1 is answered");
        let opened = hello_open(&self.ring, &mut answer).expect("by an H2");
        let Some(Ok(Digest::H2(h2))) = Digests::new(opened.body).next() else {
            panic!("by an H2");
        };
        let h2: H2 = *h2;
        assert_eq!(h2.h1_hash, hash);
        let identity = PairIdentity {
            initiator: US,
            initiator_boot: OUR_BOOT,
            responder: CORE,
            responder_boot: ITS_BOOT,
            nonce_i: who.nonce,
            nonce_r: h2.nonce_r,
        };
        let mut keys = PairKeys::derive(&self.ring, SLOT, &identity, true).expect("a slot");
        let mut inner = frame(PAIR_HEADER, &self.introduction());
        keys.pair_tx.seal(0, 0, &mut inner).expect("it fits");
        let h3 = H3 {
            who,
            responder: CORE,
            responder_boot: ITS_BOOT,
            nonce_r: h2.nonce_r,
            ..Default::default()
        };
        self.keys = Some(keys);
        let body = written(|writer| assert!(writer.put_h3(&h3, &[addr(2).into()], &inner)));
        let h3 = self.hello(HelloKind::H3, 3, &body);
        self.hand(addr(2), h3);
        assert!(self.index != 0, "the core opened the link");
    }

    // Our member record.
    fn introduction(&self) -> Vec<u8> {
        let member = Member {
            id: US,
            boot: OUR_BOOT,
            generation: 1.into(),
            incarnation: self.incarnation.into(),
            table: self.table.into(),
            state: 1,
            proto_ver: 1,
            keys: 1 << SLOT,
            primary: SLOT,
            ..Default::default()
        };
        let addrs = [addr(2).into()];
        written(|writer| assert!(writer.put_member(&member, "us", "", &addrs, &[])))
    }

    fn chunk(&mut self, channel: usize, content: &[u8]) {
        let seq = self.sent[channel];
        self.sent[channel] += 1;
        let body = written(|writer| {
            assert!(match channel {
                0 => writer.put_ctl(seq, content),
                _ => writer.put_bulk(seq, content),
            });
        });
        self.say([Class::Pair, Class::Bulk][channel], &body);
    }

    // Our subscriptions, so that the core publishes to us.
    fn subscribe_us(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        let (base, version) = (self.table, self.table + 1);
        let table = Table {
            count: 1.into(),
            version: version.into(),
            base: base.into(),
            ..Default::default()
        };
        let sub = SubAdd {
            sub: u32::from(choice & 3).into(),
            attempts: u32::from(choice >> 2 & 3).into(),
            every_ms: 100.into(),
            ack: choice >> 4 & 1,
            order: choice >> 5 & 1,
            policy: choice >> 6,
            ..Default::default()
        };
        let end = TableEnd {
            version: version.into(),
            ..Default::default()
        };
        let content = written(|writer| {
            assert!(writer.put(&table) && writer.put_sub_add(&sub, "*") && writer.put(&end));
        });
        self.table = version;
        self.chunk(1, &content);
    }

    fn open_stream(&mut self, input: &mut Input<'_>) {
        let open = StreamOpen {
            size: 1200.into(),
            session: SESSION.into(),
            floor: u64::from(input.u8() % 4).into(),
            slot: SLOT,
            suite: 1,
            ..Default::default()
        };
        self.chunk(0, &written(|writer| assert!(writer.put(&open))));
    }

    // Arbitrary bytes; where a digest names a stream by a small number, it is one that exists.
    fn body(&self, input: &mut Input<'_>) -> Vec<u8> {
        let len = usize::from(input.u8()) * 4;
        let mut body = input.bytes(len).to_vec();
        let mut at = 0;
        while at + 16 <= body.len() {
            let names_stream = matches!(body[at], 0x1a | 0x1b | 0x20..=0x22);
            let len = usize::from(u16::from_le_bytes([body[at + 2], body[at + 3]]));
            if names_stream && body[at + 9..at + 16] == [0; 7] {
                let session = self.sessions[usize::from(body[at + 8]) % self.sessions.len()];
                body[at + 8..at + 16].copy_from_slice(&session.to_le_bytes());
            }
            at += len.max(8).next_multiple_of(8);
        }
        body
    }

    fn owner(&mut self, input: &mut Input<'_>) {
        let choice = usize::from(input.u8());
        let sub = self.subs[choice % self.subs.len()];
        match choice >> 4 {
            0..5 => {
                let handle = self.handles[choice % 2];
                let len = usize::from(input.u16()) >> (choice & 7);
                // Refused when there is no room.
                let _ = self
                    .core
                    .publish(self.now, handle, &vec![7; len], &mut self.seen);
            }
            5 => self.core.detach(self.now, sub),
            6 => self.core.attach(sub, &mut self.seen),
            7 => {
                let manner = [Manner::Ack, Manner::Keep, Manner::Room(2), Manner::Hold(1)];
                self.seen.manners.insert(sub, manner[choice % 4]);
                self.core.ready(sub, &mut self.seen);
            }
            8 => {
                let mut spec = SubSpec::new(["*", "a.*", "a.b"][choice % 3]);
                spec.client = "client".into();
                spec.ack = [AckMode::Client, AckMode::Node][choice & 1];
                spec.policy = SlowPolicy::ALL[choice % SlowPolicy::ALL.len()];
                if let Ok(sub) = self.core.subscribe(self.now, spec, &mut self.seen)
                    && !self.subs.contains(&sub)
                {
                    self.subs.push(sub);
                }
            }
            9 if self.core.unsubscribe(self.now, sub, &mut self.seen).is_ok() => {
                self.got.retain(|got| got.0 != sub);
            }
            _ => {
                let (from, to) = (input.u64(), input.u64());
                let node = if choice & 1 == 0 { US } else { CORE };
                let publisher = PublisherId {
                    node,
                    boot: if choice & 1 == 0 { OUR_BOOT } else { ITS_BOOT },
                    handle: input.u32(),
                };
                self.core.acknowledge_range(sub, publisher, from, to);
            }
        }
        self.listen();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 | 1 => {
                let body = self.body(input);
                self.say(Class::Pair, &body);
            }
            2..5 => {
                let body = self.body(input);
                self.chunk(0, &body);
            }
            5..8 => {
                let body = self.body(input);
                self.chunk(1, &body);
            }
            8 | 9 => {
                let body = self.body(input);
                let mut datagram = frame(FAN_HEADER, &body);
                let lane = steer(OverlayId::from_name("test"), 0);
                if self.fan.seal(lane, &mut datagram).is_ok() {
                    self.hand(addr(2), datagram);
                }
            }
            10 => self.open_stream(input),
            11 => {
                self.now += MS << (input.u8() % 16);
                self.core.handle_timeout(self.now, &mut self.seen);
                self.listen();
            }
            12 => self.owner(input),
            13 => self.subscribe_us(input),
            14 => {
                self.incarnation += u64::from(input.u8() & 1);
                let body = self.introduction();
                self.say(Class::Pair, &body);
            }
            _ => self.odd(input),
        }
    }

    // A HELLO of any kind that holds anything, or an ICMP error that quotes anything.
    fn odd(&mut self, input: &mut Input<'_>) {
        let kinds = [
            HelloKind::H1,
            HelloKind::H2,
            HelloKind::H3,
            HelloKind::Cookie,
            HelloKind::Beacon,
        ];
        match usize::from(input.u8() % 6) {
            4 => {
                let quoted = input.bytes(64);
                self.core
                    .handle_unreachable(self.now, addr(2), quoted, &mut self.seen);
                self.listen();
            }
            kind => {
                let body = self.body(input);
                let from = addr(input.u8() % 4);
                let datagram = self.hello(kinds[kind.min(4)], 9, &body);
                self.hand(from, datagram);
            }
        }
    }
}

/// What the insider says, and what the core's owner does meanwhile.
pub fn insider(data: &[u8]) {
    let mut input = Input::new(data);
    let mut insider = Insider::new();
    insider.connect();
    let mut steps = 0;
    while !input.is_empty() && steps < STEPS_MAX {
        insider.step(&mut input);
        steps += 1;
    }
    insider.now += S;
    insider.core.handle_timeout(insider.now, &mut insider.seen);
    insider.listen();
}
