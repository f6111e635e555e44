//! Reloading the configuration while the node runs, on SIGHUP or by the management service: all of it is read and checked first,
//! and a mistake anywhere changes nothing. Then what can change is changed; what cannot is named with its remedy.

use std::fmt::Display;

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::{NodeSettings, OverlaySettings, Settings};

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Report {
    /// What holds now.
    #[schema(example = json!(["overlay news: options"]))]
    pub applied: Vec<String>,
    /// What does not, and why.
    #[schema(example = json!(["node.bind: it holds from the next start of the node on"]))]
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

/// What of the node itself has changed that it can only take at its next start.
pub fn needs_restart(before: &Settings, after: &Settings) -> Vec<String> {
    let (old, new) = (&before.node, &after.node);
    let NodeSettings {
        name,
        bind,
        advertise,
        data_dir,
        tuning,
        shards,
        poll,
        rack,
        // Each overlay takes it over.
        profile: _,
        // Told to the members at once.
        metadata: _,
        on_terminate,
    } = new;
    let changed = [
        ("node.name", old.name != *name),
        ("node.bind", old.bind != *bind),
        ("node.advertise", old.advertise != *advertise),
        ("node.data_dir", old.data_dir != *data_dir),
        ("node.tuning", old.tuning != *tuning),
        ("node.shards", old.shards != *shards),
        ("node.poll", old.poll != *poll),
        ("node.rack", old.rack != *rack),
        ("node.on_terminate", old.on_terminate != *on_terminate),
        ("client.socket", before.socket != after.socket),
        ("client.shard", before.client_shard != after.client_shard),
        ("http", before.http != after.http),
        ("discovery", before.discovery != after.discovery),
        ("influxdb", before.influx != after.influx),
    ];
    changed
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| format!("{key}: it holds from the next start of the node on"))
        .collect()
}

/// What of new settings a running overlay can take.
pub fn changeable(before: &OverlaySettings, after: &OverlaySettings) -> OverlaySettings {
    OverlaySettings {
        shard: before.shard,
        key: before.key.clone(),
        ..after.clone()
    }
}

/// Why a running overlay cannot take all of its new settings; `None`: it can.
pub fn fixed(before: &OverlaySettings, after: &OverlaySettings) -> Option<String> {
    let name = &after.name;
    (before.shard != after.shard)
        .then(|| format!("overlay {name}: shard cannot change while it runs; start the node again"))
}
