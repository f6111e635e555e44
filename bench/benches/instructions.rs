//! Instructions of each hot step (`src/steps`), counted by callgrind: `--bin instructions` compares them with a baseline.
//! Counted is one run after a warm-up; keys, seeds and sizes are fixed, and nothing there reads a clock or has a thread.

// Of what its macros make.
#![allow(missing_docs)]

use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use tidings_bench::steps::{Step, named};

/// Runs before the one that counts.
const WARM: usize = 3;

fn ready(name: &str) -> Box<dyn Step> {
    let step = named(name).expect("the list in src/steps has it");
    let mut work = (step.make)();
    for _ in 0..WARM {
        work.prepare();
        work.run();
    }
    work.prepare();
    work
}

// One that is missing here is missing in the baseline, which `--bin instructions` says.
#[library_benchmark(setup = ready)]
#[bench::publisher_hop_64("publisher_hop_64")]
#[bench::publisher_hop_1024("publisher_hop_1024")]
#[bench::encode_64("encode_64")]
#[bench::encode_1024("encode_1024")]
#[bench::seal_64("seal_64")]
#[bench::seal_1024("seal_1024")]
#[bench::publish_64("publish_64")]
#[bench::publish_1024("publish_1024")]
#[bench::flush_64("flush_64")]
#[bench::flush_1024("flush_1024")]
#[bench::header_check("header_check")]
#[bench::open_64("open_64")]
#[bench::open_1024("open_1024")]
#[bench::window("window")]
#[bench::decode_64("decode_64")]
#[bench::decode_1024("decode_1024")]
#[bench::receive_64("receive_64")]
#[bench::receive_1024("receive_1024")]
#[bench::subscriber_hop_64("subscriber_hop_64")]
#[bench::subscriber_hop_1024("subscriber_hop_1024")]
#[bench::acknowledge_64("acknowledge_64")]
#[bench::acknowledge_1024("acknowledge_1024")]
#[bench::exchange_64("exchange_64")]
#[bench::exchange_1024("exchange_1024")]
fn steps(mut step: Box<dyn Step>) -> Box<dyn Step> {
    step.run();
    // Dropped by the caller, outside of what is counted.
    step
}

library_benchmark_group!(name = hot, benchmarks = steps);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = hot
);
