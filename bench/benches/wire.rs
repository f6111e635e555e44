//! Sealing and opening of FAN datagrams by suite and size.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidings_wire::{Boot, FanRx, FanTx, KeyRecord, Keyring, NodeId, OverlayId, Suite};

const SIZES: [usize; 4] = [64, 256, 1_200, 8_192];
const SUITES: [(Suite, &str); 4] = [
    (Suite::Aes128Gcm, "aes-128-gcm"),
    (Suite::Aes192Gcm, "aes-192-gcm"),
    (Suite::Aes256Gcm, "aes-256-gcm"),
    (Suite::ChaCha20Poly1305, "chacha20-poly1305"),
];

fn keyring(suite: Suite) -> Keyring {
    let record = KeyRecord::new(0, suite, [7; 32]);
    Keyring::new(OverlayId::from_name("bench"), vec![record], 0).expect("a valid keyring")
}

fn sender(ring: &Keyring) -> FanTx {
    FanTx::new(ring, 0, NodeId([1; 16]), Boot([2; 16]), 3, 0).expect("slot 0 is there")
}

fn receiver(ring: &Keyring) -> FanRx {
    FanRx::new(ring, 0, NodeId([1; 16]), Boot([2; 16]), 3, 0, 0).expect("slot 0 is there")
}

fn seal_and_open(c: &mut Criterion) {
    for (suite, name) in SUITES {
        let ring = keyring(suite);
        let mut group = c.benchmark_group(name);
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            let mut tx = sender(&ring);
            let mut datagram = vec![0; size];
            group.bench_function(format!("seal {size} B"), |b| {
                b.iter(|| tx.seal(9, black_box(&mut datagram)))
            });
            let mut tx = sender(&ring);
            tx.seal(9, &mut datagram).expect("it can be sealed");
            let mut rx = receiver(&ring);
            group.bench_function(format!("open {size} B"), |b| {
                b.iter_batched_ref(
                    || datagram.clone(),
                    |copy| rx.open(black_box(copy)).is_ok(),
                    BatchSize::SmallInput,
                )
            });
        }
    }
}

criterion_group!(benches, seal_and_open);
criterion_main!(benches);
