//! The values of a scrape: one look at the engine, at the process and at the service, written family by family. Labels are
//! overlay, shard, slots and reasons, never members: their number is bounded by the node's own configuration.

use std::fs;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use tidings_engine::latency::Latency;
use tidings_engine::limits::{BELLS_MAX, COMMANDS_MAX};
use tidings_engine::{
    DiscoveryStats, Engine, EngineError, EngineStats, Health, KeyUse, OverlayStats, PeerStats,
    ShardStats,
};
use tidings_wire::OpenError;

use super::families::{self as f, Kind, listed};
use super::text::{Format, Text};
use crate::http::shared::{SAMPLES, Shared};
use crate::http::wall;

/// States that members are told by, in the order of [`Health::members`].
const STATES: [&str; 4] = ["alive", "suspect", "dead", "left"];
/// What a scrape tells of an overlay beside its counters.
type Healths = Vec<Health>;
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
    let mut stats = engine.stats()?;
    let answered = since.elapsed();
    let healths = healths(engine, &mut stats)?;
    let mut out = Text::new(format);
    service(&mut out, shared, &stats);
    one(&mut out, f::ANSWER, &[], answered.as_secs_f64());
    reports(&mut out, shared);
    beacons(&mut out, &stats.discovery);
    shards(&mut out, &stats);
    overlays(&mut out, engine, &stats, &healths)?;
    program(&mut out, shared);
    counters(&mut out, &stats);
    Ok(out.end())
}

/// Of each overlay, in their order. One that was left meanwhile is left out of both.
fn healths(engine: &Engine, stats: &mut EngineStats) -> Result<Healths, EngineError> {
    let mut healths = Healths::new();
    let mut overlays = Vec::new();
    for overlay in std::mem::take(&mut stats.overlays) {
        match engine.health(overlay.id) {
            Ok(health) => {
                healths.push(health);
                overlays.push(overlay);
            }
            Err(EngineError::Unknown) => {}
            Err(error) => return Err(error),
        }
    }
    stats.overlays = overlays;
    Ok(healths)
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
    one(out, f::HTTP_HUNG, &[], count(&counted.hung));
    one(out, f::HTTP_CONNECTIONS, &[], count(&counted.connections));
    one(
        out,
        f::HTTP_AUTH_FAIL,
        &[],
        shared.doorman.failures() as f64,
    );
    let (name, kind, help) = f::SAMPLES_SKIPPED;
    out.family(name, kind, help);
    for (of, skipped) in SAMPLES.iter().zip(&counted.skipped) {
        out.sample(name, &[("of", of)], count(skipped));
    }
    let (name, kind, help) = f::LOGINS_REFUSED;
    out.family(name, kind, help);
    for (reason, count) in shared.overlays.clients().logins_refused() {
        out.sample(name, &[("reason", reason)], count as f64);
    }
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

fn beacons(out: &mut Text, discovery: &DiscoveryStats) {
    let (name, kind, help) = f::BEACONS;
    out.family(name, kind, help);
    for (fate, count) in [
        ("sent", discovery.sent),
        ("unsent", discovery.send_failed),
        ("heard", discovery.received),
    ] {
        out.sample(name, &[("fate", fate)], count as f64);
    }
    let (name, kind, help) = f::BEACONS_REFUSED;
    out.family(name, kind, help);
    for (reason, count) in discovery.refused {
        out.sample(name, &[("reason", reason)], count as f64);
    }
    one(out, f::BEACON_ADDRESSES, &[], discovery.addresses as f64);
}

fn shards(out: &mut Text, stats: &EngineStats) {
    type Gauge = fn(&ShardStats) -> f64;
    let gauges: [(_, Gauge); 5] = [
        (f::CLIENTS, |shard| shard.clients as f64),
        (f::SESSIONS, |shard| shard.sessions as f64),
        (f::RCVBUF, |shard| shard.rcvbuf as f64),
        (f::SHARD_CPU, |shard| shard.cpu.as_secs_f64()),
        (f::LOOP_STALLS, |shard| {
            (shard.lag.count() - below(&shard.lag, STALL)) as f64
        }),
    ];
    for ((name, kind, help), gauge) in gauges {
        out.family(name, kind, help);
        for (index, shard) in stats.shards.iter().enumerate() {
            out.sample(name, &[("shard", &index.to_string())], gauge(shard));
        }
    }
    let (name, kind, help) = f::QUEUE;
    out.family(name, kind, help);
    for (index, shard) in stats.shards.iter().enumerate() {
        let queues = &shard.queued;
        for (class, depth) in [
            ("commands", queues.commands),
            ("bells", queues.bells),
            ("ports", queues.ports),
        ] {
            let labels = [("shard", &*index.to_string()), ("class", class)];
            out.sample(name, &labels, depth as f64);
        }
    }
    let (name, kind, help) = f::QUEUE_LIMIT;
    out.family(name, kind, help);
    for (class, limit) in [("commands", COMMANDS_MAX), ("bells", BELLS_MAX)] {
        out.sample(name, &[("class", class)], limit as f64);
    }
    let lags = stats.shards.iter().enumerate();
    let lags = lags.map(|(index, shard)| (index.to_string(), &*shard.lag));
    histograms(out, f::LOOP_LAG, "shard", TURNS, lags);
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

fn overlays(
    out: &mut Text,
    engine: &Engine,
    stats: &EngineStats,
    healths: &Healths,
) -> Result<(), EngineError> {
    health(out, stats, healths);
    links(out, stats);
    type Gauges = fn(&OverlayStats) -> Vec<(Option<(&'static str, &'static str)>, u64)>;
    let gauges: [(_, Gauges); 7] = [
        (f::STORE_LIMIT, |o| vec![(None, o.store_limit as u64)]),
        (f::FOUND, |o| vec![(None, o.found as u64)]),
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
    replays(out, stats);
    keys(out, engine, stats)?;
    let latencies = stats.overlays.iter();
    let latencies = latencies.map(|overlay| (overlay.name.clone(), &*overlay.latency));
    histograms(out, f::LATENCY, "overlay", BOUNDS, latencies);
    Ok(())
}

/// What is known of an overlay's members and messages beside counters.
fn health(out: &mut Text, stats: &EngineStats, healths: &Healths) {
    let each = || stats.overlays.iter().zip(healths);
    let (name, kind, help) = f::MEMBERS;
    out.family(name, kind, help);
    for (overlay, health) in each() {
        for (state, count) in STATES.into_iter().zip(health.members) {
            let labels = [("overlay", &*overlay.name), ("state", state)];
            out.sample(name, &labels, count as f64);
        }
    }
    type Gauge = fn(&Health) -> u64;
    let gauges: [(_, Gauge); 5] = [
        (f::HEALTH, |health| health.score.into()),
        (f::PARTITION, |health| health.partition_suspected.into()),
        (f::LAGGARDS, |health| health.key_laggards as u64),
        (f::SLOW, |health| health.slow_subscribers as u64),
        (f::OUTSTANDING, |health| health.ack_outstanding),
    ];
    for ((name, kind, help), gauge) in gauges {
        out.family(name, kind, help);
        for (overlay, health) in each() {
            out.sample(name, &[("overlay", &overlay.name)], gauge(health) as f64);
        }
    }
    let (name, kind, help) = f::TRANSITIONS;
    out.family(name, kind, help);
    for overlay in &stats.overlays {
        let counters: Vec<Counter> = overlay.membership.each().collect();
        for (to, wanted) in f::BECAME {
            let labels = [("overlay", &*overlay.name), ("to", to)];
            out.sample(name, &labels, value(&counters, wanted) as f64);
        }
    }
    let named = |of: fn(&Health) -> &Latency| {
        each().map(move |(overlay, health)| (overlay.name.clone(), of(health)))
    };
    let rtts = named(|health| &health.probe_rtt);
    histograms(out, f::PROBE_RTT, "overlay", BOUNDS, rtts);
    let syncs = named(|health| &health.comparisons);
    histograms(out, f::SYNC, "overlay", BOUNDS, syncs);
}

/// The ways to members, all of an overlay together: one for each would be a label without a bound.
fn links(out: &mut Text, stats: &EngineStats) {
    let (name, kind, help) = f::LINKS;
    out.family(name, kind, help);
    for overlay in &stats.overlays {
        let linked = overlay.peers.iter().filter(|peer| peer.address.is_some());
        out.sample(name, &[("overlay", &overlay.name)], linked.count() as f64);
    }
    let (name, kind, help) = f::LINK_RTT;
    out.family(name, kind, help);
    for overlay in &stats.overlays {
        let mut rtts: Vec<u64> = overlay.peers.iter().filter_map(|peer| peer.rtt).collect();
        rtts.sort_unstable();
        let ranks = [("least", 0), ("median", rtts.len() / 2)];
        for (rank, at) in ranks
            .into_iter()
            .chain([("most", rtts.len().wrapping_sub(1))])
        {
            // Without a link there is none to tell.
            if let Some(rtt) = rtts.get(at) {
                let labels = [("overlay", &*overlay.name), ("rank", rank)];
                out.sample(name, &labels, *rtt as f64 / 1e9);
            }
        }
    }
    let (name, kind, help) = f::LINK_FLIGHT;
    out.family(name, kind, help);
    for overlay in &stats.overlays {
        let bytes: u64 = overlay.peers.iter().map(|peer| peer.window.1).sum();
        out.sample(name, &[("overlay", &overlay.name)], bytes as f64);
    }
    let (name, kind, help) = f::LINK_QUEUE;
    out.family(name, kind, help);
    for overlay in &stats.overlays {
        let most = |of: fn(&PeerStats) -> usize| overlay.peers.iter().map(of).max().unwrap_or(0);
        let control = most(|peer| peer.queued.0);
        let bulk = most(|peer| peer.queued.1);
        for (class, bytes) in [("control", control), ("bulk", bulk)] {
            let labels = [("overlay", &*overlay.name), ("class", class)];
            out.sample(name, &labels, bytes as f64);
        }
    }
    let (name, kind, help) = f::LINK_QUEUE_LIMIT;
    out.family(name, kind, help);
    let (control, bulk) = PeerStats::QUEUES;
    for (class, bytes) in [("control", control), ("bulk", bulk)] {
        out.sample(name, &[("class", class)], bytes as f64);
    }
}

/// Sums of refusals under the names that others have for them.
fn replays(out: &mut Text, stats: &EngineStats) {
    let sums = [
        (f::AUTH_FAIL, None, &KEYS_DIFFER.map(OpenError::label)[..]),
        (f::DUPLICATES, None, &["link_duplicate", "fan_duplicate"]),
        (
            f::REPLAYS,
            Some("handshake"),
            &["hello_replayed", "hello_nonce"],
        ),
        (f::REPLAYS, Some("datagram"), &["open_stale"]),
    ];
    let mut begun = "";
    for ((name, kind, help), of, reasons) in sums {
        if begun != name {
            out.family(name, kind, help);
            begun = name;
        }
        for overlay in &stats.overlays {
            let counts = reasons.iter().map(|reason| overlay.refusals.get(reason));
            let mut labels = vec![("overlay", &*overlay.name)];
            labels.extend(of.map(|of| ("kind", of)));
            out.sample(name, &labels, counts.sum::<u64>() as f64);
        }
    }
}

/// Bounds of the buckets that a scrape tells, as powers of two in ns: 16 us to 73 min, 29 of the 257 that are counted.
const BOUNDS: RangeInclusive<u32> = 14..=42;
/// The same for turns of a loop: 4 us to 8.6 s.
const TURNS: RangeInclusive<u32> = 12..=33;
/// A turn that takes longer than this power of two in ns, 67 ms, is a stall: probes of others are about to time out.
const STALL: u32 = 26;

/// How many took less than a power of two in ns.
fn below(latency: &Latency, power: u32) -> u64 {
    let end = 1 << power;
    let is_below = |bucket: &usize| Latency::bound(*bucket).is_some_and(|to| to <= end);
    let below = latency.counts().iter().enumerate();
    let below = below.take_while(|(bucket, _)| is_below(bucket));
    below.map(|(_, count)| count).sum()
}

/// A family of histograms, one for each value of a label.
fn histograms<'a>(
    out: &mut Text,
    (name, kind, help): (&str, Kind, &str),
    label: &str,
    bounds: RangeInclusive<u32>,
    each: impl Iterator<Item = (String, &'a Latency)>,
) {
    out.family(name, kind, help);
    let seconds = |ns: u128| ns as f64 / 1e9;
    for (who, latency) in each {
        let buckets = bounds.clone();
        let buckets = buckets.map(|power| (seconds(1 << power), below(latency, power)));
        let all = (latency.count(), seconds(latency.sum_ns()));
        out.histogram(name, &[(label, &who)], buckets, all);
    }
}

/// The keys that are installed.
fn keys(out: &mut Text, engine: &Engine, stats: &EngineStats) -> Result<(), EngineError> {
    let overlays = stats.overlays.iter();
    // One that was left meanwhile is left out.
    let overlays = overlays.filter_map(|overlay| match engine.key_use(overlay.id) {
        Err(EngineError::Unknown) => None,
        found => Some(found.map(|keys| (&*overlay.name, keys))),
    });
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
    let overlays = |each: fn(&OverlayStats) -> Vec<Counter>| {
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

/// The counter of that name.
fn value(counters: &[Counter], wanted: &str) -> u64 {
    let found = counters.iter().find(|(counter, ..)| *counter == wanted);
    found.map_or(0, |(_, _, value)| *value)
}

/// Those of the shards' counters that come in pairs.
fn directed(out: &mut Text, shards: &[(String, Vec<Counter>)]) {
    for ((name, kind, help), pair) in f::DIRECTED {
        out.family(name, kind, help);
        for (shard, counters) in shards {
            for (dir, wanted) in ["in", "out"].iter().zip(pair) {
                let labels = [("shard", &**shard), ("dir", dir)];
                out.sample(name, &labels, value(counters, wanted) as f64);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_a_turn_of_more_than_67_ms() {
        let mut turns = Latency::default();
        for ms in [0, 1, 66, 68, 5_000, 20_000] {
            turns.record(ms * 1_000_000, 1);
        }
        assert_eq!(turns.count() - below(&turns, STALL), 3);
        let mut out = Text::new(Format::Prometheus);
        let each = [("0".to_owned(), &turns)];
        histograms(&mut out, f::LOOP_LAG, "shard", TURNS, each.into_iter());
        let text = out.end();
        for sample in [
            "_bucket{shard=\"0\",le=\"0.000004096\"} 1",
            "_bucket{shard=\"0\",le=\"0.067108864\"} 3",
            "_bucket{shard=\"0\",le=\"8.589934592\"} 5",
            "_bucket{shard=\"0\",le=\"+Inf\"} 6",
            "_count{shard=\"0\"} 6",
        ] {
            assert!(text.contains(sample), "{sample} in {text}");
        }
    }
}
