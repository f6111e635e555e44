//! Requests and answers in a thread of its own, over one ring to the shard and one from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_engine::{
    Outcome, OutcomeWish, PublishRefusal, Publisher, PublisherOptions, Received, Subscriber,
    SubscriberOptions,
};

use crate::clock;
use crate::error::{Error, While};
use crate::generator::{Generator, Next};
use crate::plan::{ANSWERS, Place, Plan, Side};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::system::{Caller, Source};
use crate::tally::{Seen, Tallied, Tally};
use crate::tidings::node::Node;
use crate::times::Times;

/// How long it waits for an answer before it looks at everything else again.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct AnyThread {
    node: Node,
    plan: Plan,
    sent: Arc<Sent>,
    ready: Option<(Publisher, Subscriber, Tally)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(Times, Tallied)>>,
}

impl AnyThread {
    pub(crate) fn start(
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
        seen: Arc<Seen>,
    ) -> Result<Self, Error> {
        let node = Node::start(plan, place, Side::Publishing)?;
        node.wait_for_subscribers(plan)?;
        let options = PublisherOptions {
            outcomes: OutcomeWish::All,
            ..PublisherOptions::default()
        };
        let publisher = node
            .engine
            .publisher(node.overlay, &plan.topic(0), options)
            .during("open a publisher")?;
        let subscriber = node
            .engine
            .subscribe(node.overlay, &[ANSWERS], SubscriberOptions::default())
            .during("subscribe to answers")?;
        Ok(Self {
            node,
            plan: plan.clone(),
            sent,
            ready: Some((publisher, subscriber, Tally::new(plan, place, seen))),
            stop: Arc::default(),
            thread: None,
        })
    }
}

impl Source for AnyThread {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        let Some((publisher, subscriber, tally)) = self.ready.take() else {
            return Ok(());
        };
        let mut calling = Calling {
            publisher,
            subscriber,
            tally,
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
                calling.call(&stop);
                (calling.generator.into_lag(), calling.tally.finish())
            });
        self.thread = Some(thread.during("start the caller")?);
        Ok(())
    }

    fn counters(&self) -> Vec<(String, u64)> {
        self.node.counters()
    }

    fn finish(self: Box<Self>) -> Result<Times, Error> {
        self.finish_call().map(|(lag, _)| lag)
    }
}

impl Caller for AnyThread {
    fn finish_call(self: Box<Self>) -> Result<(Times, Tallied), Error> {
        self.stop.store(true, Relaxed);
        let done = self.thread.map_or(Ok(Default::default()), JoinHandle::join);
        self.node.engine.shutdown();
        done.map_err(|_| Error::Failed("the caller panicked".to_owned()))
    }
}

struct Calling {
    publisher: Publisher,
    subscriber: Subscriber,
    tally: Tally,
    generator: Generator,
    /// One request at a time.
    is_closed: bool,
    is_waiting: bool,
    sent: Arc<Sent>,
}

impl Calling {
    fn call(&mut self, stop: &AtomicBool) {
        let mut is_over = false;
        while !stop.load(Relaxed) {
            let patience = match self.publish() {
                Ok(patience) => patience,
                Err(why) => return self.sent.fail(why),
            };
            if self.generator.is_over() && !is_over {
                is_over = true;
                self.sent.end();
            }
            self.take_answers(patience);
            while let Some(range) = self.publisher.try_outcome() {
                let delivered = range.outcome == Outcome::Delivered;
                self.sent.outcome(delivered, range.to - range.from);
            }
        }
    }

    /// Publishes what is due; how long there is nothing to publish then.
    fn publish(&mut self) -> Result<Duration, String> {
        let (mut owed, now) = (0, clock::now());
        let mut patience = LOOK;
        while !(self.is_closed && self.is_waiting) {
            match self.generator.next(now) {
                Next::Message { .. } => {}
                Next::At(at) => {
                    patience = LOOK.min(Duration::from_nanos(at.saturating_sub(now)));
                    break;
                }
                Next::Over => break,
            }
            match self.publisher.publish(self.generator.payload()) {
                Ok(published) => {
                    self.generator.taken(now);
                    self.is_waiting = true;
                    owed += u64::from(published.owed);
                }
                Err(PublishRefusal::WouldBlock) => {
                    self.generator.refused();
                    self.sent.refuse();
                    patience = Duration::from_millis(1);
                    break;
                }
                Err(error) => return Err(format!("publish: {error}")),
            }
        }
        self.sent.accept(self.generator.news(), owed);
        Ok(patience)
    }

    /// Takes the answers that are there; waits up to `patience` for the first.
    fn take_answers(&mut self, mut patience: Duration) {
        while let Some(received) = self.subscriber.next_within(patience) {
            patience = Duration::ZERO;
            if let Received::Message(message) = received {
                self.tally.take(message.payload, message.again);
                let (sub, id) = (message.sub, message.id);
                self.subscriber.ack(sub, id);
                self.is_waiting = false;
            }
        }
    }
}
