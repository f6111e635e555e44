//! One node of a simulation: a real core, its clock, its disk, its receive buffer and its owner.

use std::collections::VecDeque;

use tidings_protocol::{Core, CoreConfig, PublishCounters, PublisherId, ReceiveCounters};
use tidings_wire::{Boot, KeyRecord, Keyring, NodeId, OverlayId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::MS;
use super::apps::Apps;
use super::check::Presence;
use super::clock::Clock;
use super::desk::Desk;
use super::network::address;
use super::plan::{Disk, NodePlan, Plan};
use super::random::Random;

/// A node over all its lives.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) boot: Boot,
    pub(crate) core: Option<Core>,
    pub(crate) clock: Clock,
    /// The generation on its disk.
    pub(crate) disk: Option<u64>,
    pub(crate) lives: u64,
    pub(crate) born: u64,
    pub(crate) leaving: bool,
    pub(crate) paused: u32,
    /// Least time between turns at present.
    pub(crate) turn: u64,
    pub(crate) free_at: u64,
    /// When its next turn is due.
    pub(crate) turn_at: u64,
    pub(crate) inbox: VecDeque<u32>,
    pub(crate) inbox_bytes: usize,
    /// Turns since the last audit or datagram in which nothing came and nothing went.
    pub(crate) idle_turns: u32,
    pub(crate) slots: u16,
    pub(crate) desk: Desk,
    pub(crate) apps: Apps,
    pub(crate) presence: Presence,
    pub(crate) counted: Counted,
}

/// Counters at the last audit: they only grow.
#[derive(Clone, Default)]
pub(crate) struct Counted {
    pub(crate) publish: PublishCounters,
    pub(crate) receive: ReceiveCounters,
    pub(crate) refused: u64,
}

/// The overlay's name: nodes and the insider have its key.
pub(crate) fn keyring(plan: &Plan) -> Keyring {
    let overlay = OverlayId::from_name("simulation");
    let record = KeyRecord::new(0, plan.suite, [7; 32]);
    Keyring::new(overlay, vec![record], 0).expect("a valid keyring")
}

/// The id of a node.
pub(crate) fn id_of(seed: u64, node: usize) -> NodeId {
    let mut id = [0; 16];
    let half = xxh3_64_with_seed(&(node as u64).to_le_bytes(), seed);
    id[..8].copy_from_slice(&half.to_le_bytes());
    id[8] = node as u8;
    NodeId(id)
}

impl Node {
    pub(crate) fn new(plan: &Plan, n: usize, now: u64) -> Node {
        let of = &plan.nodes[n];
        let mut random = Random::of(plan.options.seed ^ (n as u64 + 1) << 32, "clock");
        Node {
            id: id_of(plan.options.seed, n),
            boot: Boot::ZERO,
            core: None,
            clock: Clock::new(now, random.between(1, 1 << 50), of.drift),
            disk: Some(0),
            lives: 0,
            born: 0,
            leaving: false,
            paused: 0,
            turn: of.turn,
            free_at: 0,
            turn_at: u64::MAX,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            idle_turns: 0,
            slots: 0,
            desk: Desk::default(),
            apps: Apps::new(plan, n),
            presence: Presence::default(),
            counted: Counted::default(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.core.is_some()
    }

    /// It runs, and its applications may use it.
    pub(crate) fn is_open(&self) -> bool {
        self.is_up() && !self.leaving && self.paused == 0
    }

    /// Starts the next life.
    pub(crate) fn start(&mut self, plan: &Plan, n: usize, now: u64) {
        self.lives += 1;
        let (seed, of) = (plan.options.seed, &plan.nodes[n]);
        let mut random = Random::of(seed ^ (n as u64 + 1) << 32 ^ self.lives << 48, "life");
        self.boot = Boot(random.bytes());
        self.disk = self.disk.map(|generation| generation + 1);
        let mut config = self.configure(of, n);
        config.cached = self.cached(plan, n, &mut random);
        let mut core = Core::new(config, keyring(plan), self.clock.read(now), random.bytes());
        core.grant_slots(n as u16);
        self.slots = 1;
        self.core = Some(core);
        (self.born, self.leaving, self.paused) = (now, false, 0);
        (self.turn, self.free_at, self.turn_at) = (of.turn, now, u64::MAX);
        self.desk = Desk::default();
        self.presence = Presence::default();
        self.counted = Counted::default();
    }

    fn configure(&self, of: &NodePlan, n: usize) -> CoreConfig {
        let mut config = CoreConfig::new(self.id, self.boot, &format!("n{n}"));
        config.addresses = vec![address(n)];
        config.generation = self.disk;
        config.seeds = of.seeds.iter().map(|seed| address(*seed)).collect();
        config.steer = of.steer;
        config.policy.retain = of.retain;
        config.policy.max_datagram = of.datagram_max;
        config.policy.client_grace = of.client_grace;
        config.policy.park_max = of.park_max;
        // No two lives share it, so that the audit of nonces can tell them apart.
        config.boot_tag = (config.boot_tag & 0xfc0) | (self.lives as u16 & 0x3f);
        config
    }

    // The disk of an earlier life holds addresses, too.
    fn cached(&self, plan: &Plan, n: usize, random: &mut Random) -> Vec<std::net::SocketAddr> {
        if self.lives == 1 || self.disk.is_none() {
            return Vec::new();
        }
        let others = (0..plan.options.nodes).filter(|other| *other != n);
        let some = others.filter(|_| random.below(4) == 0);
        some.map(address).collect()
    }

    /// The end of a life, without a word.
    pub(crate) fn kill(&mut self, disk: Disk) {
        self.core = None;
        self.leaving = false;
        match disk {
            Disk::Kept => {}
            Disk::Lost => self.disk = None,
            // The write at the last start had failed.
            Disk::Stale => self.disk = self.disk.map(|generation| generation.saturating_sub(1)),
        }
    }

    pub(crate) fn publisher(&self, handle: u32) -> PublisherId {
        PublisherId {
            node: self.id,
            boot: self.boot,
            handle,
        }
    }

    /// When it wants its next turn, and may have it.
    pub(crate) fn wants_turn(&self, now: u64) -> Option<u64> {
        let core = self.core.as_ref()?;
        if self.paused > 0 {
            return None;
        }
        let due = if self.inbox.is_empty() {
            self.clock.when(core.deadline()?)
        } else {
            now
        };
        Some(due.max(self.free_at))
    }

    /// All datagrams of this count refused.
    pub(crate) fn refused(&self) -> u64 {
        let core = self.core.as_ref();
        core.map_or(0, |core| {
            core.refusals().iter().map(|(_, count)| count).sum()
        })
    }

    /// Applications act this soon after a start.
    pub(crate) fn first_act(random: &mut Random) -> u64 {
        random.between(50 * MS, 500 * MS)
    }
}
