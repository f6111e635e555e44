//! `tidings subscriptions`: who has subscribed to what.

use serde_json::{Value, json};

use super::manage::{Manage, escape, path};
use super::read::cell;
use crate::args::{Format, NamedOverlayArgs};
use crate::output::{Failure, Table, json, line};

/// Runs the verb.
pub fn subscriptions(args: NamedOverlayArgs) -> Result<(), Failure> {
    let manage = Manage::of(&args.manage);
    let base = path(&["v1", "overlays", &args.overlay, "subscriptions"]);
    let (mut at, mut all) = (base.clone(), Vec::new());
    // The answer has parts.
    loop {
        let mut part = manage.get(&at)?;
        if let Some(Value::Array(subscriptions)) = part.get_mut("subscriptions").map(Value::take) {
            all.extend(subscriptions);
        }
        let Some(next) = part.get("next").and_then(Value::as_str) else {
            break;
        };
        at = format!("{base}?after=");
        escape(next, &mut at);
    }
    if args.format == Format::Json {
        return json(&json!(all));
    }
    let mut table = Table::new(&["NODE", "PATTERN", "CLIENT", "THERE", "BEHIND", "ORDERED"]);
    for sub in &all {
        let told = |key: &str| match sub.get(key) {
            None | Some(Value::Null) => "-".to_owned(),
            some => cell(some),
        };
        table.row(
            [
                "node_name",
                "pattern",
                "client",
                "attached",
                "behind",
                "ordered",
            ]
            .map(told),
        );
    }
    line(table)
}
