//! A whole run, seen from the process that publishes: starts what is needed, lets it run, measures, judges.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::clock;
use crate::control::{Mark, Peer};
use crate::daemons::Daemons;
use crate::error::Error;
use crate::plan::{Attach, Place, Plan, Side};
use crate::report::{Process, Published, Report, Window};
use crate::schedule::Schedule;
use crate::source::{self, Sent};
use crate::usage::Usage;

/// From the decision to begin to the first message, in ns.
const BEFORE_START: u64 = 20_000_000;
/// How often a running source is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// All processes at one moment.
pub(crate) struct Look {
    pub(crate) mark: Mark,
    own: Usage,
    daemons: Option<(Usage, Usage)>,
}

impl Look {
    pub(crate) fn take(peer: &mut Peer, daemons: Option<&Daemons>) -> Result<Self, Error> {
        Ok(Self {
            mark: peer.mark()?,
            own: Usage::own(),
            daemons: daemons.map(|pair| (pair.publishing.usage(), pair.subscribing.usage())),
        })
    }

    /// Seconds since an earlier look.
    pub(crate) fn seconds_since(&self, earlier: &Self) -> f64 {
        (self.mark.at - earlier.mark.at) as f64 / 1e9
    }

    /// What every process used since an earlier look.
    pub(crate) fn processes_since(&self, earlier: &Self) -> Vec<Process> {
        let seconds = self.seconds_since(earlier);
        let process = |name, begin, end| Process::new(name, begin, end, seconds);
        let mut all = vec![
            process("publisher", earlier.own, self.own),
            process("subscriber", earlier.mark.usage, self.mark.usage),
        ];
        if let (Some(begin), Some(end)) = (earlier.daemons, self.daemons) {
            all.push(process("daemon (pub)", begin.0, end.0));
            all.push(process("daemon (sub)", begin.1, end.1));
        }
        all
    }
}

/// The second process and, if needed, daemons; and where this process finds its own.
pub(crate) fn company(plan: &Plan, place: &Place) -> Result<(Option<Daemons>, Peer, Place), Error> {
    let daemons = match plan.attach {
        Attach::Daemon => Some(Daemons::start(plan, place)?),
        Attach::OnShard | Attach::AnyThread => None,
    };
    let there = Place {
        socket: daemons.as_ref().map(|pair| pair.subscribing.socket()),
        ..Place::loopback()
    };
    let (peer, join) = Peer::start(plan, there)?;
    let here = Place {
        bind: place.bind,
        join,
        socket: daemons.as_ref().map(|pair| pair.publishing.socket()),
        tidings: None,
    };
    Ok((daemons, peer, here))
}

/// Makes the run.
pub(crate) fn run(plan: &Plan, place: &Place) -> Result<Report, Error> {
    let (daemons, mut peer, here) = company(plan, place)?;
    // After the others were started, which would inherit it.
    clock::pin(plan.cpu(Side::Publishing))?;
    let sent = Arc::new(Sent::default());
    let mut source = source::start(plan, &here, Arc::clone(&sent))?;
    let schedule = Schedule::new(plan, clock::now() + BEFORE_START);
    source.go(schedule)?;
    let measured = schedule.measured();
    watch_until(measured.start, &sent)?;
    let begin = Look::take(&mut peer, daemons.as_ref())?;
    watch_until(measured.end, &sent)?;
    let end = Look::take(&mut peer, daemons.as_ref())?;
    settle(&sent, clock::seconds(plan.drain))?;

    let mut report = Report::of(plan);
    report.set_counters("publisher", source.counters());
    let finished = peer.finish(sent.accepted.load(Relaxed))?;
    report.set_counters("subscriber", finished.counters);
    report.received = Some(finished.tallied);
    report.published = Some(Published::new(&sent, source.finish()?));
    report.processes = end.processes_since(&begin);
    report.window = Some(Window::new(
        end.mark.unique - begin.mark.unique,
        end.seconds_since(&begin),
        &report.processes,
    ));
    report.judge();
    Ok(report)
}

/// Waits for a moment, unless the source fails before.
pub(crate) fn watch_until(at: u64, sent: &Sent) -> Result<(), Error> {
    loop {
        if let Some(why) = sent.fault() {
            return Err(Error::Failed(why));
        }
        let now = clock::now();
        if now >= at {
            return Ok(());
        }
        std::thread::sleep(LOOK.min(Duration::from_nanos(at - now)));
    }
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
