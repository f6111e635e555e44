//! A whole run, seen from the process that publishes: starts what is needed, lets it run, measures, judges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::company::{Company, Look};
use crate::error::Error;
use crate::plan::{Place, Plan, Scenario, Side};
use crate::progress::Progress;
use crate::report::{Published, Report, Window};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::series::Samples;
use crate::system::{Caller, Source, System};
use crate::tally::{Seen, Tallied};
use crate::times::Times;

/// From the decision to begin to the first message, in ns.
const BEFORE_START: u64 = 20_000_000;
/// How often a running source is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What this process does: it only publishes, or it takes answers, too.
pub(crate) enum Own {
    Source(Box<dyn Source>),
    Caller(Box<dyn Caller>),
}

impl Own {
    /// Gets ready; the books of answers are told to `seen`.
    pub(crate) fn start(
        system: &dyn System,
        plan: &Plan,
        here: &Place,
        sent: &Arc<Sent>,
        seen: &Arc<Seen>,
    ) -> Result<Self, Error> {
        let sent = Arc::clone(sent);
        Ok(match plan.scenario {
            Scenario::PingPong => {
                Self::Caller(system.caller(plan, here, sent, Arc::clone(seen))?)
            }
            _ => Self::Source(system.source(plan, here, sent)?),
        })
    }

    pub(crate) fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        match self {
            Self::Source(source) => source.go(schedule),
            Self::Caller(caller) => caller.go(schedule),
        }
    }

    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        match self {
            Self::Source(source) => source.counters(),
            Self::Caller(caller) => caller.counters(),
        }
    }

    /// How late messages were published, and the books of the answers.
    pub(crate) fn finish(self) -> Result<(Times, Option<Tallied>), Error> {
        match self {
            Self::Source(source) => source.finish().map(|lag| (lag, None)),
            Self::Caller(caller) => caller.finish_call().map(|(lag, told)| (lag, Some(told))),
        }
    }
}

/// Makes the run.
pub(crate) fn run(
    system: &dyn System,
    plan: &Plan,
    place: &Place,
    progress: Progress,
) -> Result<Report, Error> {
    let mut company = Company::gather(system, plan, place)?;
    // After the others were started, which would inherit it.
    clock::pin(plan.cpu(Side::Publishing))?;
    let (sent, seen) = (Arc::new(Sent::new(plan.publishers)), Arc::default());
    let mut own = Own::start(system, plan, &company.here, &sent, &seen)?;
    if matches!(own, Own::Caller(_)) {
        company.answers = Some(seen);
    }
    let schedule = Schedule::new(plan, clock::now() + BEFORE_START);
    own.go(schedule)?;
    let mut watch = Watch::new(plan, schedule, progress);
    watch.until(schedule.measured().start, &sent, &mut company)?;
    let begin = Look::take(&mut company)?;
    company.go()?;
    watch.until(schedule.measured().end, &sent, &mut company)?;
    let end = Look::take(&mut company)?;
    let samples = watch.samples;
    drop(watch.progress);
    let patience = clock::seconds(plan.drain);
    settle(&sent, patience)?;

    let mut report = Report::of(system, plan);
    report.set_counters("publisher", own.counters());
    let ended = company.finish(sent.read().accepted, patience)?;
    let (lag, answers) = own.finish()?;
    report.published = Some(Published::new(&sent, &lag));
    report.keep("lag", lag);
    report.processes = end.processes_since(&begin);
    report.window = Some(Window::new(
        end.unique.saturating_sub(begin.unique),
        end.seconds_since(&begin),
        &report.processes,
    ));
    report.enter(ended, answers);
    report.set_series(&samples, &schedule, plan.slice_ns());
    report.judge();
    Ok(report)
}

/// Looks at a run while it lasts.
struct Watch {
    schedule: Schedule,
    progress: Progress,
    /// Whether subscribers are asked how far they are. At a fixed rate that would disturb what is measured, and their books tell.
    asks: bool,
    slice: u64,
    next: u64,
    samples: Samples,
}

impl Watch {
    fn new(plan: &Plan, schedule: Schedule, progress: Progress) -> Self {
        Self {
            asks: !plan.is_timed() || progress.is_shown(),
            slice: plan.slice_ns(),
            next: schedule.start(),
            samples: Samples::default(),
            schedule,
            progress,
        }
    }

    /// Waits for a moment, unless the source fails before.
    fn until(&mut self, at: u64, sent: &Sent, company: &mut Company) -> Result<(), Error> {
        loop {
            let now = watch_once(at, sent)?;
            if now >= at {
                return Ok(());
            }
            if self.asks && now >= self.next {
                self.next = now + self.slice;
                self.samples.push(clock::now(), company.count()?);
                let (start, end) = (self.schedule.start(), self.schedule.measured().end);
                let done = now.saturating_sub(start) as f64 / (end - start).max(1) as f64;
                let counted = sent.read();
                self.progress.tell(done, || {
                    format!(
                        "{:.0} messages/s, {} published, {} outcomes outstanding",
                        self.samples.rate(),
                        counted.accepted,
                        counted
                            .owed
                            .saturating_sub(counted.delivered + counted.failed)
                    )
                });
            }
        }
    }
}

/// Sleeps a little, at most until `at`, unless the source has failed; what time it is then.
fn watch_once(at: u64, sent: &Sent) -> Result<u64, Error> {
    if let Some(why) = sent.fault() {
        return Err(Error::Failed(why));
    }
    let now = clock::now();
    if now < at {
        std::thread::sleep(LOOK.min(Duration::from_nanos(at - now)));
    }
    Ok(now)
}

/// Waits for a moment, unless the source fails before.
pub(crate) fn watch_until(at: u64, sent: &Sent) -> Result<(), Error> {
    while watch_once(at, sent)? < at {}
    Ok(())
}

/// Waits until every outcome is there, at most `patience`: what is missing then is told by the report.
pub(crate) fn settle(sent: &Sent, patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    while !sent.is_settled() && Instant::now() < deadline {
        if let Some(why) = sent.fault() {
            return Err(Error::Failed(why));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
