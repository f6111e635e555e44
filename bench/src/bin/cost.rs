//! The cost model as a command: times the steps, makes a real run of the same moment, and says whether the steps explain it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use tidings_bench::cost::load::Load;
use tidings_bench::cost::{Kernel, Model, Times, criterion};
use tidings_bench::floor::echo::{Echo, Waiting};
use tidings_bench::floor::options::Measure;
use tidings_bench::floor::pipe::Pipe;
use tidings_bench::floor::raw::Raw;
use tidings_bench::floor::report::median;
use tidings_bench::floor::socket::RING;
use tidings_bench::print::line;
use tidings_bench::steps::{DATAGRAM, SIZES};

/// What criterion is to time: all but hops and whole exchanges, which the model does not need.
const STEPS: &str =
    "steps/(stamp|encode|seal|publish_|flush|header|open|window|decode|receive|tally|acknowledge)";

#[derive(Parser)]
#[command(
    version,
    about = "What a message costs by step, beside what a real run took",
    after_help = "Times of the steps are criterion's, the kernel's part is that of `floor pipe` with as many datagrams a call, and the \
run is `tidings-loadgen throughput --attach on-shard`. Wants a release build of tidings-loadgen beside it, cargo, and CPUs 0 and 1.\n\
Exit codes: 0 the sum is within the limit for every size; 1 it is not; 2 something could not be measured."
)]
struct Options {
    /// Sizes of messages
    #[arg(long, value_delimiter = ',', default_values_t = SIZES)]
    size: Vec<usize>,
    /// Seconds of each run
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Runs and floors of each size: their medians count
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Percent that the sum may be off
    #[arg(long, default_value_t = 15.0)]
    limit: f64,
    /// Take criterion's times as they are, from an earlier `cargo bench --bench steps`
    #[arg(long)]
    read: bool,
    /// Where criterion leaves its files [default: `criterion` beside this program's folder]
    #[arg(long)]
    criterion: Option<PathBuf>,
}

fn main() -> ExitCode {
    match act(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("cost: {error}");
            ExitCode::from(2)
        }
    }
}

fn act(options: &Options) -> Result<bool, String> {
    if let Some(size) = options.size.iter().find(|size| !SIZES.contains(size)) {
        return Err(format!("--size {size}: steps are measured for {SIZES:?}"));
    }
    if options.rounds == 0 {
        return Err("--rounds 0: give 1 or more".to_owned());
    }
    let here =
        std::env::current_exe().map_err(|error| format!("where is this program: {error}"))?;
    let release = here.parent().unwrap_or(Path::new("."));
    let target = release.parent().unwrap_or(Path::new("."));
    let folder = options.criterion.clone();
    let folder = folder.unwrap_or_else(|| target.join("criterion"));
    // Round after round: the machine is not equally fast all the time.
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let mut runs = Vec::new();
        for &size in &options.size {
            let load = load(options, release, size)?;
            runs.push((floor(options, &load)?, load));
        }
        if !options.read {
            measure_steps(&folder)?;
        }
        let times = criterion::times(&folder.join("steps"))
            .map_err(|error| format!("{error}; run it without --read"))?;
        rounds.push((times, runs));
    }
    let each = rounds.iter().map(|(times, _)| times.clone()).collect();
    let times = medians(each);
    let runs = (0..options.size.len()).map(|at| {
        let all = rounds.iter().map(|(_, runs)| runs[at].clone());
        middle(all.collect())
    });
    let runs: Vec<_> = runs.collect();
    let mut is_good = true;
    for (kernel, load) in &runs {
        is_good &= tell(options, &times, *kernel, load)?;
    }
    Ok(is_good)
}

/// The median of each step's times.
fn medians(rounds: Vec<Times>) -> Times {
    let first = rounds.first().cloned().unwrap_or_default();
    let each = first.into_keys().map(|name| {
        let mut all: Vec<f64> = rounds
            .iter()
            .filter_map(|times| times.get(&name).copied())
            .collect();
        let [median, ..] = median(&mut all);
        (name, median)
    });
    each.collect()
}

/// The run that took the median of CPU, with the medians of the kernel's part.
fn middle(mut all: Vec<(Kernel, Load)>) -> (Kernel, Load) {
    let mut send: Vec<f64> = all.iter().map(|(kernel, _)| kernel.send_ns).collect();
    let mut small: Vec<f64> = all.iter().map(|(kernel, _)| kernel.small_ns).collect();
    let mut sleep: Vec<f64> = all.iter().map(|(kernel, _)| kernel.sleep_ns).collect();
    let mut recv: Vec<f64> = all.iter().map(|(kernel, _)| kernel.recv_ns).collect();
    let kernel = Kernel {
        send_ns: median(&mut send)[0],
        recv_ns: median(&mut recv)[0],
        small_ns: median(&mut small)[0],
        sleep_ns: median(&mut sleep)[0],
    };
    all.sort_by(|a, b| a.1.cpu_ns.total_cmp(&b.1.cpu_ns));
    (kernel, all.swap_remove(all.len() / 2).1)
}

fn load(options: &Options, release: &Path, size: usize) -> Result<Load, String> {
    let program = release.join("tidings-loadgen");
    let output = Command::new(&program)
        .args(["throughput", "--attach", "on-shard", "--format", "json"])
        .args(["--size", &size.to_string()])
        // As those that the steps work on.
        .args(["--max-datagram", &DATAGRAM.to_string()])
        .args(["--pin", &PIN.map(|cpu| cpu.to_string()).join(",")])
        .args(["--seconds", &options.seconds.to_string()])
        .stderr(Stdio::inherit())
        .output();
    let remedy = "cargo build --release -p tidings-loadgen";
    let output =
        output.map_err(|error| format!("cannot run {}: {error}; {remedy}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Load::parse(&text).map_err(|error| format!("tidings-loadgen: {error}"))
}

/// The CPUs of both sides: what moving between CPUs costs is not modelled.
const PIN: [usize; 2] = [0, 1];
/// Of an acknowledgement with its report.
const ACK_BYTES: usize = 100;

/// The kernel's part at the run's datagrams, and as many of them in a call, with the work between calls that a stream has at least.
fn floor(options: &Options, load: &Load) -> Result<Kernel, String> {
    let measure = Measure::once(options.seconds, PIN.to_vec());
    let mut pipe = Pipe {
        size: load.size,
        datagram: DATAGRAM,
        sends: 1,
        ring: RING,
        calls: true,
        measure: measure.clone(),
    };
    pipe.sends = pipe.sends_of(load.datagrams_per_send);
    let round = pipe.round();
    let large = round.map_err(|error| format!("floor pipe: {error}"))?;
    let raw = Raw {
        size: ACK_BYTES,
        batch: 1,
        measure: measure.clone(),
    };
    let small = raw.round().map_err(|error| format!("floor raw: {error}"))?;
    let small_ns =
        small.sent.cpu_ns(small.sent.count) + small.received.cpu_ns(small.received.count);
    // There and back: two datagrams, two sleeps.
    let echo = Echo {
        size: ACK_BYTES,
        sender: Waiting::Epoll,
        receiver: Waiting::Epoll,
        rate: None,
        measure,
    };
    let figures = echo
        .round()
        .map_err(|error| format!("floor echo: {error}"))?;
    let cpu = figures.iter().find(|(name, ..)| *name == "cpu_ns");
    let echo_ns = cpu.map(|(.., ns)| *ns);
    let echo_ns = echo_ns.ok_or("floor echo tells no cpu_ns")?;
    Ok(Kernel {
        send_ns: large.send_ns,
        recv_ns: large.recv_ns,
        small_ns,
        sleep_ns: (echo_ns / 2.0 - small_ns).max(0.0),
    })
}

/// Has criterion time the steps now; what it says goes to standard error.
fn measure_steps(folder: &Path) -> Result<(), String> {
    let done = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "bench",
            "--quiet",
            "-p",
            "tidings-bench",
            "--bench",
            "steps",
        ])
        .args(["--", "--quiet", "--noplot", "--sample-size", "20"])
        .args(["--warm-up-time", "0.1", "--measurement-time", "0.3"])
        .arg(STEPS)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CRITERION_HOME", folder)
        .stdout(Stdio::null())
        .status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo bench --bench steps: {status}")),
        Err(error) => Err(format!("cannot run cargo bench: {error}")),
    }
}

/// Prints one size; answers whether the steps explain it.
fn tell(options: &Options, times: &Times, kernel: Kernel, load: &Load) -> Result<bool, String> {
    let model = Model::new(times, kernel, load)?;
    let off = model.unaccounted() * 100.0;
    let is_good = off.abs() <= options.limit;
    let sides: Vec<String> = load
        .cpu_by_side
        .iter()
        .map(|(name, ns)| format!("{name} {ns:.0}"))
        .collect();
    line(&format!(
        "{} B on the shard: {:.2} M messages/s, {:.1} a datagram, {:.0} datagrams a send; ns of CPU a message: {}\n{}\n  {}",
        load.size,
        load.rate / 1e6,
        load.messages_per_datagram,
        load.datagrams_per_send,
        sides.join(", "),
        model.text(),
        if is_good {
            format!("the sum is within {} % of what was measured", options.limit)
        } else {
            format!(
                "OFF: {off:.1} % of what was measured is not explained, {} % may be",
                options.limit
            )
        }
    ));
    Ok(is_good)
}
