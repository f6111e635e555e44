//! `tidings overlays`: which overlays run here, and making, showing, changing and removing them while they do.

use std::path::Path;

use axum::http::Method;
use serde_json::{Map, Value, json};
use tidings_client::Question;

use super::attach::attach;
use super::keygen::suite;
use super::manage::{Manage, path};
use super::read::{ask, cell};
use crate::args::{
    ChangeOverlayArgs, CreateOverlayArgs, Format, NamedOverlayArgs, OverlaysArgs, OverlaysVerb,
    ReadArgs,
};
use crate::files;
use crate::output::{Failure, Table, json, line};

/// Runs the verb.
pub fn overlays(args: OverlaysArgs) -> Result<(), Failure> {
    match args.verb {
        None => list(&args.list),
        Some(OverlaysVerb::Create(args)) => create(args),
        Some(OverlaysVerb::Show(args)) => show(&args),
        Some(OverlaysVerb::Change(args)) => change(args),
        Some(OverlaysVerb::Remove(args)) => remove(&args),
    }
}

fn list(args: &ReadArgs) -> Result<(), Failure> {
    let answer = ask(&mut attach(&args.client)?, Question::Overlays, "")?;
    if args.format == Format::Json {
        return json(&answer);
    }
    let mut table = Table::new(&["OVERLAY", "MEMBERS", "SHARD", "SYNCED", "CIPHER", "ID"]);
    for overlay in answer.as_array().into_iter().flatten() {
        let cell = |key: &str| cell(overlay.get(key));
        table.row([
            cell("name"),
            cell("alive"),
            cell("shard"),
            cell("synced"),
            cell("suite"),
            cell("id"),
        ]);
    }
    line(table)
}

fn create(args: CreateOverlayArgs) -> Result<(), Failure> {
    let options = options(&args.options, &args.join)?;
    let mut body = json!({ "name": args.overlay, "options": options });
    if let Some(file) = &args.key_file {
        body["keyring"] = Value::String(keyring(file)?);
    }
    if let Some(chosen) = args.suite {
        body["suite"] = Value::from(suite(chosen).name());
    }
    let made = Manage::of(&args.manage).ask(Method::POST, "/v1/overlays", Some(&body))?;
    if args.format == Format::Json {
        return json(&made);
    }
    whole(&made)?;
    let secret = made.pointer("/token/secret").and_then(Value::as_str);
    line(format_args!(
        "\nIts first token, {}, is told this once:\n{}",
        cell(made.pointer("/token/name")),
        secret.unwrap_or("-")
    ))
}

fn keyring(file: &Path) -> Result<String, Failure> {
    files::read_secret(file).map_err(|error| {
        Failure::Usage(format!(
            "error: --key-file {}: {error}\n  remedy: {}",
            file.display(),
            error.remedy(file)
        ))
    })
}

fn show(args: &NamedOverlayArgs) -> Result<(), Failure> {
    let overlay = Manage::of(&args.manage).get(&path(&["v1", "overlays", &args.overlay]))?;
    match args.format {
        Format::Json => json(&overlay),
        Format::Text => whole(&overlay),
    }
}

fn change(args: ChangeOverlayArgs) -> Result<(), Failure> {
    let options = options(&args.options, &args.join)?;
    if options.is_empty() {
        return Err(Failure::Usage(
            "error: no option is named\n  remedy: add OPTION=VALUE, as retain=128MiB, or --join ADDR; `tidings overlays show NAME` lists them"
                .to_owned(),
        ));
    }
    let at = path(&["v1", "overlays", &args.overlay]);
    let changed =
        Manage::of(&args.manage).ask(Method::PATCH, &at, Some(&Value::Object(options)))?;
    match args.format {
        Format::Json => json(&changed),
        Format::Text => whole(&changed),
    }
}

fn remove(args: &NamedOverlayArgs) -> Result<(), Failure> {
    let at = path(&["v1", "overlays", &args.overlay]);
    Manage::of(&args.manage).ask(Method::DELETE, &at, None)?;
    match args.format {
        Format::Json => json(&json!({ "removed": args.overlay })),
        Format::Text => line(format_args!("{} is left and forgotten", args.overlay)),
    }
}

/// An overlay and its options, for eyes.
fn whole(overlay: &Value) -> Result<(), Failure> {
    let mut facts = Table::new(&["OVERLAY", &cell(overlay.get("name"))]);
    let mut rows = Table::new(&["OPTION", "VALUE"]);
    for (name, value) in overlay.as_object().into_iter().flatten() {
        match value {
            Value::Object(options) if name == "options" => flat("", options, &mut rows),
            Value::Object(_) => {}
            _ if name == "name" => {}
            value => facts.row([name.clone(), cell(Some(value))]),
        }
    }
    line(format_args!("{facts}\n\n{rows}"))
}

fn flat(before: &str, options: &Map<String, Value>, rows: &mut Table) {
    for (name, value) in options {
        match value {
            Value::Object(below) => flat(&format!("{before}{name}."), below, rows),
            value => rows.row([format!("{before}{name}"), shown(value)]),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| cell(Some(item))).collect();
            items.join(" ")
        }
        value => cell(Some(value)),
    }
}

/// `name=value` as the service takes them: `a.b=v` is `b` of `a`, what is a number is one, and an empty value is null.
fn options(given: &[String], join: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut options = Map::new();
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::Usage(format!(
                "error: {text:?} is not of the form OPTION=VALUE\n  remedy: write it as retain=128MiB"
            )));
        };
        let value = match (name, value.parse::<u64>()) {
            (_, _) if value.is_empty() => Value::Null,
            ("join", _) => value.split(',').map(Value::from).collect(),
            (_, Ok(number)) => Value::from(number),
            (_, Err(_)) => Value::from(value),
        };
        match name.split_once('.') {
            None => drop(options.insert(name.to_owned(), value)),
            Some((outer, inner)) => {
                let within = options.entry(outer).or_insert_with(|| json!({}));
                if let Value::Object(within) = within {
                    within.insert(inner.to_owned(), value);
                }
            }
        }
    }
    if !join.is_empty() {
        options.insert("join".to_owned(), join.iter().cloned().collect());
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_what_the_service_takes() {
        let given = [
            "retain=128MiB",
            "redelivery.attempts=3",
            "redelivery.every=2s",
            "park_max=",
            "shard=1",
        ];
        let given = given.map(str::to_owned);
        let made = options(&given, &["host-b".to_owned()]).unwrap();
        let wanted = json!({
            "retain": "128MiB", "redelivery": { "attempts": 3, "every": "2s" },
            "park_max": null, "shard": 1, "join": ["host-b"],
        });
        assert_eq!(Value::Object(made), wanted);
        assert!(options(&["retain".to_owned()], &[]).is_err());
    }

    #[test]
    fn an_overlay_is_shown_with_its_options_in_one_table() {
        let options = json!({ "join": ["a", "b"], "redelivery": { "attempts": 0 }, "shard": null });
        let mut rows = Table::new(&["OPTION", "VALUE"]);
        flat("", options.as_object().unwrap(), &mut rows);
        let wanted = "OPTION               VALUE\njoin                 a b\nredelivery.attempts  0\nshard                -";
        assert_eq!(rows.to_string(), wanted);
    }
}
