//! Hundreds to thousands of real cores on one clean network, in one thread and virtual time.
//!
//! Unlike `net` it checks nothing and keeps little, so that three thousand nodes fit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidings_protocol::{Core, CoreConfig, Delivery, Event, Outlet, PresenceKind, Taken};
use tidings_wire::{Boot, KeyRecord, Keyring, NodeId, OverlayId, Suite};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A millisecond in virtual time, in ns.
pub const MS: u64 = 1_000_000;
/// A second in virtual time, in ns.
pub const S: u64 = 1_000 * MS;

/// The least delay of a datagram in ns, and how much more at random: one data centre.
const DELAY: (u64, u64) = (300_000, 400_000);
/// The first nodes are everybody's seeds.
const SEEDS: usize = 3;
const PORT: u16 = 7400;

/// A change of presence as one node told it.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// When.
    pub at: u64,
    /// Who told it.
    pub observer: usize,
    /// Of whom.
    pub subject: usize,
    /// What.
    pub kind: PresenceKind,
    /// Whether the subject ran then.
    pub runs: bool,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
}

#[derive(Default)]
struct Eye {
    news: Vec<(PresenceKind, usize)>,
}

impl Outlet for Eye {
    fn deliver(&mut self, _: u32, _: &Delivery<'_>) -> Taken {
        Taken::Acked
    }

    fn event(&mut self, event: Event<'_>) {
        if let Event::Presence { kind, node } = event {
            self.news.push((kind, index_of(node)));
        }
    }
}

struct Node {
    core: Option<Core>,
    wake: u64,
    lives: u64,
    blocks: u16,
    // Members that it holds present, itself included.
    present: usize,
}

enum What {
    Datagram { from: u32, bytes: Box<[u8]> },
    Wake,
}

struct Due {
    at: u64,
    order: u64,
    node: u32,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.order == other.order
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The network and its nodes.
pub struct World {
    now: u64,
    seed: u64,
    random: u64,
    order: u64,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<Due>>,
    eye: Eye,
    /// Everything sent so far.
    pub sent: Traffic,
    /// Changes of presence since they were last taken.
    pub sights: Vec<Sight>,
}

fn address(n: usize) -> SocketAddr {
    let [_, a, b, c] = (n as u32).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, a, b, c), PORT))
}

fn at_address(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(v4) => {
            let [_, a, b, c] = v4.octets();
            Some(u32::from_be_bytes([0, a, b, c]) as usize)
        }
        IpAddr::V6(_) => None,
    }
}

fn index_of(node: NodeId) -> usize {
    u32::from_le_bytes([node.0[12], node.0[13], node.0[14], node.0[15]]) as usize
}

impl World {
    /// `count` nodes, none of them started.
    pub fn new(seed: u64, count: usize) -> World {
        let node = || Node {
            core: None,
            wake: u64::MAX,
            lives: 0,
            blocks: 0,
            present: 0,
        };
        World {
            now: S,
            seed,
            random: seed,
            order: 0,
            nodes: (0..count).map(|_| node()).collect(),
            queue: BinaryHeap::new(),
            eye: Eye::default(),
            sent: Traffic::default(),
            sights: Vec::new(),
        }
    }

    /// The present time in ns.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The id of a node: it outlives restarts.
    pub fn id(&self, n: usize) -> NodeId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(
            &xxh3_64_with_seed(&(n as u64).to_le_bytes(), self.seed).to_le_bytes(),
        );
        id[12..].copy_from_slice(&(n as u32).to_le_bytes());
        NodeId(id)
    }

    /// Starts a node, anew if it ran before.
    pub fn start(&mut self, n: usize) {
        let lives = self.nodes[n].lives + 1;
        let life = xxh3_64_with_seed(&lives.to_le_bytes(), self.seed ^ (n as u64) << 20);
        let mut boot = [0; 16];
        boot[..8].copy_from_slice(&life.to_le_bytes());
        boot[8..].copy_from_slice(&self.seed.to_le_bytes());
        let mut config = CoreConfig::new(self.id(n), Boot(boot), &format!("node-{n}"));
        config.addresses = vec![address(n)];
        config.generation = Some(lives);
        // As on Ethernet.
        config.policy.max_datagram = 1448;
        config.seeds = (0..SEEDS).filter(|s| *s != n).map(address).collect();
        let overlay = OverlayId::from_name("scale");
        let key = KeyRecord::new(0, Suite::Aes256Gcm, [7; 32]);
        let ring = Keyring::new(overlay, vec![key], 0).expect("a valid keyring");
        let mut seed = [0; 32];
        for (word, part) in seed.chunks_mut(8).enumerate() {
            part.copy_from_slice(
                &xxh3_64_with_seed(&(word as u64).to_le_bytes(), life).to_le_bytes(),
            );
        }
        let core = Core::new(config, ring, self.now, seed);
        self.nodes[n] = Node {
            core: Some(core),
            wake: u64::MAX,
            lives,
            blocks: 0,
            present: 1,
        };
        self.drive(n, |_, _, _| {});
    }

    /// Stops a node without a word.
    pub fn kill(&mut self, n: usize) {
        self.nodes[n].core = None;
    }

    /// Whether the node runs.
    pub fn runs(&self, n: usize) -> bool {
        self.nodes[n].core.is_some()
    }

    /// How many nodes there are, running or not.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether every running node holds present as many members as run.
    pub fn is_one_view(&self) -> bool {
        let running = self.nodes.iter().filter(|node| node.core.is_some());
        let count = running.clone().count();
        running.into_iter().all(|node| node.present == count)
    }

    /// Links of all nodes.
    pub fn links(&self) -> usize {
        let cores = self.nodes.iter().filter_map(|node| node.core.as_ref());
        let linked = cores.flat_map(|core| core.peers());
        linked.filter(|peer| peer.address.is_some()).count()
    }

    /// Bytes of the heap that are the network's and not the nodes'.
    pub fn own_bytes(&self) -> usize {
        let waiting = self.queue.iter().map(|Reverse(due)| match &due.what {
            What::Datagram { bytes, .. } => bytes.len(),
            What::Wake => 0,
        });
        waiting.sum::<usize>()
            + self.queue.capacity() * size_of::<Due>()
            + self.sights.capacity() * size_of::<Sight>()
            + self.nodes.capacity() * (size_of::<Node>() - size_of::<Core>())
    }

    fn drive(&mut self, n: usize, act: impl FnOnce(&mut Core, u64, &mut Eye)) {
        let now = self.now;
        let Self { nodes, eye, .. } = self;
        let node = &mut nodes[n];
        let Some(core) = node.core.as_mut() else {
            return;
        };
        while core.wants_slots() {
            core.grant_slots(node.blocks);
            node.blocks += 1;
        }
        act(core, now, eye);
        core.flush(now, eye);
        let mut out = Vec::new();
        for run in core.transmits() {
            for datagram in run.bytes.chunks(run.segment) {
                out.push((run.to, Box::from(datagram)));
            }
        }
        core.sent();
        let deadline = core.deadline().map(|at| at.max(now + 1_000));
        for (kind, subject) in std::mem::take(&mut self.eye.news) {
            let node = &mut self.nodes[n];
            match kind {
                PresenceKind::In | PresenceKind::Rejoin => node.present += 1,
                PresenceKind::Unreachable | PresenceKind::Out => node.present -= 1,
                PresenceKind::Quarantine | PresenceKind::Drop => {}
            }
            let runs = self.runs(subject);
            self.sights.push(Sight {
                at: now,
                observer: n,
                subject,
                kind,
                runs,
            });
        }
        for (to, bytes) in out {
            self.send(n, to, bytes);
        }
        if let Some(at) = deadline {
            let wake = self.nodes[n].wake;
            if wake <= now || at < wake {
                self.nodes[n].wake = at;
                self.push(at, n, What::Wake);
            }
        }
    }

    fn send(&mut self, from: usize, to: SocketAddr, bytes: Box<[u8]>) {
        let len = bytes.len() as u64;
        self.sent.datagrams += 1;
        self.sent.bytes += len;
        if let Some(to) = at_address(to).filter(|to| *to < self.nodes.len()) {
            let at = self.now + DELAY.0 + self.draw(DELAY.1);
            let from = from as u32;
            self.push(at, to, What::Datagram { from, bytes });
        }
    }

    fn push(&mut self, at: u64, node: usize, what: What) {
        self.order += 1;
        let (order, node) = (self.order, node as u32);
        self.queue.push(Reverse(Due {
            at,
            order,
            node,
            what,
        }));
    }

    /// A number below `below`, as the seed says.
    pub fn draw(&mut self, below: u64) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    /// Lets everything happen until `at`.
    pub fn run_until(&mut self, at: u64) {
        while self.queue.peek().is_some_and(|Reverse(due)| due.at <= at) {
            let Some(Reverse(due)) = self.queue.pop() else {
                break;
            };
            self.now = self.now.max(due.at);
            let n = due.node as usize;
            match due.what {
                What::Datagram { from, mut bytes } => {
                    let source = address(from as usize);
                    self.drive(n, |core, now, eye| {
                        core.handle_datagram(now, source, &mut bytes, eye);
                    });
                }
                What::Wake if self.nodes[n].wake == due.at => {
                    self.nodes[n].wake = 0;
                    self.drive(n, |core, now, eye| core.handle_timeout(now, eye));
                }
                What::Wake => {}
            }
        }
        self.now = self.now.max(at);
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: u64) {
        self.run_until(self.now + time);
    }
}
