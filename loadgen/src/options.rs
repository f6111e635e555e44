//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::error::Error;
use crate::expect::Expectations;
use crate::plan::{Place, Plan, PollChoice, Scenario};
use crate::preset::Preset;
use crate::sizes::Sizes;
use crate::stamp::{STAMP_BYTES, STAMP_DUE_BYTES, STREAMS_MAX};
use crate::system::System;

#[derive(Parser)]
#[command(version, about = "Open-loop load generator")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER: &str = "\
The scenarios are the same run with other defaults: every option works with each of them where it makes sense, and is refused where not.

Exit codes: 0 everything arrived once and was as expected; 1 something was lost, failed, came twice or was not as expected;
2 the run could not be made. Throughput is counted at the subscribers. Latency counts from the moment when a message was due
(no coordinated omission); the generator's own lag stands beside it. `late` are messages that came after a later one of their
publisher and topic, which is wrong with --ordered only.

Examples:
  throughput --size 1024                            how much goes through
  latency --rate 50k --expect p99=200us --html a.html
  fan-out --subscribers 8 --attach daemon
  find-max --p99 1ms                                the highest rate at which the 99th percentile stays below
  compare before.json after.json --expect p99=1.1   fails if it became more than a tenth slower
  latency --role subscribe --bind 0.0.0.0:7500      on one host, and on another
  latency --role publish --join host-a-address:7500";

/// The name that this program goes by.
pub(crate) fn program() -> String {
    let own = std::env::args_os().next().map(PathBuf::from);
    let name = own.as_deref().and_then(|path| path.file_name());
    name.map_or("tidings-loadgen".into(), |name| {
        name.to_string_lossy().into_owned()
    })
}

/// Reads the command line; ends the program if it is wrong.
pub(crate) fn parse(systems: &[&dyn System]) -> Options {
    let ways = systems
        .iter()
        .map(|system| format!("  {:<18} {}\n", system.name(), system.about()));
    let ways = ways.collect::<String>();
    let after = format!("Attachments (--attach), the first is the default:\n{ways}\n{AFTER}");
    let command = Options::command();
    let command = command.display_name(program()).bin_name(program());
    let matches = command.after_help(after).get_matches();
    Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Publish as fast as the network takes it
    Throughput(Load),
    /// Publish at a fixed rate, message i due at i/rate, and measure how long after that it arrives
    Latency(Load),
    /// One topic to several subscribing processes
    FanOut(Load),
    /// Request on one topic, answer on another: the round trip, one at a time or at --rate
    PingPong(Load),
    /// Over many topics in turn
    Topics(Load),
    /// From many publishers at once
    Publishers(Load),
    /// Messages of several sizes
    Mixed(Load),
    /// One subscriber takes its time over each message: the others must not feel it, and it must lose nothing
    Slow(Load),
    /// Subscribers come and go beside one that stays, which must lose nothing
    Churn(Load),
    /// Many subscribers come at once: how long until each got its first message
    Storm(Load),
    /// Measure CPU and memory of a node with one peer and nothing to do
    Idle(Load),
    /// Step the rate up until a bound is exceeded, and tell the highest that held
    FindMax(FindMax),
    /// Put two sets of reports beside each other
    Compare(Compare),
    /// The other process of a run; reads its plan from standard input
    #[command(hide = true)]
    Peer,
    /// Becomes `command`, which then dies with the run
    #[command(hide = true)]
    Guard {
        #[arg(long, value_delimiter = ',')]
        pin: Vec<usize>,
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Publish here, and start the subscribers as processes of their own
    Both,
    /// Only publish
    Publish,
    /// Only subscribe
    Subscribe,
}

fn rate(text: &str) -> Result<f64, String> {
    crate::units::Unit::Rate.parse(text)
}

#[derive(Args)]
pub(crate) struct Load {
    /// How publishers and subscribers attach; `--help` of the program lists the ways
    #[arg(long)]
    pub(crate) attach: Option<String>,
    /// Messages per second of all publishers together, as 10000 or 50k [default: as fast as they are taken, where no other is the scenario's]
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Bytes of each message [default: 64]
    #[arg(long)]
    pub(crate) size: Option<usize>,
    /// Several sizes with their shares, as 64:70,1024:25,16384:5
    #[arg(long, conflicts_with = "size")]
    pub(crate) sizes: Option<Sizes>,
    /// Publishers, each with a numbering of its own [default: 1; publishers: 8]
    #[arg(long)]
    pub(crate) publishers: Option<usize>,
    /// Topics that each publisher publishes on in turn [default: 1; topics: 1000]
    #[arg(long)]
    pub(crate) topics: Option<usize>,
    /// Subscribing processes, each of which gets every message [default: 1; fan-out: 4; slow: 2]
    #[arg(long)]
    pub(crate) subscribers: Option<usize>,
    /// Subscribe ordered
    #[arg(long)]
    pub(crate) ordered: bool,
    /// Microseconds that each message takes the slow subscriber (slow) [default: 200]
    #[arg(long)]
    pub(crate) slow_us: Option<u64>,
    /// Subscribers that come and go (churn) or come at once (storm) [default: churn 2; storm 100 with a server, 8 as nodes]
    #[arg(long)]
    pub(crate) clients: Option<usize>,
    /// Seconds for which one that comes and goes stays (churn) [default: 0.5]
    #[arg(long)]
    pub(crate) stay: Option<f64>,
    /// Seconds to measure [default: 5; idle: 10]
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Seconds before that which do not count [default: 1; idle: 3]
    #[arg(long)]
    pub(crate) warmup: Option<f64>,
    /// Seconds that outstanding messages may take afterwards
    #[arg(long, default_value_t = 20.0)]
    pub(crate) drain: f64,
    #[command(flatten)]
    pub(crate) at: Where,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct Where {
    /// Which side of the run this process is
    #[arg(long, value_enum, default_value_t = Role::Both)]
    pub(crate) role: Role,
    /// Address that an embedded node binds
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) bind: SocketAddr,
    /// Address of the other side's node, with --role
    #[arg(long)]
    pub(crate) join: Option<SocketAddr>,
    /// Socket of a running daemon, with --role and --attach daemon
    #[arg(long)]
    pub(crate) socket: Option<PathBuf>,
    /// The program of the servers [default for the daemon: `tidings` beside this program]
    #[arg(long, alias = "tidings")]
    pub(crate) program: Option<PathBuf>,
    /// CPUs of the publishing and of the subscribing side
    #[arg(long, value_delimiter = ',')]
    pub(crate) pin: Vec<usize>,
    /// Polling of embedded nodes before they sleep: off, adaptive, or microseconds [default: the engine's]
    #[arg(long)]
    pub(crate) poll: Option<PollChoice>,
    /// The largest datagram in bytes that nodes look for, 1200 to 64992 [default: the engine's]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1_200..=64_992))]
    pub(crate) max_datagram: Option<u16>,
}

#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Write the report as one line of JSON, too
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write percentiles as the HdrHistogram tools do: latency to this file, other histograms beside it
    #[arg(long)]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write the report as one page with plots, which needs no other file
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
    /// Tell on standard error how far it is, also where that is no terminal
    #[arg(long)]
    pub(crate) progress: bool,
    /// Fail unless a figure is within its bound, as p99=100us, rate=1M, loss=0, cpu_ns=500, rss=64MiB; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) expect: Vec<String>,
}

impl Output {
    pub(crate) fn expectations(&self) -> Result<Expectations, Error> {
        Expectations::parse(&self.expect)
    }
}

#[derive(Args)]
pub(crate) struct FindMax {
    /// The 99th percentile of latency may be so much, as 1ms [default: no bound]
    #[arg(long)]
    pub(crate) p99: Option<String>,
    /// So many may be lost, as 0.1%
    #[arg(long, default_value = "0")]
    pub(crate) loss: String,
    /// The first rate
    #[arg(long, default_value = "10k", value_parser = rate)]
    pub(crate) start: f64,
    /// By how much the rate grows with each step
    #[arg(long, default_value_t = 2.0)]
    pub(crate) factor: f64,
    /// How near the highest that held and the lowest that did not must be in the end, as 5%
    #[arg(long, default_value = "5%")]
    pub(crate) precision: String,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Args)]
pub(crate) struct Compare {
    /// Reports of --json or --format json; several files separated by commas, or several reports a file
    pub(crate) a: String,
    /// What is compared with them
    pub(crate) b: String,
    /// Fail unless the ratio B/A of a figure is within its bound, as p99=1.1 or rate=95%; may be repeated
    #[arg(long, value_name = "NAME=RATIO")]
    pub(crate) expect: Vec<String>,
}

/// A run takes at most so many seconds in each of its parts.
const SECONDS_MAX: f64 = 3_600.0;
/// Publishers and subscribing processes of a run.
const MANY_MAX: usize = 1024;

fn check_seconds(name: &str, seconds: f64) -> Result<f64, Error> {
    if (0.0..=SECONDS_MAX).contains(&seconds) {
        Ok(seconds)
    } else {
        let told = format!("--{name} {seconds}: it is 0 to {SECONDS_MAX}");
        Err(Error::Usage(told))
    }
}

fn check_many(name: &str, count: usize, max: usize) -> Result<usize, Error> {
    if (1..=max).contains(&count) {
        Ok(count)
    } else {
        Err(Error::Usage(format!("--{name} {count}: it is 1 to {max}")))
    }
}

impl Load {
    /// The settings of all sides, checked.
    pub(crate) fn plan(&self, scenario: Scenario, system: &dyn System) -> Result<Plan, Error> {
        let preset = Preset::of(scenario, system.has_servers());
        self.check_fit(scenario)?;
        let size = self.size.map(Sizes::of);
        let topics = self.topics.unwrap_or(preset.topics);
        let publishers = self.publishers.unwrap_or(preset.publishers);
        let subscribers = self.subscribers.unwrap_or(preset.subscribers);
        let crowd = self.clients.unwrap_or(preset.crowd);
        let plan = Plan {
            scenario,
            attach: system.name().to_owned(),
            sizes: self.sizes.clone().or(size).unwrap_or(preset.sizes),
            rate: self.rate.or(preset.rate),
            seconds: check_seconds("seconds", self.seconds.unwrap_or(preset.seconds))?,
            warmup: check_seconds("warmup", self.warmup.unwrap_or(preset.warmup))?,
            drain: check_seconds("drain", self.drain)?,
            ordered: self.ordered,
            publishers: check_many("publishers", publishers, MANY_MAX)?,
            topics: check_many("topics", topics, STREAMS_MAX)?,
            subscribers: check_many("subscribers", subscribers, MANY_MAX)?,
            crowd: if crowd > 0 {
                check_many("clients", crowd, MANY_MAX)?
            } else {
                0
            },
            stay: check_seconds("stay", self.stay.unwrap_or(preset.stay))?,
            slow_us: self.slow_us.unwrap_or(preset.slow_us),
            pin: self.at.pin.clone(),
            poll: self.at.poll,
            max_datagram: self.at.max_datagram.map(usize::from),
        };
        check(&plan)?;
        Ok(plan)
    }

    /// Refuses what another scenario is for.
    fn check_fit(&self, scenario: Scenario) -> Result<(), Error> {
        let refuse = |is_said: bool, what: &str, only: &[Scenario]| {
            if !is_said || only.contains(&scenario) {
                return Ok(());
            }
            let names: Vec<_> = only.iter().map(|each| each.name()).collect();
            Err(Error::Usage(format!(
                "{what} is for {}, not for {}",
                names.join(" and "),
                scenario.name()
            )))
        };
        let crowds = [Scenario::Churn, Scenario::Storm];
        refuse(self.slow_us.is_some(), "--slow-us", &[Scenario::Slow])?;
        refuse(self.clients.is_some(), "--clients", &crowds)?;
        refuse(self.stay.is_some(), "--stay", &crowds[..1])?;
        if scenario == Scenario::Idle && self.at.role != Role::Both {
            return Err(Error::Usage(
                "idle has no sides: leave out --role".to_owned(),
            ));
        }
        Ok(())
    }

    /// Where this side is and whom it talks to.
    pub(crate) fn place(&self) -> Place {
        Place {
            bind: self.at.bind,
            join: self.at.join,
            socket: self.at.socket.clone(),
            program: self.at.program.clone(),
            ..Place::loopback()
        }
    }
}

/// What concerns several settings at once.
fn check(plan: &Plan) -> Result<(), Error> {
    let least = match plan.is_timed() {
        true => STAMP_DUE_BYTES,
        false => STAMP_BYTES,
    };
    let name = plan.scenario.name();
    let refused = if plan.sizes.least() < least {
        format!("a message has at least {least} bytes: they carry its number")
    } else if plan.rate.is_some_and(|rate| !(1e-3..=1e9).contains(&rate)) {
        "--rate is 0.001 to 1e9".to_owned()
    } else if plan.pin.len() > 2 {
        "--pin takes two CPUs".to_owned()
    } else if plan.publishers * plan.topics > STREAMS_MAX {
        format!("--publishers times --topics is at most {STREAMS_MAX}")
    } else if plan.scenario == Scenario::PingPong && plan.subscribers > 1 {
        "ping-pong has one subscriber, which answers".to_owned()
    } else if has_one_stream(plan.scenario) && plan.publishers * plan.topics > 1 {
        format!("{name} has one publisher and one topic")
    } else if plan.scenario == Scenario::Slow && plan.subscribers < 2 {
        "slow takes --subscribers 2 or more: one of them is the slow one".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Usage(refused))
}

/// Whose books begin anywhere, or that have answers.
fn has_one_stream(scenario: Scenario) -> bool {
    matches!(
        scenario,
        Scenario::PingPong | Scenario::Churn | Scenario::Storm
    )
}
