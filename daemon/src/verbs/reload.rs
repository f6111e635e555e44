//! `tidings reload`: has the node read its configuration again, and tells what holds now and what does not.

use axum::http::Method;
use serde_json::Value;

use super::manage::Manage;
use crate::args::{Format, ManageReadArgs};
use crate::output::{Failure, json, line};

/// Runs the verb.
pub fn reload(args: ManageReadArgs) -> Result<(), Failure> {
    let report = Manage::of(&args.manage).ask(Method::POST, "/v1/reload", None)?;
    if args.format == Format::Json {
        return json(&report);
    }
    let texts = |key: &str| {
        let texts = report.get(key).and_then(Value::as_array).cloned();
        let texts = texts.unwrap_or_default().into_iter();
        texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let (applied, refused) = (texts("applied"), texts("refused"));
    if applied.is_empty() && refused.is_empty() {
        return line("nothing has changed");
    }
    for text in applied {
        line(format_args!("holds now: {text}"))?;
    }
    for text in refused {
        line(format_args!("does not hold: {text}"))?;
    }
    Ok(())
}
