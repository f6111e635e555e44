//! One side of a run whose other side is started by hand, on this host or another.
//!
//! The last message says that it is the last. Latency is only true if both sides share a clock: on one host.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::Error;
use crate::plan::{Place, Plan, Side};
use crate::report::{Process, Published, Received, Report, Window};
use crate::run::{settle, watch_until};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::system::System;
use crate::tally::Seen;
use crate::usage::Usage;

/// How long the first message may take, with the other side still to be started.
const FIRST: Duration = Duration::from_secs(60);
/// How long nothing may come before the publisher is held to be gone.
const QUIET: Duration = Duration::from_secs(15);

/// The publishing side.
pub(crate) fn publish(system: &dyn System, plan: &Plan, place: &Place) -> Result<Report, Error> {
    clock::pin(plan.cpu(Side::Publishing))?;
    let sent = Arc::new(Sent::new(plan.publishers));
    let mut source = system.source(plan, place, Arc::clone(&sent))?;
    let schedule = Schedule::new(plan, clock::now());
    source.go(schedule)?;
    let delivered = || (clock::now(), sent.read().delivered, Usage::own());
    watch_until(schedule.measured().start, &sent)?;
    let begin = delivered();
    watch_until(schedule.measured().end, &sent)?;
    let end = delivered();
    settle(&sent, clock::seconds(plan.drain))?;
    let seconds = (end.0 - begin.0) as f64 / 1e9;
    let mut report = Report::of(system, plan);
    report.set_counters("publisher", source.counters());
    report.published = Some(Published::new(&sent, &source.finish()?));
    report.processes = vec![Process::new("publisher", begin.2, end.2, seconds)];
    report.window = Some(Window::new(end.1 - begin.1, seconds, &report.processes));
    report.judge();
    Ok(report)
}

/// The subscribing side.
pub(crate) fn subscribe(system: &dyn System, plan: &Plan, place: &Place) -> Result<Report, Error> {
    clock::pin(plan.cpu(Side::Subscribing))?;
    let seen = Arc::new(Seen::default());
    let sink = system.sink(plan, place, Arc::clone(&seen))?;
    if let Some(addr) = sink.addr() {
        eprintln!("tidings-loadgen: subscribed; publish with --role publish --join {addr}");
    }
    let begin = Usage::own();
    let whole = wait_for_all(&seen);
    let end = Usage::own();
    let times = (seen.first.load(Relaxed), seen.last.load(Relaxed));
    let seconds = times.1.saturating_sub(times.0) as f64 / 1e9;
    let mut report = Report::of(system, plan);
    report.set_counters("subscriber", sink.counters());
    let tallied = sink.finish()?;
    report.processes = vec![Process::new("subscriber", begin, end, seconds)];
    report.window = Some(Window::new(
        tallied.counts.unique,
        seconds,
        &report.processes,
    ));
    if whole {
        report.lost = Some(
            seen.total
                .load(Relaxed)
                .saturating_sub(tallied.counts.unique),
        );
    } else {
        report
            .faults
            .push("the last message did not come".to_owned());
    }
    report.received = Some(Received::of(&tallied));
    report.judge();
    Ok(report)
}

/// Waits until the last message and all before it came; `false`: nothing comes any more.
fn wait_for_all(seen: &Seen) -> bool {
    let (mut count, mut since) = (0, Instant::now());
    loop {
        let (unique, total) = (seen.unique.load(Relaxed), seen.total.load(Relaxed));
        if total > 0 && unique >= total {
            return true;
        }
        if unique != count {
            (count, since) = (unique, Instant::now());
        }
        let patience = if unique == 0 { FIRST } else { QUIET };
        if since.elapsed() > patience {
            return total > 0;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
