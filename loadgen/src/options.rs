//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::error::Error;
use crate::plan::{Place, Plan, PollChoice, Scenario};
use crate::sizes::Sizes;
use crate::stamp::{STAMP_BYTES, STAMP_DUE_BYTES, STREAMS_MAX};
use crate::system::System;

#[derive(Parser)]
#[command(version, about = "Open-loop load generator of Tidings")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER: &str = "\
Exit codes: 0 everything arrived once; 1 something was lost, failed or came twice; 2 the run could not be made.
Throughput is counted at the subscriber. Latency counts from the moment when a message was due (no coordinated omission); the
generator's own lag stands beside it.";

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
    let after = format!(
        "Attachments (--attach):\n{}\n{AFTER}",
        ways.collect::<String>()
    );
    let command = Options::command()
        .display_name(program())
        .bin_name(program())
        .after_help(after);
    Options::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Publish as fast as the network takes it
    Throughput(Load),
    /// Publish at a fixed rate, message i due at i/rate, and measure how long after that it arrives
    Latency(Load),
    /// Measure CPU and memory of a node with one peer and nothing to do
    Idle(Load),
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

#[derive(Args)]
pub(crate) struct Load {
    /// How publishers and subscribers attach [default: the first of those below `--help`]
    #[arg(long)]
    pub(crate) attach: Option<String>,
    /// Messages per second of all publishers together [default: as fast as they are taken; latency: 10000]
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Bytes of each message
    #[arg(long, default_value_t = 64)]
    pub(crate) size: usize,
    /// Several sizes with their shares, as 64:70,1024:25,16384:5
    #[arg(long, conflicts_with = "size")]
    pub(crate) sizes: Option<Sizes>,
    /// Publishers, each with a numbering of its own
    #[arg(long, default_value_t = 1)]
    pub(crate) publishers: usize,
    /// Topics that each publisher publishes on in turn
    #[arg(long, default_value_t = 1)]
    pub(crate) topics: usize,
    /// Subscribing processes, each of which gets every message
    #[arg(long, default_value_t = 1)]
    pub(crate) subscribers: usize,
    /// Seconds to measure [default: 5; idle: 10]
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Seconds before that which do not count [default: 1; idle: 3]
    #[arg(long)]
    pub(crate) warmup: Option<f64>,
    /// Seconds that outstanding messages may take afterwards
    #[arg(long, default_value_t = 20.0)]
    pub(crate) drain: f64,
    /// Subscribe ordered
    #[arg(long)]
    pub(crate) ordered: bool,
    /// CPUs of the publishing and of the subscribing side
    #[arg(long, value_delimiter = ',')]
    pub(crate) pin: Vec<usize>,
    /// Polling of embedded nodes before they sleep: off, adaptive, or microseconds [default: the engine's]
    #[arg(long)]
    pub(crate) poll: Option<PollChoice>,
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
    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// A run takes at most so many seconds in each of its parts.
const SECONDS_MAX: f64 = 3_600.0;
/// Publishers and subscribing processes of a run.
const MANY_MAX: usize = 1024;

fn check_seconds(name: &str, seconds: f64) -> Result<f64, Error> {
    if (0.0..=SECONDS_MAX).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(Error::Usage(format!("--{name} is 0 to {SECONDS_MAX}")))
    }
}

fn check_many(name: &str, count: usize, max: usize) -> Result<usize, Error> {
    if (1..=max).contains(&count) {
        Ok(count)
    } else {
        Err(Error::Usage(format!("--{name} is 1 to {max}")))
    }
}

impl Load {
    /// The settings of all sides, checked.
    pub(crate) fn plan(&self, scenario: Scenario, system: &dyn System) -> Result<Plan, Error> {
        let (rate, seconds, warmup) = match scenario {
            Scenario::Throughput => (None, 5.0, 1.0),
            Scenario::Latency => (Some(10_000.0), 5.0, 1.0),
            Scenario::Idle => (Some(1.0), 10.0, 3.0),
        };
        let rate = self.rate.or(rate);
        let sizes = self.sizes.clone();
        let plan = Plan {
            scenario,
            attach: system.name().to_owned(),
            sizes: sizes.unwrap_or_else(|| Sizes::of(self.size)),
            rate,
            seconds: check_seconds("seconds", self.seconds.unwrap_or(seconds))?,
            warmup: check_seconds("warmup", self.warmup.unwrap_or(warmup))?,
            drain: check_seconds("drain", self.drain)?,
            ordered: self.ordered,
            publishers: check_many("publishers", self.publishers, MANY_MAX)?,
            topics: check_many("topics", self.topics, STREAMS_MAX)?,
            subscribers: check_many("subscribers", self.subscribers, MANY_MAX)?,
            pin: self.pin.clone(),
            poll: self.poll,
        };
        check(&plan)?;
        Ok(plan)
    }

    /// Where this side is and whom it talks to.
    pub(crate) fn place(&self) -> Place {
        Place {
            bind: self.bind,
            join: self.join,
            socket: self.socket.clone(),
            program: self.program.clone(),
            ..Place::loopback()
        }
    }
}

/// What concerns several settings at once.
fn check(plan: &Plan) -> Result<(), Error> {
    let least = match plan.rate {
        Some(_) => STAMP_DUE_BYTES,
        None => STAMP_BYTES,
    };
    let refused = if plan.sizes.least() < least {
        format!("a message has at least {least} bytes: they carry its number")
    } else if plan.rate.is_some_and(|rate| !(1e-3..=1e9).contains(&rate)) {
        "--rate is 0.001 to 1e9".to_owned()
    } else if plan.pin.len() > 2 {
        "--pin takes two CPUs".to_owned()
    } else if plan.publishers * plan.topics > STREAMS_MAX {
        format!("--publishers times --topics is at most {STREAMS_MAX}")
    } else {
        return Ok(());
    };
    Err(Error::Usage(refused))
}
