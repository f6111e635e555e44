//! What a node costs that has one peer, one subscription, and nothing to do.

use std::sync::Arc;

use crate::clock;
use crate::company::{Company, Look};
use crate::error::Error;
use crate::plan::{Place, Plan};
use crate::report::Report;

use crate::sent::Sent;
use crate::system::System;

/// Measures both nodes: the subscribing one is a process of its own that does nothing else.
pub(crate) fn run(system: &dyn System, plan: &Plan, place: &Place) -> Result<Report, Error> {
    let mut company = Company::gather(system, plan, place)?;
    let sent = Arc::new(Sent::new(plan.publishers));
    let source = system.source(plan, &company.here, sent)?;
    std::thread::sleep(clock::seconds(plan.warmup));
    let begin = Look::take(&mut company)?;
    std::thread::sleep(clock::seconds(plan.seconds));
    let end = Look::take(&mut company)?;
    let mut report = Report::of(system, plan);
    report.rate_wanted = None;
    report.processes = end.processes_since(&begin);
    report.set_counters("publisher", source.counters());
    source.finish()?;
    for ended in company.finish(0, clock::seconds(0.0))? {
        report.set_counters(&ended.name, ended.finished.counters);
    }
    Ok(report)
}
