//! What `tidings top` shows: two samples of the daemon's counters and members, and the rates between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_client::{Client, Question};

use crate::output::Failure;
use crate::verbs::read::ask;

/// Counters of an overlay that are shown as rates, by their names and where they are counted.
const OVERLAY_RATES: [(&str, &str, &str); 7] = [
    ("published", "publish", "accepted"),
    ("published_bytes", "publish", "accepted_bytes"),
    ("delivered", "receive", "delivered"),
    ("delivered_bytes", "receive", "delivered_bytes"),
    ("repairs", "publish", "repairs"),
    ("redeliveries", "publish", "redeliveries"),
    ("failed", "publish", "failed"),
];
/// Counters of a member's link that are shown as rates.
const PEER_RATES: [&str; 4] = ["bytes_in", "bytes_out", "repairs", "lost"];

/// A moment, as the daemon tells it.
pub struct Sample {
    at: Instant,
    node: Value,
    overlays: Vec<Overlay>,
}

struct Overlay {
    stats: Value,
    members: Value,
}

impl Sample {
    /// Asks for one. With a name, for that overlay alone.
    pub fn take(client: &mut Client, only: Option<&str>) -> Result<Self, Failure> {
        let mut stats = ask(client, Question::Stats, "")?;
        let all = match stats.get_mut("overlays").map(Value::take) {
            Some(Value::Array(all)) => all,
            _ => Vec::new(),
        };
        let mut overlays = Vec::new();
        for stats in all {
            let name = text(&stats, "name");
            if only.is_some_and(|only| only != name) {
                continue;
            }
            let members = ask(client, Question::Members, &name)?;
            overlays.push(Overlay { stats, members });
        }
        if let (Some(only), true) = (only, overlays.is_empty()) {
            return Err(Failure::Failed(format!(
                "no overlay named {only:?} runs here\n  remedy: `tidings overlays` lists those that do"
            )));
        }
        Ok(Self {
            at: Instant::now(),
            node: stats.get_mut("node").map(Value::take).unwrap_or_default(),
            overlays,
        })
    }
}

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Label of the node.
    pub node: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Seconds between the samples.
    pub over_s: f64,
    /// By name.
    pub overlays: Vec<OverlayView>,
}

/// An overlay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OverlayView {
    /// Its name.
    pub name: String,
    /// How many members are in each state, this node included.
    pub states: BTreeMap<String, u64>,
    /// Whether the subscriptions of all members are known.
    pub synced: bool,
    /// Bytes of messages that are not settled, held back or partly received.
    pub backlog_bytes: u64,
    /// Rates a second, in the order of their names here.
    pub rates: BTreeMap<&'static str, f64>,
    /// Everybody, this node first.
    pub members: Vec<MemberView>,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemberView {
    /// Its label.
    pub name: String,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: String,
    /// Where it is reached.
    pub address: String,
    /// It is this node.
    pub is_self: bool,
    /// Round trip in microseconds, once known.
    pub rtt_us: Option<u64>,
    /// Bytes that wait for it: in flight and queued.
    pub waiting_bytes: u64,
    /// Rates a second.
    pub rates: BTreeMap<&'static str, f64>,
}

impl View {
    /// What happened between two samples of the same daemon.
    pub fn between(before: &Sample, now: &Sample) -> Self {
        let over = now.at.saturating_duration_since(before.at);
        let overlays = now.overlays.iter().map(|overlay| {
            let same = |other: &&Overlay| other.stats.get("name") == overlay.stats.get("name");
            overlay_view(before.overlays.iter().find(same), overlay, over)
        });
        Self {
            node: text(&now.node, "name"),
            uptime_s: number(&now.node, "uptime_s"),
            over_s: over.as_secs_f64(),
            overlays: overlays.collect(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let member = |member: &MemberView| {
            json!({
                "name": member.name, "state": member.state, "address": member.address,
                "self": member.is_self, "rtt_us": member.rtt_us,
                "waiting_bytes": member.waiting_bytes, "per_second": member.rates,
            })
        };
        let overlay = |overlay: &OverlayView| {
            json!({
                "name": overlay.name, "states": overlay.states, "synced": overlay.synced,
                "backlog_bytes": overlay.backlog_bytes, "per_second": overlay.rates,
                "members": overlay.members.iter().map(member).collect::<Vec<_>>(),
            })
        };
        json!({
            "node": self.node, "uptime_s": self.uptime_s, "over_s": self.over_s,
            "overlays": self.overlays.iter().map(overlay).collect::<Vec<_>>(),
        })
    }
}

fn overlay_view(before: Option<&Overlay>, now: &Overlay, over: Duration) -> OverlayView {
    let mut states = BTreeMap::new();
    let members = now.members.as_array().map_or(&[][..], Vec::as_slice);
    for member in members {
        *states.entry(text(member, "state")).or_default() += 1;
    }
    let rates = OVERLAY_RATES.iter().map(|(name, list, counter)| {
        let of = |overlay: &Overlay| overlay.stats.get(list).map(|list| number(list, counter));
        (*name, rate(before.and_then(of), of(now), over))
    });
    let mut views: Vec<_> = members
        .iter()
        .map(|member| member_view(member, before, now, over))
        .collect();
    views.sort_by_key(|view| (!view.is_self, view.name.clone()));
    OverlayView {
        name: text(&now.stats, "name"),
        states,
        synced: is(&now.stats, "synced"),
        backlog_bytes: number(&now.stats, "store_bytes") + number(&now.stats, "held_bytes"),
        rates: rates.collect(),
        members: views,
    }
}

fn member_view(
    member: &Value,
    before: Option<&Overlay>,
    now: &Overlay,
    over: Duration,
) -> MemberView {
    let peer = peer(now, member);
    let was = before.and_then(|before| self::peer(before, member));
    let rates = PEER_RATES.map(|counter| {
        let of = |peer: &Value| peer.get("counters").map(|list| number(list, counter));
        (counter, rate(was.and_then(of), peer.and_then(of), over))
    });
    let of_peer = |key: &str| peer.map_or(0, |peer| number(peer, key));
    MemberView {
        name: text(member, "name"),
        state: text(member, "state"),
        address: text(member, "address"),
        is_self: is(member, "self"),
        rtt_us: member.get("rtt_us").and_then(Value::as_u64),
        waiting_bytes: of_peer("in_flight_bytes")
            + of_peer("control_queue_bytes")
            + of_peer("bulk_queue_bytes"),
        rates: BTreeMap::from(rates),
    }
}

/// The way to a member.
fn peer<'a>(overlay: &'a Overlay, member: &Value) -> Option<&'a Value> {
    let peers = overlay.stats.get("peers")?.as_array()?;
    peers.iter().find(|peer| peer.get("id") == member.get("id"))
}

/// What was counted a second. Of what began in between, all of it was.
fn rate(before: Option<u64>, now: Option<u64>, over: Duration) -> f64 {
    let counted = now.unwrap_or(0).saturating_sub(before.unwrap_or(0));
    let seconds = over.as_secs_f64();
    match seconds > 0.0 {
        true => counted as f64 / seconds,
        false => 0.0,
    }
}

fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn is(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn sample(at: Instant, accepted: u64, bytes_out: u64) -> Sample {
        Sample {
            at,
            node: json!({ "name": "a", "uptime_s": 61 }),
            overlays: vec![Overlay {
                stats: json!({
                    "name": "news", "synced": true, "store_bytes": 5, "held_bytes": 2,
                    "publish": { "accepted": accepted, "repairs": 4 },
                    "peers": [{ "id": "02", "in_flight_bytes": 3, "counters": { "bytes_out": bytes_out } }],
                }),
                members: json!([
                    { "name": "b", "id": "02", "state": "suspect", "address": "10.0.0.2:7400", "rtt_us": 250 },
                    { "name": "z", "id": "01", "state": "alive", "address": "10.0.0.1:7400", "self": true },
                ]),
            }],
        }
    }

    /// A node with a suspect.
    pub(in super::super) fn view() -> View {
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        View::between(&sample(start, 10, 100), &sample(later, 30, 4_196))
    }

    #[test]
    fn rates_are_of_the_time_between_two_samples() {
        let view = view();
        let news = &view.overlays[0];
        assert_eq!((view.uptime_s, view.over_s), (61, 2.0));
        assert_eq!(
            (news.rates["published"], news.rates["repairs"]),
            (10.0, 0.0)
        );
        assert_eq!((news.backlog_bytes, news.states["suspect"]), (7, 1));
        let names: Vec<_> = news.members.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["z", "b"], "this node first");
        let b = &news.members[1];
        assert_eq!((b.rates["bytes_out"], b.waiting_bytes), (2_048.0, 3));
        assert_eq!(b.rtt_us, Some(250));
    }

    #[test]
    fn counters_that_began_anew_are_no_negative_rates() {
        let over = Duration::from_secs(1);
        assert_eq!(rate(Some(9), Some(1), over), 0.0);
        assert_eq!(rate(None, Some(3), over), 3.0);
        assert_eq!(rate(None, Some(3), Duration::ZERO), 0.0);
    }
}
