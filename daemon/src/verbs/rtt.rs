//! `tidings rtt`: the round trips between this node and the members, as its links know them. What two other members are apart is
//! known to those alone: ask there.

use serde_json::{Value, json};
use tidings_client::Question;

use super::attach::attach;
use super::read::{ask, cell};
use super::top::tell::time;
use crate::args::{Format, RttArgs};
use crate::output::{Failure, Table, json, line};

/// Runs the verb.
pub fn rtt(args: RttArgs) -> Result<(), Failure> {
    let stats = ask(&mut attach(&args.client)?, Question::Stats, "")?;
    let overlays = stats.get("overlays").and_then(Value::as_array);
    let is_it =
        |overlay: &&Value| overlay.get("name").and_then(Value::as_str) == Some(&args.overlay);
    let overlay = overlays.and_then(|all| all.iter().find(is_it));
    let overlay = overlay.ok_or_else(|| {
        Failure::Failed(format!(
            "no overlay named {:?} runs here\n  remedy: `tidings overlays` lists those that do",
            args.overlay
        ))
    })?;
    let peers = overlay.get("peers").and_then(Value::as_array);
    let peers = peers.map_or(&[][..], Vec::as_slice);
    let chosen: Vec<&Value> = peers
        .iter()
        .filter(|peer| {
            args.member
                .as_deref()
                .is_none_or(|member| is_member(peer, member))
        })
        .collect();
    if let (Some(member), true) = (&args.member, chosen.is_empty()) {
        return Err(Failure::Failed(format!(
            "no other member of {} is named {member:?}\n  remedy: `tidings members {0}` lists them",
            args.overlay
        )));
    }
    if args.format == Format::Json {
        let row = |peer: &&Value| {
            let keys = ["name", "id", "state", "address", "rtt_us", "rtt_min_us"];
            let pairs =
                keys.map(|key| (key.to_owned(), peer.get(key).cloned().unwrap_or_default()));
            Value::Object(pairs.into_iter().collect())
        };
        return json(&json!(chosen.iter().map(row).collect::<Vec<_>>()));
    }
    let mut table = Table::new(&["MEMBER", "STATE", "RTT", "MIN", "ADDRESS"]);
    for peer in chosen {
        let round = |key: &str| {
            let us = peer.get(key).and_then(Value::as_u64);
            us.map_or("-".to_owned(), time)
        };
        table.row([
            cell(peer.get("name")),
            cell(peer.get("state")),
            round("rtt_us"),
            round("rtt_min_us"),
            cell(peer.get("address")),
        ]);
    }
    line(table)
}

/// By its label, or by the beginning of its id.
fn is_member(peer: &Value, member: &str) -> bool {
    let text = |key: &str| peer.get(key).and_then(Value::as_str).unwrap_or("");
    text("name") == member || (member.len() >= 8 && text("id").starts_with(member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_known_by_its_label_or_by_much_of_its_id() {
        let peer = json!({ "name": "host-b", "id": "0123456789abcdef" });
        assert!(is_member(&peer, "host-b") && is_member(&peer, "01234567"));
        assert!(!is_member(&peer, "host") && !is_member(&peer, "0123"));
    }
}
