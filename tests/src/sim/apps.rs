//! What applications do: publish, subscribe, acknowledge, die and come back.

use tidings_protocol::{AckMode, PublishError, PublisherId, Redelivery, SlowPolicy, SubSpec};

use super::desk::{Client, Manner};
use super::network::Due;
use super::plan::{Fault, Plan};
use super::random::Random;
use super::world::World;

/// What may be published on.
pub(crate) const TOPICS: &[&str] = &["a", "a.b", "a.b.c", "a.d", "e", "e.f", "g"];
const PATTERNS: &[&str] = &["a", "a.b", "a.*", "a.b.*", "e", "e.*", "g", "*"];
/// Subscriptions of one node at most.
const SUBSCRIPTIONS: usize = 6;

/// A subscription that an application wants, over its own deaths and those of its node.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) spec: SubSpec,
    pub(crate) manner: Manner,
    pub(crate) sub: Option<u32>,
}

/// The applications of one node.
pub(crate) struct Apps {
    pub(crate) random: Random,
    /// Open publishers and their topics.
    pub(crate) publishers: Vec<(u32, &'static str)>,
    pub(crate) wishes: Vec<Wish>,
    named: u64,
}

impl Apps {
    pub(crate) fn new(plan: &Plan, n: usize) -> Apps {
        let mut apps = Apps {
            random: Random::of(plan.options.seed ^ (n as u64 + 1) << 40, "apps"),
            publishers: Vec::new(),
            wishes: Vec::new(),
            named: 0,
        };
        for _ in 0..apps.random.below(plan.load.subscriptions + 1) {
            apps.wish(plan);
        }
        if (1..4).contains(&n) {
            apps.wish_to_be_hit(plan);
        }
        apps
    }

    // Somebody whom the faults of clients can happen to, whatever else is drawn.
    fn wish_to_be_hit(&mut self, plan: &Plan) {
        self.wish(plan);
        self.named += 1;
        let client = format!("client {}", self.named);
        if let Some(wish) = self.wishes.last_mut() {
            (wish.spec.pattern, wish.spec.client) = ("*".to_owned(), client);
            if plan.has(Fault::SlowClient) {
                wish.manner = Manner::Slow(1);
            }
        }
    }

    fn wish(&mut self, plan: &Plan) {
        let random = &mut self.random;
        let mut spec = SubSpec::new(random.pick(PATTERNS));
        if random.below(3) > 0 {
            self.named += 1;
            spec.client = format!("client {}", self.named);
        }
        spec.ordered = random.coin();
        spec.ack = if random.below(4) == 0 {
            AckMode::Node
        } else {
            AckMode::Client
        };
        let slow = plan.has(Fault::SlowClient);
        // A client that blocks its publishers for ever is what `block` means: it is rare.
        let policies = [
            SlowPolicy::Detach,
            SlowPolicy::Detach,
            SlowPolicy::DropOldest,
            SlowPolicy::DropNewest,
            SlowPolicy::Block,
        ];
        spec.policy = random.pick(&policies);
        spec.redelivery = Some(Redelivery {
            attempts: if random.below(3) == 0 {
                random.between(1, 4) as u32
            } else {
                0
            },
            every_ms: random.log_uniform(500, 5_000) as u32,
        });
        let manner = match random.below(if slow { 4 } else { 3 }) {
            0 => Manner::Later,
            3 => Manner::Slow(random.below(20) as u32),
            _ => Manner::Prompt,
        };
        self.wishes.push(Wish {
            spec,
            manner,
            sub: None,
        });
    }
}

impl World {
    /// A node started: its applications come back, or will.
    pub(crate) fn reopen(&mut self, n: usize) {
        self.nodes[n].apps.publishers.clear();
        for at in 0..self.nodes[n].apps.wishes.len() {
            self.nodes[n].apps.wishes[at].sub = None;
            // Some take their time.
            if self.nodes[n].apps.random.below(4) > 0 {
                self.subscribe(n, at);
            }
        }
        for _ in 0..self.plan.load.publishers {
            self.open_publisher(n);
        }
    }

    /// The applications of a node do something; and will again.
    pub(crate) fn act(&mut self, n: usize) {
        let every = self.plan.load.every;
        if self.healing {
            return;
        }
        if self.nodes[n].is_open() {
            let churn = self.plan.has(Fault::Churn);
            match self.nodes[n].apps.random.below(16) {
                0 if churn => self.churn(n),
                1 if self.plan.has(Fault::DyingClient) => self.client_dies(n),
                2 => self.clients_return(n),
                _ => self.publish(n),
            }
            self.chores(n);
        }
        let wait = self.nodes[n].apps.random.exponential(every);
        self.net.at(self.net.now + wait.max(1_000), Due::Act(n));
    }

    fn open_publisher(&mut self, n: usize) {
        let topic = self.nodes[n].apps.random.pick(TOPICS);
        let opened = self.drive(n, |core, _, _| core.open_publisher(topic));
        if let Some(Ok(handle)) = opened {
            self.nodes[n].apps.publishers.push((handle, topic));
        }
    }

    fn publish(&mut self, n: usize) {
        let load = self.plan.load.clone();
        let apps = &mut self.nodes[n].apps;
        if apps.publishers.is_empty() {
            return self.open_publisher(n);
        }
        let (handle, topic) = apps.random.pick(&apps.publishers);
        let count = apps.random.between(1, load.burst);
        for _ in 0..count {
            let random = &mut self.nodes[n].apps.random;
            let len = if random.chance(load.large) {
                random.below(load.large_bytes)
            } else if random.below(16) == 0 {
                0
            } else {
                random.log_uniform(1, load.small)
            };
            let start = random.next();
            let payload = payload(start, len as usize);
            if self.publish_one(n, (handle, topic), &payload).is_err() {
                break;
            }
        }
        self.finish(n);
    }

    /// Publishes without flushing; returns to how many it is owed.
    pub(crate) fn publish_one(
        &mut self,
        n: usize,
        (handle, topic): (u32, &'static str),
        payload: &[u8],
    ) -> Result<(u64, u32), PublishError> {
        let taken = self.with(n, |core, now, desk| {
            let owed = core.owed(topic);
            (owed, core.publish(now, handle, payload, desk))
        });
        let Some((owed, taken)) = taken else {
            return Err(PublishError::Closed);
        };
        match taken {
            Ok(accepted) => {
                assert!(accepted.owed as usize == owed, "owed to what matches");
                let id = self.nodes[n].publisher(handle);
                let number = (id, accepted.seq);
                self.books.published(number, topic, payload, accepted.owed);
                self.coverage.published += 1;
                self.coverage.owed += u64::from(accepted.owed);
                Ok((accepted.seq, accepted.owed))
            }
            Err(error) => {
                self.coverage.refused += 1;
                Err(error)
            }
        }
    }

    /// Makes the subscription of a wish, anew or for a client that comes back.
    pub(crate) fn subscribe(&mut self, n: usize, wish: usize) {
        let Wish { spec, manner, .. } = self.nodes[n].apps.wishes[wish].clone();
        let client = Client::new(spec.clone(), manner);
        let made = self.with(n, |core, now, desk| {
            // Its last life's client, if the node still waits for that one to come back.
            let known = desk
                .clients
                .iter()
                .find(|(_, old)| !old.attached && !spec.client.is_empty() && old.spec == spec);
            let known = known.map(|(sub, _)| *sub);
            if let Some(known) = known {
                desk.clients.remove(&known);
            }
            desk.coming = Some(client.clone());
            let made = core.subscribe(now, spec.clone(), desk);
            desk.coming = None;
            made
        });
        if let Some(Ok(sub)) = made {
            self.nodes[n].desk.clients.entry(sub).or_insert(client);
            self.nodes[n].apps.wishes[wish].sub = Some(sub);
            let id = self.nodes[n].id;
            self.books.subscribed((id, sub), &spec);
            self.tell(n, || format!("has subscription {sub}: {spec:?}"));
            self.coverage.subscribed += 1;
        }
        self.finish(n);
    }

    fn churn(&mut self, n: usize) {
        self.coverage.fired(Fault::Churn);
        let apps = &mut self.nodes[n].apps;
        match apps.random.below(4) {
            0 if apps.wishes.len() < SUBSCRIPTIONS => {
                apps.wish(&self.plan);
                self.subscribe(n, self.nodes[n].apps.wishes.len() - 1);
            }
            1 if !apps.wishes.is_empty() => {
                let at = apps.random.below(apps.wishes.len() as u64) as usize;
                let gone = apps.wishes.swap_remove(at);
                if let Some(sub) = gone.sub {
                    self.unsubscribe(n, sub);
                }
            }
            2 if !apps.publishers.is_empty() => {
                let at = apps.random.below(apps.publishers.len() as u64) as usize;
                let (handle, _) = apps.publishers.swap_remove(at);
                let closed = self.drive(n, |core, _, _| core.close_publisher(handle));
                assert!(
                    closed.is_none_or(|closed| closed.is_ok()),
                    "a publisher closes"
                );
            }
            _ => self.open_publisher(n),
        }
    }

    fn unsubscribe(&mut self, n: usize, sub: u32) {
        // Unknown: its grace ended meanwhile.
        let _ = self.with(n, |core, now, desk| {
            desk.clients.remove(&sub);
            core.unsubscribe(now, sub, desk)
        });
        self.finish(n);
        let id = self.nodes[n].id;
        self.books.unsubscribed((id, sub));
    }

    // At this node, or the next one that has any.
    fn client_dies(&mut self, n: usize) {
        let has_any = |n: &usize| {
            let node = &self.nodes[*n];
            let named = node.apps.wishes.iter();
            node.is_open()
                && named
                    .filter(|wish| !wish.spec.client.is_empty())
                    .any(|wish| {
                        let client = wish.sub.and_then(|sub| node.desk.clients.get(&sub));
                        client.is_some_and(|client| client.attached)
                    })
        };
        let mut nodes = (n..self.nodes.len()).chain(0..n);
        let Some(n) = nodes.find(has_any) else {
            return;
        };
        let node = &mut self.nodes[n];
        let named = node
            .apps
            .wishes
            .iter()
            .filter(|wish| !wish.spec.client.is_empty());
        let subs: Vec<u32> = named.filter_map(|wish| wish.sub).collect();
        if subs.is_empty() {
            return;
        }
        let sub = node.apps.random.pick(&subs);
        let Some(client) = node.desk.clients.get_mut(&sub) else {
            return;
        };
        if !client.attached {
            return;
        }
        client.attached = false;
        client.kept.clear();
        client.ignored.clear();
        self.coverage.fired(Fault::DyingClient);
        self.tell(n, || format!("loses the client of {sub}"));
        self.drive(n, |core, now, _| core.detach(now, sub));
        let id = self.nodes[n].id;
        self.books.renewed((id, sub));
    }

    /// Every client that is gone comes back.
    pub(crate) fn clients_return(&mut self, n: usize) {
        for at in 0..self.nodes[n].apps.wishes.len() {
            let sub = self.nodes[n].apps.wishes[at].sub;
            let client = sub.and_then(|sub| self.nodes[n].desk.clients.get(&sub));
            if client.is_none_or(|client| !client.attached) {
                self.subscribe(n, at);
            }
        }
    }

    // Clients acknowledge some of what they have, and make room.
    fn chores(&mut self, n: usize) {
        let slow = self.plan.has(Fault::SlowClient);
        let subs: Vec<u32> = self.nodes[n].desk.clients.keys().copied().collect();
        for sub in subs {
            if self.nodes[n].apps.random.coin() {
                self.client_works(n, sub, slow);
            }
        }
    }

    fn client_works(&mut self, n: usize, sub: u32, slow: bool) {
        let node = &mut self.nodes[n];
        let Some(client) = node
            .desk
            .clients
            .get_mut(&sub)
            .filter(|client| client.attached)
        else {
            return;
        };
        let random = &mut node.apps.random;
        if let Manner::Slow(room) = client.manner
            && client.room == 0
        {
            client.room = room;
            self.coverage.fired(Fault::SlowClient);
            self.drive(n, |core, _, desk| core.ready(sub, desk));
            return;
        }
        if client.kept.is_empty() {
            return;
        }
        let at = random.below(client.kept.len() as u64) as usize;
        let (publisher, seq) = client.kept[at];
        match random.below(if slow { 5 } else { 4 }) {
            // One, whichever.
            0 => {
                client.kept.swap_remove(at);
                self.acknowledge(n, sub, publisher, (seq, seq + 1));
            }
            // All of a publisher up to one.
            1 => {
                client.kept.retain(|(of, no)| *of != publisher || *no > seq);
                self.acknowledge(n, sub, publisher, (0, seq + 1));
            }
            // A range, of which some was not even delivered.
            2 => {
                let to = seq + random.between(1, 8);
                let range = seq..to;
                client
                    .kept
                    .retain(|(of, no)| *of != publisher || !range.contains(no));
                self.acknowledge(n, sub, publisher, (seq, to));
            }
            4 => {
                client.kept.swap_remove(at);
                client.ignored.push((publisher, seq));
                self.coverage.fired(Fault::SlowClient);
            }
            _ => self.acknowledge_all(n, sub),
        }
    }

    /// A client acknowledges all that it means to, the latest first.
    pub(crate) fn acknowledge_all(&mut self, n: usize, sub: u32) {
        let Some(client) = self.nodes[n].desk.clients.get_mut(&sub) else {
            return;
        };
        let kept = std::mem::take(&mut client.kept);
        for (publisher, seq) in kept.into_iter().rev() {
            self.acknowledge(n, sub, publisher, (seq, seq + 1));
        }
    }

    fn acknowledge(&mut self, n: usize, sub: u32, publisher: PublisherId, (from, to): (u64, u64)) {
        let id = self.nodes[n].id;
        self.tell(n, || {
            format!("acknowledges for {sub}: {publisher:?} {from}..{to}")
        });
        self.books.acknowledged((id, sub), publisher, (from, to));
        self.drive(n, |core, _, _| {
            core.acknowledge_range(sub, publisher, from, to)
        });
    }
}

/// Bytes that tell messages apart.
pub(crate) fn payload(start: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (at, part) in bytes.chunks_mut(8).enumerate() {
        let word = start.wrapping_add((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        part.copy_from_slice(&word.to_le_bytes()[..part.len()]);
    }
    bytes
}
