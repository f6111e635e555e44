//! Requests and answers by one client of a daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_client::{Client, Event, Options, Outcome, Publisher};

use crate::clock;
use crate::error::{Error, While};
use crate::generator::{Generator, Next};
use crate::plan::{ANSWERS, Place, Plan};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::system::{Caller, Source};
use crate::tally::{Seen, Tallied, Tally};
use crate::tidings::OVERLAY;
use crate::tidings::sink::daemon::subscribe_options;
use crate::tidings::source::daemon::wait_for_subscribers;
use crate::times::Times;

/// How long it waits for an answer before it looks at everything else again.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Daemon {
    plan: Plan,
    sent: Arc<Sent>,
    ready: Option<(Client, Publisher, Tally)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(Times, Tallied), Error>>>,
}

impl Daemon {
    pub(crate) fn start(
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
        seen: Arc<Seen>,
    ) -> Result<Self, Error> {
        let socket = place.socket()?;
        let mut client = Client::connect(Options::new(socket)).during("attach to the daemon")?;
        let publisher = client
            .open(OVERLAY, &plan.topic(0))
            .during("open a publisher")?;
        wait_for_subscribers(plan, &mut client, publisher)?;
        client
            .subscribe(OVERLAY, ANSWERS, subscribe_options(plan))
            .during("subscribe to answers")?;
        Ok(Self {
            plan: plan.clone(),
            sent,
            ready: Some((client, publisher, Tally::new(plan, place, seen))),
            stop: Arc::default(),
            thread: None,
        })
    }
}

impl Source for Daemon {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        let Some((client, publisher, tally)) = self.ready.take() else {
            return Ok(());
        };
        let mut calling = Calling {
            client,
            publisher,
            tally,
            accepted: 0,
            generator: Generator::new(&self.plan, schedule, 0),
            is_closed: self.plan.is_closed_loop(),
            is_waiting: false,
            sent: Arc::clone(&self.sent),
        };
        let stop = Arc::clone(&self.stop);
        let thread = thread::Builder::new()
            .name("caller".to_owned())
            .spawn(move || {
                clock::sleep_exactly();
                let done = calling.call(&stop);
                if let Err(error) = &done {
                    calling.sent.fail(error.to_string());
                }
                done.map(|()| (calling.generator.into_lag(), calling.tally.finish()))
            });
        self.thread = Some(thread.during("start the caller")?);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Times, Error> {
        self.finish_call().map(|(lag, _)| lag)
    }
}

impl Caller for Daemon {
    fn finish_call(self: Box<Self>) -> Result<(Times, Tallied), Error> {
        self.stop.store(true, Relaxed);
        self.thread.map_or(Ok(Default::default()), |thread| {
            let done = thread.join();
            done.map_err(|_| Error::Failed("the caller panicked".to_owned()))?
        })
    }
}

struct Calling {
    client: Client,
    publisher: Publisher,
    tally: Tally,
    /// What the daemon said it accepted.
    accepted: u64,
    generator: Generator,
    /// One request at a time.
    is_closed: bool,
    is_waiting: bool,
    sent: Arc<Sent>,
}

impl Calling {
    fn call(&mut self, stop: &AtomicBool) -> Result<(), Error> {
        let mut is_over = false;
        while !stop.load(Relaxed) {
            let patience = self.publish()?;
            self.take_events(patience)?;
            let is_all = self.generator.is_over() && self.accepted == self.generator.count();
            if is_all && !is_over {
                is_over = true;
                self.sent.end();
            }
        }
        Ok(())
    }

    /// Publishes what is due; how long there is nothing to publish then.
    fn publish(&mut self) -> Result<Duration, Error> {
        let now = clock::now();
        while !(self.is_closed && self.is_waiting) {
            match self.generator.next(now) {
                Next::Message { .. } => {}
                Next::At(at) => {
                    return Ok(LOOK.min(Duration::from_nanos(at.saturating_sub(now))));
                }
                Next::Over => return Ok(LOOK),
            }
            match self
                .client
                .try_publish(self.publisher, self.generator.payload())
            {
                Ok(_) => {
                    self.generator.taken(now);
                    self.is_waiting = true;
                }
                Err(tidings_client::Error::WouldBlock) => {
                    self.generator.refused();
                    self.sent.refuse();
                    return Ok(LOOK);
                }
                Err(error) => return Err(Error::Failed(format!("publish: {error}"))),
            }
        }
        Ok(LOOK)
    }

    /// Takes everything that came; waits up to `patience` for the first.
    fn take_events(&mut self, mut patience: Duration) -> Result<(), Error> {
        while let Some(event) = self.client.next(Some(patience)).during("read")? {
            patience = Duration::ZERO;
            let done = match event {
                Event::Messages(messages) => {
                    for payload in messages.payloads {
                        self.tally.take(payload, messages.again);
                    }
                    self.is_waiting = false;
                    messages.all()
                }
                Event::Accepted { count, owed, .. } => {
                    self.accepted += u64::from(count);
                    let outcomes = u64::from(count) * u64::from(owed);
                    self.sent.accept(count.into(), outcomes);
                    continue;
                }
                Event::Outcome { count, outcome, .. } => {
                    self.sent
                        .outcome(outcome == Outcome::Delivered, count.into());
                    continue;
                }
                Event::Lost { why } => {
                    return Err(Error::Failed(format!("the daemon is lost: {why}")));
                }
                Event::Refused { text, .. } => return Err(Error::Failed(text)),
                _ => continue,
            };
            self.client.acknowledge(&done);
        }
        Ok(())
    }
}
