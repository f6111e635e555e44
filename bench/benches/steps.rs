//! Each hot step by itself (`src/steps`), 64 B and 1 KiB messages in datagrams of 1,448 B. `--bin cost` adds them up.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidings_bench::steps;

/// What a shard's turn at full rate touches besides: some 200 datagrams in the store, in the kernel, in the receive pool. Between two
/// runs of a step all the others have their turn, and caches are as they leave them.
const BETWEEN: usize = 512 << 10;

fn hot_steps(c: &mut Criterion) {
    let mut between = vec![0u8; BETWEEN];
    let mut group = c.benchmark_group("steps");
    for step in steps::all() {
        let mut work = (step.make)();
        group.throughput(Throughput::Elements(work.units()));
        group.bench_function(step.name, |b| {
            b.iter_custom(|runs| {
                let mut time = Duration::ZERO;
                for _ in 0..runs {
                    work.prepare();
                    for line in between.chunks_mut(64) {
                        line[0] = black_box(line[0]).wrapping_add(1);
                    }
                    let start = Instant::now();
                    work.run();
                    time += start.elapsed();
                }
                time
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = hot_steps
}
criterion_main!(benches);
