//! What all processes of a run must agree on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::sizes::Sizes;

/// The topic of a run with one.
const TOPIC: &str = "loadgen.messages";
/// Where ping-pong's answers are published.
pub(crate) const ANSWERS: &str = "loadgen.answers";
/// The least time that a point of the plots over time stands for, and how many points there are at most.
const SLICE_NS_MIN: u64 = 100_000_000;
const SLICES_MAX: f64 = 600.0;

/// What kind of run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// As fast as the system takes it.
    Throughput,
    /// At a fixed rate.
    Latency,
    /// To several subscribing processes.
    FanOut,
    /// Request on one topic, answer on another.
    PingPong,
    /// Over many topics.
    Topics,
    /// From many publishers.
    Publishers,
    /// Messages of several sizes.
    Mixed,
    /// One of the subscribers is slow.
    Slow,
    /// Subscribers come and go beside one that stays.
    Churn,
    /// Many subscribers come at once.
    Storm,
    /// Nothing to do.
    Idle,
}

impl Scenario {
    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::FanOut => "fan-out",
            Self::PingPong => "ping-pong",
            Self::Topics => "topics",
            Self::Publishers => "publishers",
            Self::Mixed => "mixed",
            Self::Slow => "slow",
            Self::Churn => "churn",
            Self::Storm => "storm",
            Self::Idle => "idle",
        }
    }
}

/// What a subscribing process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Subscribes once and stays.
    #[default]
    Steady,
    /// The same, and takes its time over each message.
    Slow,
    /// Answers requests.
    Echo,
    /// Comes and goes.
    Churn,
    /// Is many that come at once.
    Storm,
}

/// Polling of nodes before they sleep, for systems that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PollChoice {
    /// Never.
    Off,
    /// As the system sees fit.
    Adaptive,
    /// So many microseconds.
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

/// The settings of all sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What kind of run it is.
    pub scenario: Scenario,
    /// [`crate::System::name`] of the system.
    pub attach: String,
    /// Sizes of messages in bytes.
    pub sizes: Sizes,
    /// Messages per second of all publishers together; without one as fast as they are taken.
    pub rate: Option<f64>,
    /// How long is measured.
    pub seconds: f64,
    /// ... before that.
    pub warmup: f64,
    /// How long outstanding messages may take afterwards.
    pub drain: f64,
    /// Subscribe ordered, where the system knows that.
    pub ordered: bool,
    /// Publishers of the publishing process, each with connection, handle or thread of its own.
    pub publishers: usize,
    /// Topics that each publisher publishes on in turn.
    pub topics: usize,
    /// Subscribing processes that stay, each of which gets every message.
    pub subscribers: usize,
    /// Those that come and go, or come at once.
    pub crowd: usize,
    /// Seconds that one of those that come and go stays.
    pub stay: f64,
    /// What a message costs the slow subscriber, in microseconds.
    pub slow_us: u64,
    /// CPUs of the publishing and of the subscribing side.
    pub pin: Vec<usize>,
    /// Polling, for systems that have it.
    pub poll: Option<PollChoice>,
    /// The largest datagram in bytes, for systems that find it out.
    pub max_datagram: Option<usize>,
}

impl Default for Plan {
    /// One publisher, topic and subscriber, 64 bytes, flat out for a second.
    fn default() -> Self {
        Self {
            scenario: Scenario::Throughput,
            attach: String::new(),
            sizes: Sizes::of(64),
            rate: None,
            seconds: 1.0,
            warmup: 0.0,
            drain: 1.0,
            ordered: false,
            publishers: 1,
            topics: 1,
            subscribers: 1,
            crowd: 0,
            stay: 0.0,
            slow_us: 0,
            pin: Vec::new(),
            poll: None,
            max_datagram: None,
        }
    }
}

/// One side of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where messages are published.
    Publishing,
    /// Where they arrive.
    Subscribing,
}

impl Plan {
    /// The CPU of a side, if it is pinned.
    pub fn cpu(&self, side: Side) -> Option<usize> {
        self.pin
            .get(usize::from(side == Side::Subscribing))
            .copied()
    }

    /// The name of a topic, parts joined by dots.
    pub fn topic(&self, index: usize) -> String {
        if self.topics == 1 {
            TOPIC.to_owned()
        } else {
            format!("{TOPIC}.{index}")
        }
    }

    /// What a subscriber subscribes to: the only topic, or `….*`, which stands for all that begin so.
    pub fn pattern(&self) -> String {
        if self.topics == 1 {
            TOPIC.to_owned()
        } else {
            format!("{TOPIC}.*")
        }
    }

    /// Subscriptions that a publisher waits for before it begins.
    pub fn expected(&self) -> usize {
        self.subscribers
    }

    /// Whether each request waits for the answer to the one before.
    pub fn is_closed_loop(&self) -> bool {
        self.scenario == Scenario::PingPong && self.rate.is_none()
    }

    /// Whether messages say when they were due.
    pub(crate) fn is_timed(&self) -> bool {
        self.rate.is_some() || self.is_closed_loop()
    }

    /// What a point of the plots over time stands for.
    pub(crate) fn slice_ns(&self) -> u64 {
        SLICE_NS_MIN.max((self.seconds * 1e9 / SLICES_MAX) as u64)
    }
}

/// Where one process is and whom it talks to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Address that a node of its own binds.
    pub bind: SocketAddr,
    /// Address of another side's node, or of a server.
    pub join: Option<SocketAddr>,
    /// Socket of a daemon.
    pub socket: Option<PathBuf>,
    /// The program of the servers.
    pub program: Option<PathBuf>,
    /// Which of the subscribing processes, from 0.
    pub index: usize,
    /// What this process does, if it subscribes.
    pub task: Task,
    /// How long each message takes this subscriber.
    pub pause_ns: u64,
}

impl Place {
    /// A free port of loopback.
    pub fn loopback() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            join: None,
            socket: None,
            program: None,
            index: 0,
            task: Task::Steady,
            pause_ns: 0,
        }
    }

    /// The socket that is needed here.
    pub fn socket(&self) -> Result<&Path, Error> {
        let socket = self.socket.as_deref();
        socket.ok_or_else(|| Error::Usage("--socket is needed here".to_owned()))
    }
}
