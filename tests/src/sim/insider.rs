//! A holder of the overlay key who says nonsense: it opens sessions as the protocol demands, and then seals garbage, digests
//! with garbage in them, and statements about others that are not its to make. It may hurt only what concerns itself.

use tidings_wire::digest::{
    Addr, Digest, Digests, H1, H3, Introduction, Member, MemberState, Rumour, StreamOpen, Writer,
};
use tidings_wire::limits::MIN_H1_DATAGRAM;
use tidings_wire::{
    Boot, Class, FAN_HEADER, FanTx, HELLO_HEADER, HelloKind, Keyring, MIN_DATAGRAM_SIZE, NodeId,
    PAIR_HEADER, PairIdentity, PairKeys, TAG, hello_hash, hello_open, hello_seal, steer,
};

use super::S;
use super::network::{Due, INSIDER, address};
use super::node::{id_of, keyring};
use super::nonsense;
use super::plan::{Fault, Plan};
use super::random::Random;
use super::world::World;

/// How far it is with one node.
enum Line {
    Idle,
    Greeted {
        nonce: [u8; 16],
        hash: [u8; 32],
        at: u64,
    },
    Confirmed {
        keys: Box<PairKeys>,
        at: u64,
    },
    Open(Box<Session>),
}

struct Session {
    keys: Box<PairKeys>,
    index: u32,
    steer: u8,
    ctl: u32,
    bulk: u32,
    fan: Option<FanTx>,
}

pub(crate) struct Insider {
    random: Random,
    ring: Keyring,
    id: NodeId,
    boot: Boot,
    hello_steer: u8,
    hs: u64,
    strangers: u64,
    lines: Vec<Line>,
}

impl Insider {
    pub(crate) fn new(plan: &Plan) -> Insider {
        let mut random = Random::of(plan.options.seed, "insider");
        let ring = keyring(plan);
        Insider {
            hello_steer: steer(ring.overlay(), 0),
            ring,
            id: id_of(plan.options.seed, INSIDER),
            boot: Boot(random.bytes()),
            hs: 0,
            strangers: 0,
            lines: (0..plan.options.nodes).map(|_| Line::Idle).collect(),
            random,
        }
    }

    fn introduce(&self, n: usize, nonce: [u8; 16]) -> Introduction {
        Introduction {
            ver_min: 1,
            ver_max: 1,
            rx_index: (n as u32).into(),
            rcvbuf: (1 << 20).into(),
            id: self.id,
            boot: self.boot,
            nonce,
            hs: self.hs.into(),
            generation: 1.into(),
            caps: ((n as u64 + 1) << 32).into(),
            ..Default::default()
        }
    }

    fn hello(&mut self, kind: HelloKind, write: impl FnOnce(&mut Writer<'_>) -> bool) -> Vec<u8> {
        let mut datagram = vec![0; MIN_DATAGRAM_SIZE];
        let mut writer = Writer::new(&mut datagram[HELLO_HEADER..MIN_DATAGRAM_SIZE - TAG]);
        assert!(write(&mut writer), "a HELLO fits");
        let len = HELLO_HEADER + writer.len() + TAG;
        datagram.truncate(len);
        let salt = self.random.bytes();
        hello_seal(
            &self.ring,
            0,
            kind,
            self.hello_steer,
            salt,
            0,
            &mut datagram,
        )
        .expect("sealed");
        datagram
    }

    fn greet(&mut self, n: usize, now: u64) -> Vec<u8> {
        self.hs += 1;
        let nonce = self.random.bytes();
        let h1 = H1 {
            who: self.introduce(n, nonce),
            ..Default::default()
        };
        let addrs = [Addr::from(address(INSIDER))];
        let datagram = self.hello(HelloKind::H1, |writer| {
            writer.put_h1(&h1, &addrs) && writer.pad_to(MIN_H1_DATAGRAM - HELLO_HEADER - TAG)
        });
        let hash = hello_hash(&datagram);
        self.lines[n] = Line::Greeted {
            nonce,
            hash,
            at: now,
        };
        datagram
    }

    /// A datagram from a node; what answers it.
    fn hear(&mut self, n: usize, mut datagram: Vec<u8>, now: u64) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.lines[n], Line::Idle) {
            Line::Greeted { nonce, hash, at } => {
                let body = hello_open(&self.ring, &mut datagram).ok().map(|h| h.body);
                let h2 = body.and_then(|body| match Digests::new(body).next() {
                    Some(Ok(Digest::H2(h2))) => Some(*h2),
                    _ => None,
                });
                let Some(h2) = h2.filter(|h2| h2.h1_hash == hash) else {
                    self.lines[n] = Line::Greeted { nonce, hash, at };
                    return None;
                };
                let who = PairIdentity {
                    initiator: self.id,
                    initiator_boot: self.boot,
                    responder: h2.id,
                    responder_boot: h2.boot,
                    nonce_i: nonce,
                    nonce_r: h2.nonce_r,
                };
                let mut keys = PairKeys::derive(&self.ring, 0, &who, true).ok()?;
                let mut inner = sealed(PAIR_HEADER, &self.record());
                keys.pair_tx.seal(0, 0, &mut inner).ok()?;
                let h3 = H3 {
                    who: self.introduce(n, nonce),
                    responder: h2.id,
                    responder_boot: h2.boot,
                    nonce_r: h2.nonce_r,
                    ..Default::default()
                };
                let addrs = [Addr::from(address(INSIDER))];
                let keys = Box::new(keys);
                self.lines[n] = Line::Confirmed { keys, at: now };
                Some(self.hello(HelloKind::H3, |writer| writer.put_h3(&h3, &addrs, &inner)))
            }
            Line::Confirmed { mut keys, at } => {
                let opened = keys.pair_rx.open(&mut datagram).ok();
                let opened = opened.and_then(|opened| match Digests::new(opened.body).next() {
                    Some(Ok(Digest::Opened(opened))) => Some(*opened),
                    _ => None,
                });
                self.lines[n] = match opened {
                    Some(opened) => Line::Open(Box::new(Session {
                        keys,
                        index: opened.rx_index.get(),
                        steer: opened.steer,
                        ctl: 0,
                        bulk: 0,
                        fan: None,
                    })),
                    None => Line::Confirmed { keys, at },
                };
                None
            }
            line => {
                self.lines[n] = line;
                None
            }
        }
    }

    // Its own member record, true as far as it goes.
    fn record(&self) -> Vec<u8> {
        member(self.id, self.boot, 1, address(INSIDER))
    }

    // What it says next to a node that it has a session with.
    fn speak(&mut self, n: usize, ids: &[NodeId]) -> Option<Vec<u8>> {
        let (id, boot) = (self.id, self.boot);
        let statement = self.statement(ids);
        let Self {
            random,
            ring,
            lines,
            hello_steer,
            ..
        } = self;
        let Line::Open(session) = &mut lines[n] else {
            return None;
        };
        let (index, steer) = (session.index, session.steer);
        let mut body = [0; 1100];
        let mut writer = Writer::new(&mut body);
        match random.below(8) {
            // Bytes that are no digests.
            0 => {
                let len = random.below(900) as usize;
                let mut bytes = vec![0; len];
                random.fill(&mut bytes);
                return seal_link(session, random.coin(), &bytes);
            }
            // Digests in a PAIR datagram itself.
            1 => nonsense::digests(random, &mut writer, ids),
            2 => drop(writer.put_encoded(&statement)),
            // Digests in the reliable channels, in their order.
            3 | 4 => {
                let mut content = [0; 900];
                let mut inner = Writer::new(&mut content);
                nonsense::digests(random, &mut inner, ids);
                let _fits = writer.put_ctl(session.ctl, inner.as_bytes());
                session.ctl += 1;
            }
            5 => {
                let mut content = [0; 900];
                let mut inner = Writer::new(&mut content);
                nonsense::digests(random, &mut inner, ids);
                let _fits = writer.put_bulk(session.bulk, inner.as_bytes());
                session.bulk += 1;
                return seal_link(session, true, writer.as_bytes());
            }
            // A stream of its own, and garbage on it.
            6 => {
                let number = random.next();
                let fan = FanTx::new(ring, 0, id, boot, number, 0).ok()?;
                let open = StreamOpen {
                    size: 1200.into(),
                    session: number.into(),
                    suite: ring.suite(0).map_or(0, |suite| suite as u8),
                    ..Default::default()
                };
                let mut content = [0; 64];
                let mut inner = Writer::new(&mut content);
                let _fits = inner.put(&open);
                let _fits = writer.put_ctl(session.ctl, inner.as_bytes());
                session.ctl += 1;
                session.fan = Some(fan);
            }
            _ => {
                let fan = session.fan.as_mut()?;
                nonsense::records(random, &mut writer);
                let mut datagram = sealed(FAN_HEADER, writer.as_bytes());
                fan.seal(*hello_steer, &mut datagram).ok()?;
                return Some(datagram);
            }
        }
        let mut datagram = sealed(PAIR_HEADER, writer.as_bytes());
        session
            .keys
            .pair_tx
            .seal(index, steer, &mut datagram)
            .ok()?;
        Some(datagram)
    }

    // A well-formed statement about a member: about itself, about one that does not exist, or about another at an
    // incarnation that cannot be.
    fn statement(&mut self, ids: &[NodeId]) -> Vec<u8> {
        let random = &mut self.random;
        match random.below(4) {
            0 if self.strangers < 8 => {
                self.strangers += 1;
                let id = NodeId(random.bytes());
                member(id, Boot(random.bytes()), random.below(9), address(250))
            }
            1 => member(self.id, self.boot, random.below(1000), address(INSIDER)),
            _ => {
                let state =
                    random.pick(&[MemberState::Suspect, MemberState::Dead, MemberState::Left]);
                let rumour = Rumour {
                    state: state as u8,
                    id: random.pick(ids),
                    generation: random.between(1, 3).into(),
                    incarnation: (u64::MAX - random.below(1 << 40)).into(),
                    accuser: self.id,
                    ..Default::default()
                };
                let mut place = [0; 64];
                let mut writer = Writer::new(&mut place);
                let _fits = writer.put(&rumour);
                writer.as_bytes().to_vec()
            }
        }
    }
}

fn member(id: NodeId, boot: Boot, incarnation: u64, at: std::net::SocketAddr) -> Vec<u8> {
    let member = Member {
        id,
        boot,
        generation: 1.into(),
        incarnation: incarnation.into(),
        state: MemberState::Alive as u8,
        proto_ver: 1,
        keys: 1,
        ..Default::default()
    };
    let mut place = [0; 256];
    let mut writer = Writer::new(&mut place);
    let _fits = writer.put_member(&member, "insider", "", &[Addr::from(at)], b"");
    writer.as_bytes().to_vec()
}

// Room for a header, the body, and room for the tag.
fn sealed(header: usize, body: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; header + body.len() + TAG];
    datagram[header..header + body.len()].copy_from_slice(body);
    datagram
}

fn seal_link(session: &mut Session, bulk: bool, body: &[u8]) -> Option<Vec<u8>> {
    let mut datagram = sealed(PAIR_HEADER, body);
    let keys = &mut session.keys;
    let tx = if bulk {
        &mut keys.bulk_tx
    } else {
        &mut keys.pair_tx
    };
    tx.seal(session.index, session.steer, &mut datagram).ok()?;
    Some(datagram)
}

impl World {
    pub(crate) fn misbehave(&mut self) {
        let (now, every) = (self.net.now, self.plan.insider_every);
        let Some(insider) = &mut self.insider else {
            return;
        };
        if self.healing {
            return;
        }
        let wait = insider.random.exponential(every).max(1_000);
        self.net.at(now + wait, Due::Insider);
        let mut out = Vec::new();
        for (n, datagram) in std::mem::take(&mut self.net.to_insider) {
            if let Some(answer) = insider.hear(n, datagram, now) {
                out.push((n, answer));
            }
        }
        let n = insider.random.below(self.nodes.len() as u64) as usize;
        let ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let again = match &insider.lines[n] {
            Line::Idle => true,
            Line::Greeted { at, .. } | Line::Confirmed { at, .. } => now > at + 2 * S,
            // The node may have forgotten it.
            Line::Open(_) => insider.random.below(64) == 0,
        };
        if again {
            let hello = insider.greet(n, now);
            out.push((n, hello));
        } else if let Some(datagram) = insider.speak(n, &ids) {
            self.coverage.fired(Fault::Insider);
            self.coverage.nonsense += 1;
            out.push((n, datagram));
        }
        for (n, datagram) in out {
            debug_assert!(Class::of(datagram[0]).is_ok(), "it seals as everybody");
            self.net.fly((INSIDER, n), 100_000, &datagram, false);
        }
    }
}
