//! Hot steps of the wire: header check, sealing and opening of FAN datagrams, decoding, windows.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidings_wire::digest::{Digest, Digests, Writer};
use tidings_wire::{
    Boot, FAN_HEADER, FanRx, FanTx, FloorWindow, Header, KeyRecord, Keyring, NodeId, OverlayId,
    Suite, TAG,
};

const SIZES: [usize; 4] = [64, 256, 1_200, 8_192];
const SUITES: [(Suite, &str); 3] = [
    (Suite::Aes128Gcm, "aes-128-gcm"),
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

fn header(c: &mut Criterion) {
    let mut datagram = vec![0; 1_200];
    sender(&keyring(Suite::Aes256Gcm))
        .seal(9, &mut datagram)
        .expect("it can be sealed");
    c.bench_function("header check of a FAN datagram", |b| {
        b.iter(|| Header::parse(black_box(&datagram)).is_ok())
    });
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

fn decode(c: &mut Criterion) {
    let mut body = vec![0; 1_472 - FAN_HEADER - TAG];
    let mut writer = Writer::new(&mut body);
    let mut count = 0;
    while writer.put_message(1, None, &[7; 64]) {
        count += 1;
    }
    let len = writer.len();
    body.truncate(len);
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(count));
    group.bench_function("a datagram of 64 B messages", |b| {
        b.iter(|| {
            let digests = Digests::new(black_box(&body));
            let payloads = digests.map(|digest| match digest {
                Ok(Digest::Message(message)) => message.payload.len(),
                _ => 0,
            });
            payloads.sum::<usize>()
        })
    });
}

fn window(c: &mut Criterion) {
    let mut window = FloorWindow::new(8_192, 0);
    let mut counter = 0;
    c.bench_function("window check and mark in order", |b| {
        b.iter(|| {
            black_box(window.check(counter));
            window.mark(counter);
            counter += 1;
        })
    });
}

criterion_group!(benches, header, seal_and_open, decode, window);
criterion_main!(benches);
