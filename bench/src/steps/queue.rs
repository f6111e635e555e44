//! Hops over the engine's rings between a shard and a thread, both ends here: the price of the copies and of the positions,
//! without that of another core's cache.

use std::hint::black_box;

use tidings_engine::bench::{PublisherHop, SubscriberHop};
use tidings_protocol::{Delivery, PublisherId};
use tidings_wire::{Boot, NodeId};

use super::{DATAGRAMS, Step, messages};

/// As `Publisher` and `Subscriber` have them.
const RING_BYTES: usize = 4 << 20;

fn message(payload: &[u8]) -> Delivery<'_> {
    Delivery {
        publisher: PublisherId {
            node: NodeId([1; 16]),
            boot: Boot([2; 16]),
            handle: 1,
        },
        seq: 0,
        topic: "bench.steps",
        payload,
        again: false,
    }
}

/// From a publisher's thread to the shard.
pub struct FromPublisher {
    hop: PublisherHop,
    payload: Vec<u8>,
    count: usize,
}

impl FromPublisher {
    /// Of messages of this size.
    pub fn new(size: usize) -> Self {
        let payload = vec![7; size];
        Self {
            hop: PublisherHop::new(RING_BYTES, &message(&payload)).expect("an eventfd can be made"),
            payload,
            count: DATAGRAMS * messages(size),
        }
    }
}

impl Step for FromPublisher {
    fn units(&self) -> u64 {
        self.count as u64
    }

    fn prepare(&mut self) {}

    fn run(&mut self) {
        let publisher = self.hop.publisher();
        for _ in 0..self.count {
            assert!(publisher.publish(black_box(&self.payload)).is_ok());
        }
        let taken = self.hop.take(|payload| {
            black_box(payload);
        });
        assert_eq!(taken, self.count as u64);
    }
}

/// From the shard to a subscriber's thread, which acknowledges.
pub struct ToSubscriber {
    hop: SubscriberHop,
    payload: Vec<u8>,
    count: usize,
    seq: u64,
}

impl ToSubscriber {
    /// Of messages of this size.
    pub fn new(size: usize) -> Self {
        Self {
            hop: SubscriberHop::new(RING_BYTES).expect("an eventfd can be made"),
            payload: vec![7; size],
            count: DATAGRAMS * messages(size),
            seq: 0,
        }
    }
}

impl Step for ToSubscriber {
    fn units(&self) -> u64 {
        self.count as u64
    }

    fn prepare(&mut self) {}

    fn run(&mut self) {
        let mut message = message(&self.payload);
        for _ in 0..self.count {
            message.seq = self.seq;
            assert!(self.hop.deliver(black_box(&message)));
            self.seq += 1;
        }
        let taken = self.hop.take(|payload| {
            black_box(payload);
        });
        assert_eq!(taken, self.count as u64);
    }
}
