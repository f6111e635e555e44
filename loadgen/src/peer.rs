//! A process of a run that was started by the first: subscribes and answers its orders.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::clock;
use crate::control::{Answer, Finished, Mark, Order};
use crate::crowd::Crowd;
use crate::error::{Error, While};
use crate::guard;
use crate::plan::{Place, Plan, Side, Task};
use crate::system::{self, Sink, System};
use crate::tally::Seen;
use crate::usage::Usage;

/// How long nothing may come before messages are given up that should have.
const QUIET: Duration = Duration::from_secs(5);

/// Runs until it is told to finish or the first process is gone.
pub(crate) fn run(systems: &[&dyn System]) -> Result<(), Error> {
    guard::die_with_parent()?;
    std::thread::scope(|scope| {
        let mut worker = None;
        for line in std::io::stdin().lock().lines() {
            let line = line.during("read an order")?;
            let order = serde_json::from_str(&line).during("understand an order")?;
            let is_last = matches!(order, Order::Finish { .. });
            let answer = obey(scope, systems, &mut worker, order);
            let is_over = is_last || answer.is_err();
            say(&answer.unwrap_or_else(|error| Answer::Failed(error.to_string())))?;
            if is_over {
                break;
            }
        }
        Ok(())
    })
}

fn say(answer: &Answer) -> Result<(), Error> {
    let line = serde_json::to_string(answer).during("write an answer")?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").during("answer")?;
    output.flush().during("answer")
}

fn obey<'scope, 'env: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    systems: &[&'env dyn System],
    worker: &mut Option<Worker<'scope, 'env>>,
    order: Order,
) -> Result<Answer, Error> {
    if let Order::Start { plan, place } = order {
        let system = system::find(systems, Some(&plan.attach))?;
        let (started, addr) = Worker::start(system, *plan, place)?;
        *worker = Some(started);
        return Ok(Answer::Ready(addr));
    }
    let never = || Error::Failed("it never started".to_owned());
    let worker = worker.as_mut().ok_or_else(never)?;
    Ok(match order {
        Order::Start { .. } => return Err(never()),
        Order::Go => {
            worker.go(scope)?;
            Answer::Gone
        }
        Order::Count => Answer::Counted(worker.unique()),
        Order::Mark => Answer::Marked(Mark {
            at: clock::now(),
            unique: worker.unique(),
            usage: Usage::own(),
        }),
        Order::Finish { published } => Answer::Finished(Box::new(worker.finish(published)?)),
    })
}

/// What this process does.
struct Worker<'scope, 'env> {
    system: &'env dyn System,
    plan: Plan,
    place: Place,
    seen: Arc<Seen>,
    sink: Option<Box<dyn Sink>>,
    crowd: Option<Crowd<'scope>>,
}

impl<'scope, 'env: 'scope> Worker<'scope, 'env> {
    fn start(
        system: &'env dyn System,
        plan: Plan,
        place: Place,
    ) -> Result<(Self, Option<std::net::SocketAddr>), Error> {
        clock::pin(plan.cpu(Side::Subscribing))?;
        let seen = Arc::new(Seen::default());
        let sink = sink(system, &plan, &place, &seen)?;
        let addr = sink.as_ref().and_then(|sink| sink.addr());
        let worker = Self {
            system,
            plan,
            place,
            seen,
            sink,
            crowd: None,
        };
        Ok((worker, addr))
    }

    /// The crowd comes when it is told to.
    fn go(&mut self, scope: &'scope Scope<'scope, 'env>) -> Result<(), Error> {
        let crowd = Crowd::go(scope, self.system, &self.plan, &self.place)?;
        self.crowd = Some(crowd);
        Ok(())
    }

    fn unique(&self) -> u64 {
        let crowd = self.crowd.as_ref().map_or(0, Crowd::unique);
        crowd + self.seen.unique.load(Relaxed)
    }

    fn finish(&mut self, published: u64) -> Result<Finished, Error> {
        self.wait_for(published);
        let usage = Usage::own();
        let counters = self.sink.as_ref().map(|sink| sink.counters());
        let tallied = self.sink.take().map(|sink| sink.finish()).transpose()?;
        let crowd = self.crowd.take().map(|crowd| crowd.finish(published));
        Ok(Finished {
            tallied: tallied.unwrap_or_default(),
            crowd: crowd.transpose()?,
            usage,
            counters: counters.unwrap_or_default(),
        })
    }

    /// Until all came, or nothing for a while.
    fn wait_for(&self, published: u64) {
        let is_all = || match (self.place.task, &self.crowd) {
            (Task::Churn, _) => true,
            (Task::Storm, Some(crowd)) => crowd.is_over(),
            _ => self.seen.unique.load(Relaxed) >= published,
        };
        let (mut count, mut since) = (self.unique(), Instant::now());
        while !is_all() && since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(5));
            let unique = self.unique();
            if unique != count {
                (count, since) = (unique, Instant::now());
            }
        }
    }
}

/// The sink of a task that has one from the beginning.
pub(crate) fn sink(
    system: &dyn System,
    plan: &Plan,
    place: &Place,
    seen: &Arc<Seen>,
) -> Result<Option<Box<dyn Sink>>, Error> {
    let seen = Arc::clone(seen);
    Ok(match place.task {
        Task::Steady | Task::Slow => Some(system.sink(plan, place, seen)?),
        Task::Echo => Some(system.echo(plan, place, seen)?),
        Task::Churn | Task::Storm => None,
    })
}
