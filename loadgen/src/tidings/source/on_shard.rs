//! Publishers that live on the shard: sessions that publish when messages are due and the overlay has room.

use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tidings_engine::{
    Accepted, Delivery, Event, Flushed, Outcome, PublishError, Seat, Session, Taken, Verdict,
};

use crate::clock;
use crate::error::{Error, While};
use crate::generator::{Generator, Next};
use crate::plan::{Place, Plan, Side};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::system::Source;
use crate::tidings::node::Node;
use crate::times::Times;

/// How long the shard may take to drop its sessions.
const END: Duration = Duration::from_secs(10);

pub(crate) struct OnShard {
    node: Node,
    plan: Plan,
    sent: Arc<Sent>,
    results: Option<Receiver<Times>>,
}

impl OnShard {
    pub(crate) fn start(plan: &Plan, place: &Place, sent: Arc<Sent>) -> Result<Self, Error> {
        let node = Node::start(plan, place, Side::Publishing)?;
        node.wait_for_subscribers(plan)?;
        Ok(Self {
            node,
            plan: plan.clone(),
            sent,
            results: None,
        })
    }
}

impl Source for OnShard {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        let (tx, results) = channel();
        self.results = Some(results);
        for publisher in 0..self.plan.publishers {
            let generator = Generator::new(&self.plan, schedule, publisher);
            let topics = (0..self.plan.topics)
                .map(|at| self.plan.topic(at))
                .collect();
            let (sent, results) = (Arc::clone(&self.sent), tx.clone());
            let publishing = move || -> Box<dyn Session> {
                Box::new(Publishing {
                    clock_offset: clock::engine_offset(),
                    next: Cell::new(Some(schedule.start())),
                    generator: RefCell::new(Some(generator)),
                    topics,
                    handles: RefCell::default(),
                    is_over: Cell::new(false),
                    sent,
                    results,
                })
            };
            self.node
                .engine
                .attach_session(self.node.overlay, publishing)
                .during("attach to the shard")?;
        }
        Ok(())
    }

    fn counters(&self) -> Vec<(String, u64)> {
        self.node.counters()
    }

    fn finish(self: Box<Self>) -> Result<Times, Error> {
        self.node.engine.shutdown();
        let mut lag = Times::new();
        if let Some(results) = self.results {
            for _ in 0..self.plan.publishers {
                let late = |_| Error::Late("the publishers' sessions end");
                lag.add(&results.recv_timeout(END).map_err(late)?);
            }
        }
        Ok(lag)
    }
}

/// The session. It asks to be called when the next message is due; while the overlay has no room it pauses.
struct Publishing {
    generator: RefCell<Option<Generator>>,
    topics: Vec<String>,
    /// Its publishers, by topic.
    handles: RefCell<Vec<u32>>,
    /// When it wants to publish, in ns of [`clock`]; `None`: paused, or over.
    next: Cell<Option<u64>>,
    clock_offset: u64,
    is_over: Cell<bool>,
    sent: Arc<Sent>,
    results: Sender<Times>,
}

impl Publishing {
    fn publish(&self, seat: &mut Seat<'_>) -> Verdict {
        let handles = self.handles.borrow();
        let mut generator = self.generator.borrow_mut();
        let (Some(generator), Some(&first)) = (&mut *generator, handles.first()) else {
            return Verdict::Stay;
        };
        // Batches are of one publisher, which here is one topic.
        let (verdict, owed) = if handles.len() == 1 {
            seat.publish_batch(first, |batch| {
                self.fill(generator, |_, generator| {
                    batch.publish_with(generator.bytes(), |place| {
                        generator.write(|part| place.put(part))
                    })
                })
            })
        } else {
            self.fill(generator, |topic, generator| {
                seat.publish(handles[topic], generator.payload())
            })
        };
        // Told once for all of them: an atomic addition costs as much as publishing.
        self.sent.accept(generator.news(), owed);
        if generator.is_over() && !self.is_over.replace(true) {
            self.sent.end();
        }
        verdict
    }

    /// Publishes what is due. Answers how many outcomes are owed for it, too.
    #[inline]
    fn fill(
        &self,
        generator: &mut Generator,
        mut publish: impl FnMut(usize, &mut Generator) -> Result<Accepted, PublishError>,
    ) -> (Verdict, u64) {
        let now = clock::now();
        self.next.set(Some(now));
        let mut owed = 0;
        for _ in 0..generator.batch() {
            let topic = match generator.next(now) {
                Next::Message { topic } => topic,
                Next::At(at) => {
                    self.next.set(Some(at));
                    break;
                }
                Next::Over => {
                    self.next.set(None);
                    break;
                }
            };
            match publish(topic, generator) {
                Ok(accepted) => {
                    generator.taken(now);
                    owed += u64::from(accepted.owed);
                }
                Err(PublishError::WouldBlock) => {
                    generator.refused();
                    self.sent.refuse();
                    self.next.set(None);
                    return (Verdict::Pause, owed);
                }
                Err(error) => {
                    generator.refused();
                    self.sent.fail(format!("publish: {error:?}"));
                    self.next.set(None);
                    break;
                }
            }
        }
        (Verdict::Stay, owed)
    }
}

impl Session for Publishing {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// There is room again.
    fn on_readable(&self, seat: &mut Seat<'_>) -> Verdict {
        self.publish(seat)
    }

    fn deliver(&self, _: u32, _: &Delivery<'_>) -> Taken {
        Taken::Full
    }

    fn event(&self, event: &Event<'_>) {
        if let Event::Outcome {
            from, to, outcome, ..
        } = event
        {
            self.sent.outcome(*outcome == Outcome::Delivered, to - from);
        }
    }

    fn flush(&self, _: &mut Seat<'_>) -> Flushed {
        Flushed::Done
    }

    /// The first call opens the publishers.
    fn on_turn(&self, seat: &mut Seat<'_>) -> bool {
        let mut handles = self.handles.borrow_mut();
        if handles.is_empty() {
            for topic in &self.topics {
                match seat.open_publisher(topic) {
                    Ok(handle) => handles.push(handle),
                    Err(error) => {
                        handles.clear();
                        self.sent.fail(format!("open a publisher: {error:?}"));
                        break;
                    }
                }
            }
        }
        false
    }

    fn deadline(&self) -> Option<u64> {
        let next = self.next.get()?;
        Some(next.saturating_sub(self.clock_offset).max(1))
    }

    fn on_deadline(&self, seat: &mut Seat<'_>) -> Verdict {
        self.publish(seat)
    }

    fn on_close(&self, _: &mut Seat<'_>) {}
}

impl Drop for Publishing {
    fn drop(&mut self) {
        if let Some(generator) = self.generator.take() {
            // Nobody waits any more: nothing to tell.
            let _ = self.results.send(generator.into_lag());
        }
    }
}
