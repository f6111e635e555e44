//! Reloading the configuration while the node runs, on SIGHUP or by the management service: all of it is read and checked first,
//! and a mistake anywhere changes nothing. Then what can change is changed (`overlays/turnover.rs`). Here is what tells one
//! configuration from another, and what is told of it; what cannot change is named with its remedy. Each line names the option
//! with its old and its new value; none has a secret, of which options hold only the files.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::show::{self, Row};
use crate::config::{OverlaySettings, Overruled};

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Report {
    /// What holds now.
    #[schema(example = json!(["overlay news: retain 16MiB -> 64MiB"]))]
    pub applied: Vec<String>,
    /// What does not, and why: what needs a restart, what the engine refused, and what the file says and a change made while the
    /// node ran overrules.
    #[schema(example = json!(["node.shards 2 -> 4 (tidings.toml:3): it holds from the next start of the node on"]))]
    pub refused: Vec<String>,
}

impl Report {
    /// Notes how something went.
    pub fn add(&mut self, done: Result<(), impl Display>, what: String) {
        match done {
            Ok(()) => self.applied.push(what),
            Err(error) => self.refused.push(format!("{what}: {error}")),
        }
    }

    /// Into the log, one line each.
    pub fn log(&self) {
        if self.applied.is_empty() && self.refused.is_empty() {
            tracing::info!("configuration reloaded: nothing has changed");
        }
        for applied in &self.applied {
            tracing::info!("configuration reloaded: {applied}");
        }
        for refused in &self.refused {
            tracing::warn!("configuration reloaded, but not {refused}");
        }
    }
}

/// Which overlays a new configuration begins, ends and keeps.
pub struct Turnover<'a> {
    /// They are not there yet; by name.
    pub begun: Vec<&'a String>,
    /// They are not named any more.
    pub ended: Vec<&'a OverlaySettings>,
    /// As they were and as they shall be.
    pub kept: Vec<(&'a OverlaySettings, &'a OverlaySettings)>,
}

impl<'a> Turnover<'a> {
    /// From the overlays of before to those of after.
    pub fn new(before: &'a [OverlaySettings], after: &'a [OverlaySettings]) -> Self {
        let find = |all: &'a [OverlaySettings], name: &str| all.iter().find(|o| o.name == name);
        Self {
            begun: after
                .iter()
                .filter(|new| find(before, &new.name).is_none())
                .map(|new| &new.name)
                .collect(),
            ended: before
                .iter()
                .filter(|old| find(after, &old.name).is_none())
                .collect(),
            kept: after
                .iter()
                .filter_map(|new| Some((find(before, &new.name)?, new)))
                .collect(),
        }
    }
}

/// Settings outside overlays that a running node takes: each overlay takes over what it does not say itself, and the others are
/// told by those who take them.
const LIVE: [&str; 6] = [
    "node.profile",
    "node.metadata",
    "node.rack",
    "node.log",
    "client.grace",
    "client.clients_file",
];

/// What outside overlays has changed that holds only from the next start of the node on.
pub fn needs_restart(before: &[Row], after: &[Row]) -> Vec<String> {
    // That there is no table is told by the keys that it had.
    let is_of_node = |row: &&Row| {
        !row.key.starts_with("overlay.") && row.key != "influxdb" && !LIVE.contains(&&*row.key)
    };
    let by_key = |rows: &[Row]| -> BTreeMap<String, Row> {
        let rows = rows.iter().filter(is_of_node);
        rows.map(|row| (row.key.clone(), row.clone())).collect()
    };
    let (mut before, after) = (by_key(before), by_key(after));
    let mut changed = Vec::new();
    for (key, new) in after {
        let old = before.remove(&key);
        let old = old.map_or_else(|| "none".to_owned(), |old| old.value);
        if old != new.value {
            let place = new.source.map(|source| format!(" ({source})"));
            let place = place.unwrap_or_default();
            changed.push(step(&key, &old, &new.value) + &place);
        }
    }
    // Tables that are not there have fewer keys.
    changed.extend(
        before
            .values()
            .map(|old| step(&old.key, &old.value, "none")),
    );
    for line in &mut changed {
        line.push_str(": it holds from the next start of the node on");
    }
    changed
}

/// A value and the one that takes its place.
pub fn step(what: &str, old: &str, new: &str) -> String {
    format!("{what} {} -> {}", bare(old), bare(new))
}

/// A text without its quotes, if there is any.
fn bare(value: &str) -> &str {
    let text = value.strip_prefix('"');
    text.and_then(|text| text.strip_suffix('"'))
        .filter(|text| !text.is_empty())
        .unwrap_or(value)
}

/// Each option of an overlay that changes, with its old and its new value.
pub fn differences(before: &OverlaySettings, after: &OverlaySettings) -> Vec<String> {
    let both = show::options(before).into_iter().zip(show::options(after));
    let changed = both.filter(|((_, old), (_, new))| old != new);
    changed
        .map(|((option, old), (_, new))| {
            step(&format!("overlay {}: {option}", after.name), &old, &new)
        })
        .collect()
}

/// Says what the file says of an overlay and a change made while the node ran overrules.
pub fn overruled(overlay: &str, found: &Overruled) -> String {
    let Overruled {
        option,
        of_file,
        holds,
    } = found;
    let said = match of_file {
        Some((value, place)) => format!("{value} ({place})"),
        None => "is not in the file any more".to_owned(),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = match overlay.chars().all(is_plain) {
        true => overlay.to_owned(),
        false => format!("{overlay:?}"),
    };
    format!(
        "overlay {overlay}: {option} {said}: {holds} was set while the node ran and wins; take it back with `tidings overlays change {name} {option}=`"
    )
}

/// What of new settings an overlay takes that runs on a node with so many shards. Keys change by themselves.
pub fn takeable(
    before: &OverlaySettings,
    after: &OverlaySettings,
    shards: usize,
) -> OverlaySettings {
    let is_there = after.shard.is_none_or(|shard| shard < shards);
    OverlaySettings {
        shard: if is_there { after.shard } else { before.shard },
        key: before.key.clone(),
        ..after.clone()
    }
}

/// Why an overlay that runs cannot take all of its new settings: the shard that they name is made by the next start of the node.
/// `None`: it can.
pub fn fixed(after: &OverlaySettings, runs_on: Option<usize>, shards: usize) -> Option<String> {
    let shard = after.shard.filter(|&shard| shard >= shards)?;
    let what = format!("overlay {}: shard", after.name);
    let step = step(&what, &show::shard(runs_on), &shard.to_string());
    Some(format!(
        "{step}: it holds from the next start of the node on"
    ))
}
