//! Every family of metrics, declared once: the scrape writes these and no others, and a dashboard can be checked against
//! [`names`]. Those that are made of the engine's lists of counters take name and help from there.

use tidings_engine::metrics::ShardCounters;
use tidings_engine::{MemberCounters, PublishCounters, ReceiveCounters};

/// What kind a family is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, but for a restart. Its name ends with `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by size: samples with `_bucket`, `_sum` and `_count` behind its name.
    Histogram,
}

/// A family of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, as a sample has it.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// What it tells.
    pub help: &'static str,
}

/// One that is not made of a list.
type Declared = (&'static str, Kind, &'static str);

use Kind::{Counter, Gauge, Histogram};

/// Labels: none.
pub const BUILD: Declared = (
    "tidings_build_info",
    Gauge,
    "Version of the program, in a label; always 1",
);
/// See [`BUILD`].
pub const UPTIME: Declared = (
    "tidings_uptime_seconds",
    Gauge,
    "Time since the node started",
);
/// See [`BUILD`].
pub const DRAINING: Declared = (
    "tidings_draining",
    Gauge,
    "Whether the node goes out of service: 1, else 0",
);
/// See [`BUILD`].
pub const PANICS: Declared = (
    "tidings_thread_panics_total",
    Counter,
    "Panics of threads beside the shards, each started again since",
);
/// See [`BUILD`].
pub const HTTP_PANICS: Declared = (
    "tidings_http_panics_total",
    Counter,
    "Requests to the management service that ended in a panic",
);
/// See [`BUILD`].
pub const HTTP_RESTARTS: Declared = (
    "tidings_http_restarts_total",
    Counter,
    "Times that the management service started again",
);
/// Label: code, the class of the answer's status.
pub const HTTP_REQUESTS: Declared = (
    "tidings_http_requests_total",
    Counter,
    "Requests to the management service, by their answer",
);
/// See [`BUILD`].
pub const HTTP_CONNECTIONS: Declared = (
    "tidings_http_connections",
    Gauge,
    "Connections to the management service",
);
/// See [`BUILD`].
pub const AUTH_FAIL: Declared = (
    "tidings_auth_fail_total",
    Counter,
    "Requests to the management service with credentials that were not valid",
);
/// Label: shard.
pub const CLIENTS: Declared = ("tidings_clients", Gauge, "Connections of local clients");
/// Label: shard.
pub const SESSIONS: Declared = (
    "tidings_sessions",
    Gauge,
    "Sessions on the shard: connections, agents of connections elsewhere, handlers",
);
/// Label: shard.
pub const QUEUE: Declared = (
    "tidings_queue_depth",
    Gauge,
    "Commands, bells and ports that wait for the shard",
);
/// Label: shard.
pub const RCVBUF: Declared = (
    "tidings_receive_buffer_bytes",
    Gauge,
    "Receive buffer of the data socket, as the kernel granted it",
);
/// Labels: shard, backend.
pub const BACKEND: Declared = (
    "tidings_io_backend_info",
    Gauge,
    "How the shard sleeps, in a label; always 1",
);
/// Labels: overlay, state.
pub const MEMBERS: Declared = (
    "tidings_members",
    Gauge,
    "Members by what they are held to be, this node included",
);
/// Label: overlay.
pub const SYNCED: Declared = (
    "tidings_synced",
    Gauge,
    "Whether the subscriptions of all members held alive were known once since it had somebody to join: 1, else 0",
);
/// Label: overlay.
pub const SUBS: Declared = ("tidings_subs", Gauge, "Subscriptions of this node");
/// Label: overlay.
pub const PORTS: Declared = (
    "tidings_ports",
    Gauge,
    "Publishers and subscribers of other threads than the shard's",
);
/// Labels: overlay, part.
pub const STATE_BYTES: Declared = (
    "tidings_state_bytes",
    Gauge,
    "Bytes kept for messages: in the store; held back or partly received",
);
/// Labels: overlay, dir.
pub const STREAMS: Declared = (
    "tidings_streams",
    Gauge,
    "Streams: out to publish, in open here for receiving",
);
/// Labels: overlay, reason.
pub const REFUSED: Declared = (
    "tidings_rx_invalid_total",
    Counter,
    "Datagrams refused, by reason",
);
/// Labels: overlay, slot.
pub const KEY_INSTALLED: Declared = (
    "tidings_key_installed",
    Gauge,
    "Keys that open what comes, by slot; always 1",
);
/// Labels: overlay, slot.
pub const KEY_PRIMARY: Declared = (
    "tidings_key_primary",
    Gauge,
    "Whether the node seals with this key: 1, else 0",
);
/// Labels: overlay, slot.
pub const KEY_USED: Declared = (
    "tidings_key_used",
    Gauge,
    "Whether a session or a stream of the node depends on this key: 1, else 0",
);
/// See [`BUILD`].
pub const CLOCK: Declared = (
    "tidings_clock_seconds",
    Gauge,
    "The node's clock at the scrape, in seconds since 1970",
);
/// See [`BUILD`].
pub const ANSWER: Declared = (
    "tidings_shard_answer_seconds",
    Gauge,
    "How long the slowest shard took to answer this scrape: what else its loop had to do first",
);
/// See [`BUILD`].
pub const DISK: Declared = (
    "tidings_disk_available_bytes",
    Gauge,
    "What the node may still write to the disk of its data directory",
);
/// See [`BUILD`].
pub const DISK_SIZE: Declared = (
    "tidings_disk_size_bytes",
    Gauge,
    "Size of the disk of the data directory",
);
/// Label: overlay.
pub const STORE_LIMIT: Declared = (
    "tidings_store_limit_bytes",
    Gauge,
    "The most bytes that messages in the store may take",
);
/// Label: fate.
pub const REPORT_POINTS: Declared = (
    "tidings_report_points_total",
    Counter,
    "Points for InfluxDB: written, dropped because the queue was full, refused by the destination",
);
/// See [`BUILD`].
pub const REPORT_FAILURES: Declared = (
    "tidings_report_failures_total",
    Counter,
    "Tries to send points to InfluxDB that failed and are repeated",
);
/// See [`BUILD`].
pub const REPORT_QUEUE: Declared = (
    "tidings_report_queue_bytes",
    Gauge,
    "Points for InfluxDB that wait to be sent",
);
/// Labels: overlay, le.
pub const LATENCY: Declared = (
    "tidings_delivery_latency_seconds",
    Histogram,
    "Age of messages published here when a subscription's acknowledgement came, each for each subscription",
);
/// As every program has it.
pub const CPU: Declared = (
    "process_cpu_seconds_total",
    Counter,
    "CPU time of user and system",
);
/// See [`CPU`].
pub const RSS: Declared = ("process_resident_memory_bytes", Gauge, "Resident memory");
/// See [`CPU`].
pub const FDS: Declared = ("process_open_fds", Gauge, "Open file descriptors");
/// See [`CPU`].
pub const FDS_MAX: Declared = ("process_max_fds", Gauge, "The most that may be open");
/// See [`CPU`].
pub const START: Declared = (
    "process_start_time_seconds",
    Gauge,
    "When the node started, in seconds since 1970",
);

/// Labels: shard, dir.
pub const NET_BYTES: Declared = (
    "tidings_net_bytes_total",
    Counter,
    "Bytes of UDP payload, in and out",
);
/// Labels: shard, dir.
pub const NET_PACKETS: Declared = (
    "tidings_net_packets_total",
    Counter,
    "Datagrams, in and out",
);
/// Labels: shard, dir.
pub const NET_SYSCALLS: Declared = (
    "tidings_net_syscalls_total",
    Counter,
    "System calls that received or sent something",
);
/// Labels: shard, dir.
pub const MSGS: Declared = (
    "tidings_msgs_total",
    Counter,
    "Messages: in from local publishers, out to local subscribers",
);
/// Families of two counters of the shards each, which are not told under their own names: in and out.
pub const DIRECTED: [(Declared, [&str; 2]); 4] = [
    (NET_BYTES, ["recv_bytes", "send_bytes"]),
    (NET_PACKETS, ["recv_datagrams", "send_datagrams"]),
    (NET_SYSCALLS, ["recv_calls", "send_calls"]),
    (MSGS, ["messages_published", "messages_delivered"]),
];

/// All that are not made of lists.
pub const DECLARED: [Declared; 42] = [
    NET_BYTES,
    NET_PACKETS,
    NET_SYSCALLS,
    MSGS,
    HTTP_REQUESTS,
    HTTP_CONNECTIONS,
    AUTH_FAIL,
    BUILD,
    UPTIME,
    DRAINING,
    PANICS,
    HTTP_PANICS,
    HTTP_RESTARTS,
    CLIENTS,
    SESSIONS,
    QUEUE,
    RCVBUF,
    BACKEND,
    MEMBERS,
    SYNCED,
    SUBS,
    PORTS,
    STATE_BYTES,
    STREAMS,
    CLOCK,
    ANSWER,
    DISK,
    DISK_SIZE,
    STORE_LIMIT,
    REFUSED,
    KEY_INSTALLED,
    KEY_PRIMARY,
    KEY_USED,
    LATENCY,
    REPORT_POINTS,
    REPORT_FAILURES,
    REPORT_QUEUE,
    CPU,
    RSS,
    FDS,
    FDS_MAX,
    START,
];

/// Counters that other systems have under a name that people alert on: theirs, instead of ours.
const KNOWN_AS: [(&str, &str); 8] = [
    ("shard_publish_blocked", "backpressure"),
    ("shard_send_no_room", "enobufs"),
    ("publish_redeliveries", "redelivered"),
    ("publish_repairs", "retransmits"),
    ("receive_gaps", "delivery_gap"),
    ("receive_duplicates", "dup_suppressed"),
    ("membership_refutations", "refutes"),
    ("membership_probes_late", "probe_degraded"),
];

/// The name of a counter of the list `group`; none if another family tells it.
pub fn listed(group: &str, counter: &str) -> Option<String> {
    if group == "shard" && DIRECTED.iter().any(|(_, pair)| pair.contains(&counter)) {
        return None;
    }
    let ours = format!("{group}_{counter}");
    let known = KNOWN_AS.iter().find(|(name, _)| *name == ours);
    let name = known.map_or(ours.as_str(), |(_, known)| known);
    Some(format!("tidings_{name}_total"))
}

/// Every family, in the order of a scrape.
#[cfg_attr(not(test), allow(dead_code))] // For tests: of this file, and of dashboards.
pub fn names() -> Vec<Family> {
    let declared = DECLARED.into_iter().map(|(name, kind, help)| Family {
        name: name.to_owned(),
        kind,
        help,
    });
    let lists = [
        ("shard", ShardCounters::default().each().collect::<Vec<_>>()),
        ("membership", MemberCounters::default().each().collect()),
        ("publish", PublishCounters::default().each().collect()),
        ("receive", ReceiveCounters::default().each().collect()),
    ];
    let listed = lists.into_iter().flat_map(|(group, counters)| {
        let family = move |(name, help, _): (&'static str, &'static str, u64)| {
            let name = listed(group, name)?;
            let kind = Counter;
            Some(Family { name, kind, help })
        };
        counters.into_iter().filter_map(family)
    });
    declared.chain(listed).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_in_base_units_and_say_their_kind() {
        let families = names();
        let unique: BTreeSet<_> = families.iter().map(|family| &family.name).collect();
        assert_eq!(unique.len(), families.len());
        for Family { name, kind, help } in &families {
            assert_eq!(*kind == Counter, name.ends_with("_total"), "{name}");
            assert!(!help.is_empty());
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            let mut words = name.split('_');
            assert!(
                !words.any(|word| ["ms", "us", "ns", "kib", "mb"].contains(&word)),
                "{name}"
            );
        }
        for (ours, _) in KNOWN_AS {
            let (group, counter) = ours.split_once('_').unwrap();
            let name = listed(group, counter).unwrap();
            assert!(unique.contains(&name), "{ours}");
        }
    }
    #[test]
    fn the_counters_that_come_in_pairs_exist_and_every_declared_name_is_documented() {
        let shard: Vec<_> = ShardCounters::default()
            .each()
            .map(|(name, ..)| name)
            .collect();
        for (_, pair) in DIRECTED {
            assert!(pair.iter().all(|name| shard.contains(name)), "{pair:?}");
        }
        let page = include_str!("../../../../docs/management.md");
        let known = KNOWN_AS
            .iter()
            .map(|(_, known)| format!("tidings_{known}_total"));
        let declared = DECLARED.iter().map(|(name, ..)| (*name).to_owned());
        for name in declared.chain(known) {
            assert!(page.contains(&format!("`{name}")), "{name}");
        }
    }
}
