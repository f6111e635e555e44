//! A storm over a cluster: clients that write down what they do and are told, faults of all kinds that overlap, then
//! calm; and a judge who holds the logs against the delivery contract when all is over.
//!
//! Its seed decides what is done to which node and link and when, and what is published; what the machine's clock and
//! scheduler do with that is not decided.

mod clients;
mod dice;
mod disk;
mod entry;
mod judge;
mod nemesis;
mod payload;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tidings_client::{Order, SubscribeOptions};

use super::{Cluster, OVERLAY, eventually};
use crate::host::Process;
use crate::lab::skipped;
use clients::{Listener, Stage, Talker};
use disk::SmallDisk;
use nemesis::Nemesis;

pub use entry::{Entry, Log, Origin, What, read_logs};
pub use judge::{Breach, Rule, Verdict, judge};

/// Nodes of a storm.
pub const NODES: usize = 9;
/// The node that may lock hardly any memory.
pub const LOW_MEMLOCK: usize = 5;
/// The node that is refused io_uring.
pub const NO_IO_URING: usize = 6;
/// The node with a small disk.
pub const SMALL_DISK: usize = 7;
/// Publishers: on which node, and messages a second.
const TALKERS: [(usize, u64); 4] = [(1, 40), (2, 20), (5, 20), (7, 20)];
/// How long the nodes may take to see each other when all is healed.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);
/// How long every outcome may take then: five periods of redelivery and more.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// The node of the subscriber that is written in Python.
const PYTHON: usize = 4;
/// How long Python may take to find out whether it has what it needs.
const PYTHON_WITHIN: Duration = Duration::from_secs(60);
/// Messages of each publisher in the calm afterwards.
const CALM: u64 = 10;

/// Nodes that wait for a storm.
#[derive(Debug)]
pub struct Storm {
    // First, so that it goes before the lab does.
    disk: SmallDisk,
    cluster: Cluster,
    storms: usize,
}

/// What a storm came to.
#[derive(Clone, Debug)]
pub struct Aftermath {
    /// What the logs say.
    pub verdict: Verdict,
    /// What was done, by kind.
    pub deeds: BTreeMap<&'static str, u64>,
    /// How long the nodes took to see each other after the last fault was mended.
    pub whole: Duration,
    /// How long the last outcome took after that; `None` if it did not come in three minutes.
    pub settled: Option<Duration>,
    /// Where the logs are.
    pub logs: PathBuf,
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.deeds)?;
        writeln!(
            f,
            "one view after {:.1} s, every outcome after another {:.1?}",
            self.whole.as_secs_f64(),
            self.settled
        )?;
        self.verdict.fmt(f)
    }
}

/// Subscribers: on which node, to what, how.
fn listeners() -> Vec<(usize, &'static str, SubscribeOptions)> {
    let unordered = SubscribeOptions::default();
    let ordered = SubscribeOptions {
        order: Order::Ordered,
        ..unordered
    };
    let given_up = SubscribeOptions {
        attempts: 5,
        every_ms: 1_000,
        ..ordered
    };
    vec![
        (1, "storm.*", ordered),
        (3, "storm.*", unordered),
        (4, "storm.p1", ordered),
        (5, "storm.*", given_up),
        (6, "storm.*", ordered),
        (7, "storm.*", unordered),
        (8, "storm.*", ordered),
        (9, "storm.p2", unordered),
        (9, "storm.*", given_up),
    ]
}

impl Storm {
    /// Starts the nodes and waits until they see each other.
    ///
    /// # Panics
    /// If they do not.
    pub fn gather(seed: u64) -> Storm {
        let cluster = Cluster::builder()
            .nodes(NODES)
            .seeds(&[1, 2, 3])
            .overlay_keys("retain = \"4MiB\"")
            .build();
        let disk = SmallDisk::at(cluster.node(SMALL_DISK));
        let storm = Storm {
            disk,
            cluster,
            storms: 0,
        };
        let mut nemesis = Nemesis::new(&storm.cluster, &storm.disk, seed);
        (1..=NODES).for_each(|number| nemesis.start(number));
        storm.cluster.wait_whole(WHOLE_WITHIN);
        storm
    }

    /// The nodes.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Lets a storm blow for so long, then heals everything, waits until all is settled, and judges.
    ///
    /// # Panics
    /// If the nodes do not find each other again.
    pub fn blow(&mut self, seed: u64, lasts: Duration) -> Aftermath {
        self.storms += 1;
        let logs = self.cluster.folder().join(format!("storm-{}", self.storms));
        let stage = Stage::new(seed, OVERLAY, &logs);
        let numbers = || -> Vec<AtomicU64> { TALKERS.iter().map(|_| AtomicU64::new(0)).collect() };
        let (waiting, calm, owed) = (numbers(), numbers(), numbers());
        let got = AtomicU64::new(0);
        let listeners = listeners();
        let names: Vec<String> = (1..=listeners.len()).map(|n| format!("s{n}")).collect();
        let python = self.python(&logs);
        let (deeds, whole, settled) = std::thread::scope(|scope| {
            for (name, (node, pattern, options)) in names.iter().zip(&listeners) {
                let listener = Listener {
                    stage: &stage,
                    name: name.clone(),
                    socket: self.cluster.node(*node).socket(),
                    pattern: (*pattern).to_owned(),
                    options: *options,
                    got: &got,
                };
                scope.spawn(move || listener.run());
            }
            for (n, &(node, rate)) in TALKERS.iter().enumerate() {
                let talker = Talker {
                    stage: &stage,
                    name: format!("p{}", n + 1),
                    socket: self.cluster.node(node).socket(),
                    rate,
                    waits_for: &waiting[n],
                    calm: &calm[n],
                    owed: &owed[n],
                };
                scope.spawn(move || talker.run());
            }
            // Whatever fails here must end the clients, or their threads would be waited for for ever.
            let _over = OnDrop(|| stage.over.store(true, Relaxed));
            let plan = plan::plan(seed, NODES, listeners.len(), lasts);
            let mut nemesis = Nemesis::new(&self.cluster, &self.disk, seed);
            let deeds = nemesis.rage(&stage, &names, &plan, lasts);
            stage.blowing.store(false, Relaxed);
            let whole = self.cluster.wait_whole(WHOLE_WITHIN);
            let settled = || waiting.iter().all(|left| left.load(Relaxed) == 0);
            let took = holds_within(SETTLED_WITHIN, settled);
            // Is it not so, the messages of the calm tell.
            holds_within(WHOLE_WITHIN, || {
                (1..).zip(&owed).all(|(n, owed)| {
                    owed.load(Relaxed) == wanted(&listeners, n) + u64::from(python.is_some())
                })
            });
            stage.calm.store(CALM, Relaxed);
            // Each publisher looks at it in its next round, whenever that is.
            let spoken = || calm.iter().all(|calm| calm.load(Acquire) == CALM);
            holds_within(SETTLED_WITHIN, || spoken() && settled());
            (deeds, whole, took)
        });
        drop(python);
        Aftermath {
            verdict: judge(&read_logs(&logs)),
            deeds,
            whole,
            settled,
            logs,
        }
    }

    /// Starts the subscriber that is written in Python, which hears everything; `None` if it cannot run here.
    fn python(&self, logs: &Path) -> Option<Process> {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/python/src");
        let listener = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/blackbox/storm/listener.py"
        );
        let node = self.cluster.node(PYTHON);
        let python = || {
            let mut command = node.host().command("python3");
            command
                .env("PYTHONPATH", sources)
                .env("PYTHONDONTWRITEBYTECODE", "1");
            command
        };
        let mut probe = python();
        probe.args(["-c", "import tidings"]);
        let probe = node.host().spawn("python", probe).ok();
        let runs = probe.and_then(|probe| probe.wait(PYTHON_WITHIN).ok());
        if !runs.is_some_and(|status| status.success()) {
            skipped(
                "python",
                "no python3 with `cryptography`: no client in another language is in the storm",
            );
            return None;
        }
        let mut command = python();
        command.arg(listener).arg(node.socket());
        command
            .args([OVERLAY, "storm.*", "y1"])
            .arg(logs.join("y1.log"));
        node.host().spawn("python", command).ok()
    }

    /// Waits until no node keeps any message.
    ///
    /// # Panics
    /// If one does for longer.
    pub fn wait_empty(&self, within: Duration) {
        let began = Instant::now();
        for node in self.cluster.nodes() {
            let left = within.saturating_sub(began.elapsed());
            let what = format!("{} keeps no message", node.name());
            eventually(&what, left, || {
                node.stats().sum_of(&["store_bytes", "held_bytes"]) == 0
            });
        }
    }
}

/// Subscriptions that publisher `n` owes a message to when all is well.
fn wanted(listeners: &[(usize, &str, SubscribeOptions)], n: usize) -> u64 {
    let own = format!("storm.p{n}");
    let matching = listeners
        .iter()
        .filter(|(_, pattern, _)| *pattern == "storm.*" || *pattern == own);
    matching.count() as u64
}

/// How long it takes until `done` holds; `None` if it does not within that time.
fn holds_within(within: Duration, done: impl Fn() -> bool) -> Option<Duration> {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > within {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(began.elapsed())
}

/// Does something at the end of a scope, however that ends.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
