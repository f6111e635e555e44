//! Publishers that are clients of a daemon.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidings_client::{Client, Event, Options, Outcome, Publisher};

use super::join;
use crate::clock;
use crate::error::{Error, While};
use crate::generator::{Generator, Next};
use crate::plan::{Place, Plan};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::system::Source;
use crate::tidings::OVERLAY;
use crate::times::Times;

/// How long the subscribers may take to be known.
const MEET: Duration = Duration::from_secs(15);
/// How long it waits for credit or outcomes before it looks at everything else again.
const LOOK: Duration = Duration::from_millis(20);

/// A client with a publisher for each topic.
type Opened = (Client, Vec<Publisher>);

pub(crate) struct Daemon {
    plan: Plan,
    sent: Arc<Sent>,
    ready: Vec<Opened>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Result<Times, Error>>>,
}

impl Daemon {
    pub(crate) fn start(plan: &Plan, place: &Place, sent: Arc<Sent>) -> Result<Self, Error> {
        let socket = place.socket()?;
        let mut ready = Vec::new();
        for _ in 0..plan.publishers {
            ready.push(open(plan, socket)?);
        }
        if let Some((client, publishers)) = ready.first_mut() {
            wait_for_subscribers(plan, client, publishers[0])?;
        }
        Ok(Self {
            plan: plan.clone(),
            sent,
            ready,
            stop: Arc::default(),
            writers: Vec::new(),
        })
    }
}

fn open(plan: &Plan, socket: &Path) -> Result<Opened, Error> {
    let mut client = Client::connect(Options::new(socket)).during("attach to the daemon")?;
    let mut publishers = Vec::new();
    for topic in 0..plan.topics {
        let publisher = client.open(OVERLAY, &plan.topic(topic));
        publishers.push(publisher.during("open a publisher")?);
    }
    Ok((client, publishers))
}

pub(crate) fn wait_for_subscribers(
    plan: &Plan,
    client: &mut Client,
    publisher: Publisher,
) -> Result<(), Error> {
    let deadline = Instant::now() + MEET;
    while client.owed(publisher).during("meet")? < plan.expected() as u32 {
        if Instant::now() >= deadline {
            return Err(Error::Late("the daemon learns of the subscribers"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

impl Source for Daemon {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        for (index, (client, publishers)) in self.ready.drain(..).enumerate() {
            let mut writer = Writer {
                client,
                publishers,
                accepted: 0,
                is_over: false,
                generator: Generator::new(&self.plan, schedule, index),
                sent: Arc::clone(&self.sent),
            };
            let stop = Arc::clone(&self.stop);
            let thread = thread::Builder::new()
                .name("publisher".to_owned())
                .spawn(move || {
                    clock::sleep_exactly();
                    let done = writer.write(&stop);
                    if let Err(error) = &done {
                        writer.sent.fail(error.to_string());
                    }
                    done.map(|()| writer.generator.into_lag())
                });
            self.writers.push(thread.during("start the writer")?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Times, Error> {
        self.stop.store(true, Relaxed);
        join(self.writers)
    }
}

/// Why a batch ended.
enum Pause {
    None,
    Credit,
    Until(u64),
    Over,
}

struct Writer {
    client: Client,
    publishers: Vec<Publisher>,
    /// What the daemon said it accepted.
    accepted: u64,
    is_over: bool,
    generator: Generator,
    sent: Arc<Sent>,
}

impl Writer {
    fn write(&mut self, stop: &AtomicBool) -> Result<(), Error> {
        while !stop.load(Relaxed) {
            let patience = match self.write_batch()? {
                Pause::None => Duration::ZERO,
                Pause::Credit => {
                    self.sent.refuse();
                    LOOK
                }
                Pause::Until(at) => {
                    self.client.flush().during("publish")?;
                    self.take_events(Duration::ZERO)?;
                    clock::sleep_until(at);
                    continue;
                }
                Pause::Over => LOOK,
            };
            self.take_events(patience)?;
            let is_all = self.generator.is_over() && self.accepted == self.generator.count();
            if is_all && !self.is_over {
                self.is_over = true;
                self.sent.end();
            }
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<Pause, Error> {
        let now = clock::now();
        for _ in 0..self.generator.batch() {
            let topic = match self.generator.next(now) {
                Next::Message { topic } => topic,
                Next::At(at) => return Ok(Pause::Until(at)),
                Next::Over => return Ok(Pause::Over),
            };
            let publisher = self.publishers[topic];
            match self.client.try_publish(publisher, self.generator.payload()) {
                Ok(_) => self.generator.taken(now),
                Err(tidings_client::Error::WouldBlock) => {
                    self.generator.refused();
                    return Ok(Pause::Credit);
                }
                Err(error) => return Err(Error::Failed(format!("publish: {error}"))),
            }
        }
        Ok(Pause::None)
    }

    /// Takes everything that came; waits up to `patience` for the first.
    fn take_events(&mut self, mut patience: Duration) -> Result<(), Error> {
        while let Some(event) = self.client.next(Some(patience)).during("read")? {
            patience = Duration::ZERO;
            match event {
                Event::Accepted { count, owed, .. } => {
                    self.accepted += u64::from(count);
                    self.sent
                        .accept(count.into(), u64::from(count) * u64::from(owed));
                }
                Event::Outcome { count, outcome, .. } => {
                    self.sent
                        .outcome(outcome == Outcome::Delivered, count.into());
                }
                Event::Lost { why } => {
                    return Err(Error::Failed(format!("the daemon is lost: {why}")));
                }
                Event::Refused { text, .. } => return Err(Error::Failed(text)),
                _ => {}
            }
        }
        Ok(())
    }
}
