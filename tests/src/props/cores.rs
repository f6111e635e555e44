//! Two or three cores on the in-process network, driven by arbitrary operations of their owners and of the network. The network's
//! books check every delivery and outcome as it happens; once everything is healed, every outcome is told.

use tidings_protocol::props::Input;
use tidings_protocol::{AckMode, Redelivery, SlowPolicy};
use tidings_wire::Class;

use crate::net::{MS, Manner, Net, Rule, S};

const STEPS_MAX: usize = 64;
/// Longer than all steps together.
const GRACE: u64 = 150 * S;
const TOPICS: [&str; 3] = ["a", "a.b", "b"];
const PATTERNS: [&str; 4] = ["*", "a.*", "a", "b"];

struct World {
    net: Net,
    count: usize,
    up: Vec<bool>,
    // Publishers of each node's present life.
    handles: Vec<Vec<u32>>,
    // Subscriptions whose client is away.
    away: Vec<(usize, u32)>,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let choice = input.u8();
        let count = 2 + usize::from(choice & 1);
        let mut net = Net::with(u64::from(choice >> 1 & 3), count, |_, config| {
            // No client is away for so long, but nodes forget theirs when they are killed.
            config.policy.client_grace = GRACE;
            config.policy.park_max = 20 * S;
        });
        net.keep_datagrams();
        Self {
            net,
            count,
            up: vec![true; count],
            handles: vec![Vec::new(); count],
            away: Vec::new(),
        }
    }

    fn publish(&mut self, n: usize, input: &mut Input<'_>) {
        let choice = input.u8();
        let at = usize::from(choice & 3) % TOPICS.len();
        if self.handles[n].is_empty() {
            self.handles[n] = TOPICS.map(|topic| self.net.publisher(n, topic)).to_vec();
        }
        let handle = self.handles[n][at];
        let len = match choice >> 2 & 7 {
            0 => usize::from(input.u16()),
            1 => 1 << (input.u8() % 18),
            len => usize::from(len) * 16,
        };
        let payloads: Vec<Vec<u8>> = (0..1 + (choice >> 5)).map(|at| vec![at; len]).collect();
        // What finds no room is refused.
        let _ = self
            .net
            .publish_all(n, handle, payloads.iter().map(Vec::as_slice));
    }

    fn subscribe(&mut self, n: usize, input: &mut Input<'_>) {
        let choice = input.u8();
        let ways = input.u8();
        if self.net.subscriptions(n).len() >= 8 {
            return;
        }
        let sub = self
            .net
            .subscribe(n, PATTERNS[usize::from(choice & 3)], |spec| {
                if choice & 4 != 0 {
                    spec.client = format!("client {}", choice >> 3 & 1);
                }
                spec.ordered = choice & 16 != 0;
                spec.ack = [AckMode::Client, AckMode::Node][usize::from(choice >> 5 & 1)];
                spec.policy = SlowPolicy::ALL[usize::from(ways & 3)];
                spec.redelivery = Some(Redelivery {
                    attempts: u32::from(ways >> 2 & 3),
                    every_ms: 100 << (ways >> 4 & 3),
                });
            });
        if choice & 64 != 0 {
            // Another connection of the client: what the older one did not acknowledge comes again.
            self.net.detach(n, sub);
            self.net.attach(n, sub);
        }
        self.away.retain(|away| *away != (n, sub));
    }

    fn sub(&self, n: usize, input: &mut Input<'_>) -> Option<u32> {
        let subs = self.net.subscriptions(n);
        let at = usize::from(input.u8());
        (!subs.is_empty()).then(|| subs[at % subs.len()])
    }

    fn rule(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        let rule = match choice >> 4 {
            0..4 => Rule::GOOD,
            4 | 5 => Rule::HOSTILE,
            6 => Rule::CUT,
            7 => Rule::GOOD.without(Class::Pair),
            8 => Rule::GOOD.without(Class::Fan),
            9 => Rule::GOOD.without(Class::Bulk),
            10 => Rule::far(u64::from(input.u8())),
            _ => Rule {
                loss: u32::from(input.u8()) * 2,
                duplicate: u32::from(input.u8()),
                ahead: u32::from(input.u8()) * 2,
                ..Rule::HOSTILE
            },
        };
        let (a, b) = (
            usize::from(choice & 3) % self.count,
            usize::from(choice >> 2 & 3) % self.count,
        );
        if choice & 15 == 15 {
            self.net.all_links(rule);
        } else if choice & 1 == 0 {
            self.net.link(a, b, rule);
        } else {
            self.net.one_way(a, b, rule);
        }
    }

    fn kill(&mut self, n: usize, with_disk: bool) {
        self.net.kill(n);
        if !with_disk {
            self.net.lose_disk(n);
        }
        self.up[n] = false;
        self.handles[n].clear();
        self.away.retain(|away| away.0 != n);
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let n = usize::from(op >> 5) % self.count;
        match op & 31 {
            16.. if op & 31 < 24 => self.net.run(MS << (input.u8() % 12)),
            14 => self.rule(input),
            15 if !self.up[n] => {
                self.net.start(n);
                self.up[n] = true;
            }
            _ if !self.up[n] => {}
            0..8 => self.publish(n, input),
            8..11 => self.subscribe(n, input),
            11 => self.behave(n, input),
            12 => self.come_or_go(n, input),
            13 => {
                if let Some(sub) = self.sub(n, input) {
                    self.net.acknowledge_all(n, sub);
                }
            }
            15 => self.kill(n, op & 32 != 0),
            24..26 => {
                if let Some(sub) = self.sub(n, input) {
                    self.net.unsubscribe(n, sub);
                    self.away.retain(|away| *away != (n, sub));
                }
            }
            _ => self.inject(n, input),
        }
    }

    // Something that was sent before, to anybody, or junk.
    fn inject(&mut self, n: usize, input: &mut Input<'_>) {
        let from = usize::from(input.u8()) % self.count;
        let choice = usize::from(input.u16());
        let sent = self.net.kept_datagrams().count();
        let bytes = match choice & 3 {
            0 => input.bytes(choice >> 8).to_vec(),
            _ => {
                let kept = self.net.kept_datagrams().nth((choice >> 2) % sent.max(1));
                kept.unwrap_or_default().to_vec()
            }
        };
        self.net.inject(from, n, &bytes);
    }

    fn behave(&mut self, n: usize, input: &mut Input<'_>) {
        let Some(sub) = self.sub(n, input) else {
            return;
        };
        let choice = input.u8();
        let manner = match choice & 3 {
            0 => Manner::Ack,
            1 => Manner::Keep,
            2 => Manner::Room(u32::from(choice >> 2)),
            _ => Manner::Hold(u32::from(choice >> 2)),
        };
        self.net.behave(n, sub, manner);
    }

    fn come_or_go(&mut self, n: usize, input: &mut Input<'_>) {
        let Some(sub) = self.sub(n, input) else {
            return;
        };
        if self.away.contains(&(n, sub)) {
            self.net.attach(n, sub);
            self.away.retain(|away| *away != (n, sub));
        } else {
            self.net.detach(n, sub);
            self.away.push((n, sub));
        }
    }

    // Everything works again: nothing is owed for ever.
    fn heal(&mut self) {
        self.net.all_links(Rule::GOOD);
        for n in 0..self.count {
            if !self.up[n] {
                self.net.start(n);
            }
        }
        for n in 0..self.count {
            for sub in self.net.subscriptions(n) {
                self.net.attach(n, sub);
                self.net.behave(n, sub, Manner::Ack);
                self.net.acknowledge_all(n, sub);
            }
        }
        for n in 0..self.count {
            let end = self.net.now() + 2 * GRACE;
            while self.net.owing(n) > 0 {
                assert!(
                    self.net.now() < end,
                    "node {n}: {} are owed",
                    self.net.owing(n)
                );
                self.net.run(S);
            }
        }
    }
}

/// What the owners do and what the network does, then calm.
pub fn cores(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    let mut steps = 0;
    while !input.is_empty() && steps < STEPS_MAX {
        world.step(&mut input);
        steps += 1;
    }
    world.heal();
}
