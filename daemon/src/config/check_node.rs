//! The checks of words that `[node]` knows.

use tidings_engine::Tuning;

use super::check::{Check, quoted};
use super::problem::Given;
use super::settings::OnTerminate;

impl Check<'_> {
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
