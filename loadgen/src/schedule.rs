//! When messages are due. Open loop: message i is due at i/rate after the start, whatever became of those before it.

use crate::plan::Plan;

/// The schedule of a run, in ns of [`crate::clock`].
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: u64,
    rate: Option<f64>,
    /// Messages are due when they are published.
    is_closed: bool,
    /// Publishers that share the rate: publisher p has the messages p, p + publishers, …
    publishers: u64,
    publisher: u64,
    measure_from: u64,
    end: u64,
}

/// What the schedule says of the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Publish it, with this due time and whether it counts.
    Now { at: u64, counts: bool },
    /// Not before then.
    At(u64),
    /// There is no further one.
    Never,
}

impl Schedule {
    /// Begins at `start`.
    pub(crate) fn new(plan: &Plan, start: u64) -> Self {
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let measure_from = start + ns(plan.warmup);
        Self {
            start,
            rate: plan.rate,
            is_closed: plan.is_closed_loop(),
            publishers: plan.publishers as u64,
            publisher: 0,
            measure_from,
            end: measure_from + ns(plan.seconds),
        }
    }

    /// The share of one of the publishers.
    pub(crate) fn of_publisher(self, publisher: usize) -> Self {
        Self {
            publisher: publisher as u64,
            ..self
        }
    }

    /// Whether messages are due when they are published: there is no lag then.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether messages are due whenever there is room for them.
    pub(crate) fn is_flat_out(&self) -> bool {
        self.rate.is_none()
    }

    /// When the first message is due.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The part that counts.
    pub fn measured(&self) -> std::ops::Range<u64> {
        self.measure_from..self.end
    }

    /// What is with message `number` of this publisher.
    #[inline]
    pub(crate) fn due(&self, number: u64, now: u64) -> Due {
        let Some(rate) = self.rate else {
            return match now {
                now if now < self.start => Due::At(self.start),
                now if now < self.end => Due::Now {
                    at: if self.is_closed { now } else { 0 },
                    counts: self.is_closed && now >= self.measure_from,
                },
                _ => Due::Never,
            };
        };
        let number = number * self.publishers + self.publisher;
        let at = self.start + (number as f64 * 1e9 / rate) as u64;
        if at >= self.end {
            Due::Never
        } else if at > now {
            Due::At(at)
        } else {
            Due::Now {
                at,
                counts: at >= self.measure_from,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rate: Option<f64>) -> Plan {
        Plan {
            rate,
            seconds: 2.0,
            warmup: 1.0,
            publishers: 2,
            ..Plan::default()
        }
    }

    fn due(at: u64, counts: bool) -> Due {
        Due::Now { at, counts }
    }

    #[test]
    fn at_a_rate_lateness_moves_nothing() {
        let s = 1_000_000_000;
        let plan = Plan {
            publishers: 1,
            ..plan(Some(10.0))
        };
        let schedule = Schedule::new(&plan, s);
        let late = 100 * s;
        assert_eq!(schedule.due(0, s - 1), Due::At(s));
        assert_eq!(schedule.due(9, late), due(s + 9 * s / 10, false));
        assert_eq!(schedule.due(10, late), due(2 * s, true));
        assert_eq!(schedule.due(30, late), Due::Never);
    }

    #[test]
    fn publishers_take_turns() {
        let s = 1_000_000_000;
        let second = Schedule::new(&plan(Some(10.0)), s).of_publisher(1);
        assert_eq!(second.due(0, 9 * s), due(s + s / 10, false));
        assert_eq!(second.due(1, 9 * s), due(s + 3 * s / 10, false));
    }

    #[test]
    fn flat_out_lasts_from_start_to_end() {
        let s = 1_000_000_000;
        let schedule = Schedule::new(&plan(None), s);
        assert_eq!(schedule.due(0, 0), Due::At(s));
        assert!(matches!(schedule.due(1 << 40, 2 * s), Due::Now { .. }));
        assert_eq!(schedule.due(5, 4 * s), Due::Never);
    }
}
