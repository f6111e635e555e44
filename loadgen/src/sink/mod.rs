//! The subscribing side of a run, by each way to attach.

mod any_thread;
mod daemon;
mod on_shard;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::Error;
use crate::plan::{Attach, Place, Plan};
use crate::tally::{Seen, Tallied};

/// A subscriber that keeps a tally of what comes.
pub(crate) trait Sink {
    /// Address of its node, if it has one of its own.
    fn addr(&self) -> Option<SocketAddr>;
    /// Counters of its node, if it has one of its own.
    fn counters(&self) -> Vec<(String, u64)>;
    /// Ends it and closes the books.
    fn finish(self: Box<Self>) -> Result<Tallied, Error>;
}

/// Subscribes.
pub(crate) fn start(plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
    Ok(match plan.attach {
        Attach::OnShard => Box::new(on_shard::OnShard::start(plan, place, seen)?),
        Attach::AnyThread => Box::new(any_thread::AnyThread::start(plan, place, seen)?),
        Attach::Daemon => Box::new(daemon::Daemon::start(plan, place, seen)?),
    })
}
