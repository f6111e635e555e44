//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Flat out, by message size
    Throughput,
    /// At fixed rates
    Latency,
    /// Round trips, one at a time
    PingPong,
    /// Joined, subscribed, and nothing to do
    Idle,
}

impl What {
    /// The verb of the generator.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::PingPong => "ping-pong",
            Self::Idle => "idle",
        }
    }
}

#[derive(Parser)]
#[command(version, about = "Floor, Tidings and its peers in turn", after_help = AFTER)]
pub(crate) struct Options {
    /// How often every system runs
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// Seconds that each run measures
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Seconds before that which do not count
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Only these systems
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [What::Throughput, What::Latency, What::PingPong, What::Idle])]
    pub(crate) what: Vec<What>,
    /// Bytes of the messages of throughput runs
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1024])]
    pub(crate) sizes: Vec<u64>,
    /// Bytes of the messages of latency runs
    #[arg(long, default_value_t = 64)]
    pub(crate) latency_size: u64,
    /// Messages per second of latency runs
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 50_000])]
    pub(crate) rates: Vec<u64>,
    /// CPUs of the publishing and of the subscribing side; brokers and media drivers run where they want
    #[arg(long, default_value = "0,1")]
    pub(crate) pin: String,
    /// A command that runs each run, for example one that waits until the machine is idle
    #[arg(long)]
    pub(crate) wrap: Option<String>,
    /// Add rounds to the results of earlier calls instead of beginning anew
    #[arg(long)]
    pub(crate) add: bool,
    /// Run nothing: make the page from the results of earlier calls
    #[arg(long)]
    pub(crate) page_only: bool,
    /// The folder of the main workspace's release programs: tidings, tidings-loadgen and floor
    #[arg(long)]
    pub(crate) tidings: PathBuf,
    /// The folder of what was built for the peers; results are kept in it
    #[arg(long)]
    pub(crate) peers: PathBuf,
    /// The folder that gets RESULTS.md and its plots
    #[arg(long)]
    pub(crate) page: PathBuf,
}

const AFTER: &str = "\
Exit codes: 0 every row has its figures; 1 some row failed, which is named; 2 nothing could be run.
bench/peers/run calls this with the folders filled in.";

impl Options {
    pub(crate) fn results(&self) -> PathBuf {
        self.peers.join("side-by-side")
    }
}
