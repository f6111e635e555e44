//! Publishers as threads, one for each connection: the loop that all peers have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_loadgen::{Error, Generator, Next, Plan, Schedule, Sent, Source, Times, While, clock};

/// How often a publisher that is through looks for outcomes and for its end.
const LOOK: Duration = Duration::from_millis(2);

/// One publisher's connection.
pub(crate) trait Link: Send + 'static {
    /// Whether the peer tells what became of each message.
    const HAS_OUTCOMES: bool = false;

    /// Hands over a message, which may wait for [`Link::flush`]. `false`: there is no room.
    fn send(&mut self, payload: &[u8]) -> Result<bool, String>;

    /// Nothing follows for a while.
    fn flush(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Waits a moment for room.
    fn wait(&mut self) {
        thread::yield_now();
    }

    /// Outcomes that came since the last call, all good.
    fn outcomes(&mut self) -> Result<u64, String> {
        Ok(0)
    }
}

/// The publishers of a run.
pub(crate) struct Writers<L> {
    plan: Plan,
    sent: Arc<Sent>,
    links: Vec<L>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Times, String>>>,
}

impl<L: Link> Writers<L> {
    /// With connections that are ready, one for each publisher of the plan.
    pub(crate) fn new(plan: &Plan, sent: Arc<Sent>, links: Vec<L>) -> Self {
        Self {
            plan: plan.clone(),
            sent,
            links,
            stop: Arc::default(),
            threads: Vec::new(),
        }
    }
}

impl<L: Link> Source for Writers<L> {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        for (index, link) in self.links.drain(..).enumerate() {
            let generator = Generator::new(&self.plan, schedule, index);
            let (sent, stop) = (Arc::clone(&self.sent), Arc::clone(&self.stop));
            let thread = thread::Builder::new()
                .name("publisher".to_owned())
                .spawn(move || {
                    clock::sleep_exactly();
                    let done = write(link, generator, &sent, &stop);
                    done.inspect_err(|why| sent.fail(why.clone()))
                });
            self.threads.push(thread.during("start a publisher")?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Times, Error> {
        self.stop.store(true, Relaxed);
        join(self.threads)
    }
}

/// Waits for threads of publishers: how late their messages were.
pub(crate) fn join(threads: Vec<JoinHandle<Result<Times, String>>>) -> Result<Times, Error> {
    let mut lag = Times::new();
    for thread in threads {
        let done = thread.join();
        let done = done.map_err(|_| Error::Failed("a publisher panicked".to_owned()))?;
        lag.add(&done.during("publish")?);
    }
    Ok(lag)
}

fn write<L: Link>(
    mut link: L,
    mut generator: Generator,
    sent: &Sent,
    stop: &AtomicBool,
) -> Result<Times, String> {
    let mut is_told = false;
    while !stop.load(Relaxed) {
        let pause = batch(&mut link, &mut generator)?;
        let news = generator.news();
        sent.accept(news, if L::HAS_OUTCOMES { news } else { 0 });
        match pause {
            Pause::None => {}
            Pause::Room => {
                sent.refuse();
                link.flush()?;
                link.wait();
            }
            Pause::Until(at) => {
                link.flush()?;
                clock::sleep_until(at);
            }
            Pause::Over => {
                link.flush()?;
                if !is_told {
                    sent.end();
                    is_told = true;
                }
                thread::sleep(LOOK);
            }
        }
        let outcomes = link.outcomes()?;
        if outcomes > 0 {
            sent.outcome(true, outcomes);
        }
    }
    Ok(generator.into_lag())
}

/// Why a batch ended.
enum Pause {
    None,
    Room,
    Until(u64),
    Over,
}

fn batch<L: Link>(link: &mut L, generator: &mut Generator) -> Result<Pause, String> {
    let now = clock::now();
    for _ in 0..generator.batch() {
        match generator.next(now) {
            Next::Message { .. } => {}
            Next::At(at) => return Ok(Pause::Until(at)),
            Next::Over => return Ok(Pause::Over),
        }
        if link.send(generator.payload())? {
            generator.taken(now);
        } else {
            generator.refused();
            return Ok(Pause::Room);
        }
    }
    Ok(Pause::None)
}
