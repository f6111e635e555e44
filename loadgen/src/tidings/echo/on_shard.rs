//! Answers from the handler on the shard: the answer leaves at the end of the turn that brought the request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tidings_engine::{SubSpec, Taken};

use crate::error::{Error, While};
use crate::plan::{ANSWERS, Place, Plan, Side};
use crate::system::Sink;
use crate::tally::{Seen, Tallied, Tally};
use crate::tidings::node::Node;
use crate::tidings::sink::on_shard::Book;

/// How long the shard may take to drop its handlers.
const END: Duration = Duration::from_secs(10);

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
        let mut book = Book::new(Tally::new(plan, place, seen), tx);
        let subscribed = node.engine.on_shard(node.overlay, move |desk| {
            let answers = desk.publisher(ANSWERS)?;
            desk.subscribe(spec, move |message, outbox| {
                if !outbox.publish(answers, message.payload) {
                    return Taken::Full;
                }
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
        let late = |_| Error::Late("the handler of requests ends");
        self.results.recv_timeout(END).map_err(late)
    }
}
