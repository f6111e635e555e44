//! What a node costs that has one peer, one subscription, and nothing to do.

use std::sync::Arc;

use crate::clock;
use crate::error::Error;
use crate::options::Idle;
use crate::plan::Place;
use crate::report::Report;
use crate::run::{Look, company};
use crate::source::{self, Sent};

/// Measures both nodes: the subscribing one is a process of its own that does nothing else.
pub(crate) fn run(idle: &Idle) -> Result<bool, Error> {
    let plan = idle.plan()?;
    let place = Place {
        tidings: idle.tidings.clone(),
        ..Place::loopback()
    };
    let (daemons, mut peer, here) = company(&plan, &place)?;
    let source = source::start(&plan, &here, Arc::new(Sent::default()))?;
    std::thread::sleep(clock::seconds(plan.warmup));
    let begin = Look::take(&mut peer, daemons.as_ref())?;
    std::thread::sleep(clock::seconds(plan.seconds));
    let end = Look::take(&mut peer, daemons.as_ref())?;
    let mut report = Report::of(&plan);
    report.scenario = "idle";
    report.rate_wanted = None;
    report.processes = end.processes_since(&begin);
    report.set_counters("publisher", source.counters());
    source.finish()?;
    let finished = peer.finish(0)?;
    report.set_counters("subscriber", finished.counters);
    report.print(idle.format);
    Ok(report.is_good())
}
