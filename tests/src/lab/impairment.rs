//! What a directed link does to the packets on it. Plain values: the switch applies them, `spec` reads and prints them.

use std::time::Duration;

use super::class::Classes;

/// What one direction of one link does. The default does nothing.
///
/// The k-th packet of a link meets the same fate in every run with the same seed and settings; only times are real.
#[derive(Clone, Debug, PartialEq)]
pub struct Impairment {
    /// One-way delay.
    pub delay: Duration,
    /// The delay varies by up to this much in both directions, evenly. Packets may overtake each other.
    pub jitter: Duration,
    /// Jitter delays, but never lets a packet overtake another.
    pub in_order: bool,
    /// Share of packets lost, each independently.
    pub loss: f64,
    /// Losses in runs, besides `loss`.
    pub burst: Option<Burst>,
    /// Share of packets that arrive twice.
    pub duplicate: f64,
    /// Share of packets sent ahead without `delay` and `jitter`, so that they overtake earlier ones.
    pub ahead: f64,
    /// Share of packets with one flipped bit.
    pub corrupt: f64,
    /// Who notices the flipped bit.
    pub corruption: Corruption,
    /// The classes to which loss, burst, duplicate, ahead and corrupt apply. Delay and rate apply to all.
    pub only: Classes,
    /// How fast the link is.
    pub rate: Option<Rate>,
    /// Classes that do not pass at all, not even those already on their way.
    pub cut: Classes,
}

/// Loss in runs (Gilbert-Elliott): the link is good or bad, and changes before each packet with these probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Probability of a good link turning bad.
    pub enter: f64,
    /// Probability of a bad link turning good: the mean run is 1 / `leave` packets.
    pub leave: f64,
    /// Share lost while bad.
    pub loss: f64,
}

/// Who notices a corrupted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Corruption {
    /// The kernel: the checksum no longer fits and the packet is dropped on arrival.
    #[default]
    Kernel,
    /// The application: the UDP checksum is made to fit.
    Application,
}

/// A bottleneck: a rate and the queue in front of it, which drops what does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bits of Ethernet frames per second.
    pub bits_per_second: u64,
    /// Bytes that may wait.
    pub queue: usize,
}

impl Rate {
    /// The queue of a rate given without one: 64 KiB, about 5 ms at 100 Mbit/s.
    pub const QUEUE: usize = 64 * 1024;

    /// `bits` per second with a queue of [`Rate::QUEUE`].
    pub fn bits(bits: u64) -> Rate {
        assert!(bits > 0, "a rate of zero is a cut");
        Rate {
            bits_per_second: bits,
            queue: Rate::QUEUE,
        }
    }
}

impl Default for Impairment {
    fn default() -> Impairment {
        Impairment {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            in_order: false,
            loss: 0.0,
            burst: None,
            duplicate: 0.0,
            ahead: 0.0,
            corrupt: 0.0,
            corruption: Corruption::Kernel,
            only: Classes::ALL,
            rate: None,
            cut: Classes::NONE,
        }
    }
}

/// The same fields, to be chained: `Impairment::default().delay(d).loss(0.02)`. Shares are 0.0 to 1.0.
impl Impairment {
    /// Sets `delay`.
    pub fn delay(self, delay: Duration) -> Impairment {
        Impairment { delay, ..self }
    }

    /// Sets `jitter`.
    pub fn jitter(self, jitter: Duration) -> Impairment {
        Impairment { jitter, ..self }
    }

    /// Sets `in_order`.
    pub fn in_order(self) -> Impairment {
        Impairment {
            in_order: true,
            ..self
        }
    }

    /// Sets `loss`.
    pub fn loss(self, loss: f64) -> Impairment {
        Impairment {
            loss: share(loss),
            ..self
        }
    }

    /// Sets `burst`: mean runs of `run` packets that begin with probability `enter`; all of a run is lost.
    pub fn burst(self, enter: f64, run: f64) -> Impairment {
        let burst = Burst {
            enter: share(enter),
            leave: share(1.0 / run),
            loss: 1.0,
        };
        Impairment {
            burst: Some(burst),
            ..self
        }
    }

    /// Sets `duplicate`.
    pub fn duplicate(self, duplicate: f64) -> Impairment {
        Impairment {
            duplicate: share(duplicate),
            ..self
        }
    }

    /// Sets `ahead`.
    pub fn ahead(self, ahead: f64) -> Impairment {
        Impairment {
            ahead: share(ahead),
            ..self
        }
    }

    /// Sets `corrupt` and `corruption`.
    pub fn corrupt(self, corrupt: f64, corruption: Corruption) -> Impairment {
        Impairment {
            corrupt: share(corrupt),
            corruption,
            ..self
        }
    }

    /// Sets `only`.
    pub fn only(self, only: impl Into<Classes>) -> Impairment {
        Impairment {
            only: only.into(),
            ..self
        }
    }

    /// Sets `rate`.
    pub fn rate(self, rate: Rate) -> Impairment {
        Impairment {
            rate: Some(rate),
            ..self
        }
    }

    /// Sets `cut`.
    pub fn cut(self, cut: impl Into<Classes>) -> Impairment {
        Impairment {
            cut: cut.into(),
            ..self
        }
    }
}

fn share(value: f64) -> f64 {
    assert!(
        (0.0..=1.0).contains(&value),
        "not a share from 0.0 to 1.0: {value}"
    );
    value
}
