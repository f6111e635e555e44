//! What a seed decides before anything runs: topology, configuration, load, and which faults happen when.
//!
//! Each fault class is on or off, and each draws from its own generator: without one of them, or with a shorter run, the
//! others stay as they were. That is what makes a failure shrink.

use std::fmt;

use tidings_protocol::limits::DATAGRAM_MAX;
use tidings_wire::{Class, Suite};

use super::random::Random;
use super::{MS, S};

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal,)*) => {
        /// A class of faults. A seed has each of them or not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $fault,)* }

        impl Fault {
            /// Every class.
            pub const ALL: &'static [Fault] = &[$(Fault::$fault,)*];

            /// What the command line calls it.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$fault => $name,)* }
            }
        }
    };
}

faults! {
    /// Datagrams are lost.
    Loss = "loss",
    /// Datagrams come twice.
    Duplicate = "duplicate",
    /// Datagrams come much later than those sent after them.
    Reorder = "reorder",
    /// Every path takes milliseconds.
    Delay = "delay",
    /// Bits flip, datagrams come short, long or with another's tail.
    Corrupt = "corrupt",
    /// A path passes little, and queues little.
    Clog = "clog",
    /// The network is parted.
    Partition = "partition",
    /// One direction between some nodes is dead.
    Asymmetric = "asymmetric",
    /// One class of datagrams does not pass between some nodes.
    ClassCut = "class-cut",
    /// A node is killed and started again.
    Crash = "crash",
    /// A node is killed and comes back without its disk.
    Amnesia = "amnesia",
    /// A node is killed and comes back with an older disk, whose last write had failed.
    DiskError = "disk-error",
    /// A node leaves and comes back.
    Leave = "leave",
    /// A node gets no turns for a while.
    Pause = "pause",
    /// Clocks run at different speeds.
    Drift = "drift",
    /// A clock jumps ahead.
    Jump = "jump",
    /// A node's turns are far apart.
    SlowNode = "slow-node",
    /// Clients have no room, and acknowledge late, out of order or never.
    SlowClient = "slow-client",
    /// Clients die and come back.
    DyingClient = "dying-client",
    /// Receive buffers are small.
    SmallInbox = "small-inbox",
    /// Message stores are small.
    SmallStore = "small-store",
    /// Subscriptions and publishers come and go.
    Churn = "churn",
    /// Somebody records everything, replays it to anybody, and changes it.
    Attacker = "attacker",
    /// A holder of the key says nonsense.
    Insider = "insider",
}

impl Fault {
    /// The class of this name.
    pub fn named(name: &str) -> Option<Fault> {
        Fault::ALL
            .iter()
            .copied()
            .find(|fault| fault.name() == name)
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What may be chosen besides the seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Virtual seconds: two thirds with faults, the rest to heal in, if that is enough.
    pub secs: u64,
    /// If any: fault classes that happen, and no others, whatever the seed says.
    pub only: Vec<Fault>,
    /// Fault classes that do not happen, whatever else says so.
    pub without: Vec<Fault>,
    /// Numbers of scheduled faults that do not happen.
    pub skip: Vec<usize>,
    /// Prints what nodes are told and do. Changes nothing.
    pub trace: bool,
}

impl Options {
    /// 16 nodes for a minute.
    pub fn new(seed: u64) -> Options {
        Options {
            seed,
            nodes: 16,
            secs: 60,
            only: Vec::new(),
            without: Vec::new(),
            skip: Vec::new(),
            trace: false,
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "--seed {} --nodes {} --secs {}",
            self.seed, self.nodes, self.secs
        )?;
        for (option, faults) in [("only", &self.only), ("without", &self.without)] {
            if !faults.is_empty() {
                let names: Vec<_> = faults.iter().map(|fault| fault.name()).collect();
                write!(f, " --{option} {}", names.join(","))?;
            }
        }
        if !self.skip.is_empty() {
            let numbers: Vec<_> = self.skip.iter().map(usize::to_string).collect();
            write!(f, " --skip {}", numbers.join(","))?;
        }
        Ok(())
    }
}

/// What a node that is killed finds on its disk afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Kept,
    Lost,
    Stale,
}

/// One scheduled fault.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// From one set of nodes to another nothing of the classes passes; sets and classes are bits.
    Cut {
        from: u64,
        to: u64,
        classes: u8,
    },
    /// A path passes so many bytes a second, and as many may wait.
    Clog {
        from: usize,
        to: usize,
        rate: u64,
    },
    Kill {
        node: usize,
        disk: Disk,
    },
    Leave {
        node: usize,
    },
    Pause {
        node: usize,
    },
    Jump {
        node: usize,
        by: u64,
    },
    Slow {
        node: usize,
        turn: u64,
    },
}

/// When it happens and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) fault: Fault,
    pub(crate) at: u64,
    pub(crate) lasts: u64,
    pub(crate) what: What,
}

/// What every path does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// Least and greatest delay of a path, drawn per path.
    pub(crate) delay: (u64, u64),
    pub(crate) jitter: u64,
    /// Per million: lost, doubled, held up, corrupted.
    pub(crate) loss: u64,
    pub(crate) duplicate: u64,
    pub(crate) late: u64,
    /// Mean of how long a datagram is held up.
    pub(crate) late_by: u64,
    pub(crate) corrupt: u64,
}

/// One node's configuration.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    pub(crate) seeds: Vec<usize>,
    pub(crate) start: u64,
    pub(crate) drift: i64,
    /// Least time between two turns.
    pub(crate) turn: u64,
    /// Bytes that may wait for a turn.
    pub(crate) inbox: usize,
    pub(crate) retain: usize,
    pub(crate) datagram_max: usize,
    pub(crate) client_grace: u64,
    pub(crate) park_max: u64,
    pub(crate) steer: u8,
}

/// How much the applications do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Mean time between two acts of one node's applications.
    pub(crate) every: u64,
    /// Messages in a row at most.
    pub(crate) burst: u64,
    /// Bytes of an ordinary message at most.
    pub(crate) small: u64,
    /// Large messages per million, and their bytes at most.
    pub(crate) large: u64,
    pub(crate) large_bytes: u64,
    pub(crate) publishers: u64,
    pub(crate) subscriptions: u64,
}

/// The whole.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) suite: Suite,
    on: u32,
    pub(crate) weather: Weather,
    pub(crate) nodes: Vec<NodePlan>,
    pub(crate) load: Load,
    pub(crate) steps: Vec<Step>,
    /// Mean time between two acts of the attacker and of the insider.
    pub(crate) attack_every: u64,
    pub(crate) insider_every: u64,
    /// Nodes that are healed; the others stay dead.
    pub(crate) core: u64,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Plan {
        let seed = options.seed;
        let mut swarm = Random::of(seed, "swarm");
        let mut on = 0;
        for fault in Fault::ALL {
            // Each class in half of the seeds, and one seed in sixteen is calm.
            let drawn = swarm.coin();
            let chosen = if options.only.is_empty() {
                drawn
            } else {
                options.only.contains(fault)
            };
            if chosen && !options.without.contains(fault) {
                on |= fault.bit();
            }
        }
        if swarm.below(16) == 0 && options.only.is_empty() {
            on = 0;
        }
        let mut plan = Plan {
            options: options.clone(),
            suite: swarm.pick(&Suite::ALL),
            on,
            weather: Weather::default(),
            nodes: Vec::new(),
            load: load(&mut Random::of(seed, "load")),
            steps: Vec::new(),
            attack_every: swarm.log_uniform(20 * MS, 500 * MS),
            insider_every: swarm.log_uniform(20 * MS, 500 * MS),
            core: 0,
        };
        plan.weather = plan.weather();
        plan.nodes = (0..options.nodes).map(|node| plan.node(node)).collect();
        plan.schedule();
        plan.core = plan.healed();
        plan
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.on & fault.bit() != 0
    }

    /// The classes that are on.
    pub(crate) fn faults(&self) -> impl Iterator<Item = Fault> + '_ {
        Fault::ALL.iter().copied().filter(|fault| self.has(*fault))
    }

    /// How long faults happen.
    pub(crate) fn stormy(&self) -> u64 {
        self.options.secs * S * 2 / 3
    }

    fn weather(&self) -> Weather {
        let mut random = Random::of(self.options.seed, "weather");
        let mut drawn = |fault: Fault, low: u64, high: u64| {
            let value = random.log_uniform(low, high);
            if self.has(fault) { value } else { 0 }
        };
        let far = drawn(Fault::Delay, 500_000, 20 * MS);
        Weather {
            delay: (20_000 + far / 2, 60_000 + far),
            jitter: 10_000 + drawn(Fault::Delay, 10_000, 5 * MS),
            loss: drawn(Fault::Loss, 500, 250_000),
            duplicate: drawn(Fault::Duplicate, 500, 300_000),
            late: drawn(Fault::Reorder, 1_000, 300_000),
            late_by: drawn(Fault::Reorder, 50_000, 100 * MS),
            corrupt: drawn(Fault::Corrupt, 1_000, 50_000),
        }
    }

    fn node(&self, node: usize) -> NodePlan {
        let seed = self.options.seed;
        let mut random = Random::of(seed ^ (node as u64 + 1) << 48, "node");
        let nodes = self.options.nodes as u64;
        // One seed for all, or two or three of the first nodes.
        let wide = Random::of(seed, "topology").coin();
        let mut seeds: Vec<usize> = if wide {
            (0..3.min(nodes as usize)).collect()
        } else {
            vec![0]
        };
        seeds.retain(|seed| *seed != node);
        let start = if node == 0 { 0 } else { random.below(2 * S) };
        let drift = random.between(0, 1000) as i64 - 500;
        let inbox = random.log_uniform(8 << 10, 128 << 10) as usize;
        let retain = random.log_uniform(3 << 20, 6 << 20) as usize;
        NodePlan {
            seeds,
            start,
            drift: if self.has(Fault::Drift) { drift } else { 0 },
            turn: random.log_uniform(2_000, 200_000),
            inbox: if self.has(Fault::SmallInbox) {
                inbox
            } else {
                1 << 20
            },
            retain: if self.has(Fault::SmallStore) {
                retain
            } else {
                64 << 20
            },
            datagram_max: match random.pick(&[1200, 1448, 1448, 9000]) {
                // Some as on loopback.
                9000 if node % 2 == 1 => DATAGRAM_MAX,
                size => size,
            },
            client_grace: random.log_uniform(3 * S, 20 * S),
            park_max: random.pick(&[8 * S, 20 * S, 24 * 3600 * S, 24 * 3600 * S]),
            steer: random.next() as u8,
        }
    }

    fn schedule(&mut self) {
        let end = self.stormy();
        let seed = self.options.seed;
        let mut steps = Vec::new();
        for fault in self.faults() {
            let mut random = Random::of(seed, fault.name());
            let every = random.log_uniform(3 * S, 20 * S);
            let mut at = random.between(3 * S, 8 * S);
            while at < end {
                let Some((lasts, what)) = self.draw(fault, &mut random) else {
                    break;
                };
                steps.push(Step {
                    fault,
                    at,
                    lasts,
                    what,
                });
                at += S / 2 + random.exponential(every);
            }
        }
        steps.sort_by_key(|step| (step.at, step.fault));
        self.steps = steps;
    }

    fn draw(&self, fault: Fault, random: &mut Random) -> Option<(u64, What)> {
        let nodes = self.options.nodes as u64;
        let all = u64::MAX >> (64 - nodes);
        let node = random.below(nodes) as usize;
        let other = ((node as u64 + 1 + random.below(nodes - 1)) % nodes) as usize;
        let some = match random.below(3) {
            0 => 1 << node,
            1 => random.next() & all,
            _ => all >> random.below(nodes),
        };
        let lasts = random.log_uniform(100 * MS, 20 * S);
        Some(match fault {
            // Nothing passes in either direction: see the world.
            Fault::Partition => (
                lasts,
                What::Cut {
                    from: some,
                    to: !some & all,
                    classes: 0xf,
                },
            ),
            Fault::Asymmetric => {
                let to = if random.coin() {
                    1 << other
                } else {
                    !some & all
                };
                let from = some & !to;
                (
                    lasts,
                    What::Cut {
                        from,
                        to,
                        classes: 0xf,
                    },
                )
            }
            Fault::ClassCut => {
                let class = random.pick(&[Class::Hello, Class::Pair, Class::Bulk, Class::Fan]);
                let (from, to) = if random.coin() {
                    (all, all)
                } else {
                    (some, all)
                };
                (
                    lasts,
                    What::Cut {
                        from,
                        to,
                        classes: 1 << (class as u8 - 1),
                    },
                )
            }
            Fault::Clog => {
                let rate = random.log_uniform(10_000, 1_000_000);
                (
                    lasts,
                    What::Clog {
                        from: node,
                        to: other,
                        rate,
                    },
                )
            }
            Fault::Crash => (
                lasts,
                What::Kill {
                    node,
                    disk: Disk::Kept,
                },
            ),
            Fault::Amnesia => (
                lasts,
                What::Kill {
                    node,
                    disk: Disk::Lost,
                },
            ),
            Fault::DiskError => (
                lasts,
                What::Kill {
                    node,
                    disk: Disk::Stale,
                },
            ),
            Fault::Leave => (lasts, What::Leave { node }),
            Fault::Pause => (random.log_uniform(10 * MS, 30 * S), What::Pause { node }),
            Fault::Jump => (
                0,
                What::Jump {
                    node,
                    by: random.log_uniform(100 * MS, 3600 * S),
                },
            ),
            Fault::SlowNode => {
                let turn = random.log_uniform(MS, 100 * MS);
                (lasts, What::Slow { node, turn })
            }
            _ => return None,
        })
    }

    // All nodes, or a majority with the first node, which everybody knows as a seed.
    fn healed(&self) -> u64 {
        let mut random = Random::of(self.options.seed, "core");
        let nodes = self.options.nodes as u64;
        let all = u64::MAX >> (64 - nodes);
        if random.coin() || nodes < 4 {
            return all;
        }
        let mut core = all;
        for _ in 0..random.between(1, (nodes - 1) / 2) {
            core &= !(1 << random.below(nodes));
        }
        core | 1
    }
}

fn load(random: &mut Random) -> Load {
    Load {
        every: random.log_uniform(800 * MS, 4 * S),
        burst: random.log_uniform(1, 12),
        small: random.log_uniform(16, 4096),
        large: random.log_uniform(1_000, 20_000),
        large_bytes: random.log_uniform(8 << 10, 128 << 10),
        publishers: random.between(1, 3),
        subscriptions: random.between(1, 3),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at / MS, self.lasts / MS);
        write!(
            f,
            "{at:>6} ms, for {lasts} ms: {} {:?}",
            self.fault.name(),
            self.what
        )
    }
}
