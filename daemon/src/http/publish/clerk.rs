//! What publishes for the management service in one overlay: a session on the overlay's shard that takes orders from a bounded
//! queue and answers each. Called by the shard; it never waits and takes no lock. It ends with the overlay, or when nobody can
//! order any more, and a life of the service is nothing to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

use axum::body::Bytes;
use tidings_engine::limits::PUBLISH_BYTES_PER_TURN_MAX;
use tidings_engine::{
    CommandError, Delivery, Departed, Event, Flushed, Outcome, PublishError, PublisherId, Seat,
    Session, Taken, Verdict,
};
use tokio::sync::oneshot;

use crate::http::limits::PUBLISHERS;

/// What an order costs a turn besides its payload, in bytes.
const ORDER_BYTES: usize = 64;
/// Outcomes that there are: their codes are below this.
const OUTCOMES: usize = 9;

/// A message to publish.
pub struct Order {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Bytes,
    /// Where its outcomes are counted, if somebody waits for them: it is refused then if nobody has subscribed.
    pub progress: Option<Arc<Progress>>,
    /// Who ordered.
    pub answer: oneshot::Sender<Result<Accepted, Refused>>,
}

/// A message that was accepted.
pub struct Accepted {
    /// Who published it.
    pub publisher: PublisherId,
    /// Its number among that publisher's messages.
    pub seq: u64,
    /// Subscriptions that are owed it.
    pub owed: u32,
    /// Whether the subscriptions of every member were known.
    pub synced: bool,
    /// Told when every outcome is there, if that was asked for.
    pub settled: Option<oneshot::Receiver<()>>,
}

/// Why a message was not accepted. Nothing was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room now, or the subscriptions of others are not known yet.
    WouldBlock,
    /// It is longer than this.
    TooLarge(usize),
    /// Its outcomes were asked for, and there will be none.
    NoSubscriber,
    /// That is no topic.
    BadTopic,
    /// The overlay has as many publishers as it may.
    TooMany,
    /// The overlay is being left.
    Leaving,
}

/// How many subscriptions each outcome has come of. The shard writes, whoever waits reads.
#[derive(Debug, Default)]
pub struct Progress([AtomicU64; OUTCOMES]);

impl Progress {
    fn add(&self, outcome: Outcome) {
        if let Some(count) = self.0.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The outcomes that came, with how often each did.
    pub fn counts(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        let codes = (0..).map(Outcome::from_code);
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        codes.zip(counts).filter(|(_, count)| *count > 0)
    }
}

/// A message whose outcomes are waited for.
struct Watched {
    left: u32,
    progress: Arc<Progress>,
    settled: oneshot::Sender<()>,
}

/// An open publisher.
struct Open {
    handle: u32,
    /// When it was used last, counted in messages.
    used: u64,
}

#[derive(Default)]
struct Books {
    /// By topic.
    open: BTreeMap<String, Open>,
    messages: u64,
    /// By handle and number.
    watched: BTreeMap<(u32, u64), Watched>,
}

/// Outcomes as the core told them: of these numbers of the publisher `handle`.
struct Told {
    handle: u32,
    from: u64,
    to: u64,
    outcome: Outcome,
}

/// See the module.
pub struct Clerk {
    orders: Receiver<Order>,
    bell: Arc<OwnedFd>,
    books: RefCell<Books>,
    /// Outcomes since the last flush: some come while a message is being accepted, when the books are in use.
    told: RefCell<Vec<Told>>,
}

impl Clerk {
    /// Takes `orders`, and looks for them when `bell`, an event counter, is rung.
    pub fn new(orders: Receiver<Order>, bell: Arc<OwnedFd>) -> Self {
        Self {
            orders,
            bell,
            books: RefCell::default(),
            told: RefCell::default(),
        }
    }
}

impl Session for Clerk {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }

    fn is_client(&self) -> bool {
        false
    }

    fn on_readable(&self, seat: &mut Seat<'_>) -> Verdict {
        // Before the queue is looked at: what comes later rings again. It is readable or was rung by nobody.
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
        let mut books = self.books.borrow_mut();
        let mut left = PUBLISH_BYTES_PER_TURN_MAX;
        loop {
            if left == 0 {
                // The rest has the next turn. A counter that is full was rung already.
                let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
                return Verdict::Stay;
            }
            match self.orders.try_recv() {
                Ok(order) => {
                    left = left.saturating_sub(order.payload.len() + ORDER_BYTES);
                    books.fill(order, seat);
                }
                Err(TryRecvError::Empty) => return Verdict::Stay,
                Err(TryRecvError::Disconnected) => return Verdict::Close,
            }
        }
    }

    /// Its bell is heard where it is by then, also of what it was rung for before.
    fn can_depart(&self) -> bool {
        true
    }

    fn depart(self: Box<Self>) -> Option<Departed> {
        Some(Box::new(move || self))
    }

    /// It has no subscriptions.
    fn deliver(&self, _sub: u32, _message: &Delivery<'_>) -> Taken {
        Taken::Full
    }

    fn event(&self, event: &Event<'_>) {
        if let Event::Outcome {
            handle,
            from,
            to,
            outcome,
            ..
        } = *event
        {
            self.told.borrow_mut().push(Told {
                handle,
                from,
                to,
                outcome,
            });
        }
    }

    fn flush(&self, _seat: &mut Seat<'_>) -> Flushed {
        let mut books = self.books.borrow_mut();
        for told in self.told.borrow_mut().drain(..) {
            books.settle(&told);
        }
        Flushed::Done
    }

    /// Whoever still waits is told by the end of what it waits at.
    fn on_close(&self, _seat: &mut Seat<'_>) {}
}

impl Books {
    fn fill(&mut self, order: Order, seat: &mut Seat<'_>) {
        // Whoever ordered may have given up meanwhile: then it was told that nothing was kept.
        if order.answer.is_closed() {
            return;
        }
        let answer = self.publish(&order, seat);
        // Or gives up this moment, as a client that is gone before it has heard.
        let _ = order.answer.send(answer);
    }

    fn publish(&mut self, order: &Order, seat: &mut Seat<'_>) -> Result<Accepted, Refused> {
        let handle = self.handle(&order.topic, seat)?;
        let synced = seat.is_synced();
        if order.progress.is_some() && synced && seat.owed_by(handle) == 0 {
            return Err(Refused::NoSubscriber);
        }
        let accepted = match seat.publish(handle, &order.payload) {
            Ok(accepted) => accepted,
            Err(PublishError::WouldBlock) => return Err(Refused::WouldBlock),
            Err(PublishError::TooLarge { limit }) => return Err(Refused::TooLarge(limit)),
            Err(PublishError::Closed) => {
                self.open.remove(&order.topic);
                return Err(Refused::Leaving);
            }
        };
        let settled = order.progress.as_ref().map(|progress| {
            let key = (handle, accepted.seq);
            self.watch(key, accepted.owed, progress)
        });
        let (node, boot) = seat.node();
        Ok(Accepted {
            publisher: PublisherId { node, boot, handle },
            seq: accepted.seq,
            owed: accepted.owed,
            synced,
            settled,
        })
    }

    /// The publisher of a topic, opened if need be.
    fn handle(&mut self, topic: &str, seat: &mut Seat<'_>) -> Result<u32, Refused> {
        self.messages += 1;
        if let Some(open) = self.open.get_mut(topic) {
            open.used = self.messages;
            return Ok(open.handle);
        }
        let handle = seat.open_publisher(topic).map_err(|error| match error {
            CommandError::BadTopic => Refused::BadTopic,
            CommandError::Leaving => Refused::Leaving,
            _ => Refused::TooMany,
        })?;
        while self.open.len() >= PUBLISHERS {
            let Some(topic) = self.least_used() else {
                break;
            };
            if let Some(open) = self.open.remove(&topic) {
                // What it published is delivered all the same.
                seat.close_publisher(open.handle);
            }
        }
        let used = self.messages;
        self.open.insert(topic.to_owned(), Open { handle, used });
        Ok(handle)
    }

    /// The topic used longest ago of whose messages nobody waits for outcomes.
    fn least_used(&self) -> Option<String> {
        let idle = self.open.iter().filter(|(_, open)| {
            let mut watched = self
                .watched
                .range((open.handle, 0)..=(open.handle, u64::MAX));
            watched.all(|(_, watched)| watched.settled.is_closed())
        });
        let least = idle.min_by_key(|(_, open)| open.used);
        least.map(|(topic, _)| topic.clone())
    }

    fn watch(
        &mut self,
        key: (u32, u64),
        left: u32,
        progress: &Arc<Progress>,
    ) -> oneshot::Receiver<()> {
        // Those that were given up: what is left is bounded by the requests that there are.
        self.watched
            .retain(|_, watched| !watched.settled.is_closed());
        let (settled, heard) = oneshot::channel();
        if left > 0 {
            let progress = Arc::clone(progress);
            let watched = Watched {
                left,
                progress,
                settled,
            };
            self.watched.insert(key, watched);
        }
        heard
    }

    fn settle(&mut self, told: &Told) {
        let (first, end) = ((told.handle, told.from), (told.handle, told.to));
        if first >= end {
            return;
        }
        let mut done = Vec::new();
        for (key, watched) in self.watched.range_mut(first..end) {
            watched.progress.add(told.outcome);
            watched.left = watched.left.saturating_sub(1);
            if watched.left == 0 {
                done.push(*key);
            }
        }
        for key in done {
            if let Some(watched) = self.watched.remove(&key) {
                // Whoever waited may have given up.
                let _ = watched.settled.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(from: u64, to: u64, outcome: Outcome) -> Told {
        Told {
            handle: 7,
            from,
            to,
            outcome,
        }
    }

    #[test]
    fn a_message_is_settled_by_its_last_outcome_and_each_is_counted() {
        let mut books = Books::default();
        let progress = Arc::new(Progress::default());
        let mut heard = books.watch((7, 3), 3, &progress);
        books.settle(&told(0, 3, Outcome::Delivered));
        books.settle(&told(3, 4, Outcome::Delivered));
        books.settle(&told(0, 10, Outcome::Left));
        assert!(heard.try_recv().is_err());
        books.settle(&told(3, 5, Outcome::Delivered));
        assert!(heard.try_recv().is_ok());
        let counts: Vec<_> = progress.counts().collect();
        assert_eq!(counts, [(Outcome::Delivered, 2), (Outcome::Left, 1)]);
        assert!(books.watched.is_empty());
        // A range that is none changes nothing.
        books.settle(&told(3, 3, Outcome::Delivered));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_forgotten_and_its_publisher_may_make_room() {
        let mut books = Books::default();
        let progress = Arc::new(Progress::default());
        for (topic, handle, used) in [("a", 1, 1), ("b", 2, 2)] {
            books.open.insert(topic.to_owned(), Open { handle, used });
        }
        let heard = books.watch((1, 0), 1, &progress);
        assert_eq!(books.least_used().as_deref(), Some("b"));
        drop(heard);
        assert_eq!(books.least_used().as_deref(), Some("a"));
        let _heard = books.watch((2, 0), 1, &progress);
        assert_eq!(books.watched.len(), 1);
    }

    #[test]
    fn every_outcome_has_its_place() {
        let progress = Progress::default();
        for code in 0..OUTCOMES as u32 {
            progress.add(Outcome::from_code(code));
        }
        assert_eq!(progress.counts().count(), OUTCOMES);
        assert_eq!(Outcome::from_code(OUTCOMES as u32), Outcome::Rejected);
    }
}
