//! The shard's ends of the rings of one `Publisher` or `Subscriber` of another thread.

use std::sync::Arc;

use tidings_protocol::{Core, PublishError};

use super::outlet::{Outlets, Sink};
use crate::limits::{ACKS_PER_TURN_MAX, PUBLISH_BYTES_PER_TURN_MAX};
use crate::publisher::PublisherShared;
use crate::queue::ring::Consumer;
use crate::record;
use crate::subscriber::SubscriberShared;

/// What remains to be done at a port after it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// Its ring is empty; its owner rings the bell next time.
    Empty,
    /// It has more; the next turn goes on.
    More,
    /// The overlay has no room; it goes on when there is.
    Blocked,
    /// Its owner leaves too many outcomes unread; it goes on when they are read.
    Unread,
    /// Its owner is gone and everything it wrote is done.
    Closed,
}

/// A publisher's port.
pub(crate) struct PublisherPort {
    pub(crate) handle: u32,
    pub(crate) consumer: Consumer,
    pub(crate) shared: Arc<PublisherShared>,
    /// Sequence number of the next record; the publisher counts the same way.
    pub(crate) next_seq: u64,
}

impl PublisherPort {
    /// Hands accepted messages to the core, a bounded part of the ring.
    pub(crate) fn serve(
        &mut self,
        now: u64,
        port: u32,
        core: &mut Core,
        outlets: &mut Outlets,
    ) -> Served {
        if !outlets.has_outcome_room(port) {
            return Served::Unread;
        }
        let mut left = PUBLISH_BYTES_PER_TURN_MAX;
        let mut served = Served::Empty;
        let mut moved = false;
        let mut batch = core.batch(now, self.handle, outlets);
        // The publisher asked before it put them there.
        batch.up_to(usize::MAX);
        while let Some((_, payload)) = self.consumer.peek() {
            if left == 0 {
                served = Served::More;
                break;
            }
            left = left.saturating_sub(payload.len() + record::PUBLISH_HEAD);
            match batch.publish(payload) {
                Ok(accepted) => {
                    assert_eq!(
                        accepted.seq, self.next_seq,
                        "publisher and core count alike"
                    );
                    self.next_seq += 1;
                    self.shared.tally.accept(accepted.owed);
                }
                Err(PublishError::WouldBlock) => {
                    served = Served::Blocked;
                    break;
                }
                Err(PublishError::TooLarge { .. } | PublishError::Closed) => {
                    // The overlay is leaving: nothing of this ring can be accepted any more.
                    self.shared.close();
                    served = Served::Closed;
                    break;
                }
            }
            self.consumer.advance();
            moved = true;
        }
        let accepted = batch.accepted();
        drop(batch);
        outlets.counts.published += accepted;
        if moved {
            self.consumer.release();
            self.shared.room.notify();
            if self.shared.tally.is_even() {
                outlets.mark_outcomes(port);
            }
        }
        if served == Served::Empty {
            self.rest()
        } else {
            served
        }
    }

    /// The ring looks empty: asks for the bell and looks once more.
    fn rest(&mut self) -> Served {
        self.shared.bell.raise();
        if !self.consumer.is_empty() {
            self.shared.bell.lower();
            return Served::More;
        }
        if self.consumer.is_closed() && self.consumer.is_empty() {
            Served::Closed
        } else {
            Served::Empty
        }
    }
}

/// A subscriber's port.
pub(crate) struct SubscriberPort {
    pub(crate) subs: Vec<u32>,
    /// Its subscriptions outlive it for a while.
    pub(crate) named: bool,
    pub(crate) consumer: Consumer,
    pub(crate) shared: Arc<SubscriberShared>,
}

impl SubscriberPort {
    /// Hands acknowledgements to the core; tells it of room in the subscriber's ring.
    pub(crate) fn serve(&mut self, port: u32, core: &mut Core, outlets: &mut Outlets) -> Served {
        let mut left = ACKS_PER_TURN_MAX;
        while let Some((_, bytes)) = self.consumer.peek() {
            if left == 0 {
                self.consumer.release();
                return Served::More;
            }
            let ack = record::read_ack(bytes);
            left = left.saturating_sub(1);
            // Not if a newer one of the same name has the subscription.
            if matches!(outlets.sinks.get(&ack.sub), Some(Sink::Ring(ring)) if *ring == port) {
                acknowledge(core, &ack);
            }
            self.consumer.advance();
        }
        self.consumer.release();
        self.feed(port, core, outlets);
        self.rest()
    }

    /// Room may be there again: first what waits, then the subscriptions that were refused.
    fn feed(&mut self, port: u32, core: &mut Core, outlets: &mut Outlets) {
        for sub in outlets.take_fed(port) {
            core.ready(sub, outlets);
        }
    }

    fn rest(&mut self) -> Served {
        self.shared.bell.raise();
        if !self.consumer.is_empty() {
            self.shared.bell.lower();
            return Served::More;
        }
        if self.consumer.is_closed() && self.consumer.is_empty() {
            Served::Closed
        } else {
            Served::Empty
        }
    }
}

fn acknowledge(core: &mut Core, ack: &record::Ack) {
    let from = if ack.upto { 0 } else { ack.from };
    core.acknowledge_range(ack.sub, ack.publisher, from, ack.to.saturating_add(1));
}

/// Either kind.
pub(crate) enum Port {
    Publisher(PublisherPort),
    Subscriber(SubscriberPort),
}
