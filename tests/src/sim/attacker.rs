//! Somebody on the path without the key: records everything, replays it to anybody from anywhere, also after restarts, and
//! changes it. What the design says of each is checked on the spot.

use std::net::SocketAddr;

use tidings_wire::{Class, HELLO_HEADER, Header, HelloKind, hello_gate};

use super::S;
use super::network::{Due, address, mar};
use super::node::keyring;
use super::plan::Fault;
use super::random::Random;
use super::recorder::Record;
use super::world::World;

/// Where the attacker sits when it does not pretend to be a node.
fn elsewhere() -> SocketAddr {
    SocketAddr::from(([10, 0, 9, 254], 666))
}

pub(crate) struct Attacker {
    random: Random,
}

impl Attacker {
    pub(crate) fn new(seed: u64) -> Attacker {
        Attacker {
            random: Random::of(seed, "attacker"),
        }
    }
}

/// What a node did so far that a datagram could have made it do.
#[derive(PartialEq, Eq, Debug)]
struct Done {
    refused: u64,
    taken: u64,
    delivered: u64,
    streams: (usize, usize),
}

impl World {
    pub(crate) fn attack(&mut self) {
        let every = self.plan.attack_every;
        let Some(attacker) = &mut self.attacker else {
            return;
        };
        if self.healing {
            return;
        }
        let wait = attacker.random.exponential(every).max(1_000);
        let (kind, victim) = (attacker.random.below(6), attacker.random.next());
        self.net.at(self.net.now + wait, Due::Attack);
        let recorded = self
            .net
            .recorder
            .as_mut()
            .and_then(|recorder| recorder.any());
        let Some(record) = recorded else {
            return;
        };
        self.coverage.fired(Fault::Attacker);
        let victim = (victim % self.nodes.len() as u64) as usize;
        match kind {
            0 | 1 => self.replay(&record, record.to, address(record.from)),
            2 => self.replay(&record, record.to, elsewhere()),
            3 => self.replay(&record, victim, address(record.from)),
            4 => self.forge(&record),
            _ => self.junk(victim),
        }
    }

    /// A node was started: it hears at once all that was kept from before.
    pub(crate) fn replay_old(&mut self, n: usize) {
        let Some(recorder) = self.net.recorder.as_ref().filter(|_| !self.healing) else {
            return;
        };
        for record in recorder.of(n) {
            let to = if record.from == n { record.to } else { n };
            self.replay(&record, to, address(record.from));
        }
    }

    // A copy of something recorded.
    fn replay(&mut self, record: &Record, to: usize, from: SocketAddr) {
        if !self.nodes[to].is_up() || self.nodes[to].paused > 0 {
            return;
        }
        let before = self.done(to);
        self.hear(to, from, &record.bytes);
        let after = self.done(to);
        self.coverage.replayed += 1;
        if self.must_refuse(record, to) {
            self.coverage.replayed_old += 1;
            assert!(
                after.refused == before.refused + 1
                    && (after.taken, after.delivered, after.streams)
                        == (before.taken, before.delivered, before.streams),
                "n{to} takes a {:?} recorded from n{} to n{} {} ms ago: {before:?}, {after:?}",
                record.class,
                record.from,
                record.to,
                (self.net.now - record.at) / 1_000_000,
            );
        }
        self.books.pass_on(to != record.to);
        self.finish(to);
        self.books.pass_on(false);
    }

    // Whether nobody may take the record there any more.
    fn must_refuse(&self, record: &Record, to: usize) -> bool {
        let class = record.class;
        let hello = (class == Class::Hello).then(|| kind(&self.plan, &record.bytes));
        // Whoever asks is answered, and nothing is remembered of it.
        if hello == Some(Some(HelloKind::H1)) {
            return false;
        }
        if to != record.to {
            // A stream's datagram goes to all of its nodes.
            return class != Class::Fan;
        }
        self.net.lives[to] != record.lives.1 || self.knows_new_life(record, to)
    }

    // The sender was started again since, and the receiver has long had to do with its new life.
    fn knows_new_life(&self, record: &Record, to: usize) -> bool {
        let sender = &self.nodes[record.from];
        if sender.lives == record.lives.0 || self.net.now < sender.born + 5 * S {
            return false;
        }
        let members = self.nodes[to].core.as_ref().map(|core| core.members());
        let mut members = members.into_iter().flatten();
        members.any(|m| m.node == sender.id && m.boot == sender.boot && m.rtt.is_some())
    }

    fn forge(&mut self, record: &Record) {
        let to = record.to;
        let Some(attacker) = &mut self.attacker else {
            return;
        };
        if !self.nodes[to].is_up() || self.nodes[to].paused > 0 {
            return;
        }
        let mut bytes = record.bytes.clone();
        mar(&mut attacker.random, &mut bytes);
        if bytes == record.bytes {
            return;
        }
        self.refuse(to, address(record.from), &bytes);
    }

    fn junk(&mut self, to: usize) {
        let Some(attacker) = &mut self.attacker else {
            return;
        };
        if !self.nodes[to].is_up() || self.nodes[to].paused > 0 {
            return;
        }
        let len = attacker.random.log_uniform(1, 1500) as usize;
        let mut bytes = vec![0; len];
        attacker.random.fill(&mut bytes);
        // A valid version and class, often.
        if attacker.random.coin() {
            bytes[0] = 0x11 + attacker.random.below(4) as u8;
        }
        self.refuse(to, elsewhere(), &bytes);
    }

    fn refuse(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        let before = self.done(to);
        self.hear(to, from, bytes);
        let after = self.done(to);
        let expected = Done {
            refused: before.refused + 1,
            ..before
        };
        assert!(
            after == expected,
            "n{to} takes a forgery: {expected:?}, {after:?}"
        );
        self.finish(to);
    }

    fn hear(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.with(to, |core, now, desk| {
            core.handle_datagram(now, from, &mut bytes, desk);
        });
    }

    fn done(&self, n: usize) -> Done {
        let node = &self.nodes[n];
        let Some(core) = &node.core else {
            return Done {
                refused: 0,
                taken: 0,
                delivered: 0,
                streams: (0, 0),
            };
        };
        Done {
            refused: node.refused(),
            taken: core
                .peers()
                .iter()
                .map(|peer| peer.counters.datagrams_in)
                .sum(),
            delivered: core.receive_counters().delivered,
            streams: core.stream_counts(),
        }
    }
}

fn kind(plan: &super::plan::Plan, datagram: &[u8]) -> Option<HelloKind> {
    let Ok(Header::Hello(_)) = Header::parse(datagram) else {
        return None;
    };
    let long_enough = datagram.len() > HELLO_HEADER;
    long_enough.then(|| hello_gate(&keyring(plan), datagram).ok())?
}
