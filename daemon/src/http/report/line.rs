//! InfluxDB's line protocol: `measurement,tag=value field=1i,field=0.5 NANOSECONDS`, a point a line. Both versions of InfluxDB read it, and
//! so do Telegraf, VictoriaMetrics and QuestDB.

use std::fmt::Write;

use tidings_engine::OverlayStats;
use tidings_engine::latency::Latency;

use super::{OverlaySnapshot, Reporter, STATES, Snapshot};
use crate::node::view;

/// Quantiles that are told of latencies.
const QUANTILES: [(&str, f64); 5] = [
    ("p50_s", 0.5),
    ("p90_s", 0.9),
    ("p99_s", 0.99),
    ("p999_s", 0.999),
    ("max_s", 1.0),
];

/// See the module.
pub struct LineProtocol;

impl Reporter for LineProtocol {
    fn write(&self, snapshot: &Snapshot<'_>, out: &mut Vec<u8>) -> u64 {
        let mut lines = Lines {
            text: String::new(),
            points: 0,
            node: snapshot.node,
            at: snapshot.at,
        };
        let stats = snapshot.stats;
        lines.begin("tidings_node", &[]);
        lines.float("uptime_s", snapshot.uptime.as_secs_f64());
        lines.integer("thread_panics", stats.panics);
        lines.end();
        for (index, shard) in stats.shards.iter().enumerate() {
            lines.begin("tidings_shard", &[("shard", &index.to_string())]);
            lines.integer("clients", shard.clients as u64);
            lines.integer("sessions", shard.sessions as u64);
            lines.integer("queued", shard.queued.total() as u64);
            lines.counters(shard.counters.each());
            lines.end();
        }
        for (overlay, more) in stats.overlays.iter().zip(&snapshot.overlays) {
            lines.overlay(overlay, more);
        }
        out.extend_from_slice(lines.text.as_bytes());
        lines.points
    }
}

/// Points of one moment.
struct Lines<'a> {
    text: String,
    points: u64,
    node: &'a str,
    at: u64,
}

impl Lines<'_> {
    fn overlay(&mut self, overlay: &OverlayStats, more: &OverlaySnapshot) {
        let tags = [("overlay", &*overlay.name)];
        self.begin("tidings_overlay", &tags);
        for (state, count) in STATES.into_iter().zip(more.members) {
            self.integer(&format!("members_{}", view::state(state)), count);
        }
        let (store, held) = overlay.bytes;
        let (out, into) = overlay.streams;
        self.integer("synced", u64::from(overlay.synced));
        self.integer("subscriptions", overlay.subscriptions.0 as u64);
        self.integer("store_bytes", store as u64);
        self.integer("store_limit_bytes", overlay.store_limit as u64);
        self.integer("held_bytes", held as u64);
        self.integer("streams_out", out as u64);
        self.integer("streams_in", into as u64);
        let refused: u64 = overlay.refusals.iter().map(|(_, count)| count).sum();
        self.integer("datagrams_refused", refused);
        self.end();
        self.begin("tidings_membership", &tags);
        self.counters(overlay.membership.each());
        self.end();
        self.begin("tidings_publish", &tags);
        self.counters(overlay.publish.each());
        self.end();
        self.begin("tidings_receive", &tags);
        self.counters(overlay.receive.each());
        self.end();
        let (counts, oldest) = &more.latencies;
        self.begin("tidings_latency", &tags);
        self.integer("count", counts.iter().sum());
        for (name, q) in QUANTILES {
            // Where nothing was delivered there is no latency.
            if let Some(ns) = Latency::quantile(counts, q) {
                self.float(name, ns.min(*oldest) as f64 / 1e9);
            }
        }
        self.end();
    }

    fn begin(&mut self, measurement: &str, tags: &[(&str, &str)]) {
        self.text.push_str(measurement);
        for (key, value) in [("node", self.node)].iter().chain(tags) {
            let value = escaped(value);
            // A tag without a value is no point.
            if !value.is_empty() {
                // Writing to a String cannot fail.
                let _ = write!(self.text, ",{key}={value}");
            }
        }
        self.text.push(' ');
    }

    fn field(&mut self, name: &str) {
        if !self.text.ends_with(' ') {
            self.text.push(',');
        }
        self.text.push_str(name);
        self.text.push('=');
    }

    /// Version 1 knows no numbers above the largest i64.
    fn integer(&mut self, name: &str, value: u64) {
        self.field(name);
        let _ = write!(self.text, "{}i", value.min(i64::MAX as u64));
    }

    fn float(&mut self, name: &str, value: f64) {
        self.field(name);
        let _ = write!(self.text, "{value}");
    }

    fn counters(&mut self, each: impl Iterator<Item = (&'static str, &'static str, u64)>) {
        for (name, _, value) in each {
            self.integer(name, value);
        }
    }

    fn end(&mut self) {
        let _ = writeln!(self.text, " {}", self.at);
        self.points += 1;
    }
}

/// The value of a tag: comma, equals sign and space have a backslash before them. What would end the line becomes a space, and
/// backslashes at the end, which would take the meaning of what follows, are left out.
fn escaped(value: &str) -> String {
    let value = value.trim_end_matches('\\');
    let mut escaped = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            ',' | '=' | ' ' => escaped.extend(['\\', letter]),
            letter if letter.is_control() => escaped.push_str("\\ "),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_engine::latency::BUCKETS;
    use tidings_engine::{EngineStats, OverlayId, SyncStage};

    use super::*;

    fn overlay(name: &str) -> OverlayStats {
        OverlayStats {
            id: OverlayId::from_name(name),
            name: name.to_owned(),
            shard: 0,
            members: 2,
            found: 0,
            synced: true,
            sync: SyncStage::Synced,
            ports: 0,
            bytes: (7, 8),
            store_limit: 9,
            streams: (1, 2),
            subscriptions: (3, 4),
            membership: Default::default(),
            publish: Default::default(),
            latency: Default::default(),
            receive: Default::default(),
            refusals: Default::default(),
            peers: Vec::new(),
        }
    }

    #[test]
    fn a_snapshot_is_a_point_a_line() {
        let mut of_overlay = overlay("a b");
        of_overlay.publish.accepted = u64::MAX;
        let stats = EngineStats {
            panics: 1,
            discovery: Default::default(),
            shards: Vec::new(),
            overlays: vec![of_overlay],
        };
        let mut counts = [0; BUCKETS];
        counts[0] = 4;
        let snapshot = Snapshot {
            at: 5,
            node: "n,1",
            uptime: Duration::from_millis(1_500),
            stats: &stats,
            overlays: vec![OverlaySnapshot {
                members: [2, 0, 1, 0],
                latencies: (counts, 1_000),
            }],
        };
        let mut out = Vec::new();
        assert_eq!(LineProtocol.write(&snapshot, &mut out), 6);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(
            lines[0],
            r"tidings_node,node=n\,1 uptime_s=1.5,thread_panics=1i 5"
        );
        assert_eq!(
            lines[1],
            r"tidings_overlay,node=n\,1,overlay=a\ b members_alive=2i,members_suspect=0i,members_dead=1i,members_left=0i,synced=1i,subscriptions=3i,store_bytes=7i,store_limit_bytes=9i,held_bytes=8i,streams_out=1i,streams_in=2i,datagrams_refused=0i 5"
        );
        assert!(lines[3].contains(" accepted=9223372036854775807i,"));
        assert_eq!(
            lines[5],
            r"tidings_latency,node=n\,1,overlay=a\ b count=4i,p50_s=0.000001,p90_s=0.000001,p99_s=0.000001,p999_s=0.000001,max_s=0.000001 5"
        );
    }

    #[test]
    fn no_name_breaks_out_of_its_tag() {
        for (name, written) in [
            ("plain", "plain"),
            ("a,b=c d", r"a\,b\=c\ d"),
            ("two\nlines", r"two\ lines"),
            (r"back\slash", r"back\slash"),
            (r"end\\", "end"),
            ("\"quoted\"", "\"quoted\""),
            ("gr\u{fc}n", "gr\u{fc}n"),
        ] {
            assert_eq!(escaped(name), written);
        }
        let mut lines = Lines {
            text: String::new(),
            points: 0,
            node: r"\",
            at: 1,
        };
        lines.begin("m", &[("overlay", "o")]);
        lines.integer("x", 1);
        lines.end();
        assert_eq!(lines.text, "m,overlay=o x=1i 1\n");
    }
}
