//! Two protocol cores in memory, joined by a perfect network: the whole way of a message without sockets and threads.
//!
//! Time is virtual: each turn takes [`TURN_NS`], so that acknowledgement delays and heartbeats come as often as on a fast
//! link, however long the code takes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidings_protocol::{
    Core, CoreConfig, Delivery, Event, Outcome, Outlet, PublishError, SubSpec, Taken,
};
use tidings_wire::{Boot, KeyRecord, Keyring, NodeId, OverlayId, Suite};

/// Virtual length of a turn.
pub const TURN_NS: u64 = 20_000;
/// Room for what one flush may plan.
const WIRE_BYTES: usize = 16 << 20;
const TOPIC: &str = "bench.pair";

/// What one side was told.
#[derive(Default)]
pub struct Told {
    /// Messages handed over.
    pub delivered: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Messages out of order: must stay 0.
    pub disorder: u64,
    /// Delivered outcomes.
    pub confirmed: u64,
    /// Other outcomes: must stay 0.
    pub failed: u64,
    effective: bool,
}

impl Outlet for Told {
    fn deliver(&mut self, _: u32, message: &Delivery<'_>) -> Taken {
        self.disorder += u64::from(message.seq != self.delivered);
        self.delivered += 1;
        self.bytes += message.payload.len() as u64;
        Taken::Acked
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Outcome {
                from, to, outcome, ..
            } => match outcome {
                Outcome::Delivered => self.confirmed += to - from,
                _ => self.failed += to - from,
            },
            Event::Subscribed { missing, .. } => self.effective = missing.is_empty(),
            _ => {}
        }
    }
}

struct Side {
    core: Core,
    told: Told,
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
    publisher: Side,
    subscriber: Side,
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
            let mut core = Core::new(config, ring, TURN_NS, [n; 32]);
            core.grant_slots(u16::from(n));
            Side {
                core,
                told: Told::default(),
                addr,
            }
        };
        let publisher = side(1, Vec::new());
        let subscriber = side(2, vec![publisher.addr]);
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
        let Side { core, told, .. } = &mut self.subscriber;
        let mut spec = SubSpec::new(TOPIC);
        spec.ordered = true;
        core.subscribe(self.now, spec, told)
            .expect("a valid pattern");
        self.handle = self
            .publisher
            .core
            .open_publisher(TOPIC)
            .expect("a valid topic");
        for _ in 0..1_000_000 {
            self.turn();
            if self.publisher.core.owed(TOPIC) == 1 && self.subscriber.told.effective {
                return;
            }
        }
        panic!("the two cores did not meet within 20 s of virtual time");
    }

    /// Publishes up to `count` messages, as a shard does; answers how many there was room for.
    pub fn publish(&mut self, payload: &[u8], count: usize) -> usize {
        let start = Instant::now();
        let Side { core, told, .. } = &mut self.publisher;
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
        timers(&mut self.publisher, self.now);
        self.publisher
            .core
            .flush(self.now, &mut self.publisher.told);
    }

    /// Second: what it planned goes to the subscriber's side.
    pub fn carry(&mut self) {
        carry(&self.publisher.core, &mut self.wire, &mut self.cuts);
        self.publisher.core.sent();
    }

    /// Third: the subscriber takes it.
    pub fn receive(&mut self) {
        let from = self.publisher.addr;
        self.datagrams.0 += take(
            &mut self.subscriber,
            &mut self.wire,
            &self.cuts,
            &from,
            self.now,
        );
    }

    /// Fourth: the subscriber's timers and answers, and the publisher takes them.
    pub fn back(&mut self) {
        let now = self.now;
        timers(&mut self.subscriber, now);
        self.subscriber.core.flush(now, &mut self.subscriber.told);
        carry(&self.subscriber.core, &mut self.wire, &mut self.cuts);
        self.subscriber.core.sent();
        let from = self.subscriber.addr;
        self.datagrams.1 += take(&mut self.publisher, &mut self.wire, &self.cuts, &from, now);
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
        assert_eq!(self.subscriber.told.disorder, 0, "messages out of order");
        assert_eq!(self.publisher.told.failed, 0, "messages failed");
    }

    /// Whether every message has its outcome and nothing is left to be sent.
    pub fn is_settled(&self) -> bool {
        self.publisher.core.is_settled() && self.subscriber.core.is_settled()
    }

    /// What the subscriber was told.
    pub fn subscriber(&self) -> &Told {
        &self.subscriber.told
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

fn timers(side: &mut Side, now: u64) {
    if side.core.deadline().is_some_and(|at| at <= now) {
        side.core.handle_timeout(now, &mut side.told);
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

fn take(
    side: &mut Side,
    wire: &mut [u8],
    cuts: &[(usize, usize)],
    from: &SocketAddr,
    now: u64,
) -> u64 {
    let (mut at, mut count) = (0, 0);
    for &(end, segment) in cuts {
        for datagram in wire[at..end].chunks_mut(segment) {
            side.core
                .handle_datagram(now, *from, datagram, &mut side.told);
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
        assert_eq!(pair.subscriber().delivered, 12_500);
        assert_eq!(pair.publisher().confirmed, 12_500);
        assert!(pair.datagrams.0 < 6_000, "small messages share datagrams");
    }
}
