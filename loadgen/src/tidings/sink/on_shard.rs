//! A subscriber whose handler runs on the shard: it acknowledges by returning.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tidings_engine::{Event, SubSpec, Taken};

use crate::error::{Error, While};
use crate::plan::{Place, Plan, Side};
use crate::system::Sink;
use crate::tally::{Seen, Tallied, Tally};
use crate::tidings::node::Node;

/// How long the shard may take to drop its handlers.
const END: Duration = Duration::from_secs(10);

/// Sends its tally when the shard drops the handler.
pub(crate) struct Book {
    tally: Option<Tally>,
    results: Sender<Tallied>,
}

impl Book {
    pub(crate) fn new(tally: Tally, results: Sender<Tallied>) -> Self {
        Self {
            tally: Some(tally),
            results,
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, payload: &[u8], again: bool) {
        if let Some(tally) = &mut self.tally {
            tally.take(payload, again);
        }
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        if let Some(tally) = self.tally.take() {
            // Nobody waits any more: nothing to tell.
            let _ = self.results.send(tally.finish());
        }
    }
}

pub(crate) struct OnShard {
    node: Node,
    results: Receiver<Tallied>,
}

impl OnShard {
    pub(crate) fn start(plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Self, Error> {
        let node = Node::start(plan, place, Side::Subscribing)?;
        let (tx, results) = channel();
        let mut spec = SubSpec::new(&plan.pattern());
        spec.ordered = plan.ordered;
        let tally = Tally::new(plan, place, Arc::clone(&seen));
        let subscribed = node.engine.on_shard(node.overlay, move |desk| {
            let mut book = Book::new(tally, tx);
            desk.on_event(move |event, _| {
                if let Event::Gap { from, to, .. } = event {
                    seen.gap(to - from);
                }
            });
            desk.subscribe(spec, move |message, _| {
                book.take(message.payload, message.again);
                Taken::Acked
            })
        });
        let refused = |error| Error::Failed(format!("subscribe: {error:?}"));
        subscribed.during("subscribe")?.map_err(refused)?;
        Ok(Self { node, results })
    }
}

impl Sink for OnShard {
    fn addr(&self) -> Option<SocketAddr> {
        Some(self.node.addr())
    }

    fn counters(&self) -> Vec<(String, u64)> {
        self.node.counters()
    }

    fn finish(self: Box<Self>) -> Result<Tallied, Error> {
        self.node.engine.shutdown();
        let late = |_| Error::Late("the subscriber's handler ends");
        self.results.recv_timeout(END).map_err(late)
    }
}
