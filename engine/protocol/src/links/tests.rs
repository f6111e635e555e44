//! Links between cores in virtual time, over a network that the tests decide about datagram by datagram.

use std::net::SocketAddr;

use tidings_wire::digest::{Digest, Digests, Nack};
use tidings_wire::{
    Boot, Class, Header, HelloKind, KeyRecord, Keyring, NodeId, OverlayId, PairIdentity, PairKeys,
    Suite,
};
use zerocopy::little_endian::U32;

use super::channel::Arrival;
use super::*;
use crate::tx::Source;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const DELAY: u64 = 5 * MS;

fn keyring() -> Keyring {
    let record = KeyRecord::new(1, Suite::Aes256Gcm, [7; 32]);
    Keyring::new(OverlayId::from_name("test"), vec![record], 1).unwrap()
}

fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 7000))
}

#[derive(Clone)]
struct Packet {
    at: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Packet {
    fn kind(&self) -> Option<HelloKind> {
        match Header::parse(&self.bytes) {
            Ok(Header::Hello(header)) => match header.kind() {
                1 => Some(HelloKind::H1),
                2 => Some(HelloKind::H2),
                3 => Some(HelloKind::H3),
                5 => Some(HelloKind::Beacon),
                _ => Some(HelloKind::Cookie),
            },
            _ => None,
        }
    }
}

struct Node {
    addr: SocketAddr,
    links: Links,
    peers: Peers,
    rng: Rng,
    tx: Tx,
    got: Vec<u32>,
    events: Vec<LinkEvent>,
    refusals: Vec<Refusal>,
    first: usize,
}

impl Node {
    fn new(at: usize, boot: u8, now: u64, generation: Option<u64>) -> Self {
        let mut rng = Rng::from_seed([boot; 32]);
        let local = Local {
            id: NodeId([at as u8 + 1; 16]),
            boot: Boot([boot; 16]),
            boot_tag: Boot([boot; 16]).tag12(),
            generation,
            steer: at as u8,
            hello_steer: 9,
            rcvbuf: 1 << 20,
            caps: 3,
            addrs: vec![addr(at).into()],
            datagram_min: 1200,
            datagram_max: 1200,
        };
        let mut links = Links::new(now, local, 1, &mut rng);
        links.grant_slots(at as u16);
        Self {
            addr: addr(at),
            links,
            peers: Peers::new(3),
            rng,
            tx: Tx::default(),
            got: Vec::new(),
            events: Vec::new(),
            refusals: Vec::new(),
            first: 0,
        }
    }

    fn env<'a>(&'a mut self, ring: &'a Keyring, now: u64) -> (&'a mut Links, Env<'a>) {
        let env = Env {
            now,
            ring,
            rng: &mut self.rng,
            peers: &mut self.peers,
            tx: &mut self.tx,
        };
        (&mut self.links, env)
    }

    fn receive(&mut self, ring: &Keyring, now: u64, mut packet: Packet) {
        if Class::of(packet.bytes[0]) == Ok(Class::Hello) {
            let (links, mut env) = self.env(ring, now);
            match links.hello(&mut env, packet.from, &mut packet.bytes, &|_, _| 0) {
                Ok(Some((peer, body))) => {
                    self.first += Digests::new(&body).count();
                    self.digests(now, packet.from, peer, &body);
                }
                Ok(None) => {}
                Err(refusal) => self.refusals.push(refusal),
            }
            return;
        }
        match self.links.open(now, packet.from, &mut packet.bytes) {
            Ok((peer, body)) => {
                let body = body.to_vec();
                self.digests(now, packet.from, peer, &body);
            }
            Err(refusal) => self.refusals.push(refusal),
        }
    }

    fn digests(&mut self, now: u64, from: SocketAddr, peer: PeerIx, body: &[u8]) {
        for digest in Digests::new(body) {
            let link = self.links.link_mut(peer).unwrap();
            match digest.unwrap() {
                Digest::Ctl(chunk) if link.on_ctl(now, &chunk) == Arrival::Next => {
                    self.digests(now, from, peer, chunk.content);
                    while let Some(more) =
                        self.links.link_mut(peer).and_then(|link| link.ctl.rx.pop())
                    {
                        self.digests(now, from, peer, &more);
                    }
                }
                Digest::Bulk(chunk) if link.on_bulk(now, &chunk) == Arrival::Next => {
                    self.digests(now, from, peer, chunk.content);
                    while let Some(more) = self
                        .links
                        .link_mut(peer)
                        .and_then(|link| link.bulk.rx.pop())
                    {
                        self.digests(now, from, peer, &more);
                    }
                }
                Digest::CtlAck(ack) => link.on_ctl_ack(now, ack),
                Digest::BulkAck(ack) => link.on_bulk_ack(now, &ack),
                Digest::PathProbe(probe) => link.on_path_probe(from, probe),
                Digest::PathAck(ack) => link.on_path_ack(now, from, ack.no.get()),
                Digest::Nack(nack) => self.got.push(nack.no.get()),
                _ => {}
            }
        }
    }

    fn peer(&mut self, other: usize) -> PeerIx {
        self.peers.intern(NodeId([other as u8 + 1; 16]))
    }

    fn want(&mut self, other: usize) {
        let peer = self.peer(other);
        self.links.want(peer, &[addr(other)], reason::MEMBERS);
    }

    fn ups(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, LinkEvent::Up { .. }))
            .count()
    }
}

/// What the network does with a datagram: the delays of its copies.
type Judge<'a> = &'a mut dyn FnMut(&Packet) -> Vec<u64>;

struct Net {
    ring: Keyring,
    now: u64,
    nodes: Vec<Node>,
    flying: Vec<Packet>,
    seen: Vec<Packet>,
}

impl Net {
    fn new(count: usize) -> Self {
        let now = SECOND;
        Self {
            ring: keyring(),
            now,
            nodes: (0..count)
                .map(|at| Node::new(at, at as u8 + 10, now, Some(1)))
                .collect(),
            flying: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn run(&mut self, until: u64, judge: Judge<'_>) {
        loop {
            self.flush(judge);
            let next = self.nodes.iter().filter_map(|node| node.links.deadline());
            let next = next.chain(self.flying.iter().map(|packet| packet.at)).min();
            match next {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => break,
            }
            self.deliver();
            for node in &mut self.nodes {
                node.links.on_timeout(self.now);
            }
        }
        self.now = until;
    }

    fn run_clean(&mut self, span: u64) {
        self.run(self.now + span, &mut |_| vec![DELAY]);
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (mut due, later): (Vec<Packet>, Vec<Packet>) =
            self.flying.drain(..).partition(|packet| packet.at <= now);
        self.flying = later;
        due.sort_by_key(|packet| packet.at);
        for packet in due {
            if let Some(node) = self.nodes.iter_mut().find(|node| node.addr == packet.to) {
                node.receive(&self.ring, now, packet);
            }
        }
    }

    fn flush(&mut self, judge: Judge<'_>) {
        for node in &mut self.nodes {
            let (links, mut env) = node.env(&self.ring, self.now);
            links.flush(&mut env);
            while let Some(event) = node.links.poll_event() {
                node.events.push(event);
            }
            for run in node.tx.runs() {
                let Source::Scratch(range) = &run.source else {
                    panic!("links plan no stored datagrams")
                };
                for bytes in node.tx.scratch(range).chunks(run.segment) {
                    let packet = Packet {
                        at: 0,
                        from: node.addr,
                        to: run.to,
                        bytes: bytes.to_vec(),
                    };
                    self.seen.push(packet.clone());
                    for delay in judge(&packet) {
                        let at = self.now + delay;
                        self.flying.push(Packet {
                            at,
                            ..packet.clone()
                        });
                    }
                }
            }
            node.tx.clear();
        }
    }

    fn replay(&mut self, packet: Packet) {
        let at = self.now;
        self.flying.push(Packet { at, ..packet });
    }

    fn link(&mut self, at: usize, other: usize) -> Option<&mut Link> {
        let peer = self.nodes[at].peer(other);
        self.nodes[at].links.link_mut(peer)
    }

    fn talk(&mut self, at: usize, other: usize, bulk: bool, numbers: std::ops::Range<u32>) {
        let link = self.link(at, other).unwrap();
        let channel = if bulk { &mut link.bulk } else { &mut link.ctl };
        for no in numbers {
            let nack = Nack {
                no: U32::new(no),
                ..Default::default()
            };
            assert!(channel.push_with(|writer| writer.put(&nack)));
        }
    }

    /// Both directions carry something now.
    fn works(&mut self, a: usize, b: usize) -> bool {
        for (at, other) in [(a, b), (b, a)] {
            if self.link(at, other).is_none() {
                return false;
            }
            self.nodes[other].got.clear();
        }
        self.talk(a, b, false, 0..3);
        self.talk(b, a, false, 0..3);
        self.run_clean(3 * SECOND);
        self.nodes[a].got == [0, 1, 2] && self.nodes[b].got == [0, 1, 2]
    }
}

// Two that are linked, of which the first has something to say that is yet to be sent.
fn unheard() -> Net {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    assert!(net.works(0, 1));
    net.nodes[1].got.clear();
    net.talk(0, 1, false, 0..1);
    net
}

#[test]
fn what_a_silent_peer_did_not_acknowledge_is_sent_again_as_soon_as_it_speaks() {
    for span in 0..10 {
        let mut net = unheard();
        net.run(net.now + (200 + 5 * span) * SECOND / 10, &mut |_| vec![]);
        net.talk(1, 0, false, 7..8);
        net.run_clean(20 * DELAY);
        assert_eq!(net.nodes[1].got, [0], "after {span} half seconds more");
    }
}

#[test]
fn what_a_peer_that_is_heard_does_not_acknowledge_is_sent_again_every_second() {
    for span in 0..10 {
        let mut net = unheard();
        let own = net.nodes[0].addr;
        for no in 0..150 + span {
            net.talk(1, 0, false, no..no + 1);
            let deaf = &mut |packet: &Packet| {
                if packet.from == own {
                    vec![]
                } else {
                    vec![DELAY]
                }
            };
            net.run(net.now + SECOND / 8, deaf);
        }
        assert!(net.nodes[1].got.is_empty());
        for no in 0..10 {
            net.talk(1, 0, false, no..no + 1);
            net.run_clean(SECOND / 8);
        }
        assert_eq!(
            net.nodes[1].got,
            [0],
            "after {span} eighths of a second more"
        );
    }
}

#[test]
fn a_wanted_peer_is_linked_in_two_round_trips_and_the_first_digests_travel_with_h3() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    let peer = net.nodes[0].peer(1);
    let nack = Nack::default();
    assert!(net.nodes[0].links.push(peer, |writer| writer.put(&nack)));
    net.run(net.now + 3 * DELAY, &mut |_| vec![DELAY]);
    assert!(net.link(1, 0).is_some());
    assert_eq!((net.nodes[1].first, net.nodes[1].got.len()), (1, 1));
    net.run_clean(DELAY);
    assert!(net.link(0, 1).is_some());
    assert_eq!((net.nodes[0].ups(), net.nodes[1].ups()), (1, 1));
    assert!(net.works(0, 1));
    assert!(net.link(0, 1).unwrap().rtt.is_known());
}

#[test]
fn nothing_larger_than_the_request_goes_to_an_address_that_has_not_proved_itself() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    let size = |kind| {
        net.seen
            .iter()
            .find(|packet| packet.kind() == Some(kind))
            .unwrap()
            .bytes
            .len()
    };
    assert!(size(HelloKind::H1) >= 256 && size(HelloKind::H2) <= size(HelloKind::H1));
}

#[test]
fn losing_any_of_the_first_datagrams_never_locks_a_pair_out() {
    for both in [false, true] {
        for lost in 0..64u32 {
            let mut net = Net::new(2);
            net.nodes[0].want(1);
            if both {
                net.nodes[1].want(0);
            }
            let mut count = 0;
            let end = net.now + 10 * SECOND;
            net.run(end, &mut |_| {
                count += 1;
                // Every pattern of the first six datagrams.
                if count <= 6 && lost >> (count - 1) & 1 != 0 {
                    vec![]
                } else {
                    vec![DELAY]
                }
            });
            assert!(net.works(0, 1), "both {both}, lost {lost:06b}");
        }
    }
}

#[test]
fn links_opened_from_both_ends_at_once_come_to_one_session_through_any_weather() {
    for seed in 0..60 {
        let mut net = Net::new(2);
        let mut rng = Rng::from_seed([seed; 32]);
        net.nodes[0].want(1);
        let later = net.now + rng.below(30 * MS);
        net.run(later, &mut |_| vec![DELAY]);
        net.nodes[1].want(0);
        let end = net.now + 5 * SECOND;
        net.run(end, &mut |_| {
            let copies = rng.below(3);
            (0..copies).map(|_| MS + rng.below(40 * MS)).collect()
        });
        net.run_clean(5 * SECOND);
        assert!(net.works(0, 1), "seed {seed}");
        net.run_clean(10 * SECOND);
        assert!(net.works(0, 1), "seed {seed}");
        let used = [(0, 1), (1, 0)].map(|(at, other)| {
            let link = net.link(at, other).unwrap();
            (link.sessions.len(), link.sessions.used_ref().id)
        });
        assert_eq!(used[0], used[1], "seed {seed}");
        assert_eq!(used[0].0, 1, "seed {seed}");
    }
}

#[test]
fn ends_that_disagree_and_dial_at_the_same_instant_come_to_one_state() {
    for wrong in [0, 1] {
        let mut net = Net::new(2);
        net.nodes[0].want(1);
        net.run_clean(SECOND);
        net.link(wrong, 1 - wrong).unwrap().peer_link = 99;
        for at in [0, 1] {
            let peer = net.nodes[at].peer(1 - at);
            net.nodes[at].links.redial(peer, false);
        }
        net.run_clean(SECOND);
        let numbers = |net: &mut Net, at: usize| {
            let link = net.link(at, 1 - at).unwrap();
            (link.our_link, link.peer_link)
        };
        let (there, back) = (numbers(&mut net, 0), numbers(&mut net, 1));
        assert_eq!(there, (back.1, back.0), "{wrong} was wrong");
        assert!(net.works(0, 1), "{wrong} was wrong");
    }
}

#[test]
fn an_end_that_forgot_and_one_that_did_not_come_to_one_state_whoever_dials_first() {
    for (forgets, ahead) in (0..16u64).map(|n| (n as usize % 2, n / 2)) {
        let mut net = Net::new(2);
        net.nodes[0].want(1);
        net.nodes[1].want(0);
        net.run_clean(4 * SECOND);
        let (now, peer) = (net.now, net.nodes[forgets].peer(1 - forgets));
        net.nodes[forgets].links.forget(now, peer);
        for (at, wait) in [(forgets, ahead % 4), (1 - forgets, 0)] {
            let at = if ahead < 4 { at } else { 1 - at };
            let peer = net.nodes[at].peer(1 - at);
            net.nodes[at].want(1 - at);
            net.nodes[at].links.redial(peer, false);
            net.run_clean(wait * DELAY / 2 + 1);
        }
        net.run_clean(SECOND);
        let numbers = |net: &mut Net, at: usize| {
            let link = net.link(at, 1 - at).unwrap();
            (link.our_link, link.peer_link)
        };
        let (there, back) = (numbers(&mut net, 0), numbers(&mut net, 1));
        assert_eq!(there, (back.1, back.0), "{forgets} forgot, {ahead}");
        assert!(net.works(0, 1), "{forgets} forgot, {ahead}");
    }
}

#[test]
fn ends_with_sessions_that_the_other_does_not_hold_come_together_when_one_answers_at_its_address() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.nodes[1].want(0);
    // Both H3 come, and nothing after them: each end keeps the session that the other opened.
    net.run(net.now + 20 * SECOND, &mut |packet| match packet.kind() {
        Some(_) => vec![DELAY],
        None => vec![],
    });
    for at in [0, 1] {
        let peer = net.nodes[at].peer(1 - at);
        assert!(!net.nodes[at].links.is_dialling(peer));
    }
    let healed = net.now;
    net.run_clean(SECOND);
    assert!(net.link(1, 0).unwrap().last_heard < healed);
    net.nodes[0].links.want_addr(addr(1));
    net.run_clean(SECOND);
    assert!(net.link(0, 1).unwrap().sessions.used_ref().initiated);
    assert!(net.link(1, 0).unwrap().last_heard > healed);
    assert!(net.works(0, 1));
}

#[test]
fn the_number_of_a_link_that_is_gone_is_not_stated_again() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    assert!(net.works(0, 1));
    let (now, peer) = (net.now, net.nodes[1].peer(0));
    net.nodes[1].links.redial(peer, false);
    net.nodes[1].links.drop_idle(now, peer);
    let peer = net.nodes[0].peer(1);
    net.nodes[0].links.redial(peer, false);
    net.run_clean(SECOND);
    assert!(net.works(0, 1));
}

#[test]
fn a_replayed_h1_leaves_nothing_and_a_replayed_h3_installs_nothing() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    let find = |kind| {
        net.seen
            .iter()
            .find(|packet| packet.kind() == Some(kind))
            .unwrap()
            .clone()
    };
    let (h1, h3) = (find(HelloKind::H1), find(HelloKind::H3));
    let session = net.link(1, 0).unwrap().sessions.used_ref().id;
    net.replay(h1.clone());
    net.replay(h3.clone());
    net.run_clean(SECOND);
    assert_eq!(net.link(1, 0).unwrap().sessions.used_ref().id, session);
    assert_eq!(net.link(1, 0).unwrap().sessions.len(), 1);
    assert!(net.works(0, 1));

    let (peer, now) = (net.nodes[1].peer(0), net.now);
    net.nodes[1].links.forget(now, peer);
    net.nodes[0].links.unwant(PeerIx(0), reason::MEMBERS);
    let drop_all = &mut |_: &Packet| vec![];
    net.replay(h1);
    net.replay(h3.clone());
    net.run(net.now + SECOND, drop_all);
    assert!(net.link(1, 0).is_none());
    assert_eq!(net.nodes[1].refusals, [Refusal::Replayed]);
    net.run(net.now + 300 * SECOND, drop_all);
    net.replay(h3);
    net.run(net.now + SECOND, drop_all);
    assert!(net.link(1, 0).is_none());
    assert_eq!(net.nodes[1].refusals.last(), Some(&Refusal::Nonce));
}

#[test]
fn an_h3_from_another_address_than_its_h1_is_refused() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    let elsewhere = SocketAddr::from(([10, 9, 9, 9], 1));
    let mut h3 = None;
    net.run(net.now + 100 * MS, &mut |packet| {
        if packet.kind() == Some(HelloKind::H3) {
            h3 = Some(packet.clone());
            return vec![];
        }
        vec![DELAY]
    });
    net.replay(Packet {
        from: elsewhere,
        ..h3.unwrap()
    });
    net.run(net.now + 10 * MS, &mut |_| vec![]);
    assert_eq!(net.nodes[1].refusals, [Refusal::Nonce]);
}

#[test]
fn a_restarted_peer_replaces_its_link_and_old_datagrams_of_it_are_refused() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    let old: Vec<Packet> = net.seen.clone();
    let now = net.now;
    net.nodes[1] = Node::new(1, 77, now, Some(2));
    net.nodes[1].want(0);
    net.run_clean(SECOND);
    let reborn = |event: &LinkEvent| matches!(event, LinkEvent::Reborn { boot, generation: 2, .. } if *boot == Boot([77; 16]));
    assert!(net.nodes[0].events.iter().any(reborn));
    assert!(net.works(0, 1));
    let (before, events) = (net.nodes[0].got.len(), net.nodes[0].events.len());
    for packet in old {
        net.replay(packet);
    }
    net.run_clean(SECOND);
    assert_eq!(
        (net.nodes[0].got.len(), net.nodes[0].events.len()),
        (before, events)
    );
    assert_eq!(net.nodes[1].ups(), 1);
    assert!(net.works(0, 1));
}

#[test]
fn a_peer_that_forgot_the_link_is_dialled_again_and_both_begin_with_empty_channels() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    net.talk(0, 1, false, 0..5);
    net.run_clean(SECOND);
    let (peer, now) = (net.nodes[1].peer(0), net.now);
    net.nodes[1].links.forget(now, peer);
    net.talk(0, 1, false, 5..6);
    net.run_clean(5 * SECOND);
    assert_eq!(net.nodes[0].ups(), 2);
    assert!(
        net.nodes[0]
            .events
            .iter()
            .any(|event| matches!(event, LinkEvent::Down { .. }))
    );
    assert_eq!(net.nodes[1].got, [0, 1, 2, 3, 4]);
    assert!(net.works(0, 1));
}

#[test]
fn a_renewal_of_the_keys_loses_and_repeats_nothing() {
    for seed in 0..10 {
        let mut net = Net::new(2);
        let mut rng = Rng::from_seed([seed; 32]);
        net.nodes[0].want(1);
        net.run_clean(SECOND);
        for at in 0..2 {
            let (peer, rekey) = (net.nodes[at].peer(1 - at), at == 0 || seed % 2 == 0);
            if rekey {
                net.nodes[at].links.redial(peer, true);
            }
        }
        for batch in 0..40 {
            net.talk(0, 1, batch % 2 == 0, batch * 50..batch * 50 + 50);
            let end = net.now + 20 * MS;
            net.run(end, &mut |_| {
                if rng.below(10) == 0 {
                    vec![]
                } else {
                    vec![MS + rng.below(10 * MS)]
                }
            });
        }
        net.run_clean(10 * SECOND);
        let mut got = net.nodes[1].got.clone();
        got.sort_unstable();
        assert!(
            got.iter().copied().eq(0..2000),
            "seed {seed}: {}",
            got.len()
        );
        assert_eq!(net.nodes[0].ups() + net.nodes[1].ups(), 2, "seed {seed}");
        assert!(net.works(0, 1) && net.works(0, 1));
        assert_eq!(net.link(0, 1).unwrap().sessions.len(), 1);
    }
}

// What end `at` of a link sends, and the other expects, goes on at a counter.
fn wear(net: &mut Net, at: usize, counter: u64) {
    let identity = PairIdentity {
        initiator: NodeId([8; 16]),
        initiator_boot: Boot([8; 16]),
        responder: NodeId([9; 16]),
        responder_boot: Boot([9; 16]),
        nonce_i: [0; 16],
        nonce_r: [0; 16],
    };
    let nobodys = || PairKeys::derive(&keyring(), 1, &identity, true).unwrap();
    let session = net.link(at, 1 - at).unwrap().sessions.used();
    let keys = std::mem::replace(&mut session.keys, nobodys());
    session.keys = PairKeys {
        pair_tx: keys.pair_tx.at_counter(counter),
        bulk_tx: keys.bulk_tx.at_counter(counter),
        ..keys
    };
    let session = net.link(1 - at, at).unwrap().sessions.used();
    let keys = std::mem::replace(&mut session.keys, nobodys());
    session.keys = PairKeys {
        pair_rx: keys.pair_rx.at_counter(counter),
        bulk_rx: keys.bulk_rx.at_counter(counter),
        ..keys
    };
}

#[test]
fn a_session_at_the_end_of_its_counters_is_followed_by_another_and_nothing_is_lost() {
    for (ends, bulk) in [(1, false), (1, true), (2, false), (2, true)] {
        let mut net = Net::new(2);
        net.nodes[0].want(1);
        net.run_clean(SECOND);
        assert!(net.works(0, 1));
        let end = tidings_wire::limits::COUNTER_END;
        (0..ends).for_each(|at| wear(&mut net, at, end - (1 << 20) - 20));
        let before = net.link(0, 1).unwrap().sessions.used_ref().id;
        net.nodes[1].got.clear();
        for no in 0..200 {
            net.talk(0, 1, bulk, no..no + 1);
            net.run_clean(10 * MS);
        }
        net.run_clean(SECOND);
        assert!(net.nodes[1].got.iter().copied().eq(0..200));
        let link = net.link(0, 1).unwrap();
        assert_ne!(link.sessions.used_ref().id, before);
        assert!(!link.sessions.used_ref().is_worn());
        assert_eq!(
            net.nodes[0].ups() + net.nodes[1].ups(),
            2,
            "the link goes on"
        );
        // It goes on, too, where the end was reached, and nothing can be sealed.
        (0..ends).for_each(|at| wear(&mut net, at, end));
        net.run_clean(10 * SECOND);
        assert!(net.works(0, 1));
    }
}

#[test]
fn the_bulk_channel_carries_a_megabyte_over_a_lossy_path() {
    let mut net = Net::new(2);
    let mut rng = Rng::from_seed([5; 32]);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    net.talk(0, 1, true, 0..100_000);
    let start = net.now;
    net.run(start + 20 * SECOND, &mut |_| {
        if rng.below(100) < 2 {
            vec![]
        } else {
            vec![DELAY]
        }
    });
    assert!(
        net.nodes[1].got.iter().copied().eq(0..100_000),
        "{}",
        net.nodes[1].got.len()
    );
}

#[test]
fn a_datagram_that_comes_twice_is_acknowledged_again() {
    for bulk in [false, true] {
        let mut net = Net::new(2);
        net.nodes[0].want(1);
        net.run_clean(2 * SECOND);
        net.talk(0, 1, bulk, 0..1);
        let (before, deaf) = (net.seen.len(), addr(0));
        let until = net.now + DELAY + MS;
        net.run(until, &mut |packet| {
            if packet.to == deaf {
                vec![]
            } else {
                vec![DELAY]
            }
        });
        assert_eq!(net.nodes[1].got, [0]);
        let class = if bulk { Class::Bulk } else { Class::Pair };
        let sent = net.seen[before..].iter();
        let mut sent = sent.filter(|p| p.to == addr(1) && Class::of(p.bytes[0]) == Ok(class));
        let packet = sent.next().unwrap().clone();
        net.replay(packet);
        // Sooner than the sender repeats it by itself.
        net.run_clean(DELAY + MS);
        let link = net.link(0, 1).unwrap();
        let channel = if bulk { &link.bulk } else { &link.ctl };
        assert!(channel.tx.rests(), "bulk {bulk}");
        assert_eq!(net.nodes[1].got, [0]);
        assert!(net.nodes[1].refusals.contains(&Refusal::Duplicate));
    }
}

#[test]
fn a_seed_address_that_is_our_own_and_a_twin_are_recognised() {
    let mut net = Net::new(2);
    net.nodes[0].links.want_addr(addr(0));
    net.run_clean(SECOND);
    assert_eq!(
        net.nodes[0].events,
        [LinkEvent::Ourselves { addr: addr(0) }]
    );

    let now = net.now;
    let mut twin = Node::new(0, 66, now, Some(4));
    twin.addr = addr(1);
    net.nodes[1] = twin;
    net.nodes[1].links.want_addr(addr(0));
    net.run_clean(SECOND);
    let seen = |node: &Node, boot| {
        let boot = Boot([boot; 16]);
        node.events
            .iter()
            .any(|event| matches!(event, LinkEvent::Twin { boot: other, fresh: true, .. } if *other == boot))
    };
    // Each by what only the other's present life can have said.
    assert!(seen(&net.nodes[0], 66) && seen(&net.nodes[1], 10));
    assert_eq!(net.nodes[0].ups() + net.nodes[1].ups(), 0);
}

#[test]
fn a_lost_generation_is_learnt_before_h3() {
    let mut net = Net::new(2);
    let now = net.now;
    net.nodes[0] = Node::new(0, 50, now, None);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    assert_eq!(net.nodes[0].events[0], LinkEvent::Adopted { generation: 1 });
    assert_eq!(net.link(1, 0).unwrap().generation, 1);
}

#[test]
fn under_pressure_an_initiator_proves_its_address_with_a_cookie() {
    let mut net = Net::new(2);
    let now = net.now;
    for spoofed in 0..12_000u32 {
        let from = SocketAddr::from(([77, (spoofed >> 8) as u8, spoofed as u8, 1], 1));
        net.nodes[1].links.budget.admit(now, from);
    }
    net.nodes[0].want(1);
    net.run(now + 50 * MS, &mut |_| vec![DELAY]);
    assert!(
        net.seen
            .iter()
            .any(|packet| packet.kind() == Some(HelloKind::Cookie))
    );
    assert!(net.works(0, 1));
}

#[test]
fn an_idle_link_that_nobody_wants_is_dropped_and_its_slot_rests() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    net.nodes[0].links.unwant(PeerIx(0), reason::MEMBERS);
    net.run_clean(100 * SECOND);
    let folded =
        |node: &Node| node.links.link(PeerIx(0)).is_some() && node.links.iter().next().is_none();
    assert!(net.nodes.iter().all(folded));
    net.run_clean(100 * SECOND);
    assert!(net.link(0, 1).is_none() && net.link(1, 0).is_none());
    assert!(matches!(
        net.nodes[0].events.last(),
        Some(LinkEvent::Down { .. })
    ));
}

#[test]
fn a_link_that_rests_is_folded_and_goes_on_where_it_was() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    let (mut sent, mut handshakes) = (0, 0);
    for round in 0..4 {
        for (a, b) in [(0, 1), (1, 0)] {
            net.talk(a, b, false, sent..sent + 3);
            net.talk(a, b, true, sent + 3..sent + 6);
        }
        sent += 6;
        net.run_clean(SECOND);
        let hellos = net.seen.iter().filter(|packet| packet.kind().is_some());
        let hellos = hellos.count();
        assert!(round == 0 || hellos == handshakes, "no handshake is needed");
        handshakes = hellos;
        // What was recorded before it was folded is refused after.
        let recorded: Vec<Packet> = net.seen.clone();
        net.run_clean(10 * SECOND);
        assert!(
            net.nodes
                .iter()
                .all(|node| node.links.iter().next().is_none())
        );
        let known = net.nodes[0].links.link(PeerIx(0)).unwrap();
        assert!(known.rtt.is_known());
        let before: Vec<usize> = net.nodes.iter().map(|node| node.got.len()).collect();
        for packet in recorded {
            if packet.kind().is_none() {
                net.replay(packet);
            }
        }
        net.run_clean(SECOND);
        let after: Vec<usize> = net.nodes.iter().map(|node| node.got.len()).collect();
        assert_eq!(before, after);
        // A refused datagram does not keep it unfolded.
        assert!(
            net.nodes
                .iter()
                .all(|node| node.links.iter().next().is_none())
        );
    }
    for node in &net.nodes {
        let mut got = node.got.clone();
        got.sort_unstable();
        assert_eq!(got, (0..sent).collect::<Vec<u32>>());
        assert_eq!(node.ups(), 1);
    }
}

#[test]
fn who_is_wanted_is_dialled_though_there_were_too_many_dials() {
    let mut net = Net::new(1);
    let node = &mut net.nodes[0];
    (1..)
        .take(8)
        .for_each(|block| node.links.grant_slots(block));
    let peers: Vec<PeerIx> = (0..1500_u16)
        .map(|at| {
            let mut id = [9; 16];
            id[..2].copy_from_slice(&at.to_le_bytes());
            node.peers.intern(NodeId(id))
        })
        .collect();
    for peer in &peers {
        node.links.want(*peer, &[addr(1)], reason::DELIVERY);
    }
    assert!(!node.links.is_dialling(peers[1400]));
    for peer in &peers[..600] {
        node.links.forget(0, *peer);
    }
    net.run_clean(SECOND / 100);
    let dialling = |peer: &&PeerIx| net.nodes[0].links.is_dialling(**peer);
    assert_eq!(peers.iter().filter(dialling).count(), 900);
}

#[test]
fn a_peer_that_moved_is_followed_after_an_echo_from_its_new_address() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(2 * SECOND);
    let moved = addr(5);
    net.nodes[0].addr = moved;
    for _ in 0..5 {
        net.talk(0, 1, false, 0..1);
        net.run_clean(SECOND);
    }
    assert_eq!(net.link(1, 0).unwrap().addr, moved);
    assert!(net.works(0, 1));
}

#[test]
fn a_datagram_that_somebody_passes_on_from_his_own_address_moves_nobody() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(2 * SECOND);
    net.talk(0, 1, false, 0..1);
    let before = net.seen.len();
    let until = net.now + MS;
    net.run(until, &mut |_| vec![]);
    let mut sent = net.seen[before..].iter();
    let kept = sent.find(|packet| packet.to == addr(1)).unwrap().clone();
    net.replay(Packet {
        from: addr(9),
        ..kept
    });
    net.run_clean(DELAY + MS);
    assert_eq!(net.nodes[1].got, [0], "it is genuine");
    assert_eq!(net.link(1, 0).unwrap().addr, addr(0));
    assert!(net.works(0, 1));
}

#[test]
fn a_link_datagram_that_an_error_quotes_is_known_for_two_seconds() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    net.talk(0, 1, false, 0..1);
    net.run_clean(SECOND / 10);
    let last = net
        .seen
        .iter()
        .rev()
        .find(|packet| packet.from == addr(0) && packet.kind().is_none())
        .unwrap()
        .clone();
    let asked = |net: &Net, at: SocketAddr, quoted: &[u8]| {
        net.nodes[0].links.unreachable(net.now, at, quoted)
    };
    let peer = net.nodes[0].peer(1);
    assert_eq!(asked(&net, addr(1), &last.bytes[..20]), Some(peer));
    assert_eq!(asked(&net, addr(2), &last.bytes), None);
    assert_eq!(asked(&net, addr(1), &last.bytes[..15]), None);
    let mut forged = last.bytes.clone();
    forged[9] = 1;
    assert_eq!(asked(&net, addr(1), &forged), None);
    net.run_clean(4 * SECOND);
    assert_eq!(asked(&net, addr(1), &last.bytes), None);
}

#[test]
fn junk_of_any_kind_is_refused_without_harm() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(SECOND);
    let mut rng = Rng::from_seed([8; 32]);
    let real = net.seen.clone();
    for packet in real {
        let mut bent = packet.clone();
        let at = rng.below(bent.bytes.len() as u64) as usize;
        bent.bytes[at] ^= 1 << rng.below(8);
        net.replay(bent);
        let mut cut = packet;
        cut.bytes
            .truncate(1 + rng.below(cut.bytes.len() as u64) as usize);
        net.replay(cut);
    }
    net.run_clean(SECOND);
    assert!(net.works(0, 1));
    assert_eq!(net.nodes[0].ups() + net.nodes[1].ups(), 2);
}

#[test]
fn an_h3_of_a_session_that_was_replaced_or_folded_installs_nothing() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.run_clean(5 * SECOND);
    let first = net.link(1, 0).unwrap().sessions.used_ref().id;
    let peer = net.nodes[0].peer(1);
    net.nodes[0].links.redial(peer, true);
    // Until nothing is heard on the old one any more.
    for _ in 0..8 {
        net.talk(0, 1, false, 0..1);
        net.run_clean(SECOND);
    }
    let session = net.link(1, 0).unwrap().sessions.used_ref().id;
    assert_ne!(first, session, "it was replaced");
    let is_h3 = |packet: &&Packet| packet.kind() == Some(HelloKind::H3);
    let h3s: Vec<Packet> = net.seen.iter().filter(is_h3).cloned().collect();
    let (old, new) = (h3s[0].clone(), h3s[h3s.len() - 1].clone());
    assert!(old.to == addr(1) && new.to == addr(1));

    net.replay(old.clone());
    net.run_clean(SECOND);
    assert_eq!(net.nodes[1].refusals.last(), Some(&Refusal::Replayed));
    for folded in [false, true] {
        if folded {
            net.run_clean(15 * SECOND);
            assert!(net.nodes.iter().all(|n| n.links.iter().next().is_none()));
        }
        net.replay(old.clone());
        net.replay(new.clone());
        net.run_clean(SECOND);
        let link = net.link(1, 0).unwrap();
        assert_eq!(link.sessions.used_ref().id, session, "folded {folded}");
        assert_eq!(link.sessions.len(), 1, "folded {folded}");
        assert_eq!(net.nodes[1].ups(), 1, "folded {folded}");
        assert!(net.works(0, 1), "folded {folded}");
    }
}

#[test]
fn a_path_that_was_dead_for_a_while_is_dialled_again_now_and_then_and_not_without_end() {
    for both in [false, true] {
        let mut net = Net::new(2);
        net.nodes[0].want(1);
        net.nodes[1].want(0);
        net.run_clean(2 * SECOND);
        net.talk(0, 1, false, 0..3);
        net.talk(1, 0, false, 0..3);
        // Long enough for the pauses between repeats to become seconds.
        net.run(net.now + 9 * SECOND, &mut |packet| {
            if both || packet.to == addr(1) {
                vec![]
            } else {
                vec![DELAY]
            }
        });
        let before = net.seen.len();
        // A near path, over which a handshake takes no time.
        net.run(net.now + 8 * SECOND, &mut |_| vec![MS / 10]);
        let hellos = net.seen[before..].iter().filter(|p| p.kind().is_some());
        let hellos = hellos.count();
        assert!(hellos < 40, "{hellos} datagrams of handshakes, both {both}");
        assert_eq!(net.nodes[0].got, [0, 1, 2], "both {both}");
        assert_eq!(net.nodes[1].got, [0, 1, 2], "both {both}");
        assert!(net.works(0, 1), "both {both}");
    }
}

#[test]
fn chunks_of_ctl_that_follow_one_another_share_acknowledgements() {
    let mut net = Net::new(2);
    net.nodes[0].want(1);
    net.nodes[1].want(0);
    net.run_clean(2 * SECOND);
    // The first are acknowledged one by one.
    for no in 0..64 {
        net.talk(0, 1, false, no..no + 1);
        net.run_clean(10 * DELAY);
    }
    let count = 800;
    let (before, every) = (net.seen.len(), MS / 8);
    const NEAR: u64 = MS / 20;
    for no in 0..count {
        net.talk(0, 1, false, 64 + no..65 + no);
        net.run(net.now + every, &mut |_| vec![NEAR]);
    }
    net.run(net.now + SECOND, &mut |_| vec![NEAR]);
    let got = &net.nodes[1].got;
    assert_eq!(*got, (0..64 + count).collect::<Vec<_>>());
    let answers = net.seen[before..].iter().filter(|p| p.from == addr(1));
    let answers = answers.count() as u32;
    assert!(
        (count / 8..count / 4).contains(&answers),
        "{answers} for {count}"
    );
    let link = net.link(0, 1).unwrap();
    assert!(link.ctl.tx.rests());
    assert!(
        link.rtt.smoothed() <= 2 * NEAR + MS / 10,
        "{}",
        link.rtt.smoothed()
    );
    // One that comes by itself is not kept waiting.
    let before = net.seen.len();
    net.talk(0, 1, false, 0..1);
    net.run_clean(DELAY + MS / 10);
    assert!(net.seen[before..].iter().any(|p| p.from == addr(1)));
}
