//! `tidings keys`: the keys of an overlay on a running node, and changing over to another on all of them.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::{Value, json};
use tidings_wire::{Keyring, OverlayId};

use super::manage::{Manage, path};
use super::read::cell;
use crate::args::{
    Format, InstallKeysArgs, KeyArgs, KeysArgs, KeysVerb, NamedOverlayArgs, RotateKeysArgs,
};
use crate::config::units::{DURATION_FORMS, duration};
use crate::files;
use crate::output::{Failure, Table, json, line};

/// How often a rotation looks how far the members are.
const LOOK: Duration = Duration::from_millis(500);
/// What whoever holds a rotation up needs.
const AGAIN: &str = "run the same rotation there, then this one again; it goes on where it is";
/// Sessions that nobody speaks over any more end this long after.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the verb.
pub fn keys(args: KeysArgs) -> Result<(), Failure> {
    match args.verb {
        KeysVerb::List(args) => list(&args),
        KeysVerb::Status(args) => status(&args),
        KeysVerb::Install(args) => install(&args),
        KeysVerb::Use(args) => seal_with(&args),
        KeysVerb::Remove(args) => remove(&args),
        KeysVerb::Rotate(args) => rotate(&args),
    }
}

fn list(args: &NamedOverlayArgs) -> Result<(), Failure> {
    let keys = Overlay::new(Manage::of(&args.manage), &args.overlay).keys()?;
    tell(&keys, args.format)
}

/// The keys of this node.
fn tell(keys: &Value, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return json(keys);
    }
    let mut table = Table::new(&["SLOT", "CIPHER", "FINGERPRINT", "SEALS", "USED"]);
    for key in items(keys, "keys") {
        table.row(
            ["slot", "suite", "fingerprint", "primary", "used"].map(|name| cell(key.get(name))),
        );
    }
    line(table)
}

fn status(args: &NamedOverlayArgs) -> Result<(), Failure> {
    let keys = Overlay::new(Manage::of(&args.manage), &args.overlay).keys()?;
    match args.format {
        Format::Json => json(&keys)?,
        Format::Text => holders(&keys)?,
    }
    let behind: Vec<String> = items(&keys, "laggards").map(laggard).collect();
    if behind.is_empty() {
        return Ok(());
    }
    let mut remedy = "run the rotation there, or install and use the key by hand".to_owned();
    if items(&keys, "laggards").any(|member| items(member, "talks_under").next().is_some()) {
        remedy.push_str("; ");
        remedy.push_str(&other_key(&args.overlay, &cell(keys.get("primary"))));
    }
    Err(Failure::Failed(format!(
        "not all members have and use the keys of this node: {}\n  remedy: {remedy}",
        behind.join("; ")
    )))
}

/// Which members have which keys.
fn holders(keys: &Value) -> Result<(), Failure> {
    let mut table = Table::new(&["NAME", "ADDRESS", "STATE", "KEYS", "SEALS WITH"]);
    for member in items(keys, "members") {
        let slots: Vec<String> = slots(member).map(|slot| slot.to_string()).collect();
        table.row([
            cell(member.get("name")),
            cell(member.get("address")),
            cell(member.get("state")),
            slots.join(" "),
            cell(member.get("primary")),
        ]);
    }
    line(table)
}

/// A member and what it is behind in.
fn laggard(member: &Value) -> String {
    let list = |key: &str| {
        let slots: Vec<String> = items(member, key).map(|slot| cell(Some(slot))).collect();
        slots.join(" and ")
    };
    let mut behind = Vec::new();
    if !list("lacks").is_empty() {
        behind.push(format!("lacks key {}", list("lacks")));
    }
    if let Some(slot) = slot(member, "seals_with") {
        behind.push(format!("seals with key {slot}"));
    }
    if !list("talks_under").is_empty() {
        behind.push(format!("still talks under key {}", list("talks_under")));
    }
    format!("{}{} {}", name(member), dead(member), behind.join(", "))
}

/// What is said besides of a member that is held dead.
fn dead(member: &Value) -> &'static str {
    match cell(member.get("state")) == "dead" {
        true => ", which is dead,",
        false => "",
    }
}

/// Why a member may stay at an old key though it has one in the slot of the new.
fn other_key(overlay: &str, slot: &str) -> String {
    format!(
        "who talks under an old key for more than a minute holds another key in slot {slot}, or has not followed: compare fingerprints with `tidings keys list {overlay}` there and here"
    )
}

fn install(args: &InstallKeysArgs) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let overlay = Overlay::new(Manage::of(&args.manage), &args.overlay);
    tell(&overlay.install(&text)?, args.format)
}

fn seal_with(args: &KeyArgs) -> Result<(), Failure> {
    let overlay = Overlay::new(Manage::of(&args.manage), &args.overlay);
    tell(&overlay.seal_with(args.slot, args.force)?, args.format)
}

fn remove(args: &KeyArgs) -> Result<(), Failure> {
    let overlay = Overlay::new(Manage::of(&args.manage), &args.overlay);
    tell(&overlay.remove(args.slot, args.force)?, args.format)
}

/// From the keys that there are to those of the file. Every step looks at what is there, so that an interrupted rotation goes on
/// where it was, and one that is over does nothing.
fn rotate(args: &RotateKeysArgs) -> Result<(), Failure> {
    let timeout = duration(&args.timeout).ok_or_else(|| {
        Failure::Usage(format!(
            "error: --timeout {:?} is no time\n  remedy: write {DURATION_FORMS}",
            args.timeout
        ))
    })?;
    let text = read(&args.file)?;
    let wanted = Keyring::parse(&text, OverlayId::from_name(&args.overlay)).map_err(|error| {
        Failure::Usage(format!(
            "error: {}: {error}\n  remedy: make a file with `tidings keygen FILE --slot N`",
            args.file.display()
        ))
    })?;
    let new = wanted.primary_slot();
    let overlay = Overlay::new(Manage::of(&args.manage), &args.overlay);
    let before = overlay.keys()?;
    let keys = overlay.install(&text)?;
    if items(&before, "keys").count() < items(&keys, "keys").count() {
        line(format_args!("key {new} is installed"))?;
    }
    overlay.wait(
        timeout,
        "do not know all members yet",
        AGAIN,
        &|keys| match keys.get("synced") == Some(&Value::Bool(true)) {
            true => Vec::new(),
            false => vec!["this node".to_owned()],
        },
    )?;
    let lacks = |member: &&Value| !slots(member).any(|slot| slot == u64::from(new));
    let seals_otherwise = |member: &Value| slot(member, "primary") != Some(new.into());
    // One that is dead counts, too: without the key it could not come back.
    let without = format!(
        "{AGAIN}. One that is dead: start it and install the key there, or wait until it is forgotten, or go on without it: `tidings keys use {} {new} --force`, and `tidings keys remove` with --force for the old one",
        args.overlay
    );
    overlay.wait(timeout, "do not have the new key", &without, &|keys| {
        let late = items(keys, "members").filter(lacks);
        late.map(|member| format!("{}{}", name(member), dead(member).trim_end_matches(',')))
            .collect()
    })?;
    if slot(&overlay.keys()?, "primary") != Some(new.into()) {
        overlay.seal_with(new, false)?;
        line(format_args!("key {new} seals"))?;
    }
    overlay.wait(timeout, "seal with another key", AGAIN, &|keys| {
        present(keys)
            .filter(|m| seals_otherwise(m))
            .map(name)
            .collect()
    })?;
    let other = format!("{AGAIN}; {}", other_key(&args.overlay, &new.to_string()));
    overlay.wait(
        timeout.max(PATIENCE),
        "still talk under an old key",
        &other,
        &|keys| {
            let old = items(keys, "keys").filter(|key| !is_wanted(&wanted, key));
            if !old.into_iter().any(|key| key["used"] == true) {
                return Vec::new();
            }
            let late = items(keys, "laggards");
            let late = late.filter(|member| items(member, "talks_under").next().is_some());
            let late: Vec<String> = late.map(name).collect();
            match late.is_empty() {
                true => vec!["links of this node".to_owned()],
                false => late,
            }
        },
    )?;
    for key in items(&overlay.keys()?, "keys") {
        if let Some(old) = slot(key, "slot").filter(|_| !is_wanted(&wanted, key)) {
            overlay.remove(u8::try_from(old).unwrap_or(u8::MAX), false)?;
            line(format_args!("key {old} is removed"))?;
        }
    }
    line(format_args!(
        "the keys of {} are those of {}",
        args.overlay,
        args.file.display()
    ))
}

fn is_wanted(wanted: &Keyring, key: &Value) -> bool {
    slot(key, "slot").is_some_and(|slot| u8::try_from(slot).is_ok_and(|slot| wanted.has(slot)))
}

/// The keys of one overlay on one node.
struct Overlay {
    manage: Manage,
    name: String,
}

impl Overlay {
    fn new(manage: Manage, name: &str) -> Self {
        Self {
            manage,
            name: name.to_owned(),
        }
    }

    fn at(&self, rest: &[&str], force: bool) -> String {
        let mut parts = vec!["v1", "overlays", &self.name, "keys"];
        parts.extend(rest);
        path(&parts) + if force { "?force=true" } else { "" }
    }

    fn keys(&self) -> Result<Value, Failure> {
        self.manage.get(&self.at(&[], false))
    }

    fn install(&self, text: &str) -> Result<Value, Failure> {
        let body = json!({ "keyring": text });
        self.manage
            .ask(Method::POST, &self.at(&[], false), Some(&body))
    }

    fn seal_with(&self, slot: u8, force: bool) -> Result<Value, Failure> {
        let at = self.at(&[&slot.to_string(), "use"], force);
        self.manage.ask(Method::POST, &at, None)
    }

    fn remove(&self, slot: u8, force: bool) -> Result<Value, Failure> {
        let at = self.at(&[&slot.to_string()], force);
        self.manage.ask(Method::DELETE, &at, None)
    }

    /// Waits until nobody holds it up, and tells who does whenever that changes.
    fn wait(
        &self,
        timeout: Duration,
        what: &str,
        remedy: &str,
        laggards: &dyn Fn(&Value) -> Vec<String>,
    ) -> Result<(), Failure> {
        let until = Instant::now() + timeout;
        let mut told = Vec::new();
        loop {
            let late = laggards(&self.keys()?);
            if late.is_empty() {
                return Ok(());
            }
            let names = late.join(", ");
            if Instant::now() >= until {
                return Err(Failure::Failed(format!(
                    "after {} s these still {what}: {names}\n  remedy: {remedy}",
                    timeout.as_secs()
                )));
            }
            if late != told {
                line(format_args!("waiting for those that {what}: {names}"))?;
                told = late;
            }
            thread::sleep(LOOK);
        }
    }
}

/// The text of a keyring file that nobody else can read, or of standard input.
fn read(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        return io::read_to_string(io::stdin())
            .map_err(|error| Failure::Failed(format!("standard input cannot be read: {error}")));
    }
    files::read_secret(file).map_err(|error| {
        Failure::Usage(format!(
            "error: {} {error}\n  remedy: {}",
            file.display(),
            error.remedy(file)
        ))
    })
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// The members that are there.
fn present(keys: &Value) -> impl Iterator<Item = &Value> {
    let is_there = |member: &&Value| cell(member.get("state")) != "dead";
    items(keys, "members").filter(is_there)
}

fn slots(member: &Value) -> impl Iterator<Item = u64> + '_ {
    items(member, "slots").filter_map(Value::as_u64)
}

fn slot(value: &Value, key: &str) -> Option<u64> {
    value.get(key).and_then(Value::as_u64)
}

/// A member in words: several may have the same name.
fn name(member: &Value) -> String {
    format!(
        "{} ({})",
        cell(member.get("name")),
        cell(member.get("address"))
    )
}
