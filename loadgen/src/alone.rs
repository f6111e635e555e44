//! One side of a run whose other side is started by hand, on this host or another.
//!
//! The last message says that it is the last. Latency is only true if both sides share a clock: on one host.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::clock;
use crate::company::Ended;
use crate::control::Finished;
use crate::crowd::Crowd;
use crate::error::Error;
use crate::peer;
use crate::plan::{Place, Plan, Scenario, Side, Task};
use crate::report::{Process, Published, Report, Window};
use crate::run::{Own, settle, watch_until};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::series::Samples;
use crate::system::System;
use crate::tally::Seen;
use crate::usage::Usage;

/// How long the first message may take, with the other side still to be started.
const FIRST: Duration = Duration::from_secs(60);
/// How long nothing may come before the publisher is held to be gone.
const QUIET: Duration = Duration::from_secs(15);
/// How long the last answers may take to leave.
const ANSWERS: Duration = Duration::from_secs(1);

/// The publishing side.
pub(crate) fn publish(system: &dyn System, plan: &Plan, place: &Place) -> Result<Report, Error> {
    clock::pin(plan.cpu(Side::Publishing))?;
    let (sent, seen) = (Arc::new(Sent::new(plan.publishers)), Arc::default());
    let mut own = Own::start(system, plan, place, &sent, &seen)?;
    let schedule = Schedule::new(plan, clock::now());
    own.go(schedule)?;
    let is_caller = matches!(own, Own::Caller(_));
    // Of ping-pong the answers count, else what is known to be delivered.
    let count = || match is_caller {
        true => seen.unique.load(Relaxed),
        false => sent.read().delivered,
    };
    let look = || (clock::now(), count(), Usage::own());
    watch_until(schedule.measured().start, &sent)?;
    let begin = look();
    watch_until(schedule.measured().end, &sent)?;
    let end = look();
    let patience = clock::seconds(plan.drain);
    settle(&sent, patience)?;
    let deadline = Instant::now() + patience.min(QUIET);
    while is_caller && count() < sent.read().accepted && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = (end.0 - begin.0) as f64 / 1e9;
    let mut report = Report::of(system, plan);
    report.set_counters("publisher", own.counters());
    let (lag, answers) = own.finish()?;
    report.published = Some(Published::new(&sent, &lag));
    report.keep("lag", lag);
    report.processes = vec![Process::new("publisher", begin.2, end.2, seconds)];
    report.window = Some(Window::new(end.1 - begin.1, seconds, &report.processes));
    if answers.is_some() {
        report.enter(Vec::new(), answers);
        report.set_series(&Samples::default(), &schedule, plan.slice_ns());
    }
    report.judge();
    Ok(report)
}

/// What the subscribing side of a scenario does.
fn task(scenario: Scenario) -> Task {
    match scenario {
        Scenario::PingPong => Task::Echo,
        Scenario::Slow => Task::Slow,
        Scenario::Churn => Task::Churn,
        Scenario::Storm => Task::Storm,
        _ => Task::Steady,
    }
}

/// The subscribing side: one that stays, or of churn and storm those that do not.
pub(crate) fn subscribe(system: &dyn System, plan: &Plan, place: &Place) -> Result<Report, Error> {
    clock::pin(plan.cpu(Side::Subscribing))?;
    let mut place = place.clone();
    place.task = task(plan.scenario);
    if place.task == Task::Slow {
        place.pause_ns = plan.slow_us * 1_000;
    }
    let plan = Plan {
        subscribers: 1,
        ..plan.clone()
    };
    match place.task {
        Task::Churn | Task::Storm => attend(system, &plan, &place),
        Task::Steady | Task::Slow | Task::Echo => stay(system, &plan, &place),
    }
}

fn stay(system: &dyn System, plan: &Plan, place: &Place) -> Result<Report, Error> {
    let seen = Arc::new(Seen::default());
    let sink = peer::sink(system, plan, place, &seen)?;
    let sink = sink.ok_or(Error::Late("the subscriber"))?;
    if let Some(addr) = sink.addr() {
        eprintln!(
            "{}: subscribed; publish with --role publish --join {addr}",
            crate::options::program()
        );
    }
    let begin = Usage::own();
    let whole = wait_for_all(&seen);
    let end = Usage::own();
    let times = (seen.first.load(Relaxed), seen.last.load(Relaxed));
    let seconds = times.1.saturating_sub(times.0) as f64 / 1e9;
    if place.task == Task::Echo {
        std::thread::sleep(ANSWERS);
    }
    let mut report = Report::of(system, plan);
    let finished = Finished {
        counters: sink.counters(),
        tallied: sink.finish()?,
        crowd: None,
        usage: end,
    };
    let unique = finished.tallied.counts.unique;
    report.processes = vec![Process::new("subscriber", begin, end, seconds)];
    report.window = Some(Window::new(unique, seconds, &report.processes));
    if whole {
        report.lost = Some(seen.total.load(Relaxed).saturating_sub(unique));
    } else {
        let fault = "the last message did not come";
        report.faults.push(fault.to_owned());
    }
    enter(&mut report, finished);
    report.judge();
    Ok(report)
}

/// The one subscriber is what the report is of.
fn enter(report: &mut Report, finished: Finished) {
    let (name, task) = ("subscriber".to_owned(), Task::Steady);
    let ended = Ended {
        name,
        task,
        finished,
    };
    report.enter(vec![ended], None);
}

fn attend(system: &dyn System, plan: &Plan, place: &Place) -> Result<Report, Error> {
    let begin = (clock::now(), Usage::own());
    let attended = std::thread::scope(|scope| {
        let crowd = Crowd::go(scope, system, plan, place)?;
        let until = begin.0 + ((plan.warmup + plan.seconds) * 1e9) as u64;
        while clock::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        // How many are published is the other side's to know.
        crowd.finish(0)
    })?;
    let seconds = (clock::now() - begin.0) as f64 / 1e9;
    let mut report = Report::of(system, plan);
    report.processes = vec![Process::new("subscribers", begin.1, Usage::own(), seconds)];
    let unique = attended.counts.unique;
    report.window = Some(Window::new(unique, seconds, &report.processes));
    report.enter_crowd(attended);
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
