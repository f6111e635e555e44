//! Asking the daemon over the clients' socket: `stats` only reads, `leave` commands.

use serde_json::Value;
use tidings_client::Question;

use super::attach::attach;
use crate::args::{Format, LeaveArgs, ReadArgs};
use crate::output::{Failure, json, line};

/// Asks, and reads the answer.
pub fn ask(
    client: &mut tidings_client::Client,
    question: Question,
    overlay: &str,
) -> Result<Value, Failure> {
    let answer = client.ask(question, overlay).map_err(Failure::new)?;
    serde_json::from_str(&answer)
        .map_err(|error| Failure::Failed(format!("the daemon's answer is no JSON: {error}")))
}

/// `tidings stats`.
pub fn stats(args: ReadArgs) -> Result<(), Failure> {
    let answer = ask(&mut attach(&args.client)?, Question::Stats, "")?;
    match args.format {
        Format::Json => json(&answer),
        Format::Text => {
            let mut text = String::new();
            outline(&answer, "", &mut text);
            line(text.trim_matches('\n'))
        }
    }
}

/// `tidings leave`.
pub fn leave(args: LeaveArgs) -> Result<(), Failure> {
    let mut client = attach(&args.client)?;
    let name = client.attached().name.clone();
    client
        .leave(args.overlay.as_deref().unwrap_or(""))
        .map_err(Failure::new)?;
    match args.overlay {
        Some(overlay) => line(format_args!("{name} left {overlay}")),
        None => line(format_args!("{name} left all overlays and stops")),
    }
}

/// A value as a cell of a table.
pub fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(value) => value.to_string(),
    }
}

/// Writes nested counters as sections: plain values first, lined up, then each object under its heading. Zeros are left
/// out: there are many counters, and most never count.
fn outline(value: &Value, heading: &str, text: &mut String) {
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, item)| (label(item, i), item))
            .collect(),
        _ => return,
    };
    let plain: Vec<_> = entries
        .iter()
        .filter(|(_, value)| !value.is_object() && !value.is_array())
        .collect();
    let told: Vec<_> = plain
        .iter()
        .filter(|(_, value)| value.as_f64() != Some(0.0))
        .collect();
    if !told.is_empty() {
        if !heading.is_empty() {
            text.push_str(&format!("\n{heading}\n"));
        }
        let width = told.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in told {
            text.push_str(&format!("  {key:<width$}  {}\n", cell(Some(value))));
        }
    }
    for (key, value) in entries
        .iter()
        .filter(|(_, value)| value.is_object() || value.is_array())
    {
        let heading = if heading.is_empty() {
            key.clone()
        } else {
            format!("{heading} / {key}")
        };
        outline(value, &heading, text);
    }
}

fn label(item: &Value, index: usize) -> String {
    item.get("name")
        .and_then(Value::as_str)
        .map_or_else(|| index.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counters_are_outlined_under_their_headings_without_zeros() {
        let mut text = String::new();
        let stats = json!({
            "node": { "name": "a", "uptime_s": 3 },
            "shards": [{ "turns": 5, "drops": 0, "sockets": { "rx": 1 } }],
        });
        outline(&stats, "", &mut text);
        assert_eq!(
            text,
            "\nnode\n  name      a\n  uptime_s  3\n\nshards / 0\n  turns  5\n\nshards / 0 / sockets\n  rx  1\n"
        );
    }
}
