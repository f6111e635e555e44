//! What the node tells of itself, as typed values: local clients get them as JSON from `control`, the management service's
//! clients from its routes, which document them. Nothing here decides who may see what.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidings_engine::latency::{BUCKETS, Latency};
use tidings_engine::{
    DiscoveryStats, Engine, EngineError, Member, OverlayEntry, OverlayId, OverlayStats, PeerStats,
    ShardStats, SyncStage,
};
use tidings_wire::digest::MemberState;
use utoipa::ToSchema;

/// What does not change while the node runs.
pub struct Facts {
    /// The node's label.
    pub name: String,
    /// The clients' socket.
    pub socket: PathBuf,
    /// Where its state is.
    pub data_dir: PathBuf,
    /// When it started.
    pub since: Instant,
    /// How long since then it may wait for others before it is ready.
    pub ready_timeout: Duration,
}

impl Facts {
    /// Whether it has waited for others for long enough.
    pub fn has_waited(&self) -> bool {
        self.since.elapsed() >= self.ready_timeout
    }
}

/// Whether an overlay at this stage is ready: it takes messages, and has met the members that it knows of, or the node `has_waited` for
/// that.
pub fn is_ready(stage: SyncStage, has_waited: bool) -> bool {
    match stage {
        SyncStage::Seeking | SyncStage::Joining => false,
        SyncStage::Alone | SyncStage::Late => has_waited,
        SyncStage::Synced => true,
    }
}

/// Counters by name.
pub type Counts = BTreeMap<String, u64>;

/// The node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeView {
    /// Its label.
    #[schema(example = "host-a")]
    name: String,
    /// Its id: the same at each start.
    id: String,
    /// Random bits of this start.
    boot: String,
    /// Version of the program.
    #[schema(value_type = String, example = "0.1.0")]
    version: &'static str,
    /// Seconds since it started.
    uptime_s: u64,
    /// Its UDP address and port.
    #[schema(example = "0.0.0.0:7400")]
    bind: String,
    /// The addresses that it tells its peers.
    advertised: Vec<String>,
    /// For its own user only.
    #[serde(flatten)]
    process: Option<ProcessView>,
}

/// What is its own user's business.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProcessView {
    /// Id of the process.
    #[schema(required = false)]
    pid: u32,
    /// The clients' socket.
    #[schema(value_type = String, required = false)]
    socket: PathBuf,
    /// Where its state is.
    #[schema(value_type = String, required = false)]
    data_dir: PathBuf,
}

/// The node; its process only for its owner.
pub fn node(engine: &Engine, facts: &Facts, is_owner: bool) -> NodeView {
    NodeView {
        name: facts.name.clone(),
        id: engine.node().to_string(),
        boot: engine.boot().to_string(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: facts.since.elapsed().as_secs(),
        bind: engine.local_addr().to_string(),
        advertised: texts(engine.advertised()),
        process: is_owner.then(|| ProcessView {
            pid: std::process::id(),
            socket: facts.socket.clone(),
            data_dir: facts.data_dir.clone(),
        }),
    }
}

/// An overlay in short.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OverlayView {
    /// Its name.
    #[schema(example = "news")]
    name: String,
    /// Its id: the first half of a hash of the name.
    id: String,
    /// The shard that runs it.
    shard: usize,
    /// Members listed, this node included.
    members: usize,
    /// Those of them held alive.
    alive: usize,
    /// Whether the subscriptions of all members held alive were known once since it had somebody to join.
    synced: bool,
    /// The cipher of its primary key.
    #[schema(value_type = Option<String>, example = "aes-256-gcm")]
    suite: &'static str,
}

/// An overlay in short. Asks its shard.
pub fn overlay(engine: &Engine, entry: &OverlayEntry) -> Result<OverlayView, EngineError> {
    let members = engine.members(entry.id)?;
    let alive = members
        .iter()
        .filter(|member| member.state == MemberState::Alive);
    Ok(OverlayView {
        name: entry.name.clone(),
        id: entry.id.to_string(),
        shard: entry.shard,
        members: members.len(),
        alive: alive.count(),
        synced: engine.is_synced(entry.id)?,
        suite: engine.suite(entry.id)?.name(),
    })
}

impl OverlayView {
    /// One of which only the name can be told.
    pub fn unseen(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: OverlayId::from_name(name).to_string(),
            shard: 0,
            members: 1,
            alive: 1,
            synced: false,
            suite: "",
        }
    }
}

/// Several of them; those that were left since they were listed are passed over.
pub fn overlays(
    engine: &Engine,
    entries: &[OverlayEntry],
) -> Result<Vec<OverlayView>, EngineError> {
    let seen = entries.iter().map(|entry| overlay(engine, entry));
    seen.filter(|seen| !matches!(seen, Err(EngineError::Unknown)))
        .collect()
}

/// A member of an overlay.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MemberView {
    /// Its label; another member may have the same.
    name: String,
    /// Its id.
    id: String,
    /// The start that its record is of.
    boot: String,
    /// Its best address.
    #[schema(example = "203.0.113.5:7400")]
    address: Option<String>,
    /// All of them, best first.
    addresses: Vec<String>,
    /// `alive`, `suspect`, `dead` or `left`.
    #[schema(value_type = String, example = "alive")]
    state: &'static str,
    /// It is this node.
    #[serde(rename = "self")]
    is_self: bool,
    /// Whether this node itself ever had a link to it; otherwise it is known by others' word only.
    reached: bool,
    /// Its rack, empty if none.
    rack: String,
    /// Its tags.
    metadata: BTreeMap<String, String>,
    /// Number of its life in this overlay.
    generation: u64,
    /// Raised by itself whenever its record changes.
    incarnation: u64,
    /// Version of the application that it states.
    app_version: u32,
    /// Smoothed round-trip time in microseconds, if there is a link.
    rtt_us: Option<u64>,
}

/// A member.
pub fn member(member: &Member) -> MemberView {
    MemberView {
        name: member.name.clone(),
        id: member.node.to_string(),
        boot: member.boot.to_string(),
        address: member.addresses.first().map(SocketAddr::to_string),
        addresses: texts(&member.addresses),
        state: state(member.state),
        is_self: member.is_self,
        reached: member.reached,
        rack: member.rack.clone(),
        metadata: metadata(&member.metadata),
        generation: member.generation,
        incarnation: member.incarnation,
        app_version: member.app_version,
        rtt_us: member.rtt.map(|rtt| rtt / 1_000),
    }
}

/// The name of a member's state.
pub fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Dead => "dead",
        MemberState::Left => "left",
    }
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(SocketAddr::to_string).collect()
}

/// `key=value` lines as an object.
fn metadata(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Counters as the engine lists them.
fn counts(each: impl Iterator<Item = (&'static str, &'static str, u64)>) -> Counts {
    each.map(|(name, _, value)| (name.to_owned(), value))
        .collect()
}

/// Everything that is counted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StatsView {
    /// The node.
    pub node: NodeView,
    /// Panics of threads beside the shards, each started again since; for the node's own user only.
    pub panics: Option<u64>,
    /// What discovery did, for all overlays together; for the node's own user only.
    pub discovery: Option<DiscoveryView>,
    /// Counters of each shard are of all overlays together.
    pub shards: Vec<ShardView>,
    /// Each overlay.
    pub overlays: Vec<OverlayStatsView>,
}

/// What discovery did.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DiscoveryView {
    /// Overlays that look for members on the network segment.
    overlays: usize,
    /// Addresses of this host from which beacons go out.
    addresses: usize,
    /// Beacons sent.
    beacons_sent: u64,
    /// Beacons that the system did not send.
    beacons_unsent: u64,
    /// Beacons of other nodes.
    beacons_heard: u64,
    /// Datagrams to the groups that were refused, by reason.
    beacons_refused: Counts,
}

/// What discovery did.
pub fn discovery(stats: &DiscoveryStats) -> DiscoveryView {
    let refused = stats.refused.iter();
    DiscoveryView {
        overlays: stats.overlays,
        addresses: stats.addresses,
        beacons_sent: stats.sent,
        beacons_unsent: stats.send_failed,
        beacons_heard: stats.received,
        beacons_refused: refused
            .map(|(why, count)| ((*why).to_owned(), *count))
            .collect(),
    }
}

/// A shard.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShardView {
    /// Its number.
    shard: usize,
    /// How it sleeps: `iouring`, `epoll` or nothing yet.
    waits_by: Option<String>,
    /// Receive buffer of its data socket in bytes, as the kernel granted it.
    rcvbuf: usize,
    /// Slots of 64 KiB into which it receives.
    receive_slots: usize,
    /// Commands, bells and ports that wait for it.
    queued: usize,
    /// Connections of local clients that it serves.
    clients: usize,
    /// Its counters.
    counters: Counts,
}

/// A shard.
pub fn shard(index: usize, shard: &ShardStats) -> ShardView {
    ShardView {
        shard: index,
        waits_by: shard
            .waiting
            .map(|waiting| format!("{waiting:?}").to_lowercase()),
        rcvbuf: shard.rcvbuf,
        receive_slots: shard.receive_slots,
        queued: shard.queued.total(),
        clients: shard.clients,
        counters: counts(shard.counters.each()),
    }
}

/// What is counted of an overlay.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OverlayStatsView {
    /// Its name.
    name: String,
    /// The shard that runs it.
    shard: usize,
    /// Members listed, this node included.
    members: usize,
    /// Addresses that beacons told of in the last minutes.
    found: usize,
    /// Whether the subscriptions of all members held alive were known once since it had somebody to join.
    synced: bool,
    /// Publishers and subscribers of other threads.
    ports: usize,
    /// Subscriptions of this node.
    subscriptions: usize,
    /// Version of their table.
    table_version: u64,
    /// Bytes of accepted messages in the store.
    store_bytes: usize,
    /// Bytes of messages held back or partly received.
    held_bytes: usize,
    /// Streams to publish.
    streams_out: usize,
    /// Streams open here for receiving.
    streams_in: usize,
    /// Counters of membership.
    membership: Counts,
    /// Counters of the publishing side.
    publish: Counts,
    /// How old messages published here were when their acknowledgements came, since the overlay started.
    latency: LatencyView,
    /// Counters of the receiving side.
    receive: Counts,
    /// Datagrams refused, by reason.
    refused: Counts,
    /// The way to each other member.
    peers: Vec<PeerView>,
}

/// How old messages published here were when a subscription's acknowledgement came, each for each subscription. What nothing was
/// delivered for is left out. Of the others so many, and the longest, are younger than what is said, and not by more than an eighth.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LatencyView {
    /// Acknowledgements.
    pub count: u64,
    /// Half of them, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_us: Option<u64>,
    /// 9 of 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_us: Option<u64>,
    /// 99 of 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_us: Option<u64>,
    /// 999 of 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    p999_us: Option<u64>,
    /// All.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_us: Option<u64>,
}

/// The ages in these buckets, none of which is above `max` ns.
pub fn latency(counts: &[u64; BUCKETS], max: u64) -> LatencyView {
    let us = |q| Latency::quantile(counts, q).map(|ns| ns.min(max).div_ceil(1_000));
    let oldest = match counts[BUCKETS - 1] {
        0 => us(1.0),
        _ => Some(max.div_ceil(1_000)),
    };
    LatencyView {
        count: counts.iter().sum(),
        p50_us: us(0.5),
        p90_us: us(0.9),
        p99_us: us(0.99),
        p999_us: us(0.999),
        max_us: oldest,
    }
}

/// What is counted of an overlay with these members.
pub fn overlay_stats(overlay: &OverlayStats, members: &[Member]) -> OverlayStatsView {
    let refused = overlay.refusals.iter();
    let (store_bytes, held_bytes) = overlay.bytes;
    let (streams_out, streams_in) = overlay.streams;
    let (subscriptions, table_version) = overlay.subscriptions;
    OverlayStatsView {
        name: overlay.name.clone(),
        shard: overlay.shard,
        members: overlay.members,
        found: overlay.found,
        synced: overlay.synced,
        ports: overlay.ports,
        subscriptions,
        table_version,
        store_bytes,
        held_bytes,
        streams_out,
        streams_in,
        membership: counts(overlay.membership.each()),
        publish: counts(overlay.publish.each()),
        latency: latency(overlay.latency.counts(), overlay.latency.max_ns()),
        receive: counts(overlay.receive.each()),
        refused: refused
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        peers: peers(overlay, members),
    }
}

/// Another member, and the way to it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PeerView {
    /// Its label.
    name: String,
    /// Its id.
    id: String,
    /// `alive`, `suspect`, `dead` or `left`.
    #[schema(value_type = String, example = "alive")]
    state: &'static str,
    #[serde(flatten)]
    way: Option<WayView>,
}

/// The way to a member.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WayView {
    /// Where it is reached; none without a link.
    address: Option<String>,
    /// Smoothed round-trip time in microseconds, once known.
    rtt_us: Option<u64>,
    /// The shortest round trip seen lately.
    rtt_min_us: Option<u64>,
    /// Congestion window; 0 while nothing is said over the link.
    #[schema(required = false)]
    window_bytes: u64,
    /// Bytes in flight.
    #[schema(required = false)]
    in_flight_bytes: u64,
    /// Bytes of the largest datagram that the path is known to carry.
    #[schema(required = false)]
    datagram_bytes: usize,
    /// Bytes queued on the control channel.
    #[schema(required = false)]
    control_queue_bytes: usize,
    /// Bytes queued on the bulk channel.
    #[schema(required = false)]
    bulk_queue_bytes: usize,
    /// Its counters.
    #[schema(required = false)]
    counters: Counts,
}

/// The ways to the others.
pub fn peers(overlay: &OverlayStats, members: &[Member]) -> Vec<PeerView> {
    let others = members.iter().filter(|member| !member.is_self);
    let view = |member: &Member| {
        let at = overlay
            .peers
            .binary_search_by_key(&member.node, |peer| peer.node);
        PeerView {
            name: member.name.clone(),
            id: member.node.to_string(),
            state: state(member.state),
            way: at.ok().map(|at| way(&overlay.peers[at])),
        }
    };
    others.map(view).collect()
}

fn way(way: &PeerStats) -> WayView {
    let us = |ns: Option<u64>| ns.map(|ns| ns / 1_000);
    WayView {
        address: way.address.map(|address| address.to_string()),
        rtt_us: us(way.rtt),
        rtt_min_us: us(way.rtt_min),
        window_bytes: way.window.0,
        in_flight_bytes: way.window.1,
        datagram_bytes: way.datagram,
        control_queue_bytes: way.queued.0,
        bulk_queue_bytes: way.queued.1,
        counters: counts(way.counters.each()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_an_object_and_other_text_is_left_out() {
        let tags = metadata(b"zone=a\nnonsense\nrole=b=c\n");
        let tags: Vec<_> = tags.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(tags, [("role", "b=c"), ("zone", "a")]);
    }
}
