//! Does to nodes and links what the plan says, and mends all of it in the end. Daemons that ended are started again, as a
//! service manager would.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::clients::Stage;
use super::dice::Dice;
use super::disk::SmallDisk;
use super::plan::{Act, Deed, Weather};
use super::{LOW_MEMLOCK, NO_IO_URING, NODES, SMALL_DISK};
use crate::blackbox::{
    Cluster, clocks_can_be_shifted, eventually, limit_locked_memory, refuse_io_uring, shift_clocks,
};
use crate::lab::{Classes, Impairment};

/// How often it looks what is due.
const TICK: Duration = Duration::from_millis(20);
/// Memory that a node with little of it may lock: what older systems give.
const MEMLOCK_BYTES: u64 = 64 << 10;
/// A node that does not come up is started again after this: its disk may be full.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Furthest that a node's monotonic clock is from the machine's.
const SHIFT_S: u64 = 1_000_000;
/// How long the nodes may take to come up when all is mended.
const UP_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Nemesis<'a> {
    cluster: &'a Cluster,
    disk: &'a SmallDisk,
    clocks: Dice,
    /// What is wrong with links, and until when.
    weather: Vec<(Instant, Weather)>,
    /// When each node is started if it does not run.
    away_until: [Instant; NODES],
    frozen_until: [Option<Instant>; NODES],
    full_until: Option<Instant>,
    /// Nodes that a rolling restart has yet to come to, and whether the last of them was told.
    rolling: Vec<usize>,
    told: bool,
    done: BTreeMap<&'static str, u64>,
}

impl<'a> Nemesis<'a> {
    pub(super) fn new(cluster: &'a Cluster, disk: &'a SmallDisk, seed: u64) -> Nemesis<'a> {
        Nemesis {
            cluster,
            disk,
            clocks: Dice::new(seed, "clocks"),
            weather: Vec::new(),
            away_until: [Instant::now(); NODES],
            frozen_until: [None; NODES],
            full_until: None,
            rolling: Vec::new(),
            told: false,
            done: BTreeMap::new(),
        }
    }

    /// Starts a node as it always is, on a clock of its own, and does not wait.
    pub(super) fn start(&mut self, number: usize) {
        let node = self.cluster.node(number);
        let mut command = node.run_command();
        match number {
            LOW_MEMLOCK => limit_locked_memory(&mut command, MEMLOCK_BYTES),
            NO_IO_URING => refuse_io_uring(&mut command),
            SMALL_DISK => self.disk.give(&mut command),
            _ => {}
        }
        if clocks_can_be_shifted() {
            // A monotonic clock that went backwards would be refused: it is never below zero.
            let shift = self.clocks.between(0, SHIFT_S) as i64;
            shift_clocks(&mut command, shift);
            self.count("clock shift");
        }
        node.launch(command);
        self.away_until[number - 1] = Instant::now() + AGAIN_AFTER;
    }

    /// Does what is planned, then mends everything. Returns what was done, by kind.
    pub(super) fn rage(
        &mut self,
        stage: &Stage,
        listeners: &[String],
        plan: &[Act],
        lasts: Duration,
    ) -> BTreeMap<&'static str, u64> {
        let mut acts = plan.iter().peekable();
        while stage.began.elapsed() < lasts {
            while let Some(act) = acts.next_if(|act| act.at <= stage.began.elapsed()) {
                self.act(&act.deed, stage, listeners);
            }
            self.tick();
            std::thread::sleep(TICK);
        }
        self.mend();
        std::mem::take(&mut self.done)
    }

    fn count(&mut self, kind: &'static str) {
        *self.done.entry(kind).or_default() += 1;
    }

    fn act(&mut self, deed: &Deed, stage: &Stage, listeners: &[String]) {
        let now = Instant::now();
        let done = match deed {
            Deed::Weather(weather, lasts) => {
                self.weather.push((now + *lasts, weather.clone()));
                self.apply_weather();
                true
            }
            Deed::Kill(number, away) => {
                let daemon = self.cluster.node(*number).daemon();
                let ran = daemon.is_running();
                daemon.kill9().expect("its end");
                self.away_until[number - 1] = now + *away;
                ran
            }
            Deed::Freeze(number, lasts) => {
                self.frozen_until[number - 1] = Some(now + *lasts);
                self.cluster.node(*number).daemon().stop().is_ok()
            }
            Deed::Roll => {
                self.rolling = (1..=NODES).rev().collect();
                self.told = false;
                true
            }
            Deed::FillDisk(lasts) => {
                self.full_until = Some(now + *lasts);
                self.disk.fill()
            }
            Deed::Crash(listener) => {
                let mut crash = stage.crash.lock().expect("no thread panics with it");
                crash.push(listeners[*listener].clone());
                true
            }
        };
        if done {
            self.count(deed.kind());
        }
    }

    /// Ends what has lasted long enough, and starts what does not run.
    fn tick(&mut self) {
        let now = Instant::now();
        let before = self.weather.len();
        self.weather.retain(|(until, _)| *until > now);
        if self.weather.len() < before {
            self.apply_weather();
        }
        if self.full_until.is_some_and(|until| until <= now) {
            self.full_until = None;
            self.disk.clear();
        }
        for at in 0..NODES {
            let node = self.cluster.node(at + 1);
            if self.frozen_until[at].is_some_and(|until| until <= now) {
                self.frozen_until[at] = None;
                // It may have been killed meanwhile.
                let _ = node.daemon().cont();
            }
            if self.away_until[at] <= now && !node.daemon().is_running() {
                self.start(at + 1);
            }
        }
        self.roll();
    }

    fn roll(&mut self) {
        let Some(&number) = self.rolling.last() else {
            return;
        };
        let node = self.cluster.node(number);
        if !self.told {
            // One that does not run right now is passed over.
            self.told = node.daemon().term().is_ok();
            if !self.told {
                self.rolling.pop();
            }
            return;
        }
        // The daemon of the new start removes the old socket before it listens.
        let daemon = node.daemon();
        let is_back = daemon.is_running()
            && daemon.stdout().contains("clients")
            && UnixStream::connect(node.socket()).is_ok();
        if is_back && !daemon.stderr().contains("leaving") {
            self.rolling.pop();
            self.told = false;
        }
    }

    fn apply_weather(&self) {
        let calm = Impairment::default();
        self.cluster.lab().change(|from, to, link| {
            link.clone_from(&calm);
            for (_, weather) in &self.weather {
                worsen(link, weather, from, to);
            }
        });
    }

    /// Mends everything and waits until every node takes clients.
    fn mend(&mut self) {
        self.weather.clear();
        self.apply_weather();
        self.disk.clear();
        self.full_until = None;
        self.rolling.clear();
        for number in 1..=NODES {
            let _ = self.cluster.node(number).daemon().cont();
            self.frozen_until[number - 1] = None;
            self.away_until[number - 1] = Instant::now();
        }
        eventually("every node is up", UP_WITHIN, || {
            self.tick();
            (1..=NODES).all(|number| {
                let node = self.cluster.node(number);
                node.daemon().is_running() && UnixStream::connect(node.socket()).is_ok()
            })
        });
    }
}

fn worsen(link: &mut Impairment, weather: &Weather, from: usize, to: usize) {
    match weather {
        Weather::Cut(a, b, classes) => {
            if [0, from].contains(a) && [0, to].contains(b) {
                link.cut = link.cut | *classes;
            }
        }
        Weather::Split(side) => {
            if side.contains(&from) != side.contains(&to) {
                link.cut = Classes::ALL;
            }
        }
        Weather::Rough(node, percent, late_ms) => {
            if [0, from].contains(node) {
                let [loss, duplicate, ahead, corrupt] = percent.map(|share| share as f64 / 100.0);
                link.loss = link.loss.max(loss);
                link.duplicate = link.duplicate.max(duplicate);
                link.ahead = link.ahead.max(ahead);
                link.corrupt = link.corrupt.max(corrupt);
                link.delay = link.delay.max(Duration::from_millis(*late_ms));
                link.jitter = link.delay / 2;
            }
        }
    }
}
