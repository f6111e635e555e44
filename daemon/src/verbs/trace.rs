//! `tidings trace`: who would get a message on a topic, and by which way. Nothing is sent.

use serde_json::Value;

use super::manage::{Manage, path};
use super::read::cell;
use crate::args::{Format, TraceArgs};
use crate::output::{Failure, Table, count, json, line};

/// Runs the verb.
pub fn trace(args: TraceArgs) -> Result<(), Failure> {
    let at = path(&["v1", "overlays", &args.overlay, "trace", &args.topic]);
    let traced = Manage::of(&args.manage).get(&at)?;
    if args.format == Format::Json {
        return json(&traced);
    }
    let local = traced.get("local").and_then(Value::as_u64).unwrap_or(0);
    line(format_args!(
        "{}: {} of this node, sealed with {} for others",
        args.topic,
        count(local, "subscription"),
        cell(traced.get("suite"))
    ))?;
    if traced.get("synced") == Some(&Value::Bool(false)) {
        line("not synced: subscriptions of some members are not known yet")?;
    }
    let nodes = traced.get("nodes").and_then(Value::as_array);
    let nodes = nodes.map_or(&[][..], Vec::as_slice);
    if nodes.is_empty() {
        return line("no other node has a subscription for it");
    }
    let mut table = Table::new(&["NODE", "STATE", "SUBS", "WAY", "DATAGRAM", "ADDRESS", "ID"]);
    for node in nodes {
        let cell = |key: &str| cell(node.get(key));
        table.row([
            cell("name"),
            cell("state"),
            cell("subscriptions"),
            cell("way").replace('_', " "),
            format!("{} B", cell("datagram_bytes")),
            cell("address"),
            cell("id"),
        ]);
    }
    line(table)
}
