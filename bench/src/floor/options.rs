//! What every floor program is told on the command line.

use clap::Args;

use super::Fault;

/// Longest window, in seconds.
const SECONDS_MAX: f64 = 3_600.0;
/// Most rounds.
const ROUNDS_MAX: u32 = 1_000;

/// How long, how often, where, and how to print.
#[derive(Args, Clone, Debug)]
pub struct Measure {
    /// Seconds to measure in each round
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Seconds before that which do not count
    #[arg(long, default_value_t = 0.3)]
    pub warmup: f64,
    /// Rounds: medians of so many are printed, with their range
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    /// CPUs of sender and receiver, as 0,1
    #[arg(long, value_delimiter = ',')]
    pub pin: Vec<usize>,
    /// Print one line of JSON: nanoseconds, bytes, counts per second
    #[arg(long)]
    pub json: bool,
}

impl Measure {
    /// One round of so many seconds, pinned to these CPUs.
    pub fn once(seconds: f64, pin: Vec<usize>) -> Self {
        Self {
            seconds,
            warmup: 0.3,
            rounds: 1,
            pin,
            json: false,
        }
    }

    /// The CPU of the sender (0) or the receiver (1), if it is pinned.
    pub fn cpu(&self, side: usize) -> Option<usize> {
        self.pin.get(side).copied()
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), Fault> {
        for (name, seconds) in [("seconds", self.seconds), ("warmup", self.warmup)] {
            if !(0.0..=SECONDS_MAX).contains(&seconds) {
                return Err(format!("--{name} {seconds}: give 0 to {SECONDS_MAX}").into());
            }
        }
        if !(1..=ROUNDS_MAX).contains(&self.rounds) {
            return Err(format!("--rounds {}: give 1 to {ROUNDS_MAX}", self.rounds).into());
        }
        if self.pin.len() > 2 {
            return Err(format!("--pin names {} CPUs: give two, as 0,1", self.pin.len()).into());
        }
        Ok(())
    }
}
