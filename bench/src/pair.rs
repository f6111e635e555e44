//! Two protocol cores in memory, joined by a perfect network: the whole way of a message without sockets and threads. The
//! subscriber's core lies on a shard, which hands what it gets to a handler; the publisher's is by itself.
//!
//! Time is virtual: each turn takes [`TURN_NS`], so that acknowledgement delays and heartbeats come as often as on a fast
//! link, however long the code takes.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidings_engine::bench::HandlerWay;
use tidings_protocol::{
    Core, CoreConfig, Delivery, Event, Outcome, Outlet, PublishError, SubSpec, Taken,
};
use tidings_wire::{Boot, KeyRecord, Keyring, NodeId, OverlayId, Suite};

/// Virtual length of a turn.
pub const TURN_NS: u64 = 20_000;
/// Room for what one flush may plan.
const WIRE_BYTES: usize = 16 << 20;
const TOPIC: &str = "bench.pair";

/// What the publisher was told.
#[derive(Default)]
pub struct Told {
    /// Delivered outcomes.
    pub confirmed: u64,
    /// Other outcomes: must stay 0.
    pub failed: u64,
}

impl Outlet for Told {
    fn deliver(&mut self, _: u32, _: &Delivery<'_>) -> Taken {
        Taken::Full // It subscribed to nothing.
    }

    fn event(&mut self, event: Event<'_>) {
        if let Event::Outcome {
            from, to, outcome, ..
        } = event
        {
            match outcome {
                Outcome::Delivered => self.confirmed += to - from,
                _ => self.failed += to - from,
            }
        }
    }
}

/// What the subscriber's handler got.
#[derive(Default)]
pub struct Got {
    delivered: Cell<u64>,
    disorder: Cell<u64>,
}

impl Got {
    /// Messages handed over.
    pub fn delivered(&self) -> u64 {
        self.delivered.get()
    }

    fn take(&self, message: &Delivery<'_>) -> Taken {
        let due = self.delivered.get();
        if message.seq != due {
            self.disorder.set(self.disorder.get() + 1);
        }
        self.delivered.set(due + 1);
        Taken::Acked
    }
}

struct PublisherSide {
    core: Core,
    told: Told,
    addr: SocketAddr,
}

struct SubscriberSide {
    way: HandlerWay,
    got: Rc<Got>,
    addr: SocketAddr,
}

/// Wall-clock time by step, if measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    /// Publishing calls.
    pub publish: Duration,
    /// The publisher's flush: sealing and planning.
    pub flush: Duration,
    /// Copying from the publisher to the subscriber: stands for the kernel.
    pub copy: Duration,
    /// The subscriber takes datagrams: opening, decoding, handing over.
    pub receive: Duration,
    /// Everything on the way back: acknowledgements, outcomes, timers.
    pub back: Duration,
}

/// Publisher and subscriber.
pub struct Pair {
    publisher: PublisherSide,
    subscriber: SubscriberSide,
    handle: u32,
    now: u64,
    wire: Vec<u8>,
    /// Where each run in `wire` ends, and how long its datagrams are.
    cuts: Vec<(usize, usize)>,
    /// Datagrams from publisher to subscriber, and back.
    pub datagrams: (u64, u64),
    /// Time by step since the start.
    pub steps: Steps,
}

impl Pair {
    /// Two cores that have met, with one subscription and one publisher.
    pub fn new(suite: Suite, datagram_size: usize) -> Self {
        let side = |n: u8, seeds: Vec<SocketAddr>| {
            let addr = SocketAddr::from(([10, 0, 0, n], 7400));
            let mut config = CoreConfig::new(NodeId([n; 16]), Boot([n + 16; 16]), "bench");
            config.addresses = vec![addr];
            config.seeds = seeds;
            config.datagram_size = datagram_size;
            config.policy.max_datagram = datagram_size;
            config.rcvbuf = 4 << 20;
            let ring = Keyring::new(
                OverlayId::from_name("bench"),
                vec![KeyRecord::new(0, suite, [7; 32])],
                0,
            )
            .expect("a valid keyring");
            (config, ring, addr)
        };
        let (config, ring, addr) = side(1, Vec::new());
        let mut core = Core::new(config, ring, TURN_NS, [1; 32]);
        core.grant_slots(1);
        let publisher = PublisherSide {
            core,
            told: Told::default(),
            addr,
        };
        let (config, ring, addr) = side(2, vec![publisher.addr]);
        let subscriber = SubscriberSide {
            way: HandlerWay::new(config, ring, TURN_NS, [2; 32]),
            got: Rc::default(),
            addr,
        };
        let mut pair = Self {
            publisher,
            subscriber,
            handle: 0,
            now: TURN_NS,
            wire: vec![0; WIRE_BYTES],
            cuts: Vec::new(),
            datagrams: (0, 0),
            steps: Steps::default(),
        };
        pair.meet();
        pair
    }

    fn meet(&mut self) {
        let SubscriberSide { way, got, .. } = &mut self.subscriber;
        let mut spec = SubSpec::new(TOPIC);
        spec.ordered = true;
        let got = Rc::clone(got);
        way.subscribe(self.now, spec, move |message| got.take(message))
            .expect("a valid pattern");
        self.handle = self
            .publisher
            .core
            .open_publisher(TOPIC)
            .expect("a valid topic");
        for _ in 0..1_000_000 {
            self.turn();
            if self.publisher.core.owed(TOPIC) == 1 && self.is_settled() {
                return;
            }
        }
        panic!("the two cores did not meet within 20 s of virtual time");
    }

    /// Publishes up to `count` messages, as a shard does; answers how many there was room for.
    pub fn publish(&mut self, payload: &[u8], count: usize) -> usize {
        let start = Instant::now();
        let PublisherSide { core, told, .. } = &mut self.publisher;
        let mut batch = core.batch(self.now, self.handle, told);
        let mut done = 0;
        while done < count {
            match batch.publish(payload) {
                Ok(_) => done += 1,
                Err(PublishError::WouldBlock) => break,
                Err(error) => panic!("publish: {error:?}"),
            }
        }
        drop(batch);
        self.steps.publish += start.elapsed();
        done
    }

    /// One turn of both: what the publisher has for the subscriber, then the way back.
    pub fn turn(&mut self) {
        self.pass(TURN_NS);
        let start = Instant::now();
        self.flush();
        let flushed = Instant::now();
        self.carry();
        let copied = Instant::now();
        self.receive();
        let received = Instant::now();
        self.back();
        self.steps.flush += flushed - start;
        self.steps.copy += copied - flushed;
        self.steps.receive += received - copied;
        self.steps.back += received.elapsed();
    }

    /// Lets virtual time pass.
    pub fn pass(&mut self, ns: u64) {
        self.now += ns;
    }

    /// First part of a turn: the publisher seals and plans.
    pub fn flush(&mut self) {
        let PublisherSide { core, told, .. } = &mut self.publisher;
        if core.deadline().is_some_and(|at| at <= self.now) {
            core.handle_timeout(self.now, told);
        }
        core.flush(self.now, told);
    }

    /// Second: what it planned goes to the subscriber's side.
    pub fn carry(&mut self) {
        carry(&self.publisher.core, &mut self.wire, &mut self.cuts);
        self.publisher.core.sent();
    }

    /// Third: the subscriber takes it.
    pub fn receive(&mut self) {
        let from = self.publisher.addr;
        self.datagrams.0 += each(&mut self.wire, &self.cuts, |datagram| {
            self.subscriber.way.take(self.now, from, datagram);
        });
    }

    /// Fourth: the subscriber's timers and answers, and the publisher takes them.
    pub fn back(&mut self) {
        let now = self.now;
        let core = self.subscriber.way.flush(now);
        carry(core, &mut self.wire, &mut self.cuts);
        core.sent();
        let from = self.subscriber.addr;
        let PublisherSide { core, told, .. } = &mut self.publisher;
        self.datagrams.1 += each(&mut self.wire, &self.cuts, |datagram| {
            core.handle_datagram(now, from, datagram, told);
        });
    }

    /// Publishes `count` messages, `batch` a turn, and goes on until all are delivered and confirmed.
    pub fn run(&mut self, payload: &[u8], count: u64, batch: usize) {
        let end = self.publisher.told.confirmed + count;
        let mut left = count;
        let mut idle = 0;
        while self.publisher.told.confirmed < end {
            let done = self.publish(payload, batch.min(usize::try_from(left).unwrap_or(batch)));
            left -= done as u64;
            let before = self.publisher.told.confirmed;
            self.turn();
            idle = if done == 0 && before == self.publisher.told.confirmed {
                idle + 1
            } else {
                0
            };
            assert!(idle < 1_000_000, "nothing moves any more");
        }
        let disorder = self.subscriber.got.disorder.get();
        assert_eq!(disorder, 0, "messages out of order");
        assert_eq!(self.publisher.told.failed, 0, "messages failed");
    }

    /// Whether every message has its outcome and nothing is left to be sent.
    pub fn is_settled(&mut self) -> bool {
        self.publisher.core.is_settled() && self.subscriber.way.core().is_settled()
    }

    /// What the subscriber got.
    pub fn subscriber(&self) -> &Got {
        &self.subscriber.got
    }

    /// What the publisher was told.
    pub fn publisher(&self) -> &Told {
        &self.publisher.told
    }

    /// Virtual time in ns.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Counters of the publishing side.
    pub fn publish_counters(&self) -> tidings_protocol::PublishCounters {
        self.publisher.core.publish_counters()
    }
}

/// Copies what a core plans to send, and notes where each run ends and how long its datagrams are.
fn carry(core: &Core, wire: &mut [u8], cuts: &mut Vec<(usize, usize)>) {
    let mut at = 0;
    cuts.clear();
    for run in core.transmits() {
        // A link that is full loses datagrams; here that would be a fault of the bench.
        let to = wire
            .get_mut(at..at + run.bytes.len())
            .expect("one flush fits into the wire");
        to.copy_from_slice(run.bytes);
        at += run.bytes.len();
        cuts.push((at, run.segment));
    }
}

/// Hands out what was carried, datagram by datagram; answers how many.
fn each(wire: &mut [u8], cuts: &[(usize, usize)], mut take: impl FnMut(&mut [u8])) -> u64 {
    let (mut at, mut count) = (0, 0);
    for &(end, segment) in cuts {
        for datagram in wire[at..end].chunks_mut(segment) {
            take(datagram);
            count += 1;
        }
        at = end;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_delivers_and_confirms_everything_in_order() {
        let mut pair = Pair::new(Suite::Aes256Gcm, 1400);
        for (payload, count) in [(&[7u8; 64][..], 10_000), (&[7; 1024], 2_000), (&[], 500)] {
            pair.run(payload, count, 512);
        }
        assert_eq!(pair.subscriber().delivered(), 12_500);
        assert_eq!(pair.publisher().confirmed, 12_500);
        assert!(pair.datagrams.0 < 6_000, "small messages share datagrams");
    }
}
