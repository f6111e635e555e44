//! `soak`: storm after storm over the same nodes, each with a seed of its own; between them it looks at what the daemons
//! hold on to. Ends with a verdict.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tidings_tests::blackbox::storm::{NODES, Storm};
use tidings_tests::host::Usage;
use tidings_tests::lab;

/// Storms over nine nodes until the time is up. Every storm ends with all faults mended and its logs judged; every
/// message must be gone from every node then, and memory and descriptors must not grow from storm to storm.
#[derive(Debug, Parser)]
#[command(name = "soak", version)]
struct Options {
    /// How long, minutes
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Seed of the first storm; the next has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long one storm blows, seconds
    #[arg(long, default_value_t = 60)]
    storm: u64,
}

/// What a node may have grown by since it was first looked at, besides a tenth: pools that a busier storm filled. Its
/// daemon is another one after each rolling restart; what leaks on within one shows in long storms.
const RSS_SLACK: u64 = 16 << 20;
/// Descriptors of clients that come and go while it is looked at.
const FDS_SLACK: usize = 4;
/// How long messages may take to be gone when nobody wants them any more.
const EMPTY_WITHIN: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(missing) = lab::available() {
        eprintln!("the lab cannot run here: {missing}");
        return ExitCode::FAILURE;
    }
    let until = Instant::now() + Duration::from_secs(60 * options.minutes);
    let mut storm = Storm::gather(options.seed);
    let mut firsts = [None; NODES];
    let mut faults = 0;
    let mut storms = 0;
    let mut totals = (0, 0, 0);
    for seed in options.seed.. {
        let aftermath = storm.blow(seed, Duration::from_secs(options.storm));
        storms += 1;
        println!("seed {seed}: {aftermath}");
        let verdict = &aftermath.verdict;
        faults += verdict.count() + usize::from(aftermath.settled.is_none());
        totals.0 += verdict.accepted;
        totals.1 += verdict.got;
        totals.2 += aftermath.deeds.values().sum::<u64>();
        storm.wait_empty(EMPTY_WITHIN);
        faults += holds_on(&storm, &mut firsts);
        if verdict.count() > 0 {
            println!("logs: {}", aftermath.logs.display());
        } else {
            // Judged and told: a storm's logs are some 20 MB.
            let _ = std::fs::remove_dir_all(&aftermath.logs);
        }
        if Instant::now() >= until {
            break;
        }
    }
    let (accepted, got, deeds) = totals;
    println!(
        "{storms} storms, {deeds} faults inflicted, {accepted} messages accepted, {got} delivered"
    );
    if faults == 0 {
        println!("verdict: the contract holds, nothing is held on to");
        ExitCode::SUCCESS
    } else {
        println!("verdict: BROKEN, {faults} times");
        ExitCode::FAILURE
    }
}

/// Looks at memory and descriptors of every node; counts those that grew since the node was first looked at.
fn holds_on(storm: &Storm, firsts: &mut [Option<Usage>; NODES]) -> usize {
    let mut grown = 0;
    let mut line = Vec::new();
    for (node, first) in storm.cluster().nodes().zip(firsts) {
        let Ok(usage) = node.daemon().usage() else {
            println!("{} does not run", node.name());
            grown += 1;
            continue;
        };
        let base = *first.get_or_insert(usage);
        line.push(format!("{} MiB/{}", usage.rss_bytes >> 20, usage.open_fds));
        let has_grown = usage.rss_bytes > base.rss_bytes + base.rss_bytes / 10 + RSS_SLACK
            || usage.open_fds > base.open_fds + FDS_SLACK;
        if has_grown {
            println!("{} grew from {base:?} to {usage:?}", node.name());
            grown += 1;
        }
    }
    println!("memory/descriptors: {}", line.join(", "));
    grown
}
