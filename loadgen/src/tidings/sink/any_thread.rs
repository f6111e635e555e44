//! A subscriber in a thread of its own, over the ring from the shard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_engine::{Received, Subscriber, SubscriberOptions};

use crate::error::{Error, While};
use crate::plan::{Place, Plan, Side};
use crate::system::Sink;
use crate::tally::{Seen, Tallied, Tally};
use crate::tidings::node::Node;

/// How often the reader looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct AnyThread {
    node: Node,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Tallied>,
}

impl AnyThread {
    pub(crate) fn start(plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Self, Error> {
        let node = Node::start(plan, place, Side::Subscribing)?;
        let options = SubscriberOptions {
            ordered: plan.ordered,
            ..SubscriberOptions::default()
        };
        let subscribed = node
            .engine
            .subscribe(node.overlay, &[&plan.pattern()], options);
        let subscriber = subscribed.during("subscribe")?;
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let tally = Tally::new(plan, place, Arc::clone(&seen));
        let reader = thread::Builder::new()
            .name("subscriber".to_owned())
            .spawn(move || read(subscriber, tally, &seen, &over))
            .during("start the reader")?;
        Ok(Self { node, stop, reader })
    }
}

fn read(mut subscriber: Subscriber, mut tally: Tally, seen: &Seen, stop: &AtomicBool) -> Tallied {
    while !stop.load(Relaxed) {
        let (sub, id) = match subscriber.next_within(LOOK) {
            Some(Received::Message(message)) => {
                tally.take(message.payload, message.again);
                (message.sub, message.id)
            }
            Some(Received::Gap(gap)) => {
                seen.gap(gap.to - gap.from);
                continue;
            }
            None => continue,
        };
        subscriber.ack(sub, id);
    }
    tally.finish()
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
        let tallied = self.reader.join();
        self.node.engine.shutdown();
        tallied.map_err(|_| Error::Failed("the reader panicked".to_owned()))
    }
}
