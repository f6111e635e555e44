//! The event loop: who gets a turn when, which fault begins and ends, and what is checked after every event.

use tidings_protocol::Core;
use tidings_wire::Class;

use super::attacker::Attacker;
use super::desk::{Desk, Said};
use super::insider::Insider;
use super::network::{Due, INSIDER, Network, address};
use super::node::{Node, id_of};
use super::plan::{Disk, Fault, Plan, What};
use super::random::Random;
use super::recorder::Recorder;
use super::report::Coverage;
use super::{MS, S};
use crate::books::Books;

/// Datagrams that a node takes in one turn.
const BATCH: usize = 64;

/// Everything.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) net: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) books: Books,
    pub(crate) random: Random,
    pub(crate) coverage: Coverage,
    pub(crate) attacker: Option<Attacker>,
    pub(crate) insider: Option<Insider>,
    /// The storm is over.
    pub(crate) healing: bool,
    // A port that nobody listens on says so.
    icmp: bool,
}

impl World {
    pub(crate) fn new(plan: Plan) -> World {
        let seed = plan.options.seed;
        let recorder = plan.has(Fault::Attacker).then(|| Recorder::new(seed));
        let mut net = Network::new(&plan, recorder);
        let mut books = Books::default();
        let attacker = plan.has(Fault::Attacker).then(|| Attacker::new(seed));
        let insider = plan.has(Fault::Insider).then(|| Insider::new(&plan));
        books.stranger(id_of(seed, INSIDER));
        let begin = net.now;
        for (n, node) in plan.nodes.iter().enumerate() {
            net.at(begin + node.start, Due::Start(n));
        }
        for (at, step) in plan.steps.iter().enumerate() {
            if !plan.options.skip.contains(&at) {
                net.at(begin + step.at, Due::Step(at));
            }
        }
        if attacker.is_some() {
            net.at(begin + 2 * S, Due::Attack);
        }
        if insider.is_some() {
            net.at(begin + 2 * S, Due::Insider);
        }
        net.at(begin + S, Due::Audit);
        let nodes = (0..plan.options.nodes).map(|n| Node::new(&plan, n, begin));
        World {
            nodes: nodes.collect(),
            net,
            books,
            random: Random::of(seed, "world"),
            coverage: Coverage::new(&plan),
            attacker,
            insider,
            healing: false,
            icmp: Random::of(seed, "icmp").coin(),
            plan,
        }
    }

    /// Lets everything happen until `at`.
    pub(crate) fn run_until(&mut self, at: u64) {
        while let Some(due) = self.net.next(at) {
            self.happen(due);
        }
        self.net.now = at;
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Datagram(flight) => self.arrive(flight),
            Due::Turn(n) => {
                if self.nodes[n].turn_at <= self.net.now {
                    self.turn(n);
                }
            }
            Due::Act(n) => self.act(n),
            Due::Start(n) => self.start(n),
            Due::Step(step) if !self.healing => self.begin(step),
            Due::End(step) if !self.healing => self.end(step),
            Due::Step(_) | Due::End(_) => {}
            Due::Attack => self.attack(),
            Due::Insider => self.misbehave(),
            Due::Audit => {
                self.audit();
                self.net.at(self.net.now + S, Due::Audit);
            }
        }
    }

    fn arrive(&mut self, flight: u32) {
        let place = self.net.flight(flight);
        let (to, len) = (place.to, place.bytes.len());
        let node = &mut self.nodes[to];
        if !node.is_up() {
            self.net.landed(flight);
            return self.nobody_there(flight, to);
        }
        if node.inbox_bytes + len > self.plan.nodes[to].inbox {
            self.net.passed.overflowed += 1;
            return self.net.landed(flight);
        }
        node.inbox_bytes += len;
        node.inbox.push_back(flight);
        if node.paused == 0 && node.free_at <= self.net.now {
            self.turn(to);
        } else {
            self.schedule(to);
        }
    }

    // The host of a dead node tells whoever sent a PAIR datagram there, if it can.
    fn nobody_there(&mut self, flight: u32, to: usize) {
        let place = self.net.flight(flight);
        let quoted: Vec<u8> = place.bytes.iter().take(32).copied().collect();
        let from = place
            .from
            .filter(|_| !place.marred)
            .and_then(super::network::whose);
        let tells = self.icmp
            && !self.healing
            && self.nodes[to].lives > 0
            && quoted
                .first()
                .is_some_and(|byte| Class::of(*byte) == Ok(Class::Pair));
        let Some(from) = from.filter(|from| tells && *from < self.nodes.len()) else {
            return;
        };
        if self.net.is_cut(to, from) || self.nodes[from].paused > 0 {
            return;
        }
        self.drive(from, |core, now, desk| {
            core.handle_unreachable(now, address(to), &quoted, desk);
        });
    }

    /// One turn: what waits, what is due, what goes out.
    fn turn(&mut self, n: usize) {
        let Self { nodes, net, .. } = self;
        let node = &mut nodes[n];
        node.turn_at = u64::MAX;
        if node.paused > 0 || !node.is_up() {
            return;
        }
        let now = node.clock.read(net.now);
        node.idle_turns += u32::from(node.inbox.is_empty());
        for _ in 0..BATCH {
            let Some(flight) = node.inbox.pop_front() else {
                break;
            };
            let place = net.flight(flight);
            node.inbox_bytes -= place.bytes.len();
            let from = place.from.unwrap_or(address(INSIDER));
            let before = if place.marred { node.refused() } else { 0 };
            if let Some(core) = &mut node.core {
                core.handle_datagram(now, from, &mut place.bytes, &mut node.desk);
            }
            if place.marred {
                assert!(
                    node.refused() == before + 1,
                    "a corrupted datagram is refused"
                );
            }
            net.landed(flight);
        }
        if let Some(core) = &mut node.core
            && core.deadline().is_some_and(|at| at <= now)
        {
            core.handle_timeout(now, &mut node.desk);
        }
        node.free_at = net.now + node.turn;
        self.finish(n);
    }

    /// Acts on a running node at its present time. What it says is looked at by [`World::finish`].
    pub(crate) fn with<R>(
        &mut self,
        n: usize,
        act: impl FnOnce(&mut Core, u64, &mut Desk) -> R,
    ) -> Option<R> {
        let node = &mut self.nodes[n];
        let now = node.clock.read(self.net.now);
        Some(act(node.core.as_mut()?, now, &mut node.desk))
    }

    /// The same, and sends what it wants sent.
    pub(crate) fn drive<R>(
        &mut self,
        n: usize,
        act: impl FnOnce(&mut Core, u64, &mut Desk) -> R,
    ) -> Option<R> {
        let result = self.with(n, act);
        self.finish(n);
        result
    }

    /// The end of a turn: datagrams go out, and what the node said is entered into the books.
    pub(crate) fn finish(&mut self, n: usize) {
        let Self { nodes, net, .. } = self;
        let node = &mut nodes[n];
        let now = node.clock.read(net.now);
        let Some(core) = &mut node.core else {
            return;
        };
        if core.wants_slots() {
            core.grant_slots(n as u16 + 256 * node.slots);
            node.slots += 1;
        }
        core.flush(now, &mut node.desk);
        for run in core.transmits() {
            node.idle_turns = 0;
            for datagram in run.bytes.chunks(run.segment) {
                net.send(n, run.to, run.class, datagram);
            }
        }
        core.sent();
        let left = node.leaving && core.has_left(now);
        let stops = self.enter(n);
        if left || stops {
            self.kill(n, Disk::Kept);
        } else {
            self.schedule(n);
        }
        if stops {
            // Whoever supervises the node starts it again.
            self.net.at(self.net.now + S, Due::Start(n));
        }
    }

    // Returns whether the node must stop.
    fn enter(&mut self, n: usize) -> bool {
        let mut stops = false;
        // An old record of a node whose disk went back looks like a copy of it.
        let excused = self.plan.has(Fault::DiskError);
        let Self {
            nodes,
            net,
            books,
            coverage,
            ..
        } = self;
        let node = &mut nodes[n];
        if std::mem::take(&mut node.desk.full) > 0 {
            coverage.fired(Fault::SlowClient);
        }
        for said in node.desk.said.drain(..) {
            if self.plan.options.trace {
                println!("{:>9} us n{n} {said:?}", (net.now - S) / 1000);
            }
            match said {
                Said::Handed(handed) => {
                    net.note(handed.seq << 8 | n as u64);
                    coverage.handed += 1;
                    coverage.again += u64::from(handed.again);
                    books.handed(node.id, &handed);
                }
                Said::Gap(sub, publisher, from, to) => {
                    coverage.gaps += to - from;
                    books.gap((node.id, sub), (publisher, from, to));
                }
                Said::Outcome(handle, sub, from, to, outcome) => {
                    let publisher = tidings_protocol::PublisherId {
                        node: node.id,
                        boot: node.boot,
                        handle,
                    };
                    net.note(from << 16 | to);
                    coverage.outcome(outcome, to - from);
                    books.outcomes((publisher, from, to), sub, outcome);
                }
                Said::Presence(kind, of) => {
                    node.presence.told(kind, of);
                    coverage.presence(kind);
                }
                Said::Generation(generation) => node.disk = Some(generation),
                Said::Conflict => {
                    assert!(excused, "n{n} is told that another node has its id");
                    stops = true;
                }
            }
        }
        stops
    }

    pub(crate) fn schedule(&mut self, n: usize) {
        let now = self.net.now;
        let node = &mut self.nodes[n];
        if let Some(at) = node.wants_turn(now)
            && at < node.turn_at
        {
            node.turn_at = at.max(now);
            self.net.at(node.turn_at, Due::Turn(n));
        }
    }

    pub(crate) fn start(&mut self, n: usize) {
        if self.nodes[n].is_up() {
            return;
        }
        self.nodes[n].start(&self.plan, n, self.net.now);
        self.net.lives[n] = self.nodes[n].lives;
        self.coverage.starts += 1;
        self.tell(n, || format!("starts its life {}", self.nodes[n].lives));
        self.drive(n, |_, _, _| {});
        if self.nodes[n].lives == 1 {
            let soon = Node::first_act(&mut self.random);
            self.net.at(self.net.now + soon, Due::Act(n));
        }
        self.reopen(n);
        self.replay_old(n);
    }

    pub(crate) fn kill(&mut self, n: usize, disk: Disk) {
        let node = &mut self.nodes[n];
        if !node.is_up() {
            return;
        }
        node.kill(disk);
        node.inbox_bytes = 0;
        for flight in node.inbox.drain(..) {
            self.net.landed(flight);
        }
        self.books.died(node.id);
        self.tell(n, || format!("dies, {disk:?}"));
        if let Some(recorder) = &mut self.net.recorder {
            recorder.ended(n);
        }
    }

    fn begin(&mut self, at: usize) {
        self.aim(at);
        let step = self.plan.steps[at].clone();
        if self.cast(&step.what, step.fault) {
            self.coverage.fired(step.fault);
        }
        self.net.at(self.net.now + step.lasts, Due::End(at));
    }

    // A node that is down already is spared: the next one that runs is hit.
    fn aim(&mut self, at: usize) {
        let Self { plan, nodes, .. } = self;
        let what = &mut plan.steps[at].what;
        if let What::Kill { node, .. } | What::Leave { node } | What::Pause { node } = what {
            let all = (*node..nodes.len()).chain(0..*node);
            *node = all
                .into_iter()
                .find(|n| nodes[*n].is_open())
                .unwrap_or(*node);
        }
    }

    // Lets a fault happen; false if it finds nothing to happen to.
    fn cast(&mut self, what: &What, fault: Fault) -> bool {
        match *what {
            What::Cut { from, to, classes } => {
                self.net.cut((from, to), classes, true);
                if fault == Fault::Partition {
                    self.net.cut((to, from), classes, true);
                }
            }
            What::Clog { from, to, rate } => self.net.clog(from, to, rate),
            What::Kill { node, disk } => {
                let up = self.nodes[node].is_up();
                self.kill(node, disk);
                return up;
            }
            What::Leave { node } => {
                let open = self.nodes[node].is_open();
                if open {
                    self.nodes[node].leaving = true;
                    self.drive(node, |core, now, _| core.leave(now));
                }
                return open;
            }
            What::Pause { node } => {
                self.nodes[node].paused += 1;
                return self.nodes[node].is_up();
            }
            What::Jump { node, by } => {
                self.nodes[node].clock.jump(self.net.now, by);
                self.nodes[node].turn_at = u64::MAX;
                self.schedule(node);
            }
            What::Slow { node, turn } => self.nodes[node].turn = turn,
        }
        true
    }

    fn end(&mut self, at: usize) {
        let step = self.plan.steps[at].clone();
        match step.what {
            What::Cut { from, to, classes } => {
                self.net.cut((from, to), classes, false);
                if step.fault == Fault::Partition {
                    self.net.cut((to, from), classes, false);
                }
            }
            What::Clog { from, to, .. } => self.net.clog(from, to, 0),
            What::Kill { node, .. } => self.start(node),
            What::Leave { node } => {
                if self.nodes[node].leaving {
                    self.kill(node, Disk::Kept);
                }
                self.start(node);
            }
            What::Pause { node } => {
                let paused = &mut self.nodes[node].paused;
                *paused = paused.saturating_sub(1);
                self.schedule(node);
            }
            What::Jump { .. } => {}
            What::Slow { node, .. } => self.nodes[node].turn = self.plan.nodes[node].turn,
        }
    }

    /// Prints what happened at a node, if that is wanted.
    pub(crate) fn tell(&self, n: usize, what: impl FnOnce() -> String) {
        if self.plan.options.trace {
            println!("{:>9} us n{n} {}", (self.net.now - S) / 1000, what());
        }
    }

    /// Milliseconds since the beginning.
    pub(crate) fn clock(&self) -> u64 {
        (self.net.now - S) / MS
    }
}
