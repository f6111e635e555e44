//! What both processes of a run must agree on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tidings_engine::Poll;

/// The overlay of a run.
pub(crate) const OVERLAY: &str = "loadgen";
/// The topic of a run.
pub(crate) const TOPIC: &str = "loadgen.messages";

/// A way to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Attach {
    /// Embedded: handlers that run on the shard
    OnShard,
    /// Embedded: publisher and subscriber in threads of their own
    AnyThread,
    /// A client of the daemon, over its local socket
    Daemon,
}

impl Attach {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::OnShard => "on-shard",
            Self::AnyThread => "any-thread",
            Self::Daemon => "daemon",
        }
    }
}

/// Polling of embedded nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PollChoice {
    Off,
    Adaptive,
    Micros(u64),
}

impl FromStr for PollChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "adaptive" => Ok(Self::Adaptive),
            number => number
                .parse()
                .map(Self::Micros)
                .map_err(|_| "off, adaptive, or a number of microseconds"),
        }
    }
}

impl From<PollChoice> for Poll {
    fn from(choice: PollChoice) -> Self {
        match choice {
            PollChoice::Off => Self::Off,
            PollChoice::Adaptive => Self::Adaptive,
            PollChoice::Micros(micros) => Self::For(Duration::from_micros(micros)),
        }
    }
}

/// The settings of both sides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) attach: Attach,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Messages per second; without one as fast as they are taken.
    pub(crate) rate: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    pub(crate) drain: f64,
    pub(crate) ordered: bool,
    /// CPUs of the publishing and of the subscribing side.
    pub(crate) pin: Vec<usize>,
    pub(crate) poll: Option<PollChoice>,
}

/// One side of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Publishing,
    Subscribing,
}

impl Plan {
    /// The CPU of a side, if it is pinned.
    pub(crate) fn cpu(&self, side: Side) -> Option<usize> {
        self.pin
            .get(usize::from(side == Side::Subscribing))
            .copied()
    }

    pub(crate) fn scenario(&self) -> &'static str {
        match self.rate {
            Some(_) => "latency",
            None => "throughput",
        }
    }
}

/// Where one side is and whom it talks to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Address of an embedded node.
    pub(crate) bind: SocketAddr,
    /// Address of the other side's node.
    pub(crate) join: Option<SocketAddr>,
    /// Socket of the daemon.
    pub(crate) socket: Option<PathBuf>,
    /// The daemon's program.
    pub(crate) tidings: Option<PathBuf>,
}

impl Place {
    /// A free port of loopback.
    pub(crate) fn loopback() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            join: None,
            socket: None,
            tidings: None,
        }
    }
}
