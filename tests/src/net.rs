//! An in-process network: 2 to 16 protocol cores in one thread, virtual time, one seed, real seal and open.
//!
//! Every datagram that a core plans is cut into segments and given to the link between the two nodes, which delays, loses,
//! doubles, reorders or cuts it. The same seed and the same calls give the same bytes: [`Net::trace`] is their hash.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use tidings_protocol::{
    Accepted, Core, CoreConfig, Delivery, Event, Outcome, Outlet, PresenceKind, PublishError,
    PublisherId, SubSpec, Taken,
};
use tidings_wire::{Boot, Class, KeyRecord, Keyring, NodeId, OverlayId, Suite};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A millisecond and a second in virtual time.
pub const MS: u64 = 1_000_000;
/// A second in virtual time.
pub const S: u64 = 1_000 * MS;

/// What a link does to datagrams in one direction. Probabilities are in 1/1000.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Least delay in ns, and how much more at random.
    pub delay: (u64, u64),
    /// Lost.
    pub loss: u32,
    /// Delivered twice.
    pub duplicate: u32,
    /// Delivered without delay.
    pub ahead: u32,
    /// Nothing passes.
    pub cut: bool,
    /// Nothing of this class passes.
    pub cut_class: Option<Class>,
}

impl Rule {
    /// 50 us and nothing bad.
    pub const GOOD: Rule = Rule {
        delay: (50_000, 10_000),
        loss: 0,
        duplicate: 0,
        ahead: 0,
        cut: false,
        cut_class: None,
    };
    /// The hostile link of the acceptance tests: 5 +- 2 ms, 2 % loss, 1 % duplicates, 25 % sent ahead.
    pub const HOSTILE: Rule = Rule {
        delay: (3 * MS, 4 * MS),
        loss: 20,
        duplicate: 10,
        ahead: 250,
        cut: false,
        cut_class: None,
    };
}

/// What a local subscriber does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes and acknowledges at once.
    Ack,
    /// Takes, and leaves the acknowledgement to the test.
    Keep,
    /// Takes and acknowledges this many more, then has no room.
    Room(u32),
}

/// A message as a subscriber got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// When.
    pub at: u64,
    /// The local subscription.
    pub sub: u32,
    /// Its publisher.
    pub publisher: PublisherId,
    /// Its number.
    pub seq: u64,
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// It may have been seen before.
    pub again: bool,
}

/// An event as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// See [`Event::Presence`].
    Presence(PresenceKind, NodeId),
    /// Handle, subscriber node and subscription, range, result.
    Outcome(u32, NodeId, u32, u64, u64, Outcome),
    /// Subscription and the members that had not confirmed.
    Subscribed(u32, Vec<NodeId>),
    /// Subscription, range, reason.
    Gap(u32, u64, u64, Outcome),
    /// See [`Event::Writable`].
    Writable,
    /// See [`Event::Synced`].
    Synced(bool),
}

/// What a node's owner saw.
#[derive(Default)]
pub struct Seen {
    /// Messages, in the order of delivery.
    pub got: Vec<Got>,
    /// Events with their times.
    pub told: Vec<(u64, Told)>,
    /// How local subscriptions behave; [`Manner::Ack`] if not listed.
    pub manners: BTreeMap<u32, Manner>,
    /// The generation to be persisted.
    pub generation: Option<u64>,
    now: u64,
}

impl Outlet for Seen {
    fn deliver(&mut self, sub: u32, m: &Delivery<'_>) -> Taken {
        let manner = self.manners.entry(sub).or_insert(Manner::Ack);
        let taken = match manner {
            Manner::Ack => Taken::Acked,
            Manner::Keep => Taken::Kept,
            Manner::Room(0) => return Taken::Full,
            Manner::Room(n) => {
                *n -= 1;
                Taken::Acked
            }
        };
        let (topic, payload) = (m.topic.to_owned(), m.payload.to_vec());
        self.got.push(Got {
            at: self.now,
            sub,
            publisher: m.publisher,
            seq: m.seq,
            topic,
            payload,
            again: m.again,
        });
        taken
    }

    fn event(&mut self, event: Event<'_>) {
        let told = match event {
            Event::Presence { kind, node } => Told::Presence(kind, node),
            Event::Outcome {
                handle,
                node,
                sub,
                from,
                to,
                outcome,
            } => Told::Outcome(handle, node, sub, from, to, outcome),
            Event::Subscribed { sub, missing } => Told::Subscribed(sub, missing.to_vec()),
            Event::Gap {
                sub,
                from,
                to,
                reason,
                ..
            } => Told::Gap(sub, from, to, reason),
            Event::Writable => Told::Writable,
            Event::Synced { complete } => Told::Synced(complete),
            Event::Generation(generation) => {
                self.generation = Some(generation);
                return;
            }
            _ => return,
        };
        self.told.push((self.now, told));
    }
}

/// One node.
pub struct Node {
    /// Its id, which survives restarts.
    pub id: NodeId,
    /// What its owner saw, over all its lives.
    pub seen: Seen,
    /// Where it listens.
    pub addr: SocketAddr,
    core: Option<Core>,
    lives: u64,
    // Persisted generation; `None` if the disk is lost.
    disk: Option<u64>,
    wake: u64,
}

enum Item {
    Datagram { from: usize, bytes: Vec<u8> },
    Wake,
}

type Configure = Box<dyn Fn(usize, &mut CoreConfig)>;

/// The network.
pub struct Net {
    now: u64,
    seed: u64,
    random: u64,
    trace: u64,
    order: u64,
    nodes: Vec<Node>,
    rules: BTreeMap<(usize, usize), Rule>,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    items: BTreeMap<u64, Item>,
    /// Datagrams and bytes sent by (sender, receiver, class).
    pub sent: BTreeMap<(usize, usize, u8), (u64, u64)>,
    configure: Configure,
    suite: Suite,
}

impl Net {
    /// `count` nodes that all have node 0 as their seed, started at once, on good links.
    pub fn new(seed: u64, count: usize) -> Net {
        Net::with(seed, count, |_, _| {})
    }

    /// As [`Net::new`], with a say in each node's configuration.
    pub fn with(
        seed: u64,
        count: usize,
        configure: impl Fn(usize, &mut CoreConfig) + 'static,
    ) -> Net {
        let mut net = Net::unstarted(seed, count, configure);
        for node in 0..count {
            net.start(node);
        }
        net
    }

    /// Nodes that are not started yet.
    pub fn unstarted(
        seed: u64,
        count: usize,
        configure: impl Fn(usize, &mut CoreConfig) + 'static,
    ) -> Net {
        let node = |n: usize| {
            let mut id = [0; 16];
            id[..8]
                .copy_from_slice(&xxh3_64_with_seed(&(n as u64).to_le_bytes(), seed).to_le_bytes());
            id[8] = n as u8;
            Node {
                id: NodeId(id),
                seen: Seen::default(),
                addr: SocketAddr::from(([10, 0, 0, n as u8 + 1], 7400)),
                core: None,
                lives: 0,
                disk: Some(0),
                wake: u64::MAX,
            }
        };
        Net {
            now: S,
            seed,
            random: seed ^ 0x5bd1_e995,
            trace: 0,
            order: 0,
            nodes: (0..count).map(node).collect(),
            rules: BTreeMap::new(),
            queue: BinaryHeap::new(),
            items: BTreeMap::new(),
            sent: BTreeMap::new(),
            configure: Box::new(configure),
            suite: Suite::ChaCha20Poly1305,
        }
    }

    /// Virtual time in ns.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Hash of every datagram sent so far, with its time and ends.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Starts a node, with what its disk holds.
    pub fn start(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.lives += 1;
        let life = xxh3_64_with_seed(&node.lives.to_le_bytes(), self.seed ^ n as u64);
        let mut boot = [0; 16];
        boot[..8].copy_from_slice(&life.to_le_bytes());
        boot[8..].copy_from_slice(&self.seed.to_le_bytes());
        let mut config = CoreConfig::new(node.id, Boot(boot), &format!("n{n}"));
        config.addresses = vec![node.addr];
        node.disk = node.disk.map(|generation| generation + 1);
        config.generation = node.disk;
        let seed_addr = SocketAddr::from(([10, 0, 0, 1], 7400));
        config.seeds = if n == 0 { vec![] } else { vec![seed_addr] };
        (self.configure)(n, &mut config);
        let overlay = OverlayId::from_name("test");
        let ring = Keyring::new(overlay, vec![KeyRecord::new(0, self.suite, [7; 32])], 0)
            .expect("a valid keyring");
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&life.to_le_bytes());
        let mut core = Core::new(config, ring, self.now, seed);
        core.grant_slots(n as u16);
        node.core = Some(core);
        node.seen.generation = None;
        self.drive(n, |_, _, _| {});
    }

    /// Stops a node without a word, as kill -9 does.
    pub fn kill(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.core = None;
        if let (Some(generation), Some(_)) = (node.seen.generation, node.disk) {
            node.disk = Some(generation);
        }
    }

    /// The node's disk is lost: it keeps its id, but not its generation.
    pub fn lose_disk(&mut self, n: usize) {
        self.nodes[n].disk = None;
    }

    /// Sets what a link does, in both directions.
    pub fn link(&mut self, a: usize, b: usize, rule: Rule) {
        self.rules.insert((a, b), rule);
        self.rules.insert((b, a), rule);
    }

    /// Sets what a link does in one direction.
    pub fn one_way(&mut self, from: usize, to: usize, rule: Rule) {
        self.rules.insert((from, to), rule);
    }

    /// Sets every link.
    pub fn all_links(&mut self, rule: Rule) {
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                self.rules.insert((a, b), rule);
            }
        }
    }

    /// A node's record of what it saw.
    pub fn seen(&self, n: usize) -> &Seen {
        &self.nodes[n].seen
    }

    /// The same, to change manners or to forget.
    pub fn seen_mut(&mut self, n: usize) -> &mut Seen {
        &mut self.nodes[n].seen
    }

    /// A node's id.
    pub fn id(&self, n: usize) -> NodeId {
        self.nodes[n].id
    }

    /// A running node's core.
    pub fn core(&self, n: usize) -> &Core {
        self.nodes[n].core.as_ref().expect("the node runs")
    }

    /// Acts on a running node at the present time, then sends what it wants sent.
    pub fn drive<R>(
        &mut self,
        n: usize,
        act: impl FnOnce(&mut Core, u64, &mut Seen) -> R,
    ) -> Option<R> {
        let now = self.now;
        let node = &mut self.nodes[n];
        node.seen.now = now;
        let core = node.core.as_mut()?;
        let result = act(core, now, &mut node.seen);
        core.flush(now, &mut node.seen);
        let mut out = Vec::new();
        for run in core.transmits() {
            out.extend(
                run.bytes
                    .chunks(run.segment)
                    .map(|d| (run.to, run.class, d.to_vec())),
            );
        }
        core.sent();
        for (to, class, bytes) in out {
            self.send(n, to, class, bytes);
        }
        self.schedule_wake(n);
        Some(result)
    }

    fn schedule_wake(&mut self, n: usize) {
        let deadline = self.nodes[n]
            .core
            .as_ref()
            .and_then(Core::deadline)
            .unwrap_or(u64::MAX);
        let at = deadline.max(self.now + 1_000);
        if deadline != u64::MAX && (self.nodes[n].wake <= self.now || at < self.nodes[n].wake) {
            self.nodes[n].wake = at;
            self.push(at, n, Item::Wake);
        }
    }

    fn push(&mut self, at: u64, n: usize, item: Item) {
        self.order += 1;
        self.items.insert(self.order, item);
        self.queue.push(Reverse((at, self.order, n)));
    }

    fn draw(&mut self, below: u64) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    fn send(&mut self, from: usize, to: SocketAddr, class: Class, bytes: Vec<u8>) {
        let mark = [self.now.to_le_bytes(), (from as u64).to_le_bytes()].concat();
        self.trace = xxh3_64_with_seed(&bytes, xxh3_64_with_seed(&mark, self.trace));
        let Some(target) = self.nodes.iter().position(|n| n.addr == to) else {
            return;
        };
        let count = self.sent.entry((from, target, class as u8)).or_default();
        *count = (count.0 + 1, count.1 + bytes.len() as u64);
        let rule = self
            .rules
            .get(&(from, target))
            .copied()
            .unwrap_or(Rule::GOOD);
        if rule.cut || rule.cut_class == Some(class) || self.draw(1000) < u64::from(rule.loss) {
            return;
        }
        let copies = 1 + usize::from(self.draw(1000) < u64::from(rule.duplicate));
        for _ in 0..copies {
            let ahead = self.draw(1000) < u64::from(rule.ahead);
            let delay = if ahead {
                10_000
            } else {
                rule.delay.0 + self.draw(rule.delay.1)
            };
            self.push(
                self.now + delay,
                target,
                Item::Datagram {
                    from,
                    bytes: bytes.clone(),
                },
            );
        }
    }

    /// Sends arbitrary bytes to a node, as an attacker at `from` would.
    pub fn inject(&mut self, from: usize, to: usize, bytes: &[u8]) {
        self.push(
            self.now,
            to,
            Item::Datagram {
                from,
                bytes: bytes.to_vec(),
            },
        );
    }

    /// Lets everything happen until `at`.
    pub fn run_until(&mut self, at: u64) {
        while let Some(&Reverse((due, order, n))) = self.queue.peek() {
            if due > at {
                break;
            }
            self.queue.pop();
            self.now = self.now.max(due);
            match self.items.remove(&order) {
                Some(Item::Datagram { from, mut bytes }) => {
                    let source = self.nodes[from].addr;
                    self.drive(n, |core, now, seen| {
                        core.handle_datagram(now, source, &mut bytes, seen)
                    });
                }
                Some(Item::Wake) if self.nodes[n].wake == due => {
                    self.nodes[n].wake = 0;
                    self.drive(n, |core, now, seen| core.handle_timeout(now, seen));
                }
                _ => {}
            }
        }
        self.now = self.now.max(at);
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: u64) {
        self.run_until(self.now + time);
    }

    /// Lets time pass until `done`, at most `time`; false if it never was.
    pub fn run_till(&mut self, time: u64, mut done: impl FnMut(&Net) -> bool) -> bool {
        let end = self.now + time;
        while !done(self) {
            if self.now >= end {
                return false;
            }
            self.run(MS);
        }
        true
    }

    /// Opens a publisher at a node.
    pub fn publisher(&mut self, n: usize, topic: &str) -> u32 {
        self.drive(n, |core, _, _| {
            core.open_publisher(topic).expect("a valid topic")
        })
        .expect("the node runs")
    }

    /// Publishes one message.
    pub fn publish(
        &mut self,
        n: usize,
        handle: u32,
        payload: &[u8],
    ) -> Result<Accepted, PublishError> {
        self.drive(n, |core, now, seen| {
            core.publish(now, handle, payload, seen)
        })
        .expect("the node runs")
    }

    /// Publishes one message, waiting for room for at most ten seconds.
    pub fn publish_surely(&mut self, n: usize, handle: u32, payload: &[u8]) -> Accepted {
        for _ in 0..10_000 {
            match self.publish(n, handle, payload) {
                Ok(accepted) => return accepted,
                Err(PublishError::WouldBlock) => self.run(MS),
                Err(error) => panic!("publish: {error:?}"),
            }
        }
        panic!("no room for ten seconds");
    }

    /// Subscribes at a node with every default but for the changes that `change` makes.
    pub fn subscribe(&mut self, n: usize, pattern: &str, change: impl FnOnce(&mut SubSpec)) -> u32 {
        let mut spec = SubSpec::new(pattern);
        change(&mut spec);
        self.drive(n, |core, now, seen| {
            core.subscribe(now, spec, seen).expect("a valid pattern")
        })
        .expect("the node runs")
    }

    /// Payloads that a subscription got, in order.
    pub fn payloads(&self, n: usize, sub: u32) -> Vec<Vec<u8>> {
        self.seen(n)
            .got
            .iter()
            .filter(|g| g.sub == sub)
            .map(|g| g.payload.clone())
            .collect()
    }

    /// Results told to a publisher's node, summed up by outcome.
    pub fn outcomes(&self, n: usize) -> BTreeMap<Outcome, u64> {
        let mut counts = BTreeMap::new();
        for (_, told) in &self.seen(n).told {
            if let Told::Outcome(_, _, _, from, to, outcome) = told {
                *counts.entry(*outcome).or_default() += to - from;
            }
        }
        counts
    }

    /// Datagrams of one class from one node to another.
    pub fn datagrams(&self, from: usize, to: usize, class: Class) -> u64 {
        self.sent
            .get(&(from, to, class as u8))
            .map_or(0, |count| count.0)
    }
}
