//! `tidings drain`: takes the node out of service and waits until it has stopped.

use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use axum::http::Method;
use serde_json::{Value, json};

use super::manage::Manage;
use crate::args::DrainArgs;
use crate::config::units::{DURATION_FORMS, duration};
use crate::output::{Failure, line};

/// How often it is looked whether the node still runs.
const LOOK: Duration = Duration::from_millis(100);
/// A node that leaves takes 3 s at most, and a busy machine longer.
const LEAVING: Duration = Duration::from_secs(15);

/// Runs the verb.
pub fn drain(args: DrainArgs) -> Result<(), Failure> {
    let deadline = duration(&args.deadline).ok_or_else(|| {
        Failure::Usage(format!(
            "error: --deadline {:?} is not a time\n  remedy: write {DURATION_FORMS}",
            args.deadline
        ))
    })?;
    let manage = Manage::of(&args.manage);
    let node = manage.get("/v1/node")?;
    let body = json!({ "deadline_s": deadline.as_secs() });
    let begun = manage.ask(Method::POST, "/v1/drain", Some(&body))?;
    let left = begun.get("deadline_s").and_then(Value::as_u64).unwrap_or(0);
    line(format_args!(
        "draining: the node stops when what is owed is confirmed, after {left} s at the latest"
    ))?;
    if args.no_wait {
        return Ok(());
    }
    let time = Duration::from_secs(left) + LEAVING;
    let has_ended = match process(&node) {
        Some(process) => ends(&process, time),
        None => falls_silent(&manage, time),
    };
    if !has_ended {
        return Err(Failure::Failed(
            "the node still runs after the deadline of its drain\n  remedy: look at its log; SIGTERM, sent twice, ends it"
                .to_owned(),
        ));
    }
    line("the node has left and stopped; its log tells what was not confirmed")
}

/// The process of the node, which another container may hide.
fn process(node: &Value) -> Option<OwnedFd> {
    let pid = node.get("pid")?.as_i64()?;
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn ends(process: &OwnedFd, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let mut ready = [PollFd::new(process, PollFlags::IN)];
        match poll(&mut ready, left.as_ref()) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn falls_silent(manage: &Manage, time: Duration) -> bool {
    let until = Instant::now() + time;
    while manage.is_there() && Instant::now() < until {
        thread::sleep(LOOK);
    }
    !manage.is_there()
}
