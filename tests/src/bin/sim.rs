//! Runs seeds of the simulator: `sim --seed N`, `sim --seeds A..B`, `sim --scenario NAME`.
//!
//! Prints one line per range of seeds, and for each failure the one command that replays it, shrunk as far as that goes.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use tidings_tests::sim::{self, Coverage, Failure, Fault, Options, SCENARIOS, Scenario};

/// Deterministic simulation of many nodes under many faults.
#[derive(Parser)]
#[command(name = "sim")]
struct Args {
    /// One seed: its trace hash and what happened.
    #[arg(long)]
    seed: Option<u64>,
    /// Seeds from A up to but without B.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// The faults of this name, all of them and no others; of seeds 0 to 31 if none are given.
    #[arg(long, value_parser = scenario, conflicts_with = "only")]
    scenario: Option<&'static Scenario>,
    /// Nodes.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(2..=64))]
    nodes: u8,
    /// Virtual seconds: two thirds with faults, then the rest to heal in.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(6..))]
    secs: u64,
    /// Threads; as many as there are cores if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Fault classes that happen, all of them and no others.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    only: Vec<Fault>,
    /// Fault classes that do not happen.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    without: Vec<Fault>,
    /// Numbers of scheduled faults that do not happen.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<usize>,
    /// Print what nodes are told and do.
    #[arg(long)]
    trace: bool,
    /// Do not shrink failures.
    #[arg(long)]
    raw: bool,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("A..B")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
    let (from, to) = (number(from)?, number(to)?);
    if from < to {
        Ok((from, to))
    } else {
        Err("an empty range".to_owned())
    }
}

fn fault(name: &str) -> Result<Fault, String> {
    let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    Fault::named(name).ok_or_else(|| format!("one of {}", names.join(", ")))
}

fn scenario(name: &str) -> Result<&'static Scenario, String> {
    let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| format!("one of {}", names.join(", ")))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let only = match args.scenario {
        Some(scenario) => scenario.faults.to_vec(),
        None => args.only.clone(),
    };
    let options = Options {
        seed: args.seed.unwrap_or(0),
        nodes: usize::from(args.nodes),
        secs: args.secs,
        only,
        without: args.without.clone(),
        skip: args.skip.clone(),
        trace: args.trace,
    };
    let seeds = args.seeds.or(args.scenario.map(|_| (0, 32)));
    match (args.seed, seeds) {
        (Some(_), _) => one(&options, args.raw),
        (None, Some(seeds)) => many(&options, seeds, &args),
        (None, None) => {
            eprintln!("give --seed, --seeds or --scenario");
            ExitCode::from(2)
        }
    }
}

fn one(options: &Options, raw: bool) -> ExitCode {
    match sim::run(options) {
        Ok(report) => {
            println!("trace {:016x}", report.trace);
            println!("{}", report.coverage);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tell(*failure, raw);
            ExitCode::FAILURE
        }
    }
}

fn many(options: &Options, (from, to): (u64, u64), args: &Args) -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(from);
    let total = Mutex::new((Coverage::default(), 0, Vec::new()));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.unwrap_or(cores) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    let options = Options {
                        seed,
                        ..options.clone()
                    };
                    let result = sim::run(&options);
                    let mut total = total.lock().expect("no panic while it is held");
                    match result {
                        Ok(report) => {
                            total.0.add(&report.coverage);
                            total.1 += report.took;
                        }
                        Err(failure) => {
                            println!("seed {seed} fails at {} ms: {}", failure.at, failure.what);
                            total.2.push(failure);
                        }
                    }
                }
            });
        }
    });
    let took = begin.elapsed().as_secs_f64();
    let (coverage, virtual_ns, mut failures) = total.into_inner().expect("all threads ended");
    println!(
        "seeds {from}..{to}: {} failed, {:.1} seeds/s, {:.0} x real time",
        failures.len(),
        (to - from) as f64 / took,
        virtual_ns as f64 / 1e9 / took
    );
    println!("{coverage}");
    failures.sort_by_key(|failure| failure.options.seed);
    let failed = !failures.is_empty();
    // The others are likely the same.
    for failure in failures.into_iter().take(3) {
        tell(*failure, args.raw);
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn tell(failure: Failure, raw: bool) {
    let failure = if raw { failure } else { sim::shrink(failure) };
    print!("{failure}");
    println!(
        "replay: cargo run --release -p tidings-tests --bin sim -- {}",
        failure.options
    );
}
