//! What each scenario means where the command line says nothing else.

use crate::plan::Scenario;
use crate::sizes::Sizes;

/// Defaults of one scenario.
pub(crate) struct Preset {
    pub(crate) rate: Option<f64>,
    pub(crate) sizes: Sizes,
    pub(crate) publishers: usize,
    pub(crate) topics: usize,
    pub(crate) subscribers: usize,
    pub(crate) crowd: usize,
    pub(crate) stay: f64,
    pub(crate) slow_us: u64,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
}

impl Preset {
    /// Of a scenario; clients of a server are many where nodes are few.
    pub(crate) fn of(scenario: Scenario, has_servers: bool) -> Self {
        let plain = Self {
            rate: None,
            sizes: Sizes::of(64),
            publishers: 1,
            topics: 1,
            subscribers: 1,
            crowd: 0,
            stay: 0.0,
            slow_us: 0,
            seconds: 5.0,
            warmup: 1.0,
        };
        match scenario {
            Scenario::Throughput | Scenario::PingPong => plain,
            Scenario::Latency => Self {
                rate: Some(10_000.0),
                ..plain
            },
            Scenario::FanOut => Self {
                subscribers: 4,
                ..plain
            },
            Scenario::Topics => Self {
                topics: 1_000,
                ..plain
            },
            Scenario::Publishers => Self {
                publishers: 8,
                ..plain
            },
            Scenario::Mixed => Self {
                // What many services send: mostly small, a few large.
                sizes: "64:70,1024:25,16384:5".parse().unwrap_or(plain.sizes),
                ..plain
            },
            Scenario::Slow => Self {
                rate: Some(5_000.0),
                subscribers: 2,
                slow_us: 200,
                ..plain
            },
            Scenario::Churn => Self {
                rate: Some(5_000.0),
                crowd: 2,
                stay: 0.5,
                ..plain
            },
            Scenario::Storm => Self {
                rate: Some(1_000.0),
                crowd: if has_servers { 100 } else { 8 },
                ..plain
            },
            Scenario::Idle => Self {
                rate: Some(1.0),
                seconds: 10.0,
                warmup: 3.0,
                ..plain
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_is_mixed() {
        let sizes = Preset::of(Scenario::Mixed, false).sizes;
        assert_eq!(sizes.to_string(), "64:14,1024:5,16384:1");
    }
}
