//! The values of a scrape: one look at the engine, at the process and at the service, written family by family. Labels are
//! overlay, shard, slots and reasons, never members: their number is bounded by the node's own configuration.

use std::fs;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use tidings_engine::latency::Latency;
use tidings_engine::{Engine, EngineError, EngineStats, KeyUse, MemberState};
use tidings_wire::OpenError;

use super::families::{self as f, Kind, listed};
use super::text::{Format, Text};
use crate::http::shared::Shared;
use crate::http::wall;
use crate::node::view;

/// States that members are told by.
const STATES: [MemberState; 4] = [
    MemberState::Alive,
    MemberState::Suspect,
    MemberState::Dead,
    MemberState::Left,
];
/// Reasons for refusals that are told from the beginning: alerts ask for their rates, which do not see the first step of a sample that
/// was not there before.
const KEYS_DIFFER: [OpenError; 4] = [
    OpenError::UnknownSlot,
    OpenError::Suite,
    OpenError::Gate,
    OpenError::Forged,
];

/// Writes everything.
pub fn write(shared: &Shared, engine: &Engine, format: Format) -> Result<String, EngineError> {
    let since = Instant::now();
    let stats = engine.stats()?;
    let answered = since.elapsed();
    let mut out = Text::new(format);
    service(&mut out, shared, &stats);
    one(&mut out, f::ANSWER, &[], answered.as_secs_f64());
    reports(&mut out, shared);
    shards(&mut out, &stats);
    overlays(&mut out, engine, &stats)?;
    program(&mut out, shared);
    counters(&mut out, &stats);
    Ok(out.end())
}

fn one(
    out: &mut Text,
    (name, kind, help): (&str, Kind, &str),
    labels: &[(&str, &str)],
    value: f64,
) {
    out.family(name, kind, help);
    out.sample(name, labels, value);
}

fn service(out: &mut Text, shared: &Shared, stats: &EngineStats) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    one(out, f::BUILD, &version, 1.0);
    one(
        out,
        f::UPTIME,
        &[],
        shared.facts.since.elapsed().as_secs_f64(),
    );
    let is_draining = f64::from(u8::from(shared.drain.is_draining()));
    one(out, f::DRAINING, &[], is_draining);
    one(out, f::PANICS, &[], stats.panics as f64);
    let counted = &shared.counted;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
    one(out, f::HTTP_PANICS, &[], count(&counted.panics));
    one(out, f::HTTP_RESTARTS, &[], count(&counted.restarts));
    one(out, f::HTTP_CONNECTIONS, &[], count(&counted.connections));
    one(out, f::AUTH_FAIL, &[], shared.doorman.failures() as f64);
    let (name, kind, help) = f::HTTP_REQUESTS;
    out.family(name, kind, help);
    for (class, answers) in ["1xx", "2xx", "3xx", "4xx", "5xx"]
        .iter()
        .zip(&counted.answers)
    {
        out.sample(name, &[("code", class)], count(answers));
    }
}

fn reports(out: &mut Text, shared: &Shared) {
    let (fates, bytes) = {
        let queue = shared.reports.queue();
        (queue.fates(), queue.bytes())
    };
    let (name, kind, help) = f::REPORT_POINTS;
    out.family(name, kind, help);
    for (fate, count) in [
        ("written", fates.written),
        ("dropped", fates.dropped),
        ("refused", fates.refused),
    ] {
        out.sample(name, &[("fate", fate)], count as f64);
    }
    let failures = shared.reports.failures.load(Ordering::Relaxed);
    one(out, f::REPORT_FAILURES, &[], failures as f64);
    one(out, f::REPORT_QUEUE, &[], bytes as f64);
}

fn shards(out: &mut Text, stats: &EngineStats) {
    type Gauge = fn(&tidings_engine::ShardStats) -> usize;
    let gauges: [(_, Gauge); 4] = [
        (f::CLIENTS, |shard| shard.clients),
        (f::SESSIONS, |shard| shard.sessions),
        (f::QUEUE, |shard| shard.queued),
        (f::RCVBUF, |shard| shard.rcvbuf),
    ];
    for ((name, kind, help), gauge) in gauges {
        out.family(name, kind, help);
        for (index, shard) in stats.shards.iter().enumerate() {
            out.sample(name, &[("shard", &index.to_string())], gauge(shard) as f64);
        }
    }
    let (name, kind, help) = f::BACKEND;
    out.family(name, kind, help);
    for (index, shard) in stats.shards.iter().enumerate() {
        let backend = shard
            .waiting
            .map_or_else(String::new, |waiting| format!("{waiting:?}").to_lowercase());
        let labels = [("shard", &*index.to_string()), ("backend", &*backend)];
        out.sample(name, &labels, 1.0);
    }
}

fn overlays(out: &mut Text, engine: &Engine, stats: &EngineStats) -> Result<(), EngineError> {
    let (name, kind, help) = f::MEMBERS;
    out.family(name, kind, help);
    for overlay in &stats.overlays {
        let members = engine.members(overlay.id)?;
        for state in STATES {
            let count = members.iter().filter(|member| member.state == state);
            let labels = [("overlay", &*overlay.name), ("state", view::state(state))];
            out.sample(name, &labels, count.count() as f64);
        }
    }
    type Gauges =
        fn(&tidings_engine::OverlayStats) -> Vec<(Option<(&'static str, &'static str)>, u64)>;
    let gauges: [(_, Gauges); 6] = [
        (f::STORE_LIMIT, |o| vec![(None, o.store_limit as u64)]),
        (f::SYNCED, |o| vec![(None, u64::from(o.synced))]),
        (f::SUBS, |o| vec![(None, o.subscriptions.0 as u64)]),
        (f::PORTS, |o| vec![(None, o.ports as u64)]),
        (f::STATE_BYTES, |o| {
            let (store, held) = o.bytes;
            vec![
                (Some(("part", "store")), store as u64),
                (Some(("part", "held")), held as u64),
            ]
        }),
        (f::STREAMS, |o| {
            let (out, into) = o.streams;
            vec![
                (Some(("dir", "out")), out as u64),
                (Some(("dir", "in")), into as u64),
            ]
        }),
    ];
    for ((name, kind, help), gauges) in gauges {
        out.family(name, kind, help);
        for overlay in &stats.overlays {
            for (label, value) in gauges(overlay) {
                let mut labels = vec![("overlay", overlay.name.as_str())];
                labels.extend(label);
                out.sample(name, &labels, value as f64);
            }
        }
    }
    let (name, kind, help) = f::REFUSED;
    out.family(name, kind, help);
    for overlay in &stats.overlays {
        let refusals = &overlay.refusals;
        let keys = KEYS_DIFFER.map(OpenError::label);
        let others = refusals.iter().filter(|(other, _)| !keys.contains(other));
        let keys = keys.map(|reason| (reason, refusals.get(reason)));
        for (reason, count) in keys.into_iter().chain(others) {
            let labels = [("overlay", overlay.name.as_str()), ("reason", reason)];
            out.sample(name, &labels, count as f64);
        }
    }
    keys(out, engine, stats)?;
    latencies(out, stats);
    Ok(())
}

/// Bounds of the buckets that a scrape tells, as powers of two in ns: 16 us to 73 min, 29 of the 257 that are counted.
const BOUNDS: RangeInclusive<u32> = 14..=42;

fn latencies(out: &mut Text, stats: &EngineStats) {
    let (name, kind, help) = f::LATENCY;
    out.family(name, kind, help);
    for overlay in &stats.overlays {
        let latency = &overlay.latency;
        let seconds = |ns: u128| ns as f64 / 1e9;
        let buckets = BOUNDS.map(|power| {
            let end = 1 << power;
            let is_below = |bucket: &usize| Latency::bound(*bucket).is_some_and(|to| to <= end);
            let below = latency.counts().iter().enumerate();
            let below = below.take_while(|(bucket, _)| is_below(bucket));
            let count = below.map(|(_, count)| count).sum();
            (seconds(end.into()), count)
        });
        let labels = [("overlay", &*overlay.name)];
        let all = (latency.count(), seconds(latency.sum_ns()));
        out.histogram(name, &labels, buckets, all);
    }
}

/// The keys that are installed.
fn keys(out: &mut Text, engine: &Engine, stats: &EngineStats) -> Result<(), EngineError> {
    let overlays = stats.overlays.iter();
    let overlays = overlays.map(|overlay| Ok((&*overlay.name, engine.key_use(overlay.id)?)));
    let overlays: Vec<(&str, KeyUse)> = overlays.collect::<Result<_, EngineError>>()?;
    type Told = fn(&KeyUse, u8) -> bool;
    let gauges: [(_, Told); 3] = [
        (f::KEY_INSTALLED, |_, _| true),
        (f::KEY_PRIMARY, |keys, slot| keys.primary == slot),
        (f::KEY_USED, |keys, slot| keys.used & (1 << slot) != 0),
    ];
    for ((name, kind, help), told) in gauges {
        out.family(name, kind, help);
        for (overlay, keys) in &overlays {
            for slot in (0..8).filter(|slot| keys.installed & (1 << slot) != 0) {
                let labels = [("overlay", *overlay), ("slot", &slot.to_string())];
                out.sample(name, &labels, f64::from(u8::from(told(keys, slot))));
            }
        }
    }
    Ok(())
}

/// Files of `/proc` and disks that cannot be looked at leave their samples out.
fn program(out: &mut Text, shared: &Shared) {
    let fields = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let after = fields.rsplit_once(')').map_or("", |(_, after)| after);
    let field = |at: usize| -> Option<f64> { after.split_whitespace().nth(at)?.parse().ok() };
    // Of proc(5), counted from the field after the name: utime 11, stime 12, rss 21.
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        one(out, f::CPU, &[], (user + system) / ticks);
    }
    if let Some(pages) = field(21) {
        one(out, f::RSS, &[], pages * rustix::param::page_size() as f64);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is of this look.
        one(out, f::FDS, &[], open.count().saturating_sub(1) as f64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        one(out, f::FDS_MAX, &[], most as f64);
    }
    if let Ok(disk) = statvfs(&shared.facts.data_dir) {
        let bytes = |blocks: u64| blocks as f64 * disk.f_frsize as f64;
        one(out, f::DISK, &[], bytes(disk.f_bavail));
        one(out, f::DISK_SIZE, &[], bytes(disk.f_blocks));
    }
    one(out, f::CLOCK, &[], wall::nanoseconds() as f64 / 1e9);
    let since = wall::seconds().saturating_sub(shared.facts.since.elapsed().as_secs());
    one(out, f::START, &[], since as f64);
}

type Counter = (&'static str, &'static str, u64);

/// The engine's lists of counters.
fn counters(out: &mut Text, stats: &EngineStats) {
    let shards = stats.shards.iter().enumerate();
    let shards = shards.map(|(index, shard)| (index.to_string(), shard.counters.each().collect()));
    let shards: Vec<(String, Vec<Counter>)> = shards.collect();
    directed(out, &shards);
    list(out, "shard", "shard", shards);
    let overlays = |each: fn(&tidings_engine::OverlayStats) -> Vec<Counter>| {
        let overlays = stats.overlays.iter();
        overlays
            .map(|overlay| (overlay.name.clone(), each(overlay)))
            .collect()
    };
    list(
        out,
        "membership",
        "overlay",
        overlays(|o| o.membership.each().collect()),
    );
    list(
        out,
        "publish",
        "overlay",
        overlays(|o| o.publish.each().collect()),
    );
    list(
        out,
        "receive",
        "overlay",
        overlays(|o| o.receive.each().collect()),
    );
}

/// Those of the shards' counters that come in pairs.
fn directed(out: &mut Text, shards: &[(String, Vec<Counter>)]) {
    for ((name, kind, help), pair) in f::DIRECTED {
        out.family(name, kind, help);
        for (shard, counters) in shards {
            for (dir, wanted) in ["in", "out"].iter().zip(pair) {
                let found = counters.iter().find(|(counter, ..)| *counter == wanted);
                let value = found.map_or(0, |(_, _, value)| *value);
                out.sample(name, &[("shard", shard), ("dir", dir)], value as f64);
            }
        }
    }
}

/// One family for each counter, one sample for each that counts.
fn list(out: &mut Text, group: &str, label: &str, counting: Vec<(String, Vec<Counter>)>) {
    let Some((_, first)) = counting.first() else {
        return;
    };
    for (at, (counter, help, _)) in first.iter().enumerate() {
        let Some(name) = listed(group, counter) else {
            continue;
        };
        out.family(&name, Kind::Counter, help);
        for (who, counters) in &counting {
            if let Some((_, _, value)) = counters.get(at) {
                out.sample(&name, &[(label, who)], *value as f64);
            }
        }
    }
}
