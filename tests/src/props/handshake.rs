//! Handshakes between two cores through a network that the input decides about datagram by datagram: lost, doubled, changed,
//! replayed, from wrong addresses, around restarts. Afterwards the two find each other, and nothing recorded changes that.

use std::net::SocketAddr;

use tidings_protocol::props::Input;
use tidings_protocol::{Core, CoreConfig, MemberState, SubSpec};
use tidings_wire::digest::{H1, Writer};
use tidings_wire::{
    Boot, HELLO_HEADER, HelloKind, NodeId, OverlayId, TAG, hello_seal, limits, steer,
};

use super::wire::{SLOT, ring};
use crate::net::{MS, S, Seen};

/// Steps of one input, and datagrams that are under way or remembered.
const STEPS_MAX: usize = 96;
const FLYING_MAX: usize = 64;
const HEARD_MAX: usize = 256;
/// Lives of one node.
const LIVES_MAX: u8 = 4;
/// Somebody with the key, whose address never proves itself.
const STRANGER: usize = 2;

struct Datagram {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

struct Node {
    core: Core,
    seen: Seen,
    life: u8,
    sub: u32,
}

struct World {
    now: u64,
    nodes: [Node; 2],
    flying: Vec<Datagram>,
    heard: Vec<Datagram>,
    // Bytes from and to the stranger.
    stranger: (usize, usize),
}

fn addr(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8 + 1], 7400))
}

fn id(n: usize) -> NodeId {
    NodeId([n as u8 + 1; 16])
}

// Node 1 knows the address of node 0.
fn start(n: usize, life: u8, now: u64, with_disk: bool) -> Node {
    let boot = Boot([n as u8 * 16 + life + 1; 16]);
    let mut config = CoreConfig::new(id(n), boot, "node");
    config.addresses = vec![addr(n)];
    config.generation = with_disk.then(|| u64::from(life) + 1);
    config.seeds = if n == 0 { vec![] } else { vec![addr(0)] };
    let mut core = Core::new(config, ring(7), now, [n as u8 * 16 + life; 32]);
    core.grant_slots(n as u16);
    let mut seen = Seen::default();
    let sub = core
        .subscribe(now, SubSpec::new("*"), &mut seen)
        .expect("a valid pattern");
    Node {
        core,
        seen,
        life,
        sub,
    }
}

impl World {
    fn new() -> Self {
        let mut world = World {
            now: S,
            nodes: [start(0, 0, S, true), start(1, 0, S, true)],
            flying: Vec::new(),
            heard: Vec::new(),
            stranger: (0, 0),
        };
        world.flush(0);
        world.flush(1);
        world
    }

    fn flush(&mut self, n: usize) {
        let Node { core, seen, .. } = &mut self.nodes[n];
        core.flush(self.now, seen);
        for run in core.transmits() {
            for bytes in run.bytes.chunks(run.segment) {
                if run.to == addr(STRANGER) {
                    self.stranger.1 += bytes.len();
                }
                let to = usize::from(run.to == addr(1));
                if run.to != addr(to) || self.flying.len() >= FLYING_MAX {
                    continue;
                }
                let bytes = bytes.to_vec();
                if self.heard.len() < HEARD_MAX {
                    let bytes = bytes.clone();
                    self.heard.push(Datagram { from: n, to, bytes });
                }
                self.flying.push(Datagram { from: n, to, bytes });
            }
        }
        core.sent();
        let most = self.stranger.0;
        assert!(
            self.stranger.1 <= most,
            "no more goes to an unproven address than came"
        );
    }

    fn deliver(&mut self, datagram: Datagram, from: usize) {
        let Datagram { to, mut bytes, .. } = datagram;
        if from == STRANGER {
            self.stranger.0 += bytes.len();
        }
        let Node { core, seen, .. } = &mut self.nodes[to];
        core.handle_datagram(self.now, addr(from), &mut bytes, seen);
        self.flush(to);
    }

    fn pass(&mut self, time: u64) {
        self.now += time;
        for n in 0..2 {
            let Node { core, seen, .. } = &mut self.nodes[n];
            core.handle_timeout(self.now, seen);
            self.flush(n);
        }
    }

    fn restart(&mut self, n: usize, with_disk: bool) {
        let life = self.nodes[n].life + 1;
        if life < LIVES_MAX {
            self.nodes[n] = start(n, life, self.now, with_disk);
            self.flush(n);
        }
    }

    fn take(&mut self, input: &mut Input<'_>) -> Option<Datagram> {
        let at = usize::from(input.u8());
        (!self.flying.is_empty()).then(|| self.flying.remove(at % self.flying.len()))
    }

    // An H1 as good as any, of a node that nobody knows: it leaves nothing behind.
    fn strange(&mut self, to: usize, input: &mut Input<'_>) {
        let mut bytes = vec![0; limits::MIN_H1_DATAGRAM];
        let end = bytes.len() - TAG;
        let mut h1 = H1::default();
        (h1.who.ver_min, h1.who.ver_max) = (1, 1);
        (h1.who.id, h1.who.boot) = (NodeId([9; 16]), Boot(input.array::<16>().map(|b| b | 1)));
        h1.who.hs = input.u64().into();
        h1.who.generation = 1.into();
        let mut writer = Writer::new(&mut bytes[HELLO_HEADER..end]);
        assert!(writer.put_h1(&h1, &[]));
        let lane = steer(OverlayId::from_name("test"), 0);
        let cookie = input.u64();
        hello_seal(
            &ring(7),
            SLOT,
            HelloKind::H1,
            lane,
            input.array(),
            cookie,
            &mut bytes,
        )
        .expect("it fits");
        let state = |node: &Node| {
            let core = &node.core;
            (
                core.members().len(),
                core.peers().len(),
                core.stream_counts(),
                core.memory(),
            )
        };
        let before = state(&self.nodes[to]);
        let from = STRANGER;
        self.deliver(Datagram { from, to, bytes }, from);
        assert!(
            state(&self.nodes[to]) == before,
            "an H1 leaves nothing behind"
        );
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0..5 => {
                if let Some(datagram) = self.take(input) {
                    let from = datagram.from;
                    self.deliver(datagram, from);
                }
            }
            5 | 6 => drop(self.take(input)),
            7 => {
                if let Some(Datagram { from, to, bytes }) = self.take(input) {
                    let again = Datagram {
                        from,
                        to,
                        bytes: bytes.clone(),
                    };
                    self.deliver(Datagram { from, to, bytes }, from);
                    self.flying.push(again);
                }
            }
            8 => {
                if let Some(mut datagram) = self.take(input) {
                    let at = usize::from(input.u16()) % datagram.bytes.len();
                    datagram.bytes[at] ^= input.u8().max(1);
                    self.forged(datagram);
                }
            }
            9 | 10 => {
                let at = usize::from(input.u8());
                let from = usize::from(input.u8() % 3);
                if !self.heard.is_empty() {
                    let heard = &self.heard[at % self.heard.len()];
                    let (to, bytes) = (heard.to, heard.bytes.clone());
                    self.deliver(Datagram { from, to, bytes }, from);
                }
            }
            11 | 12 => self.pass(MS << (input.u8() % 14)),
            13 => self.pass(u64::from(input.u8()) * MS),
            14 => {
                let choice = input.u8();
                self.restart(usize::from(choice & 1), choice & 6 != 0);
            }
            _ => {
                let to = usize::from(input.u8() & 1);
                self.strange(to, input);
            }
        }
    }

    // Changed on its way: refused, whatever was changed.
    fn forged(&mut self, datagram: Datagram) {
        let refused = |node: &Node| node.core.refusals().iter().map(|(_, n)| n).sum::<u64>();
        let (to, from) = (datagram.to, datagram.from);
        let before = refused(&self.nodes[to]);
        self.deliver(datagram, from);
        assert_eq!(
            refused(&self.nodes[to]),
            before + 1,
            "a changed datagram is refused"
        );
    }

    // Everything arrives, 5 ms later, for as long as that.
    fn calm(&mut self, time: u64) {
        let end = self.now + time;
        while self.now < end {
            for datagram in std::mem::take(&mut self.flying) {
                let from = datagram.from;
                self.deliver(datagram, from);
            }
            self.pass(5 * MS);
        }
    }

    fn is_whole(&self) -> bool {
        (0..2).all(|n| {
            let (core, other) = (&self.nodes[n].core, &self.nodes[1 - n].core);
            let (table, other) = (other.table().0, other.config());
            let alive = core.members().into_iter().any(|member| {
                let known = member.node == other.node && member.boot == other.boot;
                known && member.state == MemberState::Alive && member.reached
            });
            // What is owed may still be counted by what an earlier life subscribed.
            let known = core.table_of(&other.node, other.boot) == table;
            alive && known && core.is_synced() && core.owed("topic") == 2
        })
    }

    fn find_each_other(&mut self) {
        for _ in 0..120 {
            if self.is_whole() {
                return;
            }
            self.calm(S / 2);
        }
        panic!("the two are locked out for a minute");
    }

    // Each hears the other once.
    fn talk(&mut self) {
        let counts = [0, 1].map(|n: usize| self.nodes[n].seen.got.len());
        for n in 0..2 {
            let Node { core, seen, .. } = &mut self.nodes[n];
            let handle = core.open_publisher("topic").expect("a valid topic");
            let accepted = core.publish(self.now, handle, b"word", seen);
            assert_eq!(accepted.map(|accepted| accepted.owed), Ok(2));
            self.flush(n);
        }
        // Datagrams that were under way for long make the two patient: what was lost last comes again after 5 s at most.
        for _ in 0..15 {
            self.calm(S);
            if self.nodes.iter().all(|node| node.core.is_settled()) {
                break;
            }
        }
        self.calm(S);
        for (node, before) in self.nodes.iter().zip(counts) {
            let new = &node.seen.got[before..];
            assert_eq!(new.len(), 2, "each word once");
            assert!(
                new.iter()
                    .all(|got| got.sub == node.sub && got.payload == b"word")
            );
            assert!(node.core.is_settled());
        }
    }
}

/// What the network does, step by step.
pub fn handshake(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    let mut steps = 0;
    while !input.is_empty() && steps < STEPS_MAX {
        world.step(&mut input);
        steps += 1;
    }
    world.find_each_other();
    world.talk();
    for Datagram { from, to, bytes } in std::mem::take(&mut world.heard) {
        world.deliver(Datagram { from, to, bytes }, from);
    }
    world.calm(S);
    assert!(world.is_whole(), "nothing recorded changes anything");
    world.talk();
}
