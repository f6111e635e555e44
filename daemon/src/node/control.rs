//! What the daemon answers to questions of local clients, as JSON, and how it obeys their commands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Weak};
use std::time::Instant;

use serde_json::{Map, Value, json};
use tidings_engine::gateway::{Control, Refused, Viewer};
use tidings_engine::{Engine, EngineError, Member, OverlayId, OverlayStats, PeerStats, ShardStats};
use tidings_wire::client::ErrorCode;
use tidings_wire::client::query::Topic;
use tidings_wire::digest::MemberState;

use super::signals::Stop;

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
    /// Cipher by overlay.
    pub suites: Vec<(String, &'static str)>,
}

/// The daemon, as its clients see it.
pub struct NodeControl {
    engine: Weak<Engine>,
    facts: Facts,
    stop: SyncSender<Stop>,
}

impl NodeControl {
    /// For the clients of `engine`, which it does not keep alive.
    pub fn new(engine: &Arc<Engine>, facts: Facts, stop: SyncSender<Stop>) -> Self {
        Self {
            engine: Arc::downgrade(engine),
            facts,
            stop,
        }
    }

    fn engine(&self) -> Result<Arc<Engine>, Refused> {
        self.engine
            .upgrade()
            .ok_or(refused(ErrorCode::Leaving, "the daemon is stopping"))
    }

    /// Paths and process of the daemon are its own user's business.
    fn node(&self, engine: &Engine, viewer: Viewer<'_>) -> Value {
        let mut node = json!({
            "name": self.facts.name,
            "id": engine.node().to_string(),
            "boot": engine.boot().to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.facts.since.elapsed().as_secs(),
            "bind": engine.local_addr().to_string(),
            "advertised": engine.advertised().iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
        });
        if viewer.is_owner() {
            node["pid"] = json!(std::process::id());
            node["socket"] = json!(self.facts.socket);
            node["data_dir"] = json!(self.facts.data_dir);
        }
        node
    }

    fn overlays(&self, engine: &Engine, viewer: Viewer<'_>) -> Result<Value, Refused> {
        let mut list = Vec::new();
        for entry in engine.overlays() {
            if !viewer.may_see(&entry.name) {
                continue;
            }
            let members = engine.members(entry.id).map_err(explain)?;
            let alive = members
                .iter()
                .filter(|member| member.state == MemberState::Alive)
                .count();
            let suite = self
                .facts
                .suites
                .iter()
                .find(|(name, _)| *name == entry.name)
                .map(|(_, suite)| *suite);
            list.push(json!({
                "name": entry.name,
                "id": entry.id.to_string(),
                "shard": entry.shard,
                "members": members.len(),
                "alive": alive,
                "synced": engine.is_synced(entry.id).map_err(explain)?,
                "suite": suite,
            }));
        }
        Ok(Value::Array(list))
    }

    /// Counters of shards are of all overlays together: the daemon's own user sees them.
    fn stats(&self, engine: &Engine, viewer: Viewer<'_>) -> Result<Value, Refused> {
        let stats = engine.stats().map_err(explain)?;
        let mut overlays = Vec::new();
        for overlay in &stats.overlays {
            if !viewer.may_see(&overlay.name) {
                continue;
            }
            let members = engine.members(overlay.id).map_err(explain)?;
            overlays.push(overlay_stats(overlay, &members));
        }
        let shards = stats
            .shards
            .iter()
            .enumerate()
            .filter(|_| viewer.is_owner())
            .map(|(index, shard)| shard_stats(index, shard));
        Ok(json!({
            "node": self.node(engine, viewer),
            "panics": viewer.is_owner().then_some(stats.panics),
            "shards": shards.collect::<Vec<_>>(),
            "overlays": overlays,
        }))
    }
}

impl Control for NodeControl {
    fn answer(&self, what: Topic, overlay: &str, viewer: Viewer<'_>) -> Result<String, Refused> {
        let engine = self.engine()?;
        let answer = match what {
            Topic::Members => {
                if !viewer.may_see(overlay) {
                    return Err(refused(ErrorCode::NotAllowed, "name an overlay of yours"));
                }
                let id = find(&engine, overlay, viewer)?;
                let members = engine.members(id).map_err(explain)?;
                Value::Array(members.iter().map(member).collect())
            }
            Topic::Overlays => self.overlays(&engine, viewer)?,
            Topic::Stats => self.stats(&engine, viewer)?,
            Topic::Node => self.node(&engine, viewer),
        };
        Ok(answer.to_string())
    }

    fn leave(&self, overlay: &str, viewer: Viewer<'_>) -> Result<(), Refused> {
        if overlay.is_empty() {
            // A full queue means that somebody asked already.
            let _ = self.stop.try_send(Stop::Command);
            return Ok(());
        }
        let engine = self.engine()?;
        engine
            .remove_overlay(find(&engine, overlay, viewer)?)
            .map_err(explain)?;
        tracing::info!(overlay, "left, as a client asked");
        Ok(())
    }
}

fn refused(code: ErrorCode, text: impl Into<String>) -> Refused {
    Refused {
        code,
        text: text.into(),
    }
}

fn explain(error: EngineError) -> Refused {
    let code = match error {
        EngineError::Unknown => ErrorCode::NoOverlay,
        EngineError::Stopped => ErrorCode::Leaving,
        EngineError::TooMany => ErrorCode::TooMany,
        _ => ErrorCode::Failed,
    };
    refused(code, error.to_string())
}

fn find(engine: &Engine, overlay: &str, viewer: Viewer<'_>) -> Result<OverlayId, Refused> {
    let mut entries = engine.overlays();
    entries.retain(|entry| viewer.may_see(&entry.name));
    if let Some(entry) = entries.iter().find(|entry| entry.name == overlay) {
        return Ok(entry.id);
    }
    let names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
    let here = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    Err(refused(
        ErrorCode::NoOverlay,
        format!("no overlay named {overlay:?}: this node runs {here}"),
    ))
}

fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Dead => "dead",
        MemberState::Left => "left",
    }
}

fn member(member: &Member) -> Value {
    json!({
        "name": member.name,
        "id": member.node.to_string(),
        "boot": member.boot.to_string(),
        "address": member.addresses.first().map(SocketAddr::to_string),
        "addresses": member.addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
        "state": state(member.state),
        "self": member.is_self,
        "reached": member.reached,
        "rack": member.rack,
        "metadata": metadata(&member.metadata),
        "generation": member.generation,
        "incarnation": member.incarnation,
        "app_version": member.app_version,
        "rtt_us": member.rtt.map(|rtt| rtt / 1_000),
    })
}

/// `key=value` lines as an object.
fn metadata(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Value::Object(
        pairs
            .map(|(key, value)| (key.to_owned(), Value::from(value)))
            .collect(),
    )
}

/// Counters as the engine lists them.
fn counts(each: impl Iterator<Item = (&'static str, &'static str, u64)>) -> Value {
    Value::Object(
        each.map(|(name, _, value)| (name.to_owned(), Value::from(value)))
            .collect(),
    )
}

fn shard_stats(index: usize, shard: &ShardStats) -> Value {
    json!({
        "shard": index,
        "waits_by": shard.waiting.map(|waiting| format!("{waiting:?}").to_lowercase()),
        "rcvbuf": shard.rcvbuf,
        "receive_slots": shard.receive_slots,
        "queued": shard.queued,
        "clients": shard.clients,
        "counters": counts(shard.counters.each()),
    })
}

fn overlay_stats(overlay: &OverlayStats, members: &[Member]) -> Value {
    let refusals: Map<String, Value> = overlay
        .refusals
        .iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
    let peers = members
        .iter()
        .filter(|member| !member.is_self)
        .map(|member| {
            let way = overlay
                .peers
                .binary_search_by_key(&member.node, |peer| peer.node)
                .ok()
                .map(|at| &overlay.peers[at]);
            peer_stats(member, way)
        });
    let (stored, held) = overlay.bytes;
    let (streams_out, streams_in) = overlay.streams;
    let (subscriptions, table_version) = overlay.subscriptions;
    json!({
        "name": overlay.name,
        "shard": overlay.shard,
        "members": overlay.members,
        "synced": overlay.synced,
        "ports": overlay.ports,
        "subscriptions": subscriptions,
        "table_version": table_version,
        "store_bytes": stored,
        "held_bytes": held,
        "streams_out": streams_out,
        "streams_in": streams_in,
        "membership": counts(overlay.membership.each()),
        "publish": counts(overlay.publish.each()),
        "receive": counts(overlay.receive.each()),
        "refused": refusals,
        "peers": peers.collect::<Vec<_>>(),
    })
}

fn peer_stats(member: &Member, way: Option<&PeerStats>) -> Value {
    let mut peer = json!({
        "name": member.name,
        "id": member.node.to_string(),
        "state": state(member.state),
    });
    if let (Some(way), Some(peer)) = (way, peer.as_object_mut()) {
        let us = |ns: Option<u64>| Value::from(ns.map(|ns| ns / 1_000));
        let (window, in_flight) = way.window;
        let (ctl, bulk) = way.queued;
        peer.extend([
            (
                "address".to_owned(),
                Value::from(way.address.map(|addr| addr.to_string())),
            ),
            ("rtt_us".to_owned(), us(way.rtt)),
            ("rtt_min_us".to_owned(), us(way.rtt_min)),
            ("window_bytes".to_owned(), window.into()),
            ("in_flight_bytes".to_owned(), in_flight.into()),
            ("datagram_bytes".to_owned(), way.datagram.into()),
            ("control_queue_bytes".to_owned(), ctl.into()),
            ("bulk_queue_bytes".to_owned(), bulk.into()),
            ("counters".to_owned(), counts(way.counters.each())),
        ]);
    }
    peer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_an_object_and_other_text_is_left_out() {
        assert_eq!(
            metadata(b"zone=a\nnonsense\nrole=b=c\n"),
            json!({ "zone": "a", "role": "b=c" })
        );
    }
}
