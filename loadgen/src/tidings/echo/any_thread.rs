//! Answers from a thread, over one ring from the shard and one to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_engine::{
    OutcomeWish, PublishRefusal, Publisher, PublisherOptions, Received, Subscriber,
    SubscriberOptions,
};

use crate::error::{Error, While};
use crate::plan::{ANSWERS, Place, Plan, Side};
use crate::system::Sink;
use crate::tally::{Seen, Tallied, Tally};
use crate::tidings::node::Node;

/// How often the thread looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct AnyThread {
    node: Node,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tallied, Error>>,
}

impl AnyThread {
    pub(crate) fn start(plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Self, Error> {
        let node = Node::start(plan, place, Side::Subscribing)?;
        let options = PublisherOptions {
            outcomes: OutcomeWish::Nothing,
            ..PublisherOptions::default()
        };
        let publisher = node.engine.publisher(node.overlay, ANSWERS, options);
        let publisher = publisher.during("open a publisher")?;
        let options = SubscriberOptions {
            ordered: plan.ordered,
            ..SubscriberOptions::default()
        };
        let subscriber = node
            .engine
            .subscribe(node.overlay, &[&plan.pattern()], options)
            .during("subscribe")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (over, tally) = (Arc::clone(&stop), Tally::new(plan, place, seen));
        let thread = thread::Builder::new()
            .name("echo".to_owned())
            .spawn(move || answer(subscriber, publisher, tally, &over))
            .during("start the echo")?;
        Ok(Self { node, stop, thread })
    }
}

fn answer(
    mut subscriber: Subscriber,
    mut publisher: Publisher,
    mut tally: Tally,
    stop: &AtomicBool,
) -> Result<Tallied, Error> {
    while !stop.load(Relaxed) {
        let Some(Received::Message(message)) = subscriber.next_within(LOOK) else {
            continue;
        };
        let (sub, id) = (message.sub, message.id);
        while let Err(refusal) = publisher.publish(message.payload) {
            if refusal != PublishRefusal::WouldBlock {
                return Err(Error::Failed(format!("answer: {refusal}")));
            }
            if stop.load(Relaxed) {
                return Ok(tally.finish());
            }
            publisher.wait_for_room(LOOK);
        }
        tally.take(message.payload, message.again);
        subscriber.ack(sub, id);
    }
    Ok(tally.finish())
}

impl Sink for AnyThread {
    fn addr(&self) -> Option<SocketAddr> {
        Some(self.node.addr())
    }

    fn counters(&self) -> Vec<(String, u64)> {
        self.node.counters()
    }

    fn finish(self: Box<Self>) -> Result<Tallied, Error> {
        self.stop.store(true, Relaxed);
        let tallied = self.thread.join();
        self.node.engine.shutdown();
        tallied.map_err(|_| Error::Failed("the echo panicked".to_owned()))?
    }
}
