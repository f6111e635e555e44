//! Messages per second through two protocol cores in memory, by step. Made to be run under `perf record`.

use std::time::{Duration, Instant};

use clap::Parser;
use tidings_bench::pair::Pair;
use tidings_bench::print::line;
use tidings_wire::Suite;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Bytes of each message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Messages published in one turn
    #[arg(long, default_value_t = 1024)]
    batch: usize,
    /// Largest datagram in bytes
    #[arg(long, default_value_t = 1472)]
    datagram: usize,
    /// How long to measure, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// CPU to run on
    #[arg(long)]
    pin: Option<usize>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    if let Some(cpu) = options.pin {
        tidings_bench::sys::pin(cpu)?;
    }
    let payload = vec![7; options.size];
    let mut pair = Pair::new(Suite::Aes256Gcm, options.datagram);
    let round = (options.batch as u64) * 64;
    pair.run(&payload, round * 4, options.batch);
    pair.steps = Default::default();
    pair.datagrams = (0, 0);
    let virtual_start = pair.now();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs_f64(options.seconds) {
        pair.run(&payload, round, options.batch);
        count += round;
    }
    let time = start.elapsed();
    let each = |part: Duration| part.as_nanos() as f64 / count as f64;
    line(&format!(
        "{} B, {} a turn, datagrams of {} B: {:.2} M messages/s, {:.0} ns each",
        options.size,
        options.batch,
        options.datagram,
        count as f64 / time.as_secs_f64() / 1e6,
        each(time)
    ));
    let steps = pair.steps;
    line(&format!(
        "  ns a message: publish {:.0}, flush {:.0}, copy {:.0}, receive {:.0}, way back {:.0}",
        each(steps.publish),
        each(steps.flush),
        each(steps.copy),
        each(steps.receive),
        each(steps.back)
    ));
    line(&format!(
        "  messages a datagram {:.1}; datagrams back for 1000 forth {:.1}; virtual {:.2} M messages/s",
        count as f64 / pair.datagrams.0 as f64,
        pair.datagrams.1 as f64 * 1000.0 / pair.datagrams.0 as f64,
        count as f64 * 1e3 / (pair.now() - virtual_start) as f64
    ));
    line(&format!("  {:?}", pair.publish_counters()));
    Ok(())
}
