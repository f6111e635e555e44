//! A whole run, seen from the process that publishes: starts what is needed, lets it run, measures, judges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::control::{Finished, Mark, Peer};
use crate::error::Error;
use crate::plan::{Place, Plan, Side};
use crate::report::{Process, Published, Report, Window};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::system::{Services, System};
use crate::usage::Usage;

/// From the decision to begin to the first message, in ns.
const BEFORE_START: u64 = 20_000_000;
/// How often a running source is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// All processes at one moment.
pub(crate) struct Look {
    at: u64,
    /// Different messages of all subscribers.
    unique: u64,
    usages: Vec<(String, Usage)>,
}

impl Look {
    pub(crate) fn take(company: &mut Company) -> Result<Self, Error> {
        let own = Usage::own();
        let mut marks = Vec::new();
        for peer in &mut company.peers {
            marks.push((peer.name().to_owned(), peer.mark()?));
        }
        let mut usages = vec![("publisher".to_owned(), own)];
        usages.extend(marks.iter().map(|(name, mark)| (name.clone(), mark.usage)));
        usages.extend(company.services.usages());
        let at = |mark: Option<&(String, Mark)>| mark.map_or(clock::now(), |mark| mark.1.at);
        Ok(Self {
            at: at(marks.last()),
            unique: marks.iter().map(|(_, mark)| mark.unique).sum(),
            usages,
        })
    }

    /// Seconds since an earlier look.
    fn seconds_since(&self, earlier: &Self) -> f64 {
        (self.at - earlier.at) as f64 / 1e9
    }

    /// What every process used since an earlier look.
    pub(crate) fn processes_since(&self, earlier: &Self) -> Vec<Process> {
        let seconds = self.seconds_since(earlier);
        let pairs = earlier.usages.iter().zip(&self.usages);
        pairs
            .map(|((name, begin), (_, end))| Process::new(name, *begin, *end, seconds))
            .collect()
    }
}

/// The other processes of a run, and where this one finds its own way in.
pub(crate) struct Company {
    /// Before the servers: they end first.
    peers: Vec<Peer>,
    services: Box<dyn Services>,
    pub(crate) here: Place,
}

impl Company {
    /// Starts the servers, then one subscriber after the other.
    pub(crate) fn gather(system: &dyn System, plan: &Plan, place: &Place) -> Result<Self, Error> {
        let services = system.services(plan, place)?;
        let (mut peers, mut join) = (Vec::new(), None);
        for index in 0..plan.subscribers {
            let name = match plan.subscribers {
                1 => "subscriber".to_owned(),
                _ => format!("subscriber {}", index + 1),
            };
            let mut there = services.place(Side::Subscribing, index);
            there.join = there.join.or(join);
            let (peer, addr) = Peer::start(name, plan, there)?;
            join = join.or(addr);
            peers.push(peer);
        }
        let mut here = services.place(Side::Publishing, 0);
        here.bind = place.bind;
        here.join = here.join.or(join);
        Ok(Self {
            peers,
            services,
            here,
        })
    }

    /// Ends the subscribers, each of which must have got so many messages.
    pub(crate) fn finish(
        &mut self,
        published: u64,
        patience: Duration,
    ) -> Result<Vec<(String, Finished)>, Error> {
        let mut all = Vec::new();
        for peer in &mut self.peers {
            all.push((peer.name().to_owned(), peer.finish(published, patience)?));
        }
        Ok(all)
    }
}

/// Makes the run.
pub(crate) fn run(system: &dyn System, plan: &Plan, place: &Place) -> Result<Report, Error> {
    let mut company = Company::gather(system, plan, place)?;
    // After the others were started, which would inherit it.
    clock::pin(plan.cpu(Side::Publishing))?;
    let sent = Arc::new(Sent::new(plan.publishers));
    let mut source = system.source(plan, &company.here, Arc::clone(&sent))?;
    let schedule = Schedule::new(plan, clock::now() + BEFORE_START);
    source.go(schedule)?;
    let measured = schedule.measured();
    watch_until(measured.start, &sent)?;
    let begin = Look::take(&mut company)?;
    watch_until(measured.end, &sent)?;
    let end = Look::take(&mut company)?;
    let patience = clock::seconds(plan.drain);
    settle(&sent, patience)?;

    let mut report = Report::of(system, plan);
    report.set_counters("publisher", source.counters());
    let finished = company.finish(sent.read().accepted, patience)?;
    report.published = Some(Published::new(&sent, &source.finish()?));
    report.processes = end.processes_since(&begin);
    report.window = Some(Window::new(
        end.unique - begin.unique,
        end.seconds_since(&begin),
        &report.processes,
    ));
    report.enter(finished);
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
