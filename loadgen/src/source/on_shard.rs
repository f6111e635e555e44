//! A publisher that lives on the shard: a session that publishes when messages are due and the overlay has room.

use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tidings_engine::{
    Delivery, Event, Flushed, Outcome, PublishError, Seat, Session, Taken, Verdict,
};

use super::{Generator, Next, Sent, Source};
use crate::clock;
use crate::error::{Error, While};
use crate::node::Node;
use crate::plan::{Place, Plan, Side, TOPIC};
use crate::schedule::Schedule;
use crate::tally::Percentiles;

/// How long the subscriber may take to be known.
const MEET: Duration = Duration::from_secs(15);
/// How long the shard may take to drop its session.
const END: Duration = Duration::from_secs(10);

/// Waits until the node knows a subscriber.
pub(super) fn wait_for_subscriber(node: &Node) -> Result<(), Error> {
    let deadline = std::time::Instant::now() + MEET;
    while node.engine.owed(node.overlay, TOPIC).during("meet")? == 0 {
        if std::time::Instant::now() >= deadline {
            return Err(Error::Late("the publisher's node learns of the subscriber"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

pub(crate) struct OnShard {
    node: Node,
    size: usize,
    sent: Arc<Sent>,
    results: Option<Receiver<Percentiles>>,
}

impl OnShard {
    pub(crate) fn start(plan: &Plan, place: &Place, sent: Arc<Sent>) -> Result<Self, Error> {
        let node = Node::start(plan, place, Side::Publishing)?;
        wait_for_subscriber(&node)?;
        Ok(Self {
            node,
            size: plan.size,
            sent,
            results: None,
        })
    }
}

impl Source for OnShard {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        let (tx, results) = channel();
        self.results = Some(results);
        let generator = Generator::new(self.size, schedule);
        let sent = Arc::clone(&self.sent);
        let publishing = move || -> Box<dyn Session> {
            Box::new(Publishing {
                clock_offset: clock::engine_offset(),
                next: Cell::new(Some(schedule.start())),
                generator: RefCell::new(generator),
                handle: Cell::new(None),
                sent,
                results: tx,
            })
        };
        self.node
            .engine
            .attach_session(self.node.overlay, publishing)
            .during("attach to the shard")
    }

    fn counters(&self) -> Vec<(String, u64)> {
        self.node.counters()
    }

    fn finish(self: Box<Self>) -> Result<Percentiles, Error> {
        self.node.engine.shutdown();
        let Some(results) = self.results else {
            return Ok(Percentiles::default());
        };
        let late = |_| Error::Late("the publisher's session ends");
        results.recv_timeout(END).map_err(late)
    }
}

/// The session. It asks to be called when the next message is due; while the overlay has no room it pauses.
struct Publishing {
    generator: RefCell<Generator>,
    handle: Cell<Option<u32>>,
    /// When it wants to publish, in ns of [`clock`]; `None`: paused, or over.
    next: Cell<Option<u64>>,
    clock_offset: u64,
    sent: Arc<Sent>,
    results: Sender<Percentiles>,
}

impl Publishing {
    fn publish(&self, seat: &mut Seat<'_>) -> Verdict {
        let Some(handle) = self.handle.get() else {
            return Verdict::Stay;
        };
        let generator = &mut *self.generator.borrow_mut();
        let now = clock::now();
        self.next.set(Some(now));
        // Told once for all of them: an atomic addition costs as much as publishing.
        let (mut owed, mut is_over) = (0, false);
        let mut verdict = Verdict::Stay;
        seat.publish_batch(handle, |batch| {
            for _ in 0..generator.batch() {
                let due = match generator.next(now) {
                    Next::Message { due } => due,
                    Next::At(at) => {
                        self.next.set(Some(at));
                        break;
                    }
                    Next::Over => {
                        self.next.set(None);
                        is_over = true;
                        break;
                    }
                };
                match batch.publish(&generator.payload) {
                    Ok(accepted) => {
                        generator.taken(due, now);
                        owed += u64::from(accepted.owed);
                    }
                    Err(PublishError::WouldBlock) => {
                        generator.refused();
                        self.sent.refused.fetch_add(1, Relaxed);
                        self.next.set(None);
                        verdict = Verdict::Pause;
                        break;
                    }
                    Err(error) => {
                        self.sent.fail(format!("publish: {error:?}"));
                        self.next.set(None);
                        break;
                    }
                }
            }
        });
        self.sent.owed.fetch_add(owed, Relaxed);
        self.sent.accepted.store(generator.number, Relaxed);
        if is_over {
            self.sent.done.store(true, Release);
        }
        verdict
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
            let count = match outcome {
                Outcome::Delivered => &self.sent.delivered,
                _ => &self.sent.failed,
            };
            count.fetch_add(to - from, Relaxed);
        }
    }

    fn flush(&self, _: &mut Seat<'_>) -> Flushed {
        Flushed::Done
    }

    /// The first call opens the publisher.
    fn on_turn(&self, seat: &mut Seat<'_>) -> bool {
        if self.handle.get().is_none() {
            match seat.open_publisher(TOPIC) {
                Ok(handle) => self.handle.set(Some(handle)),
                Err(error) => self.sent.fail(format!("open a publisher: {error:?}")),
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
        let lag = Percentiles::of(&self.generator.borrow().lag);
        // Nobody waits any more: nothing to tell.
        let _ = self.results.send(lag);
    }
}
