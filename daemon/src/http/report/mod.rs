//! What the node tells of itself to systems for statistics by its own: snapshots, taken at a steady pace, written by a [`Reporter`], and
//! sent from a bounded queue. Nothing is done without a destination, and no shard is asked for more than its counters.
//!
//! InfluxDB's line protocol is the one that is there; another, as StatsD's or OpenTelemetry's, is one more [`Reporter`] with a queue and a
//! way to send of its own. Taking snapshots knows no more of a destination than its [`Plan`].

mod influx;
mod line;
mod lookup;
mod post;
mod queue;
mod send;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_engine::latency::BUCKETS;
use tidings_engine::{Engine, EngineError, EngineStats, MemberState};
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

pub use self::influx::check;
use self::line::LineProtocol;
use self::lookup::Lookup;
use self::queue::Queue;
pub use self::send::send;
use super::serve::unless;
use super::shared::{Sample, Shared};
use super::wall;
use crate::config::InfluxSettings;

/// States that members are counted by.
pub const STATES: [MemberState; 4] = [
    MemberState::Alive,
    MemberState::Suspect,
    MemberState::Dead,
    MemberState::Left,
];
/// The latencies of a snapshot are of so long before it.
const LATENCY_WINDOW: Duration = Duration::from_secs(60);

/// Writes snapshots in the form of one system.
pub trait Reporter: Send + Sync {
    /// Appends the points of a snapshot to `out`; returns how many they are.
    fn write(&self, snapshot: &Snapshot<'_>, out: &mut Vec<u8>) -> u64;
}

/// The node at one moment.
pub struct Snapshot<'a> {
    /// In ns since 1970.
    pub at: u64,
    /// Its label.
    pub node: &'a str,
    /// Since it started.
    pub uptime: Duration,
    /// Every counter.
    pub stats: &'a EngineStats,
    /// What else there is to tell of each overlay, in the same order.
    pub overlays: Vec<OverlaySnapshot>,
}

/// What counters do not say of an overlay.
pub struct OverlaySnapshot {
    /// Members by [`STATES`].
    pub members: [u64; STATES.len()],
    /// Deliveries of the last minute by age, and the oldest of all in ns.
    pub latencies: ([u64; BUCKETS], u64),
}

/// What is to be queued: how often, and in whose form. All that taking snapshots knows of a destination.
#[derive(Clone, Copy)]
struct Plan {
    every: Duration,
    reporter: &'static dyn Reporter,
}

/// The queue to the destination, and what is counted of it. Outlives a panic of the service.
pub struct Reports {
    settings: Option<InfluxSettings>,
    plan: Option<Plan>,
    queue: Mutex<Queue>,
    news: Notify,
    lookup: AsyncMutex<Lookup>,
    /// Tries that failed.
    pub failures: AtomicU64,
}

impl Reports {
    /// With nothing in the queue.
    pub fn new(settings: Option<InfluxSettings>) -> Self {
        let room = settings.as_ref().map_or(0, |settings| settings.queue);
        let plan = settings.as_ref().map(|settings| Plan {
            every: settings.every,
            reporter: &LineProtocol,
        });
        Self {
            settings,
            plan,
            queue: Mutex::new(Queue::new(room)),
            news: Notify::new(),
            lookup: AsyncMutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    /// The queue.
    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes snapshots and queues what is written of them until the service stops.
pub async fn sample(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let Some(Plan { every, reporter }) = shared.reports.plan else {
        return;
    };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while unless(&mut stopped, ticks.tick()).await.is_some() {
        let uptime = shared.facts.since.elapsed();
        let looked = shared.ask(look);
        let (stats, members) = match unless(&mut stopped, looked).await {
            Some(Ok(looked)) => looked,
            // A shard that does not answer is told by /livez.
            Some(Err(_)) => {
                shared.skipped(Sample::Influx);
                continue;
            }
            None => return,
        };
        let (bytes, points) = written(reporter, &snapshot(&shared, &stats, members, uptime));
        shared.reports.queue().push(bytes, points);
        shared.reports.news.notify_one();
    }
}

fn written(reporter: &dyn Reporter, snapshot: &Snapshot<'_>) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let points = reporter.write(snapshot, &mut bytes);
    (bytes, points)
}

type Members = Vec<[u64; STATES.len()]>;

fn look(engine: &Engine) -> Result<(EngineStats, Members), EngineError> {
    let mut stats = engine.stats()?;
    let mut members = Vec::new();
    stats.overlays.retain(|overlay| {
        // One that was left meanwhile is left out.
        let Ok(all) = engine.members(overlay.id) else {
            return false;
        };
        let count = |state| all.iter().filter(|member| member.state == state).count() as u64;
        members.push(STATES.map(count));
        true
    });
    Ok((stats, members))
}

/// `uptime` is that at which `stats` were asked for.
fn snapshot<'a>(
    shared: &'a Shared,
    stats: &'a EngineStats,
    members: Members,
    uptime: Duration,
) -> Snapshot<'a> {
    let windows = shared.windows();
    let overlays = stats.overlays.iter().zip(members);
    let overlays = overlays.map(|(overlay, members)| {
        let within = windows.within(overlay, uptime, Some(LATENCY_WINDOW));
        OverlaySnapshot {
            members,
            latencies: (within.latencies, overlay.latency.max_ns()),
        }
    });
    Snapshot {
        at: wall::nanoseconds(),
        node: &shared.facts.name,
        uptime,
        stats,
        overlays: overlays.collect(),
    }
}
