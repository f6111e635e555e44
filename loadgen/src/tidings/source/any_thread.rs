//! Publishers in threads of their own, over rings to the shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_engine::{Outcome, OutcomeWish, PublishRefusal, Publisher, PublisherOptions};

use super::join;
use crate::clock;
use crate::error::{Error, While};
use crate::generator::{Generator, Next};
use crate::plan::{Place, Plan, Side};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::system::Source;
use crate::tidings::node::Node;
use crate::times::Times;

/// How long it waits for room or outcomes before it looks at everything else again.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct AnyThread {
    node: Node,
    plan: Plan,
    sent: Arc<Sent>,
    /// For each publisher of the run one for each topic.
    publishers: Vec<Vec<Publisher>>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Result<Times, Error>>>,
}

impl AnyThread {
    pub(crate) fn start(plan: &Plan, place: &Place, sent: Arc<Sent>) -> Result<Self, Error> {
        let node = Node::start(plan, place, Side::Publishing)?;
        node.wait_for_subscribers(plan)?;
        let open = |topic: usize| {
            let options = PublisherOptions {
                outcomes: OutcomeWish::All,
                ..PublisherOptions::default()
            };
            let publisher = node
                .engine
                .publisher(node.overlay, &plan.topic(topic), options);
            publisher.during("open a publisher")
        };
        let open_all = |_| (0..plan.topics).map(open).collect::<Result<Vec<_>, _>>();
        let publishers = (0..plan.publishers)
            .map(open_all)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            publishers,
            node,
            plan: plan.clone(),
            sent,
            stop: Arc::default(),
            writers: Vec::new(),
        })
    }
}

impl Source for AnyThread {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        for (index, publishers) in self.publishers.drain(..).enumerate() {
            let mut writer = Writer {
                publishers,
                generator: Generator::new(&self.plan, schedule, index),
                sent: Arc::clone(&self.sent),
            };
            let stop = Arc::clone(&self.stop);
            let thread = thread::Builder::new()
                .name("publisher".to_owned())
                .spawn(move || {
                    clock::sleep_exactly();
                    writer.write(&stop);
                    Ok(writer.generator.into_lag())
                });
            self.writers.push(thread.during("start the writer")?);
        }
        Ok(())
    }

    fn counters(&self) -> Vec<(String, u64)> {
        self.node.counters()
    }

    fn finish(self: Box<Self>) -> Result<Times, Error> {
        self.stop.store(true, Relaxed);
        let lag = join(self.writers);
        self.node.engine.shutdown();
        lag
    }
}

/// Why a batch ended.
enum Pause {
    None,
    /// The publisher of this topic has no room.
    Room(usize),
    Until(u64),
    Over,
    Fault(String),
}

struct Writer {
    publishers: Vec<Publisher>,
    generator: Generator,
    sent: Arc<Sent>,
}

impl Writer {
    fn write(&mut self, stop: &AtomicBool) {
        let mut is_over = false;
        while !stop.load(Relaxed) {
            self.take_outcomes();
            match self.write_batch() {
                Pause::None => {}
                Pause::Room(topic) => {
                    self.sent.refuse();
                    self.publishers[topic].wait_for_room(LOOK);
                }
                Pause::Until(at) => clock::sleep_until(at),
                Pause::Over => {
                    if !is_over {
                        is_over = true;
                        self.sent.end();
                    }
                    self.wait_for_outcome();
                }
                Pause::Fault(why) => {
                    self.sent.fail(why);
                    return;
                }
            }
        }
    }

    fn write_batch(&mut self) -> Pause {
        let (mut owed, mut pause) = (0, Pause::None);
        let now = clock::now();
        for _ in 0..self.generator.batch() {
            let topic = match self.generator.next(now) {
                Next::Message { topic } => topic,
                Next::At(at) => {
                    pause = Pause::Until(at);
                    break;
                }
                Next::Over => {
                    pause = Pause::Over;
                    break;
                }
            };
            match self.publishers[topic].publish(self.generator.payload()) {
                Ok(published) => {
                    self.generator.taken(now);
                    owed += u64::from(published.owed);
                }
                Err(PublishRefusal::WouldBlock) => {
                    self.generator.refused();
                    pause = Pause::Room(topic);
                    break;
                }
                Err(error) => {
                    pause = Pause::Fault(format!("publish: {error}"));
                    break;
                }
            }
        }
        self.sent.accept(self.generator.news(), owed);
        pause
    }

    fn take_outcomes(&mut self) {
        for publisher in &mut self.publishers {
            while let Some(range) = publisher.try_outcome() {
                let delivered = range.outcome == Outcome::Delivered;
                self.sent.outcome(delivered, range.to - range.from);
            }
        }
    }

    /// Sleeps until there is one, if there is one publisher to wait for; of many it looks at all now and then.
    fn wait_for_outcome(&mut self) {
        match &mut self.publishers[..] {
            [publisher] => {
                if let Some(range) = publisher.outcome_within(LOOK) {
                    let delivered = range.outcome == Outcome::Delivered;
                    self.sent.outcome(delivered, range.to - range.from);
                }
            }
            _ => thread::sleep(LOOK / 4),
        }
    }
}
