//! `tidings tokens`: who may manage an overlay over HTTP. A secret is told once, when it is made.

use std::path::PathBuf;

use axum::http::Method;
use serde_json::{Value, json};

use super::manage::{Manage, path};
use super::read::cell;
use super::secret::{self, Wanted};
use crate::args::{
    AddTokenArgs, Format, NamedOverlayArgs, NamedTokenArgs, RotateTokenArgs, TokensArgs, TokensVerb,
};
use crate::config::units::{DURATION_FORMS, duration};
use crate::output::{Failure, Table, json, line};

/// Runs the verb.
pub fn tokens(args: TokensArgs) -> Result<(), Failure> {
    match args.verb {
        TokensVerb::List(args) => list(&args),
        TokensVerb::Add(args) => add(&args),
        TokensVerb::Rotate(args) => rotate(&args),
        TokensVerb::Remove(args) => remove(&args),
    }
}

fn list(args: &NamedOverlayArgs) -> Result<(), Failure> {
    let at = path(&["v1", "overlays", &args.overlay, "tokens"]);
    let tokens = Manage::of(&args.manage).get(&at)?;
    if args.format == Format::Json {
        return json(&tokens);
    }
    let mut table = Table::new(&["NAME", "CREATED", "EXPIRES"]);
    for token in tokens.as_array().into_iter().flatten() {
        let date = |key: &str, none: &str| {
            let seconds = token.get(key).and_then(Value::as_i64);
            seconds.map_or(none.to_owned(), utc_date)
        };
        table.row([
            cell(token.get("name")),
            date("created", "-"),
            date("expires", "never"),
        ]);
    }
    line(table)
}

fn add(args: &AddTokenArgs) -> Result<(), Failure> {
    let mut body = json!({ "name": args.token.name });
    if let Some(time) = &args.expires {
        body["expires_in_s"] = seconds("--expires", time)?.into();
    }
    let at = path(&["v1", "overlays", &args.token.overlay, "tokens"]);
    tell(&args.token, &at, &body, args.file.as_ref())
}

fn rotate(args: &RotateTokenArgs) -> Result<(), Failure> {
    let grace = match &args.grace {
        None => 0,
        Some(time) => seconds("--grace", time)?,
    };
    let NamedTokenArgs { overlay, name, .. } = &args.token;
    let at = path(&["v1", "overlays", overlay, "tokens", name, "rotate"]);
    let body = json!({ "grace_s": grace });
    tell(&args.token, &at, &body, args.file.as_ref())
}

fn remove(args: &NamedTokenArgs) -> Result<(), Failure> {
    let at = path(&["v1", "overlays", &args.overlay, "tokens", &args.name]);
    Manage::of(&args.manage).ask(Method::DELETE, &at, None)?;
    match args.format {
        Format::Json => json(&json!({ "removed": args.name })),
        Format::Text => line(format_args!("the token {} has ended", args.name)),
    }
}

/// Has a secret made and tells it.
fn tell(
    args: &NamedTokenArgs,
    at: &str,
    body: &Value,
    file: Option<&PathBuf>,
) -> Result<(), Failure> {
    let wanted = Wanted {
        what: "token",
        name: &args.name,
        format: args.format,
        file: file.map(PathBuf::as_path),
    };
    secret::make(&args.manage, at, body, &wanted)
}

fn seconds(flag: &str, text: &str) -> Result<u64, Failure> {
    let time = duration(text).ok_or_else(|| {
        Failure::Usage(format!(
            "error: {flag} {text:?} is not a time\n  remedy: write {DURATION_FORMS}"
        ))
    })?;
    Ok(time.as_secs())
}

/// A day and a minute, UTC, of seconds since 1970.
fn utc_date(seconds: i64) -> String {
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp(seconds) else {
        return seconds.to_string();
    };
    let (date, time) = (at.date(), at.time());
    format!("{date} {:02}:{:02} UTC", time.hour(), time.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_and_a_minute() {
        assert_eq!(utc_date(1_700_000_000), "2023-11-14 22:13 UTC");
        assert_eq!(utc_date(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("--grace", "1h").unwrap(), 3_600);
        assert!(seconds("--grace", "3600").is_err());
    }
}
