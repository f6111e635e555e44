//! What is asked of a cluster of one size: join, steady state, churn, and the loss of a tenth at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use tidings_protocol::PresenceKind;

use super::heap;
use super::world::{MS, S, Sight, Traffic, World};

/// All nodes start within this time, evenly.
const STARTS_NS: u64 = 10 * S;
/// A view that is not whole after this long is told as never whole.
const PATIENCE_NS: u64 = 120 * S;
/// What joining leaves behind is over after this: paths probed, records told, links dropped that nobody needs.
const SETTLING_NS: u64 = 200 * S;
/// The steady state is measured for three periods of anti-entropy.
const STEADY_NS: u64 = 60 * S;
/// Nodes that crash, one after the other, and come back.
const CRASHES: u64 = 20;
/// One in ten nodes crashes in an hour.
const CHURN_NS: u64 = 10 * 3600 * S;
/// A node that crashed comes back after this long: it is held dead everywhere by then.
const AWAY_NS: u64 = 20 * S;

/// Time and traffic of one part.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// Virtual seconds.
    pub secs: f64,
    /// Datagrams per second and node.
    pub datagrams: f64,
    /// Bytes of UDP payload per second and node.
    pub bytes: f64,
}

/// When everybody knew what had happened.
#[derive(Clone, Debug, Default)]
pub struct Knowing {
    /// Seconds from each death to each node that held it dead, sorted.
    pub delays: Vec<f64>,
    /// Deaths told of nodes that ran.
    pub false_deaths: usize,
    /// Seconds until all nodes held the same members alive; none if that took too long.
    pub one_view: Option<f64>,
}

impl Knowing {
    /// The delay that so much of a hundred parts do not exceed.
    pub fn delay(&self, percent: usize) -> Option<f64> {
        let last = self.delays.len().checked_sub(1)?;
        self.delays.get(last * percent / 100).copied()
    }
}

/// What one size came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Nodes.
    pub nodes: usize,
    /// From the first start to one view.
    pub join: Part,
    /// Seconds from the last start to one view; none if that took too long.
    pub join_view: Option<f64>,
    /// Nothing happens.
    pub steady: Part,
    /// Bytes of the heap for each member that a node lists, all of the node included.
    pub member_bytes: f64,
    /// Bytes of the heap of a node that knows nobody.
    pub alone_bytes: f64,
    /// Links of a node.
    pub links: f64,
    /// Nodes crash and come back.
    pub churn: Part,
    /// What is known of that; one view after the last came back.
    pub churned: Knowing,
    /// A tenth crashes at once.
    pub loss: Part,
    /// What is known of that.
    pub lost: Knowing,
    /// How long all of it took in real time.
    pub real: Duration,
}

impl Figures {
    /// Bytes of the heap for each member that a node lists, without what it takes before it knows anybody.
    pub fn state_bytes(&self) -> f64 {
        self.member_bytes - self.alone_bytes / (self.nodes as f64 - 1.0)
    }
}

impl Figures {
    // What a step has shown.
    fn so_far(&self, step: &str) -> String {
        let knowing = |knowing: &Knowing| {
            format!(
                ": median detection {:?} s, 99 % {:?} s, {} false deaths, one view after {:?} s",
                knowing.delay(50),
                knowing.delay(99),
                knowing.false_deaths,
                knowing.one_view
            )
        };
        match step {
            "join" => format!(
                ": one view after {:?} s, {:.0} B per node",
                self.join_view,
                self.join.bytes * self.join.secs
            ),
            "steady" => format!(
                ": {:.0} B/s per node, {:.0} B per member",
                self.steady.bytes,
                self.state_bytes()
            ),
            "churn" => knowing(&self.churned),
            "loss" => knowing(&self.lost),
            _ => String::new(),
        }
    }
}

/// Measures one size. `tell` hears how far it is.
pub fn measure(seed: u64, nodes: usize, mut tell: impl FnMut(&str)) -> Figures {
    let mut run = Run::new(seed, nodes);
    let steps: [Step; 5] = [
        ("join", Run::join),
        ("settle", Run::settle),
        ("steady", Run::steady),
        ("churn", Run::churn),
        ("loss", Run::loss),
    ];
    for (name, step) in steps {
        step(&mut run);
        // Thousands take hours: what is known by then is told.
        tell(&format!(
            "{nodes} nodes: {name} after {:.0?}{}",
            run.begun.elapsed(),
            run.figures.so_far(name)
        ));
    }
    run.figures.real = run.begun.elapsed();
    run.figures
}

/// Only what every test run has the time for: join and steady state.
pub fn measure_quiet(seed: u64, nodes: usize) -> Figures {
    let mut run = Run::new(seed, nodes);
    run.join();
    run.settle();
    run.steady();
    run.figures.real = run.begun.elapsed();
    run.figures
}

/// One of the questions.
type Step = (&'static str, fn(&mut Run));

/// Who died, and when.
type Deaths = BTreeMap<usize, Vec<u64>>;

/// What a node is before it knows anybody: the heap's bytes.
fn alone(seed: u64) -> f64 {
    let before = heap::live();
    let mut world = World::new(seed, 1);
    world.start(0);
    world.run(10 * S);
    (heap::live() - before).saturating_sub(world.own_bytes()) as f64
}

struct Run {
    world: World,
    figures: Figures,
    heap_before: usize,
    begun: Instant,
}

impl Run {
    fn new(seed: u64, nodes: usize) -> Run {
        let heap_before = heap::live();
        Run {
            world: World::new(seed, nodes),
            figures: Figures {
                nodes,
                alone_bytes: alone(seed),
                ..Figures::default()
            },
            heap_before,
            begun: Instant::now(),
        }
    }

    fn join(&mut self) {
        let nodes = self.world.len();
        let (began, before) = (self.world.now(), self.world.sent);
        for n in 0..nodes {
            self.world.start(n);
            self.world.run(STARTS_NS / nodes as u64);
        }
        self.figures.join_view = self.wait_for_one_view();
        self.figures.join = self.part(began, before);
        self.world.sights.clear();
    }

    fn settle(&mut self) {
        self.world.run(SETTLING_NS);
    }

    fn steady(&mut self) {
        let (began, before) = (self.world.now(), self.world.sent);
        self.world.run(STEADY_NS);
        self.figures.steady = self.part(began, before);
        let nodes = self.world.len();
        let ours = heap::live() - self.heap_before;
        let cores = ours.saturating_sub(self.world.own_bytes());
        self.figures.member_bytes = cores as f64 / (nodes * (nodes - 1)) as f64;
        self.figures.links = self.world.links() as f64 / nodes as f64;
    }

    fn churn(&mut self) {
        let (began, before) = (self.world.now(), self.world.sent);
        self.world.sights.clear();
        let every = CHURN_NS / self.world.len() as u64;
        let mut deaths = Deaths::new();
        let mut away = VecDeque::new();
        for crash in 0..CRASHES {
            let at = began + crash * every;
            self.return_until(&mut away, at);
            self.world.run_until(at);
            let victim = self.crash(&mut deaths);
            away.push_back((at + AWAY_NS, victim));
        }
        self.return_until(&mut away, u64::MAX);
        let one_view = self.wait_for_one_view();
        self.figures.churn = self.part(began, before);
        self.figures.churned = self.knowing(&deaths, one_view);
    }

    // Those who have been away for long enough return.
    fn return_until(&mut self, away: &mut VecDeque<(u64, usize)>, at: u64) {
        while let Some((due, victim)) = away.pop_front_if(|(due, _)| *due <= at) {
            self.world.run_until(due);
            self.world.start(victim);
        }
    }

    fn loss(&mut self) {
        self.world.run(AWAY_NS);
        self.world.sights.clear();
        let (began, before) = (self.world.now(), self.world.sent);
        let mut deaths = Deaths::new();
        for _ in 0..self.world.len() / 10 {
            self.crash(&mut deaths);
        }
        let one_view = self.wait_for_one_view();
        self.figures.loss = self.part(began, before);
        self.figures.lost = self.knowing(&deaths, one_view);
    }

    fn crash(&mut self, deaths: &mut Deaths) -> usize {
        loop {
            let victim = self.world.draw(self.world.len() as u64) as usize;
            if self.world.runs(victim) {
                self.world.kill(victim);
                deaths.entry(victim).or_default().push(self.world.now());
                return victim;
            }
        }
    }

    fn wait_for_one_view(&mut self) -> Option<f64> {
        let began = self.world.now();
        while !self.world.is_one_view() {
            if self.world.now() > began + PATIENCE_NS {
                return None;
            }
            self.world.run(10 * MS);
        }
        Some((self.world.now() - began) as f64 / S as f64)
    }

    fn part(&self, began: u64, before: Traffic) -> Part {
        let secs = (self.world.now() - began) as f64 / S as f64;
        let each = |count: u64| count as f64 / secs / self.world.len() as f64;
        Part {
            secs,
            datagrams: each(self.world.sent.datagrams - before.datagrams),
            bytes: each(self.world.sent.bytes - before.bytes),
        }
    }

    fn knowing(&mut self, deaths: &Deaths, one_view: Option<f64>) -> Knowing {
        let sights = std::mem::take(&mut self.world.sights);
        let told = |sight: &&Sight| sight.kind == PresenceKind::Unreachable;
        let mut knowing = Knowing {
            one_view,
            ..Knowing::default()
        };
        for sight in sights.iter().filter(told) {
            let mut all = deaths.get(&sight.subject).into_iter().flatten();
            let died = all.rfind(|died| **died <= sight.at);
            match died.filter(|_| !sight.runs) {
                Some(died) => knowing.delays.push((sight.at - died) as f64 / S as f64),
                None => knowing.false_deaths += 1,
            }
        }
        knowing.delays.sort_by(f64::total_cmp);
        knowing
    }
}
