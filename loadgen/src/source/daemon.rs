//! A publisher that is a client of a daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::Release};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidings_client::{Client, Event, Options, Outcome, Publisher};

use super::{Generator, Next, Sent, Source};
use crate::clock;
use crate::error::{Error, While};
use crate::plan::{OVERLAY, Place, Plan, TOPIC};
use crate::schedule::Schedule;
use crate::tally::Percentiles;

/// How long the subscriber may take to be known.
const MEET: Duration = Duration::from_secs(15);
/// How long it waits for credit or outcomes before it looks at everything else again.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Daemon {
    size: usize,
    sent: Arc<Sent>,
    ready: Option<(Client, Publisher)>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<Result<Percentiles, Error>>>,
}

impl Daemon {
    pub(crate) fn start(plan: &Plan, place: &Place, sent: Arc<Sent>) -> Result<Self, Error> {
        let socket = place
            .socket
            .clone()
            .ok_or_else(|| Error::Usage("--attach daemon needs --socket here".to_owned()))?;
        let mut client = Client::connect(Options::new(socket)).during("attach to the daemon")?;
        let publisher = client.open(OVERLAY, TOPIC).during("open a publisher")?;
        let deadline = Instant::now() + MEET;
        while client.owed(publisher).during("meet")? == 0 {
            if Instant::now() >= deadline {
                return Err(Error::Late("the daemon learns of the subscriber"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self {
            size: plan.size,
            sent,
            ready: Some((client, publisher)),
            stop: Arc::default(),
            writer: None,
        })
    }
}

impl Source for Daemon {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        let Some((client, publisher)) = self.ready.take() else {
            return Ok(());
        };
        let (sent, stop) = (Arc::clone(&self.sent), Arc::clone(&self.stop));
        let generator = Generator::new(self.size, schedule);
        let writer = thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || {
                clock::sleep_exactly();
                let done = write(client, publisher, generator, &sent, &stop);
                if let Err(error) = &done {
                    sent.fail(error.to_string());
                }
                done
            });
        self.writer = Some(writer.during("start the writer")?);
        Ok(())
    }

    fn counters(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    fn finish(self: Box<Self>) -> Result<Percentiles, Error> {
        self.stop.store(true, Relaxed);
        self.writer.map_or(Ok(Percentiles::default()), |writer| {
            let lag = writer.join();
            lag.map_err(|_| Error::Failed("the writer panicked".to_owned()))?
        })
    }
}

fn write(
    mut client: Client,
    publisher: Publisher,
    mut generator: Generator,
    sent: &Sent,
    stop: &AtomicBool,
) -> Result<Percentiles, Error> {
    while !stop.load(Relaxed) {
        let patience = match write_batch(&mut client, publisher, &mut generator)? {
            Pause::None => Duration::ZERO,
            Pause::Credit => {
                sent.refused.fetch_add(1, Relaxed);
                LOOK
            }
            Pause::Until(at) => {
                client.flush().during("publish")?;
                take_events(&mut client, sent, Duration::ZERO)?;
                clock::sleep_until(at);
                continue;
            }
            Pause::Over => LOOK,
        };
        take_events(&mut client, sent, patience)?;
        if generator.is_over() && sent.accepted.load(Relaxed) == generator.number {
            sent.done.store(true, Release);
        }
    }
    Ok(Percentiles::of(&generator.lag))
}

/// Why a batch ended.
enum Pause {
    None,
    Credit,
    Until(u64),
    Over,
}

fn write_batch(
    client: &mut Client,
    publisher: Publisher,
    generator: &mut Generator,
) -> Result<Pause, Error> {
    let now = clock::now();
    for _ in 0..generator.batch() {
        let due = match generator.next(now) {
            Next::Message { due } => due,
            Next::At(at) => return Ok(Pause::Until(at)),
            Next::Over => return Ok(Pause::Over),
        };
        match client.try_publish(publisher, &generator.payload) {
            Ok(_) => generator.taken(due, now),
            Err(tidings_client::Error::WouldBlock) => {
                generator.refused();
                return Ok(Pause::Credit);
            }
            Err(error) => return Err(Error::Failed(format!("publish: {error}"))),
        }
    }
    Ok(Pause::None)
}

/// Takes everything that came; waits up to `patience` for the first.
fn take_events(client: &mut Client, sent: &Sent, patience: Duration) -> Result<(), Error> {
    let mut patience = patience;
    while let Some(event) = client.next(Some(patience)).during("read")? {
        patience = Duration::ZERO;
        match event {
            Event::Accepted { count, owed, .. } => {
                sent.accepted.fetch_add(count.into(), Relaxed);
                let outcomes = u64::from(count) * u64::from(owed);
                sent.owed.fetch_add(outcomes, Relaxed);
            }
            Event::Outcome { count, outcome, .. } => {
                let counter = match outcome {
                    Outcome::Delivered => &sent.delivered,
                    _ => &sent.failed,
                };
                counter.fetch_add(count.into(), Relaxed);
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
