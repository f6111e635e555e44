//! An in-process network: 2 to 16 protocol cores in one thread, virtual time, one seed, real seal and open.
//!
//! Every datagram that a core plans is cut into segments and given to the link between the two nodes, which delays, loses,
//! doubles, reorders or cuts it. The same seed and the same calls give the same bytes: [`Net::trace`] is their hash.

mod rule;
mod seen;

pub use rule::Rule;
pub use seen::{Got, Manner, Seen, Told};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use seen::Step;
use tidings_protocol::{Accepted, Core, CoreConfig, Outcome, PublishError, PublisherId, SubSpec};
use tidings_wire::{Boot, Class, KeyRecord, Keyring, NodeId, OverlayId, Suite};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::books::Books;

/// A millisecond and a second in virtual time.
pub const MS: u64 = 1_000_000;
/// A second in virtual time.
pub const S: u64 = 1_000 * MS;

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
    boot: Boot,
    topics: Vec<String>,
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
    // When the last of a link with a rate has passed.
    busy: BTreeMap<(usize, usize), u64>,
    check: Books,
    // Sender, where to, and bytes of every datagram.
    kept: Option<Vec<(usize, SocketAddr, Vec<u8>)>>,
    // Whether datagrams that arrive at one moment are taken in one turn.
    batches: bool,
    // Whether messages that are published together are so one by one.
    singly: bool,
    configure: Configure,
    suite: Suite,
    // Of nodes that have another than all.
    keyrings: BTreeMap<usize, Keyring>,
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
                boot: Boot([0; 16]),
                topics: Vec::new(),
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
            busy: BTreeMap::new(),
            check: Books::default(),
            kept: None,
            batches: false,
            singly: false,
            configure: Box::new(configure),
            suite: Suite::ChaCha20Poly1305,
            keyrings: BTreeMap::new(),
        }
    }

    /// The keyring of every node that was not given another.
    pub fn keyring(&self) -> Keyring {
        let record = KeyRecord::new(0, self.suite, [7; 32]);
        Keyring::new(OverlayId::from_name("test"), vec![record], 0).expect("a valid keyring")
    }

    /// The node has this keyring when it is next started.
    pub fn give_keyring(&mut self, n: usize, keyring: Keyring) {
        self.keyrings.insert(n, keyring);
    }

    /// Where a node listens.
    pub fn address(&self, n: usize) -> SocketAddr {
        self.nodes[n].addr
    }

    /// The node listens there when it is next started; what goes to its old address is lost at once.
    pub fn move_to(&mut self, n: usize, addr: SocketAddr) {
        self.nodes[n].addr = addr;
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
        let given = self.keyrings.get(&n).map(Keyring::share);
        let ring = given.unwrap_or_else(|| self.keyring());
        let node = &mut self.nodes[n];
        node.lives += 1;
        let life = xxh3_64_with_seed(&node.lives.to_le_bytes(), self.seed ^ n as u64);
        let mut boot = [0; 16];
        boot[..8].copy_from_slice(&life.to_le_bytes());
        boot[8..].copy_from_slice(&self.seed.to_le_bytes());
        node.boot = Boot(boot);
        node.topics.clear();
        let mut config = CoreConfig::new(node.id, Boot(boot), &format!("n{n}"));
        config.addresses = vec![node.addr];
        node.disk = node.disk.map(|generation| generation + 1);
        config.generation = node.disk;
        let seed_addr = SocketAddr::from(([10, 0, 0, 1], 7400));
        config.seeds = if n == 0 { vec![] } else { vec![seed_addr] };
        // As on Ethernet, unless the test says otherwise.
        config.policy.max_datagram = 1448;
        (self.configure)(n, &mut config);
        let mut seed = [0; 32];
        for (word, part) in seed.chunks_mut(8).enumerate() {
            let random = xxh3_64_with_seed(&(word as u64).to_le_bytes(), life);
            part.copy_from_slice(&random.to_le_bytes());
        }
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
        self.check.died(node.id);
        if let (Some(generation), Some(_)) = (node.seen.generation, node.disk) {
            node.disk = Some(generation);
        }
    }

    /// The node's disk is lost: it keeps its id, but not its generation.
    pub fn lose_disk(&mut self, n: usize) {
        self.nodes[n].disk = None;
    }

    /// From now on a node takes all datagrams that arrive at one moment before it sends anything, as a busy one does.
    pub fn take_together(&mut self) {
        self.batches = true;
    }

    /// Keeps a copy of every datagram from now on.
    pub fn keep_datagrams(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// The datagrams kept.
    pub fn kept_datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.kept.iter().flatten().map(|(_, _, bytes)| &bytes[..])
    }

    /// Those that a node sent, with where to.
    pub fn kept_from(&self, from: usize) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let kept = self.kept.iter().flatten();
        let own = kept.filter(move |(sender, _, _)| *sender == from);
        own.map(|(_, to, bytes)| (*to, &bytes[..]))
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
        let result = self.step(n, act);
        self.check(n);
        result
    }

    fn step<R>(&mut self, n: usize, act: impl FnOnce(&mut Core, u64, &mut Seen) -> R) -> Option<R> {
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

    // Enters what the node's owner saw since the last time into the books.
    fn check(&mut self, n: usize) {
        let Node { id, boot, seen, .. } = &mut self.nodes[n];
        let publisher = |handle| PublisherId {
            node: *id,
            boot: *boot,
            handle,
        };
        for step in std::mem::take(&mut seen.steps) {
            match step {
                Step::Got(handed) => self.check.handed(*id, &handed),
                Step::Told(at) => match &seen.told[at].1 {
                    Told::Gap(sub, publisher, from, to, _) => {
                        self.check.gap((*id, *sub), (*publisher, *from, *to));
                    }
                    Told::Outcome(handle, peer, sub, from, to, outcome) => {
                        let run = (publisher(*handle), *from, *to);
                        self.check.outcomes(run, (*peer, *sub), *outcome);
                    }
                    _ => {}
                },
            }
        }
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
        if let Some(kept) = &mut self.kept {
            kept.push((from, to, bytes.clone()));
        }
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
        if rule.cut
            || bytes.len() > rule.mtu
            || rule.cut_class == Some(class)
            || self.draw(1000) < u64::from(rule.loss)
        {
            return;
        }
        let Some(wait) = self.pass(from, target, rule, bytes.len()) else {
            return;
        };
        let copies = 1 + usize::from(self.draw(1000) < u64::from(rule.duplicate));
        for _ in 0..copies {
            let ahead = self.draw(1000) < u64::from(rule.ahead);
            let delay = if ahead {
                10_000
            } else {
                rule.delay.0 + self.draw(rule.delay.1)
            };
            self.push(
                self.now + wait + delay,
                target,
                Item::Datagram {
                    from,
                    bytes: bytes.clone(),
                },
            );
        }
    }

    // How long a datagram waits for the link's rate; `None` if its queue is full.
    fn pass(&mut self, from: usize, to: usize, rule: Rule, len: usize) -> Option<u64> {
        let Some((rate, queue)) = rule.rate else {
            return Some(0);
        };
        let free = self.busy.entry((from, to)).or_default();
        let wait = free.saturating_sub(self.now);
        if wait * rate / S > queue {
            return None;
        }
        *free = self.now + wait + len as u64 * S / rate;
        Some(*free - self.now)
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
                Some(Item::Datagram { from, bytes }) => {
                    let mut taken = vec![(self.nodes[from].addr, bytes)];
                    if self.batches {
                        self.take_due(due, n, &mut taken);
                    }
                    self.drive(n, |core, now, seen| {
                        for (source, bytes) in &mut taken {
                            core.handle_datagram(now, *source, bytes, seen);
                        }
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

    // Takes the datagrams from the queue that arrive at a node at this moment, up to the first event of another kind.
    fn take_due(&mut self, due: u64, n: usize, taken: &mut Vec<(SocketAddr, Vec<u8>)>) {
        while let Some(&Reverse((at, order, to))) = self.queue.peek()
            && (at, to) == (due, n)
            && matches!(self.items.get(&order), Some(Item::Datagram { .. }))
        {
            self.queue.pop();
            if let Some(Item::Datagram { from, bytes }) = self.items.remove(&order) {
                taken.push((self.nodes[from].addr, bytes));
            }
        }
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
        let handle = self
            .drive(n, |core, _, _| {
                core.open_publisher(topic).expect("a valid topic")
            })
            .expect("the node runs");
        let topics = &mut self.nodes[n].topics;
        topics.resize(topics.len().max(handle as usize + 1), String::new());
        topics[handle as usize] = topic.to_owned();
        handle
    }

    /// The full name of a publisher of the node's present life.
    pub fn publisher_id(&self, n: usize, handle: u32) -> PublisherId {
        let Node { id, boot, .. } = self.nodes[n];
        PublisherId {
            node: id,
            boot,
            handle,
        }
    }

    /// Publishes one message.
    pub fn publish(
        &mut self,
        n: usize,
        handle: u32,
        payload: &[u8],
    ) -> Result<Accepted, PublishError> {
        self.publish_all(n, handle, std::iter::once(payload))
    }

    /// From now on, what [`Net::publish_all`] is given is published one by one instead of as a batch.
    pub fn publish_singly(&mut self) {
        self.singly = true;
    }

    /// Publishes several messages in one turn, up to the first that is refused; returns the last result.
    pub fn publish_all<'a>(
        &mut self,
        n: usize,
        handle: u32,
        payloads: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Accepted, PublishError> {
        let id = self.publisher_id(n, handle);
        let topic = self.nodes[n].topics[handle as usize].clone();
        let mut taken = Vec::new();
        let singly = self.singly;
        let result = self.step(n, |core, now, seen| {
            let mut last = Err(PublishError::Closed);
            let mut enter = |accepted, payload| {
                last = accepted;
                taken.extend(accepted.ok().map(|accepted| (accepted, payload)));
                accepted.is_ok()
            };
            if singly {
                for payload in payloads {
                    if !enter(core.publish(now, handle, payload, seen), payload) {
                        break;
                    }
                }
            } else {
                let mut batch = core.batch(now, handle, seen);
                for (at, payload) in payloads.enumerate() {
                    // By either way, the second without writing the zeros at the end.
                    let accepted = if at % 2 == 0 {
                        batch.publish(payload)
                    } else {
                        let end = payload.iter().rposition(|byte| *byte != 0);
                        let (first, rest) = payload[..end.map_or(0, |at| at + 1)]
                            .split_at(end.map_or(0, |at| at / 2));
                        batch.publish_with(payload.len(), |place| {
                            place.put(first);
                            place.put(rest);
                        })
                    };
                    if !enter(accepted, payload) {
                        break;
                    }
                }
            }
            last
        });
        for (accepted, payload) in taken {
            self.check
                .published((id, accepted.seq), &topic, payload, accepted.owed);
        }
        self.check(n);
        result.expect("the node runs")
    }

    /// Publishes the same payload by each of several publishers in one turn; none may be refused.
    pub fn publish_each(&mut self, n: usize, handles: &[u32], payload: &[u8]) {
        let taken = self.step(n, |core, now, seen| {
            let publish = |handle: &u32| core.publish(now, *handle, payload, seen);
            handles.iter().map(publish).collect::<Vec<_>>()
        });
        for (handle, accepted) in handles.iter().zip(taken.expect("the node runs")) {
            let accepted = accepted.expect("there is room");
            let id = self.publisher_id(n, *handle);
            let topic = &self.nodes[n].topics[*handle as usize];
            self.check
                .published((id, accepted.seq), topic, payload, accepted.owed);
        }
        self.check(n);
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
        let (id, of) = (self.nodes[n].id, spec.clone());
        let sub = self
            .step(n, |core, now, seen| {
                core.subscribe(now, spec, seen).expect("a valid pattern")
            })
            .expect("the node runs");
        self.check.subscribed((id, sub), &of);
        self.check(n);
        sub
    }

    /// Subscriptions that were made at a node and not ended.
    pub fn subscriptions(&self, n: usize) -> Vec<u32> {
        self.check.open_at(self.nodes[n].id)
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, n: usize, sub: u32) {
        self.drive(n, |core, now, seen| {
            core.unsubscribe(now, sub, seen).expect("a subscription")
        });
        self.check.unsubscribed((self.nodes[n].id, sub));
    }

    /// The application acknowledges everything that the subscription got and ends it in the same turn.
    pub fn acknowledge_and_unsubscribe(&mut self, n: usize, sub: u32) {
        let id = self.nodes[n].id;
        let mut held = Vec::new();
        let got = self.nodes[n].seen.got.iter_mut();
        for got in got.filter(|got| got.sub == sub && !got.acked) {
            got.acked = true;
            held.push((got.publisher, got.seq));
        }
        for &(publisher, seq) in &held {
            self.check
                .acknowledged((id, sub), publisher, (seq, seq + 1));
        }
        self.drive(n, |core, now, seen| {
            for (publisher, seq) in held {
                core.acknowledge(sub, publisher, seq, false);
            }
            core.unsubscribe(now, sub, seen).expect("a subscription");
        });
        self.check.unsubscribed((id, sub));
    }

    /// The subscription's client dies.
    pub fn detach(&mut self, n: usize, sub: u32) {
        self.drive(n, |core, now, _| core.detach(now, sub));
        self.check.renewed((self.nodes[n].id, sub));
    }

    /// A successor of the subscription's client attaches.
    pub fn attach(&mut self, n: usize, sub: u32) {
        self.drive(n, |core, _, seen| core.attach(sub, seen));
    }

    /// Sets how a subscription behaves, and says that there is room if there may be.
    pub fn behave(&mut self, n: usize, sub: u32, manner: Manner) {
        self.seen_mut(n).manners.insert(sub, manner);
        self.drive(n, |core, _, seen| core.ready(sub, seen));
    }

    /// The subscriber's application acknowledges a message, or all up to it. Returns how many that settled.
    pub fn acknowledge(
        &mut self,
        n: usize,
        sub: u32,
        publisher: PublisherId,
        seq: u64,
        upto: bool,
    ) -> u64 {
        let id = self.nodes[n].id;
        let from = if upto { 0 } else { seq };
        let range = (from, seq.saturating_add(1));
        self.check.acknowledged((id, sub), publisher, range);
        self.drive(n, |core, _, _| core.acknowledge(sub, publisher, seq, upto))
            .unwrap_or(0)
    }

    /// The application acknowledges everything that the subscription got and had not acknowledged.
    pub fn acknowledge_all(&mut self, n: usize, sub: u32) {
        let mut held = Vec::new();
        let got = self.nodes[n].seen.got.iter_mut();
        for got in got.filter(|got| got.sub == sub && !got.acked) {
            got.acked = true;
            held.push((got.publisher, got.seq));
        }
        for (publisher, seq) in held {
            self.acknowledge(n, sub, publisher, seq, false);
        }
    }

    /// Outcomes that the publishers of a node's present life wait for.
    pub fn owing(&self, n: usize) -> u64 {
        self.check.owing(self.nodes[n].id)
    }

    /// Lets time pass until every publisher of the node has all its outcomes; false if not within `time`.
    pub fn settle(&mut self, n: usize, time: u64) -> bool {
        self.run_till(time, |net| net.owing(n) == 0)
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
