//! The publishing side of a run, by each way to attach.

mod any_thread;
mod daemon;
mod on_shard;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;

use crate::error::Error;
use crate::payload::Stamp;
use crate::plan::{Attach, Place, Plan};
use crate::schedule::{Due, Schedule};
use crate::tally::{Percentiles, histogram};

/// Bytes published without looking at anything else.
const BATCH_BYTES: usize = 128 << 10;
/// Messages published without looking at anything else.
const BATCH_MAX: usize = 1024;

/// What other threads see of a source.
#[derive(Default)]
pub(crate) struct Sent {
    /// Messages taken into the node's store, or on their way there.
    pub(crate) accepted: AtomicU64,
    /// Outcomes that are to come for them.
    pub(crate) owed: AtomicU64,
    /// Outcomes that came: delivered, anything else.
    pub(crate) delivered: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Times that a message was refused for want of room.
    pub(crate) refused: AtomicU64,
    /// The last message of the run is accepted.
    pub(crate) done: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Sent {
    /// Notes that the source cannot go on.
    pub(crate) fn fail(&self, why: String) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.get_or_insert(why);
    }

    /// Why the source cannot go on, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.clone()
    }

    /// Whether the last message and every outcome is there.
    pub(crate) fn is_settled(&self) -> bool {
        // What was owed is counted before it is said to be all.
        let is_done = self.done.load(Acquire);
        let outcomes = self.delivered.load(Relaxed) + self.failed.load(Relaxed);
        is_done && outcomes >= self.owed.load(Relaxed)
    }
}

/// A publisher that is ready: a subscriber is known to it.
pub(crate) trait Source {
    /// Begins to publish by the schedule; comes back at once.
    fn go(&mut self, schedule: Schedule) -> Result<(), Error>;
    /// Counters of its node, if it has one of its own.
    fn counters(&self) -> Vec<(String, u64)>;
    /// Ends it. Answers how late messages were published.
    fn finish(self: Box<Self>) -> Result<Percentiles, Error>;
}

/// Gets ready to publish.
pub(crate) fn start(plan: &Plan, place: &Place, sent: Arc<Sent>) -> Result<Box<dyn Source>, Error> {
    Ok(match plan.attach {
        Attach::OnShard => Box::new(on_shard::OnShard::start(plan, place, sent)?),
        Attach::AnyThread => Box::new(any_thread::AnyThread::start(plan, place, sent)?),
        Attach::Daemon => Box::new(daemon::Daemon::start(plan, place, sent)?),
    })
}

/// Makes one message after the other.
struct Generator {
    schedule: Schedule,
    payload: Vec<u8>,
    number: u64,
    last_made: bool,
    lag: Histogram<u64>,
}

/// What a generator has for its caller.
enum Next {
    /// A message with its due time; 0 if it has none. Tell [`Generator::taken`] when it is accepted.
    Message { due: u64 },
    /// Nothing before this time.
    At(u64),
    /// The last message was accepted.
    Over,
}

impl Generator {
    fn new(size: usize, schedule: Schedule) -> Self {
        Self {
            schedule,
            payload: (0..size).map(|at| at as u8).collect(),
            number: 0,
            last_made: false,
            lag: histogram(),
        }
    }

    /// Messages to publish before looking at anything else.
    fn batch(&self) -> usize {
        (BATCH_BYTES / self.payload.len().max(1)).clamp(1, BATCH_MAX)
    }

    /// The next message is in `payload` if there is one at `now`.
    fn next(&mut self, now: u64) -> Next {
        if self.last_made {
            return Next::Over;
        }
        let (due, counts, last) = match self.schedule.due(self.number, now) {
            Due::Now { at, counts } => (at, counts, false),
            Due::At(at) => return Next::At(at),
            // After the last that counts goes one that says so.
            Due::Never => (0, false, true),
        };
        Stamp {
            number: self.number,
            last,
            due: if counts { due } else { 0 },
        }
        .write(&mut self.payload);
        self.last_made = last;
        Next::Message { due }
    }

    /// Whether the last message was accepted.
    fn is_over(&self) -> bool {
        self.last_made
    }

    /// The message was accepted at `now`.
    fn taken(&mut self, due: u64, now: u64) {
        if due >= self.schedule.measured().start {
            self.lag.saturating_record(now.saturating_sub(due).max(1));
        }
        self.number += 1;
    }

    /// The message was refused: it comes again.
    fn refused(&mut self) {
        self.last_made = false;
    }
}
