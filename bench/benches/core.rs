//! A message's whole way through two protocol cores in memory: published, sealed, opened, delivered, acknowledged, confirmed.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidings_bench::pair::Pair;
use tidings_wire::Suite;

/// Size of the messages, and how many are published in a turn.
const CASES: [(usize, usize); 4] = [(0, 1_024), (64, 1_024), (64, 1), (1_024, 256)];
const MESSAGES: u64 = 16_384;

fn publish_to_confirmed(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish to confirmed");
    group.throughput(Throughput::Elements(MESSAGES));
    for (size, batch) in CASES {
        let payload = vec![7; size];
        let mut pair = Pair::new(Suite::Aes256Gcm, 1_472);
        group.bench_function(format!("{size} B, {batch} a turn"), |b| {
            b.iter(|| pair.run(&payload, MESSAGES, batch))
        });
    }
}

fn idle_turn(c: &mut Criterion) {
    let mut pair = Pair::new(Suite::Aes256Gcm, 1_472);
    c.bench_function("a turn of both cores with nothing to do", |b| {
        b.iter(|| pair.turn())
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = publish_to_confirmed, idle_turn
}
criterion_main!(benches);
