//! Requests and answers on the shard: one session that publishes and is subscribed.

use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_engine::{
    Delivery, Event, Flushed, Outcome, PublishError, Seat, Session, SubSpec, Taken, Verdict,
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

/// How long the subscription to answers may take to be known everywhere.
const SUBSCRIBE: Duration = Duration::from_secs(10);
/// How long the shard may take to drop its session.
const END: Duration = Duration::from_secs(10);
/// How often the session looks whether it is to begin, in ns.
const BEGIN: u64 = 1_000_000;

/// What it is to begin with, when it is time.
type Slot = Arc<Mutex<Option<Generator>>>;

pub(crate) struct OnShard {
    node: Node,
    plan: Plan,
    slot: Slot,
    results: Receiver<(Times, Tallied)>,
}

impl OnShard {
    pub(crate) fn start(
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
        seen: Arc<Seen>,
    ) -> Result<Self, Error> {
        let node = Node::start(plan, place, Side::Publishing)?;
        node.wait_for_subscribers(plan)?;
        let (results_tx, results) = channel();
        let (subscribed_tx, subscribed) = channel();
        let slot = Slot::default();
        let (there, topic) = (Arc::clone(&slot), plan.topic(0));
        let tally = Tally::new(plan, place, seen);
        let is_closed = plan.is_closed_loop();
        let calling = move || -> Box<dyn Session> {
            Box::new(Calling {
                slot: there,
                generator: RefCell::new(None),
                tally: RefCell::new(Some(tally)),
                topic,
                handle: Cell::new(None),
                next: Cell::new(Some(clock::now() + BEGIN)),
                clock_offset: clock::engine_offset(),
                is_closed,
                is_waiting: Cell::new(false),
                is_over: Cell::new(false),
                subscribed: subscribed_tx,
                sent,
                results: results_tx,
            })
        };
        node.engine
            .attach_session(node.overlay, calling)
            .during("attach to the shard")?;
        let late = |_| Error::Late("the subscription to answers stands");
        subscribed.recv_timeout(SUBSCRIBE).map_err(late)??;
        Ok(Self {
            node,
            plan: plan.clone(),
            slot,
            results,
        })
    }
}

impl Source for OnShard {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        let generator = Generator::new(&self.plan, schedule, 0);
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(generator);
        Ok(())
    }

    fn counters(&self) -> Vec<(String, u64)> {
        self.node.counters()
    }

    fn finish(self: Box<Self>) -> Result<Times, Error> {
        self.finish_call().map(|(lag, _)| lag)
    }
}

impl Caller for OnShard {
    fn finish_call(self: Box<Self>) -> Result<(Times, Tallied), Error> {
        self.node.engine.shutdown();
        let late = |_| Error::Late("the caller's session ends");
        self.results.recv_timeout(END).map_err(late)
    }
}

struct Calling {
    slot: Slot,
    generator: RefCell<Option<Generator>>,
    tally: RefCell<Option<Tally>>,
    topic: String,
    handle: Cell<Option<u32>>,
    /// When it wants to publish, in ns of [`clock`]; `None`: paused, waiting for an answer, or over.
    next: Cell<Option<u64>>,
    clock_offset: u64,
    /// One request at a time.
    is_closed: bool,
    is_waiting: Cell<bool>,
    is_over: Cell<bool>,
    subscribed: Sender<Result<(), Error>>,
    sent: Arc<Sent>,
    results: Sender<(Times, Tallied)>,
}

impl Calling {
    fn begin(&self) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(generator) = slot.take() {
            self.generator.replace(Some(generator));
        }
    }

    fn publish(&self, seat: &mut Seat<'_>) -> Verdict {
        let mut generator = self.generator.borrow_mut();
        let (Some(generator), Some(handle)) = (&mut *generator, self.handle.get()) else {
            self.next.set(Some(clock::now() + BEGIN));
            return Verdict::Stay;
        };
        let now = clock::now();
        let (mut owed, mut verdict) = (0, Verdict::Stay);
        self.next.set(Some(now));
        for _ in 0..generator.batch() {
            if self.is_closed && self.is_waiting.get() {
                self.next.set(None);
                break;
            }
            match generator.next(now) {
                Next::Message { .. } => {}
                Next::At(at) => {
                    self.next.set(Some(at));
                    break;
                }
                Next::Over => {
                    self.next.set(None);
                    break;
                }
            }
            match seat.publish(handle, generator.payload()) {
                Ok(accepted) => {
                    generator.taken(now);
                    self.is_waiting.set(true);
                    owed += u64::from(accepted.owed);
                }
                Err(error) => {
                    generator.refused();
                    self.next.set(None);
                    if error == PublishError::WouldBlock {
                        self.sent.refuse();
                        verdict = Verdict::Pause;
                    } else {
                        self.sent.fail(format!("publish: {error:?}"));
                    }
                    break;
                }
            }
        }
        self.sent.accept(generator.news(), owed);
        if generator.is_over() && !self.is_over.replace(true) {
            self.sent.end();
        }
        verdict
    }

    fn subscribe(&self, seat: &mut Seat<'_>) -> Result<(), Error> {
        let refused = |error| Error::Failed(format!("open the topics: {error:?}"));
        let handle = seat.open_publisher(&self.topic).map_err(refused)?;
        self.handle.set(Some(handle));
        seat.subscribe(SubSpec::new(ANSWERS)).map_err(refused)?;
        Ok(())
    }
}

impl Session for Calling {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// There is room again.
    fn on_readable(&self, seat: &mut Seat<'_>) -> Verdict {
        self.publish(seat)
    }

    fn deliver(&self, _: u32, message: &Delivery<'_>) -> Taken {
        if let Some(tally) = &mut *self.tally.borrow_mut() {
            tally.take(message.payload, message.again);
        }
        self.is_waiting.set(false);
        if self.is_closed && !self.is_over.get() {
            self.next.set(Some(clock::now()));
        }
        Taken::Acked
    }

    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Outcome {
                from, to, outcome, ..
            } => self.sent.outcome(*outcome == Outcome::Delivered, to - from),
            Event::Subscribed { .. } => {
                // Nobody waits any more: nothing to tell.
                let _ = self.subscribed.send(Ok(()));
            }
            _ => {}
        }
    }

    /// The end of the turn that brought an answer: the next request leaves with it.
    fn flush(&self, seat: &mut Seat<'_>) -> Flushed {
        if self.is_closed && !self.is_waiting.get() && self.next.get().is_some() {
            self.publish(seat);
        }
        Flushed::Done
    }

    /// The first call subscribes.
    fn on_turn(&self, seat: &mut Seat<'_>) -> bool {
        if self.handle.get().is_none()
            && let Err(error) = self.subscribe(seat)
        {
            // As above.
            let _ = self.subscribed.send(Err(error));
        }
        false
    }

    fn deadline(&self) -> Option<u64> {
        let next = self.next.get()?;
        Some(next.saturating_sub(self.clock_offset).max(1))
    }

    fn on_deadline(&self, seat: &mut Seat<'_>) -> Verdict {
        if self.generator.borrow().is_none() {
            self.begin();
        }
        self.publish(seat)
    }

    fn on_close(&self, _: &mut Seat<'_>) {}
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some(tally) = self.tally.take() {
            let lag = self.generator.take().map(Generator::into_lag);
            // Nobody waits any more: nothing to tell.
            let _ = self.results.send((lag.unwrap_or_default(), tally.finish()));
        }
    }
}
