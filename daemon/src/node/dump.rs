//! The state of the node in its log, when a signal asks for it: overlays, members, links and counters, and what each thread does.
//! On a thread of its own, because a shard may not answer, which is then what is told. Bounded: a log is no place for thousands of
//! members. It holds no secret.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidings_engine::{Engine, EngineError};

use super::view;

/// How long the shards are waited for: they answer within some milliseconds, on a busy machine later.
const ANSWER: Duration = Duration::from_secs(3);
/// Overlays, members of each and threads that are told.
const OVERLAYS: usize = 32;
const MEMBERS: usize = 64;
const THREADS: usize = 64;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The state.
    State,
    /// What each thread does, too.
    Threads,
}

/// Whether one is being told: another one would say the same.
static RUNS: AtomicBool = AtomicBool::new(false);
/// Whether the shards are being asked, perhaps since an earlier one.
static ASKS: AtomicBool = AtomicBool::new(false);

/// Begins to tell.
pub fn begin(engine: &Arc<Engine>, depth: Depth) {
    if RUNS.swap(true, Ordering::AcqRel) {
        tracing::info!("the state is being told already");
        return;
    }
    let engine = Arc::downgrade(engine);
    let started = thread::Builder::new()
        .name("tidings-dump".to_owned())
        .spawn(move || {
            tell(&engine, depth);
            RUNS.store(false, Ordering::Release);
        });
    if let Err(error) = started {
        RUNS.store(false, Ordering::Release);
        tracing::warn!(%error, "the state cannot be told: no thread can be started");
    }
}

fn tell(engine: &Weak<Engine>, depth: Depth) {
    let mut text = String::new();
    if depth == Depth::Threads {
        threads(&mut text);
    }
    match answer(engine) {
        Ok(state) => text.push_str(&state),
        Err(why) => lines(&mut text, format_args!("no state: {why}")),
    }
    let count = text.lines().count();
    tracing::info!(lines = count, "the state of the node follows");
    // One piece, so that no other line gets between. Nobody may read the log any more.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The state, or why there is none. Whoever asks the shards may wait for ever: nobody waits for that.
fn answer(engine: &Weak<Engine>) -> Result<String, String> {
    if ASKS.swap(true, Ordering::AcqRel) {
        return Err("a shard has not answered since it was asked before".to_owned());
    }
    let (answer, heard) = sync_channel(1);
    let engine = engine.clone();
    let asking = thread::Builder::new()
        .name("tidings-dump-ask".to_owned())
        .spawn(move || {
            let state = engine
                .upgrade()
                .map_or(Err(EngineError::Stopped), |engine| state(&engine));
            ASKS.store(false, Ordering::Release);
            // Whoever asked may have given up.
            let _ = answer.send(state);
        });
    if let Err(error) = asking {
        ASKS.store(false, Ordering::Release);
        return Err(error.to_string());
    }
    match heard.recv_timeout(ANSWER) {
        Ok(state) => state.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "a shard does not answer within {} s",
            ANSWER.as_secs()
        )),
    }
}

/// One line, marked as what it is.
fn lines(text: &mut String, line: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "state: {line}");
}

/// Name, state, processor time and where it sleeps in the kernel, of each thread.
fn threads(text: &mut String) {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return lines(text, "no threads: /proc is not there");
    };
    let mut told: Vec<String> = tasks
        .flatten()
        .filter_map(|task| {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).ok();
            let stat = read("stat")?;
            let sleeps = read("wchan").filter(|at| !matches!(at.as_str(), "" | "0"));
            thread_line(&stat, sleeps.as_deref())
        })
        .collect();
    told.sort();
    let count = told.len();
    for line in told.into_iter().take(THREADS) {
        lines(text, line);
    }
    left_out(text, count, THREADS, "threads");
}

/// A thread by its line of `/proc/PID/task/TID/stat`, proc(5).
fn thread_line(stat: &str, sleeps: Option<&str>) -> Option<String> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (tid, name) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // utime and stime, in hundredths of a second.
    let cpu_ms = (ticks(11)? + ticks(12)?) * 10;
    let does = match *fields.first()? {
        "R" => "runs",
        "S" => "sleeps",
        "D" => "waits for a device",
        "T" | "t" => "is stopped",
        other => other,
    };
    let at = sleeps.map_or(String::new(), |at| format!(" in {at}"));
    Some(format!(
        "thread {name} ({}) {does}{at}, {cpu_ms} ms of processor time",
        tid.trim()
    ))
}

fn state(engine: &Engine) -> Result<String, EngineError> {
    let mut text = String::new();
    let stats = engine.stats()?;
    for (index, shard) in stats.shards.iter().enumerate() {
        let view = value(&view::shard(index, shard));
        lines(&mut text, format_args!("shard {index}: {}", nonzero(&view)));
    }
    for overlay in stats.overlays.iter().take(OVERLAYS) {
        let members = match engine.members(overlay.id) {
            Ok(members) => members,
            // Left meanwhile.
            Err(EngineError::Unknown) => continue,
            Err(error) => return Err(error),
        };
        let mut view = value(&view::overlay_stats(overlay, &members));
        let peers = view.as_object_mut().and_then(|view| view.remove("peers"));
        let name = &overlay.name;
        lines(
            &mut text,
            format_args!("overlay {name:?}: {}", nonzero(&view)),
        );
        let peers = peers.as_ref().and_then(Value::as_array);
        let peers = peers.map_or(&[][..], Vec::as_slice);
        for peer in peers.iter().take(MEMBERS) {
            lines(
                &mut text,
                format_args!("peer of {name:?}: {}", nonzero(peer)),
            );
        }
        left_out(&mut text, peers.len(), MEMBERS, "peers");
    }
    left_out(&mut text, stats.overlays.len(), OVERLAYS, "overlays");
    Ok(text)
}

fn left_out(text: &mut String, count: usize, told: usize, what: &str) {
    if count > told {
        lines(text, format_args!("{} more {what}", count - told));
    }
}

fn value(view: &impl serde::Serialize) -> Value {
    // A struct of plain values is always JSON.
    serde_json::to_value(view).unwrap_or_default()
}

/// A value as `key=value`, those of nested objects as `outer.key=value`, without zeros and what is not there.
fn nonzero(value: &Value) -> String {
    let mut words = Vec::new();
    flatten("", value, &mut words);
    words.join(" ")
}

fn flatten(name: &str, value: &Value, words: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = match name {
                    "" => key.clone(),
                    outer => format!("{outer}.{key}"),
                };
                flatten(&name, value, words);
            }
        }
        Value::Null => {}
        value if value.as_f64() == Some(0.0) => {}
        value => words.push(format!("{name}={value}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_thread_is_told_with_what_it_does() {
        let stat = "42 (tidings-0) S 1 42 42 0 -1 4194560 10 0 0 0 5 7 0 0 20 0 9 0 100 1 2";
        assert_eq!(
            thread_line(stat, Some("ep_poll")).as_deref(),
            Some("thread tidings-0 (42) sleeps in ep_poll, 120 ms of processor time")
        );
        assert_eq!(thread_line("nonsense", None), None);
    }

    #[test]
    fn zeros_and_nothing_are_left_out() {
        let value = json!({ "a": 1, "b": 0, "c": null, "d": { "e": "x", "f": 0 } });
        assert_eq!(nonzero(&value), "a=1 d.e=\"x\"");
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut text = String::new();
        left_out(&mut text, 70, 64, "peers");
        left_out(&mut text, 64, 64, "peers");
        assert_eq!(text, "state: 6 more peers\n");
    }
}
