//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::Error;
use crate::payload::{STAMP_BYTES, STAMP_DUE_BYTES};
use crate::plan::{Attach, Place, Plan, PollChoice};

#[derive(Parser)]
#[command(version, about = "Open-loop load generator of Tidings", after_help = AFTER)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER: &str = "\
Exit codes: 0 everything arrived once; 1 something was lost, failed or came twice; 2 the run could not be made.
Throughput is counted at the subscriber. Latency counts from the moment when a message was due (no coordinated omission); the
generator's own lag stands beside it.";

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Publish as fast as the network takes it
    Throughput(Load),
    /// Publish at a fixed rate, message i due at i/rate, and measure how long after that it arrives
    Latency {
        /// Messages per second
        #[arg(long, default_value_t = 10_000.0)]
        rate: f64,
        #[command(flatten)]
        load: Load,
    },
    /// Measure CPU and memory of a node with one peer and nothing to do
    Idle(Idle),
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
    /// Publish here, and start the subscriber as a second process
    Both,
    /// Only publish
    Publish,
    /// Only subscribe
    Subscribe,
}

#[derive(Args)]
pub(crate) struct Load {
    /// How publisher and subscriber attach
    #[arg(long, value_enum, default_value_t = Attach::OnShard)]
    pub(crate) attach: Attach,
    /// Bytes of each message
    #[arg(long, default_value_t = 64)]
    pub(crate) size: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Seconds before that which do not count
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
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
    /// The `tidings` program, for --attach daemon [default: beside this program]
    #[arg(long)]
    pub(crate) tidings: Option<PathBuf>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct Idle {
    /// What idles: an embedded node or the daemon
    #[arg(long, value_enum, default_value_t = Attach::OnShard)]
    pub(crate) attach: Attach,
    /// Seconds to measure
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds before that, for joining and settling
    #[arg(long, default_value_t = 3.0)]
    pub(crate) warmup: f64,
    /// Polling of embedded nodes before they sleep: off, adaptive, or microseconds [default: the engine's]
    #[arg(long)]
    pub(crate) poll: Option<PollChoice>,
    /// The `tidings` program, for --attach daemon [default: beside this program]
    #[arg(long)]
    pub(crate) tidings: Option<PathBuf>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// A run takes at most so many seconds in each of its parts.
const SECONDS_MAX: f64 = 3_600.0;

fn check_seconds(name: &str, seconds: f64) -> Result<f64, Error> {
    if (0.0..=SECONDS_MAX).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(Error::Usage(format!("--{name} is 0 to {SECONDS_MAX}")))
    }
}

impl Load {
    /// The settings of both sides, checked.
    pub(crate) fn plan(&self, rate: Option<f64>) -> Result<Plan, Error> {
        let least = if rate.is_some() {
            STAMP_DUE_BYTES
        } else {
            STAMP_BYTES
        };
        if self.size < least {
            return Err(Error::Usage(format!(
                "a message has at least {least} bytes: they carry its number"
            )));
        }
        if rate.is_some_and(|rate| !(1e-3..=1e9).contains(&rate)) {
            return Err(Error::Usage("--rate is 0.001 to 1e9".to_owned()));
        }
        if self.pin.len() > 2 {
            return Err(Error::Usage("--pin takes two CPUs".to_owned()));
        }
        Ok(Plan {
            attach: self.attach,
            size: self.size,
            rate,
            seconds: check_seconds("seconds", self.seconds)?,
            warmup: check_seconds("warmup", self.warmup)?,
            drain: check_seconds("drain", self.drain)?,
            ordered: self.ordered,
            pin: self.pin.clone(),
            poll: self.poll,
        })
    }

    /// Where this side is and whom it talks to.
    pub(crate) fn place(&self) -> Place {
        Place {
            bind: self.bind,
            join: self.join,
            socket: self.socket.clone(),
            tidings: self.tidings.clone(),
        }
    }
}

impl Idle {
    /// The settings of both sides, checked.
    pub(crate) fn plan(&self) -> Result<Plan, Error> {
        Ok(Plan {
            attach: self.attach,
            size: STAMP_DUE_BYTES,
            rate: Some(1.0),
            seconds: check_seconds("seconds", self.seconds)?,
            warmup: check_seconds("warmup", self.warmup)?,
            drain: 0.0,
            ordered: false,
            pin: Vec::new(),
            poll: self.poll,
        })
    }
}
