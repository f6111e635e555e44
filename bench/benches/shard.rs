//! Whole turns of real shards: two nodes of this process on loopback sockets, a publisher's thread on one and a subscriber's
//! on the other. One message until its outcome is there, and many at once.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidings_engine::{
    Engine, KeyRecord, Keyring, OverlayConfig, OverlayId, Publisher, PublisherOptions, Received,
    Seed, SubscriberOptions, Suite,
};

const OVERLAY: &str = "bench";
const TOPIC: &str = "bench.shard";
/// How long anything may take before the bench is held broken.
const LIMIT: Duration = Duration::from_secs(20);

fn node(join: Option<std::net::SocketAddr>) -> (Engine, OverlayId) {
    let record = KeyRecord::new(0, Suite::Aes256Gcm, [7; 32]);
    let ring = Keyring::new(OverlayId::from_name(OVERLAY), vec![record], 0);
    let engine = Engine::builder().bind(([127, 0, 0, 1], 0).into()).shards(1);
    let engine = engine.start().expect("a node starts");
    let config = OverlayConfig::new(OVERLAY, ring.expect("a valid keyring"));
    let overlay = engine.add_overlay(config.join(join.map(Seed::Address)));
    (engine, overlay.expect("an overlay starts"))
}

/// Two nodes that know each other, and a thread that reads and acknowledges.
struct Nodes {
    engines: Vec<Engine>,
    publisher: Publisher,
    reader: Option<JoinHandle<()>>,
}

impl Nodes {
    fn start() -> Self {
        let (there, overlay) = node(None);
        let options = SubscriberOptions::default();
        let subscriber = there.subscribe(overlay, &[TOPIC], options);
        let mut subscriber = subscriber.expect("a valid pattern");
        let reader = thread::spawn(move || {
            while !subscriber.is_closed() {
                if let Some(Received::Message(message)) = subscriber.next_within(LIMIT) {
                    let (sub, id) = (message.sub, message.id);
                    subscriber.ack(sub, id);
                }
            }
        });
        let (here, overlay) = node(Some(there.local_addr()));
        let start = Instant::now();
        while here.owed(overlay, TOPIC).expect("the overlay is there") == 0 {
            assert!(start.elapsed() < LIMIT, "the nodes meet");
            thread::sleep(Duration::from_millis(5));
        }
        let publisher = here.publisher(overlay, TOPIC, PublisherOptions::default());
        Self {
            publisher: publisher.expect("a valid topic"),
            engines: vec![here, there],
            reader: Some(reader),
        }
    }

    /// Publishes so many and waits until each is acknowledged.
    fn run(&mut self, payload: &[u8], count: usize) {
        for _ in 0..count {
            let published = self.publisher.publish_within(payload, LIMIT);
            published.expect("there is room in time");
        }
        assert!(self.publisher.settled_within(LIMIT), "all is settled");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.engines.drain(..).for_each(Engine::shutdown);
        if let Some(reader) = self.reader.take() {
            // A reader that failed has said so.
            let _ = reader.join();
        }
    }
}

fn turns(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    let mut nodes = Nodes::start();
    for (size, count) in [(64, 1), (1_024, 1), (64, 16_384), (1_024, 2_048)] {
        let payload = vec![7; size];
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{size} B, {count} until settled"), |b| {
            b.iter(|| nodes.run(&payload, count));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = turns
}
criterion_main!(benches);
