//! `tidings config show`: what a node runs with, or would, and where each value comes from. No daemon is asked: what was
//! changed while one ran is in its data directory.

use serde_json::json;

use crate::args::{ConfigArgs, ConfigVerb, Format, ShowArgs};
use crate::config::show;
use crate::load::load;
use crate::output::{Failure, Table, json, line};

/// Runs the verb.
pub fn config(args: ConfigArgs) -> Result<(), Failure> {
    match args.verb {
        ConfigVerb::Show(args) => show(args),
    }
}

fn show(args: ShowArgs) -> Result<(), Failure> {
    let usage = |problems: crate::config::Problems| Failure::Usage(problems.to_string());
    let loaded = load(&args.run).map_err(usage)?;
    let raw = loaded.base.with(&loaded.state).map_err(usage)?;
    let mut rows = show::rows(&raw, &loaded.settings);
    rows.retain(|row| args.effective || row.source.is_some());
    match args.format {
        Format::Json => {
            let row = |row: &show::Row| json!({ "key": row.key, "value": row.value, "source": row.source.as_deref().unwrap_or("default") });
            json(&rows.iter().map(row).collect())
        }
        Format::Text if rows.is_empty() => {
            line("nothing differs from the defaults; --effective shows those, too")
        }
        Format::Text => {
            let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
            for row in rows {
                table.row([
                    row.key,
                    row.value,
                    row.source.unwrap_or("default".to_owned()),
                ]);
            }
            line(table)
        }
    }
}
