//! Parts of a shard by themselves, on the calling thread: the two rings between it and the embedder's threads, without a core,
//! and its way from a datagram to a handler, without sockets. For measurements only, behind the feature `bench`; nothing else
//! calls it.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use tidings_protocol::{CommandError, Core, CoreConfig, Delivery, SubSpec, Taken};
use tidings_wire::{Boot, Keyring, NodeId, OverlayId};

use crate::limits::ACK_RING_BYTES;
use crate::on_shard::{Resident, ResidentSession};
use crate::placement::{Map, Placement};
use crate::publisher::{Publisher, PublisherParts, PublisherShared};
use crate::queue::mesh::MeshEnds;
use crate::queue::rcu::Rcu;
use crate::queue::ring::{Consumer, ring};
use crate::routes::{OverlayShared, Routes};
use crate::session::{SessionCell, SessionRc};
use crate::shard::dispatch::Yard;
use crate::shard::door::Door;
use crate::shard::notice::Notices;
use crate::shard::outlet::{RingSink, Sink};
use crate::shard::overlay::ShardOverlay;
use crate::subscriber::{Received, Subscriber, SubscriberParts, SubscriberShared};
use crate::sys::eventfd::EventFd;
use crate::wait::ShardParker;
use crate::whereabouts::{PortBell, Whereabouts};

fn whereabouts() -> io::Result<Arc<Whereabouts>> {
    let door = Door::new(Arc::new(ShardParker::new(EventFd::new()?)));
    Ok(Arc::new(Whereabouts::new([Arc::new(door)].into(), 0)))
}

/// From a [`Publisher`] to where its shard reads.
pub struct PublisherHop {
    publisher: Publisher,
    port: Consumer,
    shared: Arc<PublisherShared>,
    at: Arc<Whereabouts>,
}

impl PublisherHop {
    /// A publisher on `publisher`'s topic with a ring of so many bytes.
    pub fn new(ring_bytes: usize, publisher: &Delivery<'_>) -> io::Result<Self> {
        let (tx, port) = ring(ring_bytes);
        let (_, outcomes) = ring(ring_bytes);
        let (shared, at) = (Arc::new(PublisherShared::new()), whereabouts()?);
        let overlay = OverlayShared {
            id: OverlayId::from_name("bench"),
            name: "bench".to_owned(),
            node: NodeId([1; 16]),
            boot: Boot([2; 16]),
            at: Arc::clone(&at),
            message_bytes_max: AtomicUsize::new(ring_bytes / 2),
            routes: Rcu::new(Routes::default()),
            closed: AtomicBool::new(false),
            draining: Arc::default(),
        };
        let parts = PublisherParts {
            id: publisher.publisher,
            topic: publisher.topic.to_owned(),
            ring: tx,
            outcomes,
            shared: Arc::clone(&shared),
            overlay: Arc::new(overlay),
            bell: PortBell::new(&at, 0),
        };
        Ok(Self {
            publisher: Publisher::new(parts),
            port,
            shared,
            at,
        })
    }

    /// The publisher's end.
    pub fn publisher(&mut self) -> &mut Publisher {
        &mut self.publisher
    }

    /// The shard's end: reads all messages in place, gives their room back, and asks for the bell. Answers how many.
    pub fn take(&mut self, mut each: impl FnMut(&[u8])) -> u64 {
        while self.at.door().next_bell().is_some() {}
        let mut count = 0;
        while let Some((_, payload)) = self.port.peek() {
            each(payload);
            self.port.advance();
            count += 1;
        }
        self.port.release();
        self.shared.room.notify();
        self.shared.bell.raise();
        count
    }
}

/// From where a shard delivers to a [`Subscriber`], and its acknowledgements back.
pub struct SubscriberHop {
    sink: RingSink,
    subscriber: Subscriber,
    acks: Consumer,
    at: Arc<Whereabouts>,
}

impl SubscriberHop {
    /// A subscriber with one subscription, number 0, and a ring of so many bytes.
    pub fn new(ring_bytes: usize) -> io::Result<Self> {
        let (tx, rx) = ring(ring_bytes);
        let (acks_tx, acks) = ring(ACK_RING_BYTES);
        let (shared, at) = (Arc::new(SubscriberShared::new()), whereabouts()?);
        let parts = SubscriberParts {
            subs: vec![0],
            partial: Vec::new(),
            ring: rx,
            acks: acks_tx,
            shared: Arc::clone(&shared),
            bell: PortBell::new(&at, 0),
        };
        Ok(Self {
            sink: RingSink::new(tx, shared),
            subscriber: Subscriber::new(parts),
            acks,
            at,
        })
    }

    /// The shard's end: copies a message in. `false`: no room.
    pub fn deliver(&mut self, message: &Delivery<'_>) -> bool {
        !matches!(self.sink.take(0, message), tidings_protocol::Taken::Full)
    }

    /// The subscriber's end: reads and acknowledges everything; then the shard's again, which takes the acknowledgements.
    /// Answers how many messages it read.
    pub fn take(&mut self, mut each: impl FnMut(&[u8])) -> u64 {
        let mut count = 0;
        while let Some(Received::Message(message)) = self.subscriber.try_next() {
            each(message.payload);
            let (sub, id) = (message.sub, message.id);
            self.subscriber.ack(sub, id);
            count += 1;
        }
        while self.at.door().next_bell().is_some() {}
        while self.acks.peek().is_some() {
            self.acks.advance();
        }
        self.acks.release();
        count
    }
}

/// A shard's way from a datagram to a handler: it finds the core, which opens and orders, and hands over runs of messages.
pub struct HandlerWay {
    yard: Yard,
    resident: Rc<Resident>,
    cell: SessionRc,
}

/// The overlay's slot on a shard that has no other.
const SLOT: u16 = 0;

impl HandlerWay {
    /// A shard with one overlay and no sockets.
    pub fn new(config: CoreConfig, keyring: Keyring, now: u64, seed: [u8; 32]) -> Self {
        let map = Arc::new(Map::new(1));
        let overlay = keyring.overlay();
        let place = Placement::new(1).add(overlay, None);
        let place = place.expect("the first overlay has its place");
        let shared = OverlayShared {
            id: overlay,
            name: "bench".to_owned(),
            node: config.node,
            boot: config.boot,
            at: Arc::new(Whereabouts::new(Arc::default(), 0)),
            message_bytes_max: AtomicUsize::new(config.policy.max_message),
            routes: Rcu::new(Routes::default()),
            closed: AtomicBool::new(false),
            draining: Arc::default(),
        };
        let boot_tag = config.boot_tag;
        let mut core = Core::new(config, keyring, now, seed);
        let block = map.blocks.grant(0, SLOT);
        core.grant_slots(block.expect("all blocks are free"));
        let overlay = ShardOverlay::new(
            SLOT,
            place,
            core,
            Arc::new(shared),
            Arc::new(Notices::new()),
        );
        let mut yard = Yard::new(0, boot_tag, map, MeshEnds::default(), Arc::default());
        yard.insert(overlay);
        let resident = Rc::new(Resident::default());
        let cell = Rc::new(SessionCell {
            session: Box::new(ResidentSession(Rc::clone(&resident))),
            index: 0,
            overlay: SLOT,
            dirty: Cell::new(false),
            blocked: Cell::new(false),
            paused: Cell::new(false),
            slow: Cell::new(false),
            turning: Cell::new(false),
        });
        Self {
            yard,
            resident,
            cell,
        }
    }

    fn overlay(&mut self) -> &mut ShardOverlay {
        let overlay = self.yard.slots[usize::from(SLOT)].as_mut();
        overlay.expect("nobody takes it away")
    }

    /// The core.
    pub fn core(&mut self) -> &mut Core {
        &mut self.overlay().core
    }

    /// Subscribes; `handler` gets every message.
    pub fn subscribe(
        &mut self,
        now: u64,
        spec: SubSpec,
        mut handler: impl FnMut(&Delivery<'_>) -> Taken + 'static,
    ) -> Result<(), CommandError> {
        let sink = Sink::Session(Rc::clone(&self.cell));
        let sub = self.overlay().subscribe(now, spec, sink)?;
        self.resident
            .handle(sub, move |message, _| handler(message));
        self.overlay().ready(sub);
        Ok(())
    }

    /// A datagram came.
    pub fn take(&mut self, now: u64, from: SocketAddr, datagram: &mut [u8]) {
        self.yard.dispatch(now, from, datagram);
    }

    /// The rest of a turn: timers that are due, and the flush. What is to be sent is in the core until it is told that it was.
    pub fn flush(&mut self, now: u64) -> &mut Core {
        let overlay = self.overlay();
        if overlay.core.deadline().is_some_and(|at| at <= now) {
            overlay.core.handle_timeout(now, &mut overlay.outlets);
        }
        overlay.core.flush(now, &mut overlay.outlets);
        overlay.settle();
        overlay.outlets.dirty_sessions.clear();
        self.cell.dirty.set(false);
        self.core()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_protocol::PublisherId;

    #[test]
    fn both_hops_bring_every_message_whole() {
        let mut message = Delivery {
            publisher: PublisherId {
                node: NodeId([1; 16]),
                boot: Boot([2; 16]),
                handle: 3,
            },
            seq: 0,
            topic: "bench",
            payload: &[7; 100],
            again: false,
        };
        let mut there = PublisherHop::new(1 << 16, &message).unwrap();
        let mut here = SubscriberHop::new(1 << 16).unwrap();
        for round in 0..1_000 {
            for _ in 0..100 {
                there.publisher().publish(&[round as u8; 100]).unwrap();
                assert!(here.deliver(&message));
                message.seq += 1;
            }
            let whole = |payload: &[u8]| assert_eq!(payload, [round as u8; 100]);
            assert_eq!(there.take(whole), 100);
            assert_eq!(here.take(|payload| assert_eq!(payload, [7; 100])), 100);
        }
    }
}
