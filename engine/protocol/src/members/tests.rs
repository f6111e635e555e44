//! Members of several nodes in virtual time: the whole stack but delivery, over a network that loses, delays and parts.

use std::net::SocketAddr;

use tidings_wire::digest::{Digest, Digests, MemberState};
use tidings_wire::{Boot, Class, KeyRecord, Keyring, NodeId, OverlayId, Suite};

use super::*;
use crate::links::channel::Arrival;
use crate::links::{Env, Local};
use crate::tx::{Source, Tx};

mod faults;

const DELAY: u64 = 2 * MS;

fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (node >> 8) as u8, node as u8], 7000))
}

fn id(node: usize) -> NodeId {
    let mut bytes = [9; 16];
    bytes[..8].copy_from_slice(&(node as u64 + 1).to_be_bytes());
    NodeId(bytes)
}

fn keyring() -> Keyring {
    let record = KeyRecord::new(1, Suite::Aes128Gcm, [7; 32]);
    Keyring::new(OverlayId::from_name("test"), vec![record], 1).unwrap()
}

struct Node {
    at: usize,
    links: Links,
    members: Members,
    peers: Peers,
    rng: Rng,
    tx: Tx,
    events: Vec<(u64, &'static str, NodeId)>,
    conflicts: usize,
}

impl Node {
    fn new(at: usize, boot: u64, now: u64, generation: Option<u64>, seeds: &[usize]) -> Self {
        let mut seed = [5; 32];
        seed[..8].copy_from_slice(&boot.to_le_bytes());
        let mut rng = Rng::from_seed(seed);
        let boot = Boot(rng.bytes());
        let local = Local {
            id: id(at),
            boot,
            boot_tag: boot.tag12(),
            generation,
            steer: 0,
            hello_steer: 0,
            rcvbuf: 1 << 20,
            caps: 0,
            addrs: vec![addr(at).into()],
            datagram_min: 1200,
            datagram_max: 1200,
        };
        let portrait = Portrait {
            id: id(at),
            boot,
            name: format!("node-{at}"),
            rack: "rack".into(),
            addrs: vec![addr(at)],
            metadata: Vec::new(),
            app_version: 1,
            keys: 2,
            primary: 1,
            table: 0,
        };
        let mut links = Links::new(now, local, 1, &mut rng);
        links.grant_slots(1);
        links.grant_slots(2);
        let mut members = Members::new(now, portrait, generation, Profile::LAN, &mut rng);
        let seeds: Vec<SocketAddr> = seeds.iter().map(|seed| addr(*seed)).collect();
        members.set_seeds(now, &seeds);
        Self {
            at,
            links,
            members,
            peers: Peers::new(3),
            rng,
            tx: Tx::default(),
            events: Vec::new(),
            conflicts: 0,
        }
    }

    fn with<R>(&mut self, now: u64, act: impl FnOnce(&mut Members, &mut Ctx<'_>) -> R) -> R {
        let mut ctx = Ctx {
            now,
            peers: &mut self.peers,
            links: &mut self.links,
            rng: &mut self.rng,
        };
        act(&mut self.members, &mut ctx)
    }

    fn receive(&mut self, ring: &Keyring, now: u64, from: SocketAddr, datagram: &mut [u8]) {
        if Class::of(datagram[0]) == Ok(Class::Hello) {
            let members = &self.members;
            let mut env = Env {
                now,
                ring,
                rng: &mut self.rng,
                peers: &mut self.peers,
                tx: &mut self.tx,
            };
            let known = |peers: &Peers, id: &NodeId| members.known_generation(peers, id);
            let opened = self.links.hello(&mut env, from, datagram, &known);
            self.link_events(now);
            if let Ok(Some((peer, body))) = opened {
                self.digests(now, from, peer, &body, Via::Gossip);
            }
            return;
        }
        if let Ok((peer, body)) = self.links.open(now, from, datagram) {
            let body = body.to_vec();
            self.link_events(now);
            self.digests(now, from, peer, &body, Via::Gossip);
        }
    }

    fn link_events(&mut self, now: u64) {
        while let Some(event) = self.links.poll_event() {
            self.with(now, |members, ctx| members.on_link_event(ctx, event));
        }
    }

    fn digests(&mut self, now: u64, from: SocketAddr, peer: PeerIx, body: &[u8], via: Via) {
        for digest in Digests::new(body) {
            let digest = digest.unwrap();
            if self.link_digest(now, from, peer, &digest) {
                continue;
            }
            self.with(now, |members, ctx| match digest {
                Digest::Ping(ping) => members.on_ping(ctx, peer, ping),
                Digest::Ack(ack) => members.on_ack(ctx, peer, ack),
                Digest::PingReq(request) => members.on_ping_req(ctx, peer, request),
                Digest::Nack(nack) => members.on_nack(nack),
                Digest::Member(view) => members.on_member(ctx, peer, &view, via),
                Digest::Rumour(rumour) => members.on_rumour(ctx, peer, rumour, via),
                Digest::YouAreDead(digest) => members.on_you_are_dead(ctx, peer, digest),
                Digest::Buckets(view) => members.on_buckets(ctx, peer, &view),
                Digest::BucketAsk(ask) => members.on_bucket_ask(ctx, peer, ask),
                Digest::Opened(_) => {}
                other => panic!("{other:?}"),
            });
        }
    }

    fn link_digest(
        &mut self,
        now: u64,
        from: SocketAddr,
        peer: PeerIx,
        digest: &Digest<'_>,
    ) -> bool {
        let Some(link) = self.links.link_mut(peer) else {
            return true;
        };
        match digest {
            Digest::Ctl(chunk) => {
                if link.on_ctl(now, chunk) == Arrival::Next {
                    self.digests(now, from, peer, chunk.content, Via::Gossip);
                    while let Some(more) =
                        self.links.link_mut(peer).and_then(|link| link.ctl.rx.pop())
                    {
                        self.digests(now, from, peer, &more, Via::Gossip);
                    }
                }
            }
            Digest::Bulk(chunk) => {
                if link.on_bulk(now, chunk) == Arrival::Next {
                    self.digests(now, from, peer, chunk.content, Via::Sync);
                    while let Some(more) = self
                        .links
                        .link_mut(peer)
                        .and_then(|link| link.bulk.rx.pop())
                    {
                        self.digests(now, from, peer, &more, Via::Sync);
                    }
                }
            }
            Digest::CtlAck(ack) => link.on_ctl_ack(now, ack),
            Digest::BulkAck(ack) => link.on_bulk_ack(now, ack),
            Digest::PathProbe(probe) => link.on_path_probe(from, probe),
            Digest::PathAck(ack) => link.on_path_ack(now, from, ack.no.get()),
            _ => return false,
        }
        true
    }

    fn flush(&mut self, ring: &Keyring, now: u64) {
        self.link_events(now);
        self.with(now, |members, ctx| members.flush(ctx));
        let mut env = Env {
            now,
            ring,
            rng: &mut self.rng,
            peers: &mut self.peers,
            tx: &mut self.tx,
        };
        self.links.flush(&mut env);
        self.link_events(now);
        self.note_members(now);
    }

    fn note_members(&mut self, now: u64) {
        while let Some(event) = self.members.poll_event() {
            self.note(now, event);
        }
    }

    fn note(&mut self, now: u64, event: MemberEvent) {
        let (name, peer) = match event {
            MemberEvent::In { peer } => ("member_in", peer),
            MemberEvent::Quarantine { peer } => ("member_quarantine", peer),
            MemberEvent::Unreachable { peer } => ("member_unreachable", peer),
            MemberEvent::Rejoin { peer } => ("member_rejoin", peer),
            MemberEvent::Drop { peer } => ("member_drop", peer),
            MemberEvent::Out { peer } => ("member_out", peer),
            MemberEvent::Changed { .. } => return,
            MemberEvent::Conflict { .. } => {
                self.conflicts += 1;
                return;
            }
        };
        self.events.push((now, name, self.peers.id(peer)));
        if name == "member_drop" {
            self.peers.release(peer);
        }
    }

    fn state(&self, other: usize) -> Option<MemberState> {
        self.members.state(self.peers.find(&id(other))?)
    }

    fn saw(&self, name: &str) -> usize {
        self.events.iter().filter(|event| event.1 == name).count()
    }
}

struct Packet {
    at: u64,
    from: usize,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Packet {
    fn node(&self) -> usize {
        node_at(self.to)
    }
}

/// The node that listens at an address.
fn node_at(addr: SocketAddr) -> usize {
    match addr.ip() {
        std::net::IpAddr::V4(ip) => usize::from(ip.octets()[2]) << 8 | usize::from(ip.octets()[3]),
        std::net::IpAddr::V6(_) => usize::MAX,
    }
}

struct World {
    ring: Keyring,
    now: u64,
    rng: Rng,
    nodes: Vec<Option<Node>>,
    /// Where each address leads; a dead node's port answers with an error or not at all.
    flying: Vec<Packet>,
    loss: u64,
    /// Stopped: its timers do not run, what is sent to it waits in its sockets.
    asleep: Option<usize>,
    cut: fn(usize, usize) -> bool,
    port_errors: bool,
    bytes: u64,
    boots: u64,
}

impl World {
    /// `count` nodes that all have node 0 as their seed, started within 10 ms.
    fn new(count: usize) -> Self {
        Self::seeded(count, 0)
    }

    fn seeded(count: usize, seed: u64) -> Self {
        let mut world = Self {
            ring: keyring(),
            now: SECOND,
            rng: Rng::from_seed([1; 32]),
            nodes: Vec::new(),
            flying: Vec::new(),
            loss: 0,
            asleep: None,
            cut: |_, _| false,
            port_errors: false,
            bytes: 0,
            boots: seed * 1000,
        };
        for at in 0..count {
            world.nodes.push(None);
            world.start(at, Some(1), &[0]);
        }
        world
    }

    fn start(&mut self, at: usize, generation: Option<u64>, seeds: &[usize]) {
        self.boots += 1;
        self.nodes[at] = Some(Node::new(at, self.boots, self.now, generation, seeds));
    }

    fn node(&mut self, at: usize) -> &mut Node {
        self.nodes[at].as_mut().unwrap()
    }

    fn up(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    fn run(&mut self, span: u64) {
        let until = self.now + span;
        loop {
            self.flush();
            let asleep = self.asleep;
            let awake = |at: usize| Some(at) != asleep;
            let deadlines = self
                .up()
                .filter(|node| awake(node.at))
                .flat_map(|node| [node.links.deadline(), node.members.deadline()])
                .flatten();
            let next = deadlines
                .chain(
                    self.flying
                        .iter()
                        .filter(|packet| awake(packet.node()))
                        .map(|packet| packet.at),
                )
                .min();
            match next {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => break,
            }
            self.deliver();
            let now = self.now;
            for node in self
                .nodes
                .iter_mut()
                .flatten()
                .filter(|node| awake(node.at))
            {
                node.links.on_timeout(now);
                node.with(now, |members, ctx| members.on_timeout(ctx));
            }
        }
        self.now = until;
    }

    fn deliver(&mut self) {
        let now = self.now;
        let asleep = self.asleep;
        let (due, later): (Vec<Packet>, Vec<Packet>) = self
            .flying
            .drain(..)
            .partition(|packet| packet.at <= now && Some(packet.node()) != asleep);
        self.flying = later;
        for mut packet in due {
            match self.nodes.get_mut(packet.node()).and_then(Option::as_mut) {
                Some(node) => node.receive(&self.ring, now, addr(packet.from), &mut packet.bytes),
                None if self.port_errors => self.refuse(&packet),
                None => {}
            }
        }
    }

    /// A port-unreachable comes back to the sender.
    fn refuse(&mut self, packet: &Packet) {
        let now = self.now;
        if let Some(node) = self.nodes[packet.from].as_mut() {
            let quoted = &packet.bytes[..packet.bytes.len().min(100)];
            if let Some(peer) = node.links.unreachable(now, packet.to, quoted) {
                node.with(now, |members, ctx| members.on_unreachable(ctx, peer));
            }
        }
    }

    fn flush(&mut self) {
        let now = self.now;
        let asleep = self.asleep;
        for node in self
            .nodes
            .iter_mut()
            .flatten()
            .filter(|node| Some(node.at) != asleep)
        {
            node.flush(&self.ring, now);
            for run in node.tx.runs() {
                let Source::Scratch(range) = &run.source else {
                    panic!("no stream is stored here")
                };
                for bytes in node.tx.scratch(range).chunks(run.segment) {
                    self.bytes += bytes.len() as u64;
                    let to = (0..1024)
                        .find(|at| addr(*at) == run.to)
                        .unwrap_or(usize::MAX);
                    if self.rng.below(100) < self.loss || (self.cut)(node.at, to) {
                        continue;
                    }
                    let at = now + DELAY + self.rng.below(DELAY);
                    self.flying.push(Packet {
                        at,
                        from: node.at,
                        to: run.to,
                        bytes: bytes.to_vec(),
                    });
                }
            }
            node.tx.clear();
        }
    }

    /// Whether every running node holds every other running one alive.
    fn agrees(&self) -> bool {
        self.up().all(|node| {
            let mut others = self.up().filter(|other| other.at != node.at);
            others.all(|other| node.state(other.at) == Some(MemberState::Alive))
        })
    }

    /// Runs until the predicate holds; how long that took.
    fn until(&mut self, limit: u64, holds: impl Fn(&Self) -> bool) -> Option<u64> {
        let start = self.now;
        while self.now < start + limit {
            if holds(self) {
                return Some(self.now - start);
            }
            self.run(10 * MS);
        }
        None
    }

    fn joined(count: usize) -> Self {
        Self::joined_seeded(count, 0)
    }

    fn joined_seeded(count: usize, seed: u64) -> Self {
        let mut world = Self::seeded(count, seed);
        world.until(10 * SECOND, Self::agrees).expect("all join");
        world.run(10 * SECOND);
        for node in world.nodes.iter_mut().flatten() {
            assert_eq!(node.saw("member_quarantine"), 0, "node {}", node.at);
            node.events.clear();
        }
        world
    }

    fn all_hold(&self, victim: usize, state: MemberState) -> bool {
        self.up()
            .filter(|node| node.at != victim)
            .all(|node| node.state(victim) == Some(state))
    }
}

#[test]
fn a_cluster_forms_through_one_seed_within_a_second() {
    for count in [2, 3, 20] {
        let took = World::new(count).until(10 * SECOND, World::agrees);
        assert!(
            took.is_some_and(|took| took < SECOND),
            "{count} nodes: {took:?}"
        );
    }
}

#[test]
fn a_joiner_learns_the_whole_view_in_a_few_round_trips_and_is_announced_at_once() {
    let mut world = World::joined(20);
    world.nodes.push(None);
    world.start(20, Some(1), &[0]);
    let learns = |world: &World| {
        world.nodes[20]
            .as_ref()
            .is_some_and(|node| node.members.alive_count() == 20)
    };
    let took = world.until(SECOND, learns).unwrap();
    assert!(took <= 60 * MS, "{} ms", took / MS);
    let took = world.until(5 * SECOND, World::agrees).unwrap();
    assert!(took <= SECOND, "{} ms", took / MS);
    assert!(world.up().take(20).all(|node| node.saw("member_in") == 1));
}

#[test]
fn a_silent_node_is_suspected_then_dead_everywhere_and_nobody_else_is() {
    for seed in 0..10 {
        let mut world = World::joined_seeded(10, seed);
        world.nodes[7] = None;
        let took = world
            .until(60 * SECOND, |world| world.all_hold(7, MemberState::Dead))
            .unwrap();
        assert!((4 * SECOND..9 * SECOND).contains(&took), "{} ms", took / MS);
        world.run(20 * SECOND);
        for node in world.up() {
            assert_eq!(
                (
                    node.saw("member_quarantine"),
                    node.saw("member_unreachable")
                ),
                (1, 1)
            );
        }
        assert!(world.agrees());
    }
}

#[test]
fn a_node_whose_port_closed_is_dead_within_two_seconds_if_two_see_it() {
    for seed in 0..20 {
        let mut world = World::joined_seeded(5, seed);
        world.port_errors = true;
        world.nodes[3] = None;
        let took = world
            .until(10 * SECOND, |world| world.all_hold(3, MemberState::Dead))
            .unwrap();
        assert!(took < 2 * SECOND, "{} ms", took / MS);
    }
}

#[test]
fn one_observer_of_a_closed_port_never_kills() {
    let mut world = World::joined(2);
    world.port_errors = true;
    world.nodes[1] = None;
    let took = world
        .until(20 * SECOND, |world| world.all_hold(1, MemberState::Dead))
        .unwrap();
    assert!(took >= 4 * SECOND, "{} ms", took / MS);
}

#[test]
fn a_node_that_leaves_is_out_everywhere_and_never_suspect() {
    for seed in 0..5 {
        let mut world = World::joined_seeded(8, seed);
        let now = world.now;
        world.node(3).with(now, |members, ctx| members.leave(ctx));
        world.run(SECOND);
        let now = world.now;
        assert!(world.node(3).members.has_left(now));
        world.nodes[3] = None;
        world.run(20 * SECOND);
        assert!(world.all_hold(3, MemberState::Left));
        for node in world.up() {
            assert_eq!(
                (node.saw("member_out"), node.saw("member_quarantine")),
                (1, 0),
                "node {}",
                node.at
            );
        }
        world.start(3, Some(2), &[0]);
        assert!(world.until(3 * SECOND, World::agrees).is_some());
    }
}

#[test]
fn a_node_that_restarts_at_once_is_back_within_two_seconds_without_being_dead() {
    for seed in 0..10 {
        let mut world = World::joined_seeded(8, seed);
        world.nodes[5] = None;
        world.run(100 * MS);
        world.start(5, Some(2), &[0]);
        let back = |world: &World| {
            world.agrees()
                && world.up().filter(|node| node.at != 5).all(|node| {
                    let peer = node.peers.find(&id(5)).unwrap();
                    node.members.table.get(peer).unwrap().stand().generation == 2
                })
        };
        let took = world.until(10 * SECOND, back).unwrap();
        assert!(took <= 2 * SECOND, "{} ms", took / MS);
        world.run(20 * SECOND);
        assert!(world.up().all(|node| node.saw("member_unreachable") == 0));
        assert!(world.agrees());
    }
}

#[test]
fn a_node_that_lost_its_generation_takes_one_above_what_is_known() {
    let mut world = World::joined(4);
    world.nodes[2] = None;
    world.run(SECOND);
    world.start(2, None, &[0]);
    assert!(world.until(5 * SECOND, World::agrees).is_some());
    assert_eq!(world.node(2).members.generation(), Some(2));

    world.nodes[0] = None;
    world.run(SECOND);
    world.start(0, None, &[]);
    assert!(world.until(8 * SECOND, World::agrees).is_some());
    assert_eq!(world.node(0).members.generation(), Some(2));
}

#[test]
fn a_parted_cluster_heals_within_ten_seconds_of_contact() {
    for seed in 0..5 {
        let mut world = World::joined_seeded(12, seed);
        world.cut = |from, to| (from % 2) != (to % 2);
        world.run(120 * SECOND);
        let parted = |world: &World| {
            world.up().all(|node| {
                (0..12).all(|at| {
                    at == node.at
                        || (at % 2 == node.at % 2) == (node.state(at) == Some(MemberState::Alive))
                })
            })
        };
        assert!(parted(&world));
        world.cut = |_, _| false;
        let took = world.until(60 * SECOND, World::agrees).unwrap();
        assert!(took <= 10 * SECOND, "{} ms", took / MS);
    }
}

#[test]
fn two_nodes_that_hold_each_other_dead_over_a_link_that_works_come_together() {
    let mut world = World::joined(2);
    for at in 0..2 {
        let now = world.now;
        world.node(at).with(now, |members, ctx| {
            let peer = ctx.peers.intern(id(1 - at));
            let stand = members.table.get(peer).unwrap().stand();
            members.table.shift(now, peer, stand, MemberState::Dead);
        });
    }
    assert!(world.until(10 * SECOND, World::agrees).is_some());
}

#[test]
fn a_parted_cluster_heals_also_when_its_seed_is_gone() {
    let mut world = World::joined(7);
    world.nodes[0] = None;
    world.run(30 * SECOND);
    world.cut = |from, to| (from % 2) != (to % 2);
    world.run(90 * SECOND);
    world.cut = |_, _| false;
    let took = world.until(60 * SECOND, World::agrees).unwrap();
    assert!(took <= 10 * SECOND, "{} ms", took / MS);
}

#[test]
fn a_fifth_of_all_datagrams_lost_kills_nobody() {
    for seed in 0..5 {
        let mut world = World::joined_seeded(10, seed);
        world.loss = 20;
        world.run(120 * SECOND);
        assert!(world.up().all(|node| node.saw("member_unreachable") == 0));
        world.loss = 0;
        assert!(world.until(10 * SECOND, World::agrees).is_some());
    }
}

#[test]
fn a_path_cut_in_one_direction_kills_nobody() {
    for seed in 0..5 {
        let mut world = World::joined_seeded(6, seed);
        world.cut = |from, to| (from, to) == (1, 2);
        world.run(120 * SECOND);
        // Others are asked, who reach it.
        assert!(world.up().all(|node| node.saw("member_quarantine") == 0));
        assert!(world.up().all(|node| node.saw("member_unreachable") == 0));
    }
}

#[test]
fn a_node_cut_off_from_all_kills_few_and_recovers() {
    let mut world = World::joined(12);
    world.cut = |from, to| from == 5 || to == 5;
    // Longer than the longest suspicion: only the brake holds it back.
    let suspects = |world: &mut World| {
        let now = world.now;
        world.node(5).members.suspects_partition(now)
    };
    assert!(!suspects(&mut world));
    let mut ever = false;
    for _ in 0..40 {
        world.run(SECOND);
        ever |= suspects(&mut world);
    }
    assert!(ever);
    let dead = world.node(5).saw("member_unreachable");
    assert!(dead <= 4, "{dead}");
    let members = &world.node(5).members;
    assert_eq!(members.health_score(), 7);
    world.cut = |_, _| false;
    assert!(world.until(10 * SECOND, World::agrees).is_some());
    world.run(5 * SECOND);
    let now = world.now;
    assert!(!world.node(5).members.suspects_partition(now));
}

#[test]
fn a_node_stopped_for_three_seconds_is_never_dead_and_kills_nobody_when_it_wakes() {
    for (span, dies) in [(3, false), (120, true)] {
        let mut world = World::joined(8);
        world.asleep = Some(3);
        world.run(span * SECOND);
        world.asleep = None;
        let took = world.until(10 * SECOND, World::agrees).unwrap();
        assert!(took <= 3 * SECOND, "{span} s: {} ms", took / MS);
        assert_eq!(world.node(3).saw("member_unreachable"), 0);
        world.run(20 * SECOND);
        for node in world.up().filter(|node| node.at != 3) {
            assert_eq!(
                node.saw("member_unreachable"),
                usize::from(dies),
                "{span} s, node {}",
                node.at
            );
        }
        assert!(world.agrees());
    }
}

#[test]
fn a_forged_accusation_at_the_end_of_numbers_is_refused_by_all() {
    let mut world = World::joined(4);
    let now = world.now;
    for (count, generation) in [(1, 1), (2, 2)] {
        let stand = Stand {
            generation,
            incarnation: u64::MAX,
        };
        for at in [0, 1, 2] {
            let forged = rumour(id(2), stand, MemberState::Suspect, id(3), false);
            world.node(at).with(now, |members, ctx| {
                let from = ctx.peers.intern(id(3));
                members.on_rumour(ctx, from, &forged, Via::Gossip);
            });
            assert_eq!(world.node(at).members.counters.jumps, count);
        }
    }
    world.run(5 * SECOND);
    assert!(world.agrees());
    assert!(world.up().all(|node| node.saw("member_quarantine") == 0));
}

#[test]
fn a_forged_record_of_ourselves_at_the_end_of_numbers_uses_none_up() {
    let mut world = World::joined(3);
    let now = world.now;
    let mut forged = world.node(2).members.own_record().to_vec();
    forged[24..40].copy_from_slice(&[0; 16]);
    forged[48..56].copy_from_slice(&u64::MAX.to_le_bytes());
    let Some(Ok(Digest::Member(record))) = Digests::new(&forged).next() else {
        panic!("a record");
    };
    let before = world.node(2).members.own.stand();
    world.node(2).with(now, |members, ctx| {
        let from = ctx.peers.intern(id(1));
        members.on_member(ctx, from, &record, Via::Gossip);
    });
    assert_eq!(world.node(2).members.counters.jumps, 1);
    world.run(5 * SECOND);
    assert_eq!(world.node(2).members.own.stand(), before);
    assert!(world.agrees());
}

#[test]
fn a_false_accusation_is_refuted_within_two_seconds() {
    let mut world = World::joined(6);
    let now = world.now;
    let stand = Stand {
        generation: 1,
        incarnation: 0,
    };
    let said = rumour(id(2), stand, MemberState::Suspect, id(1), false);
    world.node(1).with(now, |members, ctx| {
        let peer = ctx.peers.intern(id(2));
        members.suspect(ctx, peer, stand, said.accuser, false);
    });
    world.run(50 * MS);
    assert!(world.node(1).saw("member_rejoin") == 1);
    world.run(2 * SECOND);
    assert!(world.agrees());
}

#[test]
fn dead_by_anti_entropy_is_a_suspicion_and_nobody_leaves_by_anothers_word() {
    let mut world = World::joined(4);
    // Nobody was heard just now: another's word counts.
    let now = world.now + 2 * SECOND;
    let node = world.node(1);
    let peer = node.peers.find(&id(2)).unwrap();
    let stand = node.members.table.get(peer).unwrap().stand();
    let mut hear = |state, via| {
        let said = rumour(id(2), stand, state, id(3), false);
        node.with(now, |members, ctx| {
            let from = ctx.peers.intern(id(3));
            members.on_rumour(ctx, from, &said, via);
        });
        node.members.state(peer)
    };
    let left = hear(MemberState::Left, Via::Gossip);
    assert_eq!(left, Some(MemberState::Alive));
    let dead = hear(MemberState::Dead, Via::Sync);
    assert_eq!(dead, Some(MemberState::Suspect));
    let dead = hear(MemberState::Dead, Via::Gossip);
    assert_eq!(dead, Some(MemberState::Dead));
    assert_eq!(world.node(1).members.counters.invalid, 1);
}

#[test]
fn a_difference_brings_the_next_comparison_forward_and_agreement_puts_it_off() {
    let mut world = World::joined(3);
    world.run(120 * SECOND);
    let pause = |world: &World, at: usize| world.nodes[at].as_ref().unwrap().members.sync.pause();
    let longest = pause(&world, 1);
    assert!((0..3).all(|at| pause(&world, at) == longest));
    let node = world.node(1);
    let forgotten = node.peers.find(&id(2)).unwrap();
    node.members.table.remove(forgotten);
    let found = world.until(2 * longest, |world| pause(world, 1) == SECOND);
    assert!(
        found.is_some(),
        "somebody compares with node 1, or it with somebody"
    );
    assert!(world.until(SECOND, World::agrees).is_some());
    world.run(2 * SECOND);
    let next = pause(&world, 1);
    assert!(next > SECOND && next < longest, "{} s", next / SECOND);
    world.run(120 * SECOND);
    assert!((0..3).all(|at| pause(&world, at) == longest));
}

#[test]
fn those_who_ask_because_of_the_dead_bring_no_comparison_forward() {
    let mut world = World::joined(3);
    let longest = Sync::new(0).pause();
    world.nodes[2] = None;
    world.run(180 * SECOND);
    for _ in 0..60 {
        world.run(SECOND);
        let mut pauses = world.up().map(|node| node.members.sync.pause());
        assert!(pauses.all(|pause| pause == longest));
    }
}

#[test]
fn a_joiner_is_told_each_member_once() {
    let mut world = World::new(2);
    let late = world.nodes[1].take();
    world.run(SECOND);
    let now = world.now;
    let node = world.node(0);
    let mut told = 0;
    for member in 2..802 {
        let record = table::tests::record(id(member), &[addr(member)]);
        let Some(Ok(Digest::Member(view))) = Digests::new(&record).next() else {
            panic!("a record")
        };
        let peer = node.peers.intern(view.fixed.id);
        assert!(node.members.table.insert(now, peer, &view));
        told += record.len() as u64;
    }
    world.nodes[1] = late;
    let before = world.bytes;
    let all = |world: &World| world.nodes[1].as_ref().unwrap().members.alive_count() > 800;
    world.until(SECOND, all).expect("it learns of all");
    world.run(50 * MS);
    let bytes = world.bytes - before;
    // Besides headers: handshakes, hashes, probes of the path.
    assert!(bytes < told * 5 / 4, "{bytes} B for {told} B of records");
}

#[test]
fn every_presence_event_follows_on_the_one_before_though_some_news_did_not_come_through() {
    let mut world = World::joined(4);
    let now = world.now;
    let node = world.node(1);
    let stand = |incarnation| Stand {
        generation: 1,
        incarnation,
    };
    let states = [
        (MemberState::Suspect, 0),
        (MemberState::Suspect, 1),
        (MemberState::Left, 2),
        (MemberState::Left, 3),
        (MemberState::Suspect, 4),
        (MemberState::Left, 5),
    ];
    for (state, incarnation) in states {
        let said = rumour(id(2), stand(incarnation), state, id(2), false);
        node.with(now, |members, ctx| {
            let peer = ctx.peers.intern(id(3));
            members.on_rumour(ctx, peer, &said, Via::Gossip);
        });
        node.note_members(now);
    }
    let names: Vec<_> = node.events.iter().map(|event| event.1).collect();
    let legal = [
        "member_quarantine",
        "member_out",
        "member_in",
        "member_quarantine",
        "member_out",
    ];
    assert_eq!(names, legal);
}

#[test]
fn a_member_held_dead_that_is_suspect_anew_is_back_first() {
    let mut world = World::joined(4);
    world.nodes[2] = None;
    world.until(30 * SECOND, |world| world.all_hold(2, MemberState::Dead));
    let now = world.now;
    let node = world.node(1);
    node.events.clear();
    let stand = Stand {
        generation: 1,
        incarnation: 50,
    };
    node.with(now, |members, ctx| {
        let peer = ctx.peers.intern(id(2));
        members.suspect(ctx, peer, stand, id(3), false);
    });
    node.note_members(now);
    let names: Vec<_> = node.events.iter().map(|event| event.1).collect();
    assert_eq!(names, ["member_rejoin", "member_quarantine"]);
}

#[test]
fn old_statements_replayed_change_nothing() {
    let mut world = World::joined(4);
    let old = world.node(0).members.own_record().to_vec();
    world.node(0).members.set_metadata(b"key=value");
    world.run(3 * SECOND);
    let now = world.now;
    let node = world.node(1);
    let peer = node.peers.find(&id(0)).unwrap();
    node.digests(now, addr(0), peer, &old, Via::Gossip);
    assert_eq!(node.members.record(peer).unwrap().meta, b"key=value");
    for state in MemberState::ALL {
        let stale = rumour(
            id(0),
            Stand {
                generation: 1,
                incarnation: 0,
            },
            *state,
            id(0),
            false,
        );
        node.with(now, |members, ctx| {
            members.on_rumour(ctx, peer, &stale, Via::Gossip)
        });
    }
    assert_eq!(node.state(0), Some(MemberState::Alive));
    assert!(node.events.is_empty());
}

#[test]
fn new_metadata_and_table_versions_reach_all_with_one_record_per_flush() {
    let mut world = World::joined(10);
    world.node(4).members.set_metadata(b"zone=a");
    world.node(4).members.set_table_version(7);
    world.run(2 * SECOND);
    for node in world.up().filter(|node| node.at != 4) {
        let peer = node.peers.find(&id(4)).unwrap();
        assert_eq!(
            node.members.table_version(peer),
            Some(7),
            "node {}",
            node.at
        );
        assert_eq!(node.members.record(peer).unwrap().meta, b"zone=a");
        assert_eq!(node.members.table.get(peer).unwrap().stand().incarnation, 1);
    }
}

#[test]
fn a_node_that_comes_back_with_the_generation_of_its_last_life_is_known_by_its_new_boot() {
    for seed in 0..6 {
        let mut world = World::joined_seeded(4, seed);
        world.node(2).members.set_metadata(b"key=value");
        world.run(3 * SECOND);
        world.nodes[2] = None;
        world.run(SECOND * (seed % 2) * 20);
        world.start(2, Some(1), &[0]);
        let boot = world.node(2).members.own.portrait().boot;
        let known = |world: &World| {
            let mut others = world.up().filter(|node| node.at != 2);
            let held = |node: &Node| node.members.boot(node.peers.find(&id(2))?);
            world.agrees() && others.all(|node| held(node) == Some(boot))
        };
        assert!(world.until(10 * SECOND, known).is_some(), "seed {seed}");
        assert_eq!(world.node(2).conflicts, 0, "seed {seed}");
    }
}

#[test]
fn of_two_copies_of_a_node_the_older_life_stops() {
    let mut world = World::joined(3);
    world.run(60 * SECOND);
    world.nodes.push(None);
    world.boots += 1;
    let mut copy = Node::new(1, world.boots, world.now, Some(2), &[0]);
    copy.at = 3;
    world.nodes[3] = Some(copy);
    world.run(5 * SECOND);
    assert!(world.node(1).conflicts > 0);
    assert_eq!(world.node(3).conflicts, 0);
}

#[test]
fn a_node_that_lost_its_generation_is_not_stopped_by_old_hellos_of_its_earlier_lives() {
    let mut world = World::joined(3);
    let boot = world.node(2).members.own.portrait().boot;
    world.start(2, None, &[0]);
    let hears = |world: &mut World, boot, generation| {
        let (now, fresh) = (world.now, false);
        let hello = LinkEvent::Twin {
            boot,
            generation,
            fresh,
        };
        let node = world.node(2);
        node.with(now, |members, ctx| members.on_link_event(ctx, hello));
    };
    // Of a life that did not know its generation either.
    hears(&mut world, Boot([255; 16]), 0);
    hears(&mut world, boot, 1);
    assert!(world.until(10 * SECOND, World::agrees).is_some());
    assert_eq!(world.node(2).members.generation(), Some(2));
    // Of one that was later than any that is known now.
    hears(&mut world, boot, 5);
    assert_eq!(world.node(2).members.generation(), Some(2));
    assert!(world.until(10 * SECOND, World::agrees).is_some());
    assert_eq!(world.node(2).conflicts, 0);
}

#[test]
fn a_node_that_lost_its_generation_outbids_its_last_life_whenever_it_hears_of_it() {
    for seed in 0..6 {
        let mut world = World::joined_seeded(3, seed);
        world.run(SECOND);
        // It comes back beside one that never heard of it.
        world.cut = |a, b| (a < 2) != (b < 2);
        world.nodes[2] = None;
        world.nodes.push(None);
        world.start(3, Some(1), &[0]);
        world.start(2, None, &[3]);
        world.run(100 * SECOND);
        assert_eq!(world.node(2).members.generation(), Some(1), "seed {seed}");
        world.cut = |_, _| false;
        assert!(
            world.until(30 * SECOND, World::agrees).is_some(),
            "seed {seed}"
        );
        assert_eq!(world.node(2).conflicts, 0, "seed {seed}");
    }
}

#[test]
fn a_node_finds_its_members_by_the_cache_when_all_seeds_are_gone() {
    let mut world = World::joined(4);
    world.nodes[0] = None;
    world.nodes[3] = None;
    world.run(SECOND);
    world.start(3, Some(2), &[0]);
    world.node(3).members.set_cached(&[addr(0), addr(2)]);
    let took = world.until(10 * SECOND, |world| {
        world.nodes[3]
            .as_ref()
            .is_some_and(|node| node.members.alive_count() >= 2)
    });
    assert!(took.is_some_and(|took| took < 6 * SECOND), "{took:?}");
}

#[test]
fn seeds_that_come_back_are_found_again() {
    let mut world = World::joined(3);
    world.nodes[0] = None;
    world.run(200 * SECOND);
    world.start(0, Some(2), &[]);
    let took = world.until(20 * SECOND, World::agrees).unwrap();
    assert!(took <= 10 * SECOND, "{} ms", took / MS);
}

#[test]
fn nodes_without_seeds_meet_by_what_beacons_tell() {
    let mut world = World::seeded(3, 0);
    world.nodes[2] = None;
    world.until(10 * SECOND, World::agrees).expect("two meet");
    world.start(2, None, &[]);
    world.run(3 * SECOND);
    assert_eq!(world.node(2).members.alive_count(), 0);
    let (now, told) = (world.now, world.node(0).members.me);
    world.node(2).with(now, |members, ctx| {
        // Its own beacon, as the segment gives it back, and that of another.
        let own = members.me;
        members.on_found(ctx, &own, addr(7));
        members.on_found(ctx, &told, addr(0));
        assert_eq!(members.found_len(), 1);
    });
    let took = world.until(20 * SECOND, World::agrees);
    assert!(took.is_some_and(|took| took < 5 * SECOND), "{took:?}");
    assert_eq!(world.node(2).members.alive_count(), 2);
}

#[test]
fn what_a_beacon_tells_of_an_alive_member_is_not_tried() {
    let mut world = World::joined(2);
    let (now, told) = (world.now, world.node(1).members.me);
    world.node(0).with(now, |members, ctx| {
        // Known by its id, wherever it is said to be; known by its address, whoever is said to be there.
        members.on_found(ctx, &told, addr(9));
        members.on_found(ctx, &NodeId([0xee; 16]), addr(1));
        assert_eq!(members.found_len(), 2);
        let tried = members.seeds.new_found(ctx.now, &members.table);
        assert_eq!(tried, (vec![], false));
    });
}

#[test]
fn a_tombstone_expires_after_three_days_and_its_number_is_used_again() {
    let mut world = World::joined(2);
    world.nodes[1] = None;
    world.run(20 * SECOND);
    let (node, day) = (world.nodes[0].as_mut().unwrap(), 24 * 3600 * SECOND);
    let before = node.peers.len();
    for hours in 0..73 {
        let now = world.now + hours * day / 24;
        node.with(now, |members, ctx| members.on_tombstones(ctx));
        while let Some(event) = node.members.poll_event() {
            node.note(now, event);
        }
    }
    assert_eq!(node.saw("member_drop"), 1);
    assert_eq!(node.peers.len(), before - 1);
}

#[test]
fn an_idle_cluster_costs_little() {
    let mut world = World::joined(30);
    world.run(30 * SECOND);
    let before = world.bytes;
    world.run(60 * SECOND);
    let each = (world.bytes - before) / 60 / 30;
    assert!(each < 2000, "{each} B/s a node");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = || {
        let mut world = World::new(6);
        world.loss = 10;
        world.run(20 * SECOND);
        world.nodes[4] = None;
        world.run(20 * SECOND);
        let events: Vec<_> = world.up().map(|node| node.events.clone()).collect();
        (world.bytes, events)
    };
    assert_eq!(history(), history());
}

/// Loss, parts, crashes and restarts at random; afterwards one view within half a minute, and quiet.
fn storm(seed: u64) {
    let mut world = World::joined(8);
    world.rng = Rng::from_seed([seed as u8; 32]);
    let mut generations = [1; 8];
    let cuts: [fn(usize, usize) -> bool; 4] = [
        |_, _| false,
        |from, to| (from < 3) != (to < 3),
        |from, to| from == 2 || to == 5,
        |from, to| (from + to).is_multiple_of(3),
    ];
    for _ in 0..12 {
        let victim = world.rng.below(8) as usize;
        match world.rng.below(4) {
            0 => world.nodes[victim] = None,
            1 if world.nodes[victim].is_none() => {
                generations[victim] += 1;
                let known = (world.rng.below(3) > 0).then_some(generations[victim]);
                world.start(victim, known, &[0, 1, 2, 3, 4, 5, 6, 7]);
            }
            2 => world.cut = cuts[world.rng.below(4) as usize],
            _ => world.loss = world.rng.below(3) * 15,
        }
        let span = world.rng.below(15 * SECOND);
        world.run(span);
    }
    world.cut = cuts[0];
    world.loss = 0;
    let took = world.until(60 * SECOND, World::agrees);
    assert!(
        took.is_some_and(|took| took <= 20 * SECOND),
        "seed {seed}: {took:?}"
    );
    // Whoever is down is dead, or never known, everywhere in the end; nobody else is.
    world.run(60 * SECOND);
    assert!(world.agrees(), "seed {seed}");
    let down: Vec<usize> = (0..8).filter(|at| world.nodes[*at].is_none()).collect();
    for node in world.up() {
        for at in &down {
            let state = node.state(*at);
            let gone = matches!(state, None | Some(MemberState::Dead | MemberState::Left));
            assert!(gone, "seed {seed}: node {} holds {at} {state:?}", node.at);
        }
    }
    let hashes: Vec<_> = world.up().map(|node| node.members.hashes()).collect();
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "seed {seed}: bucket hashes"
    );
}

#[test]
fn after_any_storm_there_is_one_view() {
    for seed in 0..12 {
        storm(seed);
    }
}

/// A longer run: `cargo test --release -p tidings-protocol -- --ignored many_storms`.
#[test]
#[ignore = "takes minutes"]
fn after_many_storms_there_is_one_view() {
    for seed in 12..250 {
        storm(seed);
    }
}

#[test]
fn of_a_hundred_members_each_deals_with_a_few_and_nobody_is_left_out() {
    let mut world = World::new(100);
    world.until(20 * SECOND, World::agrees).expect("all join");
    world.run(200 * SECOND);
    let mut observed = vec![0; 100];
    for node in world.up() {
        let partners = node.members.partners();
        assert_eq!(partners.len(), super::probe::PARTNERS);
        for peer in partners {
            observed[usize::from(node.peers.id(*peer).0[7]) - 1] += 1;
        }
        // Those that others chose it for, and everybody of the time when few were there.
        let links = node.links.known().count();
        assert!(links <= 4 * super::probe::PARTNERS, "{links} links");
    }
    assert!(observed.iter().all(|count| *count > 0), "{observed:?}");
}

#[test]
fn a_hundred_nodes_form_one_view_and_notice_one_death() {
    let mut world = World::new(100);
    let took = world.until(20 * SECOND, World::agrees).expect("all join");
    assert!(took <= 3 * SECOND, "{} ms", took / MS);
    world.run(5 * SECOND);
    world.nodes[50] = None;
    let took = world
        .until(60 * SECOND, |world| world.all_hold(50, MemberState::Dead))
        .unwrap();
    assert!(took <= 15 * SECOND, "{} ms", took / MS);
    assert!(world.agrees());
}
