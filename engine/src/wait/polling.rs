//! Whether a shard without work looks again at once or sleeps. Polling saves the 20 us of a wake-up and burns a core, so
//! it lasts at most a short time after activity, and only while it mostly pays.

use std::time::Duration;

use crate::limits::{POLL_ADAPTIVE_NS, POLL_HISTORY};

/// The setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Sleep as soon as there is nothing to do.
    Off,
    /// Poll up to 50 us after activity while at least half of the recent polls found input.
    Adaptive,
    /// Poll that long after activity, whatever it brings.
    For(Duration),
}

/// The state of one shard's polling.
#[derive(Debug)]
pub(crate) struct Poller {
    window_ns: u64,
    adaptive: bool,
    /// One bit per recent idle time: whether input came within the window. Those slept through count too, so that
    /// polling comes back when it would pay.
    history: u32,
    idle_since: Option<u64>,
}

impl Poller {
    pub(crate) fn new(poll: Poll) -> Self {
        let (window_ns, adaptive) = match poll {
            Poll::Off => (0, false),
            Poll::Adaptive => (POLL_ADAPTIVE_NS, true),
            Poll::For(window) => (window.as_nanos() as u64, false),
        };
        // All ones: the first polls are tried.
        Self {
            window_ns,
            adaptive,
            history: u32::MAX,
            idle_since: None,
        }
    }

    /// A turn found something to do.
    pub(crate) fn on_busy(&mut self, now: u64) {
        if let Some(since) = self.idle_since.take() {
            self.history = self.history << 1 | u32::from(now - since <= self.window_ns);
        }
    }

    /// A turn found nothing: `true` looks again at once, `false` sleeps.
    pub(crate) fn on_idle(&mut self, now: u64) -> bool {
        let since = *self.idle_since.get_or_insert(now);
        if self.window_ns == 0 || now - since > self.window_ns {
            return false;
        }
        let recent = self.history & ((1u64 << POLL_HISTORY) - 1) as u32;
        !self.adaptive || recent.count_ones() * 2 >= POLL_HISTORY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    /// One idle time of `gap` ns; whether the shard polled at its beginning.
    fn idle(poller: &mut Poller, now: &mut u64, gap: u64) -> bool {
        let polled = poller.on_idle(*now);
        *now += gap;
        poller.on_busy(*now);
        polled
    }

    #[test]
    fn off_never_polls_and_a_duration_always_does_within_its_window() {
        let mut off = Poller::new(Poll::Off);
        assert!(!off.on_idle(5));
        let mut fixed = Poller::new(Poll::For(Duration::from_micros(10)));
        assert!(fixed.on_idle(5) && fixed.on_idle(5 + 10 * US));
        assert!(!fixed.on_idle(6 + 10 * US));
    }

    #[test]
    fn adaptive_polling_stops_when_it_does_not_pay_and_comes_back_when_it_would() {
        let mut poller = Poller::new(Poll::Adaptive);
        let mut now = 0;
        assert!(idle(&mut poller, &mut now, 10 * US));
        for _ in 0..POLL_HISTORY {
            idle(&mut poller, &mut now, 5_000 * US);
        }
        assert!(
            !idle(&mut poller, &mut now, 10 * US),
            "a quiet time must not burn a core"
        );
        for _ in 0..POLL_HISTORY / 2 {
            idle(&mut poller, &mut now, 10 * US);
        }
        assert!(idle(&mut poller, &mut now, 10 * US));
    }
}
