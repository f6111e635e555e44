//! `crowd`: many nodes on this machine, how soon they know what happens to one of them, and what they cost; the same of
//! Serf, where it is installed. Prints a table, and writes it where it is told to.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidings_tests::crowd::{Answers, Herd, Plan, SerfHerd, Spread, TidingsHerd, measure};
use tidings_tests::lab;

/// Puts the same questions to a crowd of Tidings nodes and of Serf agents on this machine, each on a host of its own.
#[derive(Debug, Parser)]
#[command(name = "crowd", version)]
struct Options {
    /// How many nodes
    #[arg(long, default_value_t = 48)]
    nodes: usize,
    /// How often everything is asked; the table has the median of the rounds and their range
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Victims of each fault
    #[arg(long, default_value_t = 5)]
    victims: usize,
    /// How long all cores are hogged, seconds
    #[arg(long, default_value_t = 60)]
    hog: u64,
    /// How long idle nodes are looked at, seconds
    #[arg(long, default_value_t = 20)]
    idle: u64,
    /// Ask only how soon they join and what they cost
    #[arg(long)]
    no_faults: bool,
    /// Leave Serf out
    #[arg(long)]
    no_serf: bool,
    /// Where the table is written besides
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// One line of the table: the question, the bound, and what the answers say.
type Line = (&'static str, &'static str, fn(&Answers) -> Vec<f64>);

const LINES: [Line; 11] = [
    ("full join after the last start, s", "< 0.5", |a| {
        vec![a.join.unwrap_or(f64::INFINITY)]
    }),
    (
        "kill -9, host alive: held dead, median (last), s",
        "< 1.5",
        |a| spread(a.killed),
    ),
    ("cable pulled: suspect, median (last), s", "< 3", |a| {
        spread(a.cut_suspect)
    }),
    ("cable pulled: held dead, median (last), s", "< 6", |a| {
        spread(a.cut_dead)
    }),
    ("pauses of 3 s: held dead", "0", |a| {
        vec![a.frozen_dead as f64]
    }),
    ("all cores hogged: held dead", "0", |a| {
        vec![a.hogged_dead as f64]
    }),
    ("pauses of 10 s: held dead", "allowed", |a| {
        vec![a.long_dead as f64]
    }),
    ("... and back for the last node after, s", "< 2", |a| {
        vec![a.long_back.unwrap_or(f64::INFINITY)]
    }),
    (
        "64 B to all others: the last has it, median (worst), ms",
        "< 20",
        |a| vec![a.message.median * 1e3, a.message.last * 1e3],
    ),
    ("idle: RSS, median (largest), MiB", "< 8", |a| {
        vec![a.rss_mib.0, a.rss_mib.1]
    }),
    ("idle: CPU, % of a core", "< 0.1", |a| vec![a.cpu_percent]),
];

fn spread(spread: Spread) -> Vec<f64> {
    if spread.count == 0 {
        return Vec::new();
    }
    let last = if spread.never > 0 {
        f64::INFINITY
    } else {
        spread.last
    };
    vec![spread.median, last]
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(missing) = lab::available() {
        eprintln!("the lab cannot run here: {missing}");
        return ExitCode::FAILURE;
    }
    let plan = Plan {
        nodes: options.nodes,
        victims: options.victims,
        messages: if options.no_faults { 0 } else { 20 },
        faults: !options.no_faults,
        hog: Duration::from_secs(options.hog),
        idle: Duration::from_secs(options.idle),
    };
    let (mut tidings, mut serf) = (Vec::new(), Vec::new());
    let mut serf_name = String::from("Serf");
    let mut loads = vec![load()];
    for _ in 0..options.rounds {
        tidings.push(measure(&TidingsHerd::new(options.nodes), plan));
        loads.push(load());
        if options.no_serf {
            continue;
        }
        let Some(herd) = SerfHerd::new(options.nodes) else {
            eprintln!("SKIPPED: there is no serf on this machine");
            continue;
        };
        serf_name = format!("Serf {}", herd.name());
        serf.push(measure(&herd, plan));
        loads.push(load());
    }
    let mut text = table(&serf_name, &tidings, &serf);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    writeln!(
        text,
        "\n{} nodes, {} rounds of {} victims for each fault, {cores} cores; load average before, between and after: {}.",
        options.nodes,
        options.rounds,
        options.victims,
        loads.join(", ")
    )
    .expect("writing to a string");
    print!("{text}");
    if let Some(path) = options.write
        && let Err(error) = std::fs::write(&path, &text)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

fn table(serf_name: &str, tidings: &[Answers], serf: &[Answers]) -> String {
    let mut text = format!("| | must | Tidings | {serf_name} |\n|---|---|---|---|\n");
    for (question, must, read) in LINES {
        let (ours, theirs) = (cell(tidings, read), cell(serf, read));
        writeln!(text, "| {question} | {must} | {ours} | {theirs} |").expect("writing to a string");
    }
    text
}

/// The median over the rounds, and their range if there are several.
fn cell(rounds: &[Answers], read: fn(&Answers) -> Vec<f64>) -> String {
    let columns: Vec<Vec<f64>> = rounds.iter().map(read).collect();
    let width = columns.iter().map(Vec::len).max().unwrap_or(0);
    let figures = (0..width).map(|at| {
        let mut all: Vec<f64> = columns.iter().filter_map(|c| c.get(at).copied()).collect();
        all.sort_by(f64::total_cmp);
        let (low, high) = (all[0], all[all.len() - 1]);
        let median = figure(all[all.len() / 2]);
        if figure(low) == figure(high) {
            median
        } else {
            format!("{median} [{} to {}]", figure(low), figure(high))
        }
    });
    match figures.collect::<Vec<_>>().as_slice() {
        [] => "-".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} ({})", rest.join(", ")),
    }
}

fn figure(value: f64) -> String {
    if value.is_infinite() {
        "never".to_owned()
    } else if value == value.trunc() && value.abs() < 1e6 {
        format!("{value:.0}")
    } else if value.abs() < 0.1 {
        format!("{value:.3}")
    } else if value.abs() < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}
