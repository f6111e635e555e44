//! A process of a run that was started by the first: subscribes and answers its orders.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::clock;
use crate::control::{Answer, Finished, Mark, Order};
use crate::error::{Error, While};
use crate::guard;
use crate::plan::{Place, Plan, Side};
use crate::system::{self, Sink, System};
use crate::tally::Seen;
use crate::usage::Usage;

/// How long nothing may come before messages are given up that should have.
pub(crate) const QUIET: Duration = Duration::from_secs(5);

/// Runs until it is told to finish or the first process is gone.
pub(crate) fn run(systems: &[&dyn System]) -> Result<(), Error> {
    guard::die_with_parent()?;
    let seen = Arc::new(Seen::default());
    let mut sink = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.during("read an order")?;
        let order = serde_json::from_str(&line).during("understand an order")?;
        let answer = match order {
            Order::Start { plan, place } => {
                let system = system::find(systems, Some(&plan.attach))?;
                start(system, &plan, &place, &seen, &mut sink)
            }
            Order::Mark => Ok(Answer::Marked(mark(&seen))),
            Order::Finish { published } => {
                let finished = finish(published, &seen, sink.take());
                return say(&finished.unwrap_or_else(|error| Answer::Failed(error.to_string())));
            }
        };
        say(&answer.unwrap_or_else(|error| Answer::Failed(error.to_string())))?;
    }
    Ok(())
}

fn say(answer: &Answer) -> Result<(), Error> {
    let line = serde_json::to_string(answer).during("write an answer")?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").during("answer")?;
    output.flush().during("answer")
}

fn start(
    system: &dyn System,
    plan: &Plan,
    place: &Place,
    seen: &Arc<Seen>,
    sink: &mut Option<Box<dyn Sink>>,
) -> Result<Answer, Error> {
    clock::pin(plan.cpu(Side::Subscribing))?;
    let started = system.sink(plan, place, Arc::clone(seen))?;
    let addr = started.addr();
    *sink = Some(started);
    Ok(Answer::Ready(addr))
}

fn mark(seen: &Seen) -> Mark {
    Mark {
        at: clock::now(),
        unique: seen.unique.load(Relaxed),
        usage: Usage::own(),
    }
}

fn finish(published: u64, seen: &Seen, sink: Option<Box<dyn Sink>>) -> Result<Answer, Error> {
    let (mut count, mut since) = (0, Instant::now());
    while count < published && since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(5));
        let unique = seen.unique.load(Relaxed);
        if unique != count {
            (count, since) = (unique, Instant::now());
        }
    }
    let sink = sink.ok_or_else(|| Error::Failed("it never started".to_owned()))?;
    let (usage, counters) = (Usage::own(), sink.counters());
    let tallied = sink.finish()?;
    Ok(Answer::Finished(Box::new(Finished {
        tallied,
        usage,
        counters,
    })))
}
