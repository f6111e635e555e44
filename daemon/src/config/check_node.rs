//! The checks of words that `[node]` knows.

use std::time::Duration;

use tidings_engine::Tuning;

use super::check::{Check, quoted};
use super::problem::Given;
use super::settings::OnTerminate;

/// As long as what is published waits for the subscriptions of members.
pub(super) const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// Whoever waits longer than an hour for others has another reason than a start.
const READY_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

impl Check<'_> {
    pub(super) fn ready_timeout(&mut self, given: &Given<String>) -> Option<Duration> {
        self.duration(given, Duration::ZERO, READY_TIMEOUT_MAX)
    }

    pub(super) fn tuning(&mut self, given: &Given<String>) -> Option<Tuning> {
        match given.value.trim() {
            "low-power" => Some(Tuning::LowPower),
            "balanced" => Some(Tuning::Balanced),
            "latency" => Some(Tuning::Latency),
            text => self.wrong(
                given,
                quoted(text),
                "is not a tuning",
                "write \"low-power\", \"balanced\" or \"latency\"",
            ),
        }
    }

    pub(super) fn on_terminate(&mut self, given: &Given<String>) -> Option<OnTerminate> {
        match given.value.trim() {
            "leave" => Some(OnTerminate::Leave),
            "stop" => Some(OnTerminate::Stop),
            text => self.wrong(
                given,
                quoted(text),
                "is no way to end by SIGTERM",
                "write \"leave\", or \"stop\" for a node that is started again soon",
            ),
        }
    }
}
