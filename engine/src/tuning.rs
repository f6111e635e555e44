//! What a node is tuned for: one word for several settings, each of which may still be chosen by itself.

use std::time::Duration;

use crate::wait::polling::Poll;

/// How long a shard tuned for latency polls after activity: ten wake-ups' worth.
const POLL_LATENCY: Duration = Duration::from_micros(200);
/// Up to so many cores a shard that polls takes the core that its clients need.
const FEW_CORES: usize = 2;
/// Most shards by default.
const SHARDS_DEFAULT_MAX: usize = 8;

/// What a node is tuned for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tuning {
    /// Little memory and processor time: one shard, no polling.
    LowPower,
    /// Half of the cores, at most 8 shards; polling while it pays, on one or two cores none.
    #[default]
    Balanced,
    /// Short ways at any time: as balanced, but shards poll for 200 us after activity (on one or two cores while it pays),
    /// and receive buffers that grew stay.
    Latency,
}

impl Tuning {
    /// Shards to run on `cores` cores.
    pub(crate) fn shards(self, cores: usize) -> usize {
        match self {
            Self::LowPower => 1,
            Self::Balanced | Self::Latency => (cores / 2).clamp(1, SHARDS_DEFAULT_MAX),
        }
    }

    /// How the shards poll on `cores` cores.
    pub(crate) fn poll(self, cores: usize) -> Poll {
        match (self, cores <= FEW_CORES) {
            (Self::LowPower, _) | (Self::Balanced, true) => Poll::Off,
            (Self::Balanced, false) | (Self::Latency, true) => Poll::Adaptive,
            (Self::Latency, false) => Poll::For(POLL_LATENCY),
        }
    }

    /// Whether receive buffers that grew are given back when it is quiet.
    pub(crate) fn shrinks(self) -> bool {
        self != Self::Latency
    }
}
