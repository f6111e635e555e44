//! What goes into a bundle. Each part is made by itself: what cannot be found out is a part that says why. Only what is no secret is
//! asked for: of the state names and options, of keys where they are.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::args::BundleArgs;
use crate::config::show;
use crate::doctor;
use crate::load::{Loaded, load};
use crate::output::Failure;
use crate::paths;
use crate::state::State;
use crate::verbs::manage::{Manage, path};

/// Bytes of the end of a log.
const LOG_BYTES: u64 = 256 << 10;
/// Lines of the journal.
const LOG_LINES: &str = "2000";
/// The unit of the package.
const UNIT: &str = "tidings.service";

/// A file of the bundle.
pub struct Part {
    /// Its name.
    pub name: String,
    /// What it is.
    pub what: &'static str,
    /// What is in it.
    pub text: String,
}

/// Everything.
pub fn collect(args: &BundleArgs) -> Vec<Part> {
    let mut parts = vec![part(
        "version.txt",
        "this program and this system",
        version(),
    )];
    let loaded = load(&args.run);
    let what = "the configuration, with where each value comes from";
    let config = match &loaded {
        Ok(loaded) => config(loaded),
        Err(problems) => problems.to_string(),
    };
    parts.push(part("config.json", what, config));
    if let Ok(loaded) = &loaded {
        let what = "what was changed while the node ran; of tokens and passwords the names";
        parts.push(part("state.json", what, pretty(&state(&loaded.state))));
        let what = "who may attach by name, as files say";
        let names = loaded.clients.iter().map(|client| client.name.as_str());
        parts.push(part("clients-file.json", what, pretty(&names.collect())));
    }
    let findings = match &loaded {
        Ok(loaded) => doctor::examine(loaded),
        Err(problems) => doctor::examine_without(problems),
    };
    let findings = findings.iter().map(doctor::Finding::json).collect();
    let what = "what `tidings doctor` says";
    parts.push(part("doctor.json", what, pretty(&findings)));
    let socket = match &loaded {
        Ok(loaded) => loaded.settings.http.socket.clone(),
        Err(_) => paths::management_socket(&paths::socket()),
    };
    let manage = Manage::at(socket);
    let node = manage.get("/v1/node");
    let pid = node
        .as_ref()
        .ok()
        .and_then(|node| node.get("pid")?.as_u64());
    parts.extend(running(&manage, node));
    parts.push(part("log.txt", "the last lines of the log", log(args, pid)));
    parts
}

fn part(name: impl Into<String>, what: &'static str, text: String) -> Part {
    Part {
        name: name.into(),
        what,
        text,
    }
}

fn pretty(value: &Value) -> String {
    // A value is always JSON.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn version() -> String {
    let system = rustix::system::uname();
    format!(
        "tidings {}\n{} {} {}\n",
        env!("CARGO_PKG_VERSION"),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy(),
    )
}

fn config(loaded: &Loaded) -> String {
    let raw = match loaded.base.with(&loaded.state) {
        Ok(raw) => raw,
        Err(problems) => return problems.to_string(),
    };
    let rows = show::rows(&raw, &loaded.settings).into_iter();
    let rows = rows.map(|row| json!({ "key": row.key, "value": row.value, "source": row.source }));
    pretty(&rows.collect())
}

/// The state without what would let anybody in: neither keys nor hashes.
fn state(state: &State) -> Value {
    let overlays = state.overlays.iter().map(|(name, kept)| {
        let tokens = kept.tokens.iter().map(|token| {
            json!({ "name": token.name, "created": token.created, "expires": token.expires })
        });
        let kept = json!({
            "created": kept.created,
            "options": kept.options,
            "has_keyring": kept.keyring.is_some(),
            "tokens": tokens.collect::<Vec<_>>(),
        });
        (name.clone(), kept)
    });
    json!({
        "overlays": Value::Object(overlays.collect()),
        "users_with_password": state.passwords.keys().collect::<Vec<_>>(),
        "clients": state.clients.keys().collect::<Vec<_>>(),
    })
}

/// What the node says of itself, if it runs.
fn running(manage: &Manage, node: Result<Value, Failure>) -> Vec<Part> {
    let node = match node {
        Ok(node) => node,
        Err(failure) => {
            let why = failure.text();
            return vec![part("node.txt", "why the node was not asked", why)];
        }
    };
    let mut parts = vec![part("node.json", "who the node is", pretty(&node))];
    let mut ask = |name: String, what: &'static str, at: &str| {
        let answer = manage.get(at);
        let text = answer.as_ref().map_or_else(Failure::text, pretty);
        parts.push(part(name, what, text));
        answer.ok()
    };
    ask(
        "shards.json".to_owned(),
        "counters of the shards",
        "/v1/stats",
    );
    ask(
        "clients.json".to_owned(),
        "who may attach by name, and what each may do",
        "/v1/clients",
    );
    let overlays = ask("overlays.json".to_owned(), "the overlays", "/v1/overlays");
    let overlays = overlays.as_ref().and_then(Value::as_array);
    for (index, overlay) in overlays.into_iter().flatten().enumerate() {
        let Some(name) = overlay.get("name").and_then(Value::as_str) else {
            continue;
        };
        for (file, what, below) in [
            ("overlay", "an overlay with its options", &[][..]),
            ("members", "who is in it", &["members"]),
            ("links", "the ways to them", &["links"]),
            (
                "subscriptions",
                "who has subscribed to what",
                &["subscriptions"],
            ),
            (
                "keys",
                "its keys by slot, cipher and fingerprint, and who has which",
                &["keys"],
            ),
            ("stats", "its counters", &["stats"]),
            ("1m", "its last minute", &["statistics", "1m"]),
            ("1h", "its last hour", &["statistics", "1h"]),
        ] {
            let at = path(&[&["v1", "overlays", name], below].concat());
            // A name of an overlay is no name of a file.
            ask(format!("overlay-{index}/{file}.json"), what, &at);
        }
    }
    let metrics = manage.text("/metrics");
    let metrics = metrics.unwrap_or_else(|failure| failure.text());
    let what = "everything that is counted, as Prometheus reads it";
    parts.push(part("metrics.txt", what, metrics));
    parts
}

fn log(args: &BundleArgs, pid: Option<u64>) -> String {
    if let Some(file) = &args.log {
        return end_of(file).unwrap_or_else(|error| format!("{}: {error}\n", file.display()));
    }
    // What a service writes to its standard error, before its last start, too: why it went down is often there. Any other
    // node has what its own process wrote, if that goes to the journal: a service around it may have more in it than a node.
    let found = match pid {
        Some(pid) if unit_of(pid).is_some_and(|unit| unit == UNIT) => journal(&["-u", UNIT]),
        Some(pid) => journal(&[&format!("_PID={pid}")]),
        None => journal(&["-u", UNIT]),
    };
    let of_whom = match pid {
        Some(_) => "it",
        None => UNIT,
    };
    found.unwrap_or_else(|| {
        format!("the journal has nothing of {of_whom}, or does not show it to this user; name a log with --log\n")
    })
}

/// The service that a process belongs to.
fn unit_of(pid: u64) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let names = groups.lines().filter_map(|line| line.rsplit('/').next());
    let mut services =
        names.filter(|name| name.ends_with(".service") && !name.starts_with("user@"));
    services.next().map(str::to_owned)
}

/// The last lines that the journal has of this.
fn journal(of: &[&str]) -> Option<String> {
    let mut journal = Command::new("journalctl");
    journal.args(of).args(["-n", LOG_LINES, "--no-pager", "-q"]);
    let output = journal.output().ok()?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    (!lines.is_empty()).then_some(lines)
}

fn end_of(file: &Path) -> std::io::Result<String> {
    let length = fs::metadata(file)?.len();
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
