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
/// See [`BUILD`].
pub const HTTP_HUNG: Declared = (
    "tidings_http_hung_threads",
    Gauge,
    "Threads of the management service that hang and were followed by others",
);
/// Label: of.
pub const SAMPLES_SKIPPED: Declared = (
    "tidings_samples_skipped_total",
    Counter,
    "Samples for windows of statistics and for InfluxDB that were not taken, because a shard did not answer within 10 s",
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
pub const HTTP_AUTH_FAIL: Declared = (
    "tidings_http_auth_fail_total",
    Counter,
    "Requests to the management service with credentials that were not valid",
);
/// Label: reason.
pub const LOGINS_REFUSED: Declared = (
    "tidings_client_logins_refused_total",
    Counter,
    "Logins of local clients that were refused, by reason",
);
/// Label: fate.
pub const BEACONS: Declared = (
    "tidings_beacons_total",
    Counter,
    "Beacons of discovery: sent, unsent because the system refused, heard from other nodes",
);
/// Label: reason.
pub const BEACONS_REFUSED: Declared = (
    "tidings_beacons_refused_total",
    Counter,
    "Datagrams to the groups of discovery that were refused",
);
/// See [`BUILD`].
pub const BEACON_ADDRESSES: Declared = (
    "tidings_beacon_addresses",
    Gauge,
    "Addresses of this host from which beacons go out",
);
/// Label: overlay.
pub const FOUND: Declared = (
    "tidings_found_addresses",
    Gauge,
    "Addresses that beacons told of in the last minutes",
);
/// Label: shard.
pub const CLIENTS: Declared = ("tidings_clients", Gauge, "Connections of local clients");
/// Label: shard.
pub const SESSIONS: Declared = (
    "tidings_sessions",
    Gauge,
    "Sessions on the shard: connections, agents of connections elsewhere, handlers",
);
/// Labels: shard, class.
pub const QUEUE: Declared = (
    "tidings_queue_depth",
    Gauge,
    "What waits for the shard: commands, bells, ports that rang",
);
/// Label: class.
pub const QUEUE_LIMIT: Declared = (
    "tidings_queue_limit",
    Gauge,
    "The most that may wait for a shard",
);
/// Labels: shard, le.
pub const LOOP_LAG: Declared = (
    "tidings_loop_lag_seconds",
    Histogram,
    "How long turns of the loop took in which there was something to do; their sum is the time for which it was busy",
);
/// Label: shard.
pub const LOOP_STALLS: Declared = (
    "tidings_loop_stalls_total",
    Counter,
    "Turns of the loop that took longer than 67 ms",
);
/// Label: shard.
pub const SHARD_CPU: Declared = (
    "tidings_shard_cpu_seconds_total",
    Counter,
    "CPU time of the shard's thread",
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
pub const HEALTH: Declared = (
    "tidings_health_score",
    Gauge,
    "How slow this node holds itself to be: 0 is healthy, 7 the worst; its probes are that much slower",
);
/// Label: overlay.
pub const PARTITION: Declared = (
    "tidings_partition_suspected",
    Gauge,
    "Whether deaths are put off because it is rather this node that is cut off: 1, else 0",
);
/// Label: overlay.
pub const LAGGARDS: Declared = (
    "tidings_key_laggards",
    Gauge,
    "Other live members that lack the key that this node seals with, or seal with another",
);
/// Label: overlay.
pub const SLOW: Declared = (
    "tidings_slow_subscribers",
    Gauge,
    "Subscriptions of this node whose clients are there and did not take yet what came for them",
);
/// Label: overlay.
pub const OUTSTANDING: Declared = (
    "tidings_ack_outstanding",
    Gauge,
    "Pairs of a message published here and a subscription that have no outcome yet",
);
/// Labels: overlay, to.
pub const TRANSITIONS: Declared = (
    "tidings_member_transitions_total",
    Counter,
    "Changes of members, by what they became",
);
/// Counters of membership that [`TRANSITIONS`] tells, not under their own names.
pub const BECAME: [(&str, &str); 4] = [
    ("alive", "to_alive"),
    ("suspect", "to_suspect"),
    ("dead", "to_dead"),
    ("left", "to_left"),
];
/// Labels: overlay, le.
pub const PROBE_RTT: Declared = (
    "tidings_probe_rtt_seconds",
    Histogram,
    "Round trips of probes over open links",
);
/// Labels: overlay, le.
pub const SYNC: Declared = (
    "tidings_sync_seconds",
    Histogram,
    "Comparisons of views: until a member that was sent this node's hashes had sent what that lacks",
);
/// Label: overlay.
pub const LINKS: Declared = ("tidings_links", Gauge, "Members with a link to them");
/// Labels: overlay, rank.
pub const LINK_RTT: Declared = (
    "tidings_link_rtt_seconds",
    Gauge,
    "Smoothed round-trip times of links: the least, the median, the most",
);
/// Label: overlay.
pub const LINK_FLIGHT: Declared = (
    "tidings_link_in_flight_bytes",
    Gauge,
    "Bytes in flight on all links together",
);
/// Labels: overlay, class.
pub const LINK_QUEUE: Declared = (
    "tidings_link_queue_bytes",
    Gauge,
    "Bytes queued for the member for which most are",
);
/// Label: class.
pub const LINK_QUEUE_LIMIT: Declared = (
    "tidings_link_queue_limit_bytes",
    Gauge,
    "The most bytes that may be queued for a member",
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
/// Label: overlay.
pub const AUTH_FAIL: Declared = (
    "tidings_auth_fail_total",
    Counter,
    "Datagrams refused because no key of the overlay opens them",
);
/// Label: overlay.
pub const DUPLICATES: Declared = (
    "tidings_duplicates_total",
    Counter,
    "Datagrams that had come before: sent again by their sender, doubled by the network, or replayed",
);
/// Labels: overlay, kind.
pub const REPLAYS: Declared = (
    "tidings_replay_dropped_total",
    Counter,
    "Handshakes that were replayed; datagrams that are older than what may still come",
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
pub const DECLARED: [Declared; 69] = [
    NET_BYTES,
    NET_PACKETS,
    NET_SYSCALLS,
    MSGS,
    HTTP_REQUESTS,
    HTTP_CONNECTIONS,
    HTTP_AUTH_FAIL,
    LOGINS_REFUSED,
    BUILD,
    UPTIME,
    DRAINING,
    PANICS,
    HTTP_PANICS,
    HTTP_RESTARTS,
    HTTP_HUNG,
    SAMPLES_SKIPPED,
    BEACONS,
    BEACONS_REFUSED,
    BEACON_ADDRESSES,
    FOUND,
    CLIENTS,
    SESSIONS,
    QUEUE,
    QUEUE_LIMIT,
    LOOP_LAG,
    LOOP_STALLS,
    SHARD_CPU,
    RCVBUF,
    BACKEND,
    MEMBERS,
    HEALTH,
    PARTITION,
    LAGGARDS,
    SLOW,
    OUTSTANDING,
    TRANSITIONS,
    PROBE_RTT,
    SYNC,
    LINKS,
    LINK_RTT,
    LINK_FLIGHT,
    LINK_QUEUE,
    LINK_QUEUE_LIMIT,
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
    AUTH_FAIL,
    DUPLICATES,
    REPLAYS,
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
const KNOWN_AS: [(&str, &str); 11] = [
    ("shard_publish_blocked", "backpressure"),
    ("shard_send_no_room", "enobufs"),
    ("publish_redeliveries", "redelivered"),
    ("publish_repairs", "retransmits"),
    ("publish_repair_bytes", "retransmit_bytes"),
    ("receive_fetches", "naks"),
    ("receive_gaps", "delivery_gap"),
    ("receive_duplicates", "dup_suppressed"),
    ("membership_refutations", "refutes"),
    ("membership_flaps", "flaps"),
    ("membership_probes_late", "probe_degraded"),
];

/// The name of a counter of the list `group`; none if another family tells it.
pub fn listed(group: &str, counter: &str) -> Option<String> {
    let is_elsewhere = match group {
        "shard" => DIRECTED.iter().any(|(_, pair)| pair.contains(&counter)),
        "membership" => BECAME.iter().any(|(_, told)| *told == counter),
        _ => false,
    };
    if is_elsewhere {
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
        let mut membership = MemberCounters::default().each();
        for (_, told) in BECAME {
            assert!(membership.any(|(name, ..)| name == told), "{told}");
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
