//! A publisher in a thread of its own, over the ring to the shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::Release};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_engine::{Outcome, OutcomeWish, PublishRefusal, Publisher, PublisherOptions};

use super::on_shard::wait_for_subscriber;
use super::{Generator, Next, Sent, Source};
use crate::clock;
use crate::error::{Error, While};
use crate::node::Node;
use crate::plan::{Place, Plan, Side, TOPIC};
use crate::schedule::Schedule;
use crate::tally::Percentiles;

/// How long it waits for room or outcomes before it looks at everything else again.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct AnyThread {
    node: Node,
    size: usize,
    sent: Arc<Sent>,
    publisher: Option<Publisher>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<Percentiles>>,
}

impl AnyThread {
    pub(crate) fn start(plan: &Plan, place: &Place, sent: Arc<Sent>) -> Result<Self, Error> {
        let node = Node::start(plan, place, Side::Publishing)?;
        wait_for_subscriber(&node)?;
        let options = PublisherOptions {
            outcomes: OutcomeWish::All,
            ..PublisherOptions::default()
        };
        let publisher = node.engine.publisher(node.overlay, TOPIC, options);
        Ok(Self {
            publisher: Some(publisher.during("open a publisher")?),
            node,
            size: plan.size,
            sent,
            stop: Arc::default(),
            writer: None,
        })
    }
}

impl Source for AnyThread {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        let Some(publisher) = self.publisher.take() else {
            return Ok(());
        };
        let (sent, stop) = (Arc::clone(&self.sent), Arc::clone(&self.stop));
        let generator = Generator::new(self.size, schedule);
        let writer = thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || {
                clock::sleep_exactly();
                write(publisher, generator, &sent, &stop)
            });
        self.writer = Some(writer.during("start the writer")?);
        Ok(())
    }

    fn counters(&self) -> Vec<(String, u64)> {
        self.node.counters()
    }

    fn finish(self: Box<Self>) -> Result<Percentiles, Error> {
        self.stop.store(true, Relaxed);
        let lag = self.writer.map_or(Ok(Percentiles::default()), |writer| {
            writer
                .join()
                .map_err(|_| Error::Failed("the writer panicked".to_owned()))
        });
        self.node.engine.shutdown();
        lag
    }
}

fn write(
    mut publisher: Publisher,
    mut generator: Generator,
    sent: &Sent,
    stop: &AtomicBool,
) -> Percentiles {
    while !stop.load(Relaxed) {
        take_outcomes(&mut publisher, sent);
        match write_batch(&mut publisher, &mut generator, sent) {
            Pause::None => {}
            Pause::Room => {
                sent.refused.fetch_add(1, Relaxed);
                publisher.wait_for_room(LOOK);
            }
            Pause::Until(at) => clock::sleep_until(at),
            Pause::Over => {
                sent.done.store(true, Release);
                if let Some(range) = publisher.outcome_within(LOOK) {
                    count(range.outcome, range.to - range.from, sent);
                }
            }
            Pause::Fault(why) => {
                sent.fail(why);
                break;
            }
        }
    }
    Percentiles::of(&generator.lag)
}

/// Why a batch ended.
enum Pause {
    None,
    Room,
    Until(u64),
    Over,
    Fault(String),
}

fn write_batch(publisher: &mut Publisher, generator: &mut Generator, sent: &Sent) -> Pause {
    let (mut owed, mut pause) = (0, Pause::None);
    let now = clock::now();
    for _ in 0..generator.batch() {
        let due = match generator.next(now) {
            Next::Message { due } => due,
            Next::At(at) => {
                pause = Pause::Until(at);
                break;
            }
            Next::Over => {
                pause = Pause::Over;
                break;
            }
        };
        match publisher.publish(&generator.payload) {
            Ok(published) => {
                generator.taken(due, now);
                owed += u64::from(published.owed);
            }
            Err(PublishRefusal::WouldBlock) => {
                generator.refused();
                pause = Pause::Room;
                break;
            }
            Err(error) => {
                pause = Pause::Fault(format!("publish: {error}"));
                break;
            }
        }
    }
    sent.owed.fetch_add(owed, Relaxed);
    sent.accepted.store(generator.number, Relaxed);
    pause
}

fn take_outcomes(publisher: &mut Publisher, sent: &Sent) {
    while let Some(range) = publisher.try_outcome() {
        count(range.outcome, range.to - range.from, sent);
    }
}

fn count(outcome: Outcome, messages: u64, sent: &Sent) {
    let count = match outcome {
        Outcome::Delivered => &sent.delivered,
        _ => &sent.failed,
    };
    count.fetch_add(messages, Relaxed);
}
