//! The congestion controller of one link, in bytes: slow start, additive increase, one decrease per round trip.
//!
//! The bulk channel and every stream to the peer share it. Callers judge loss by time (RFC 8985 style) and report what
//! was sent, acknowledged and lost; in flight stays within min(window, the peer's share of its receive buffer).
//! Pacing is a token bucket that the flush reads; there is none on paths below 1 ms.

use super::rtt::Rtt;

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;
/// The decrease on loss is to 7/10.
const BETA_TENTHS: u64 = 7;
/// Slow start begins with this many datagrams.
const INITIAL_DATAGRAMS: u64 = 10;
/// ... or with this many bytes once the path is known to be shorter than 1 ms: the receiver's stated buffer is the
/// bound that matters there, and growing from 12 kB would cost several turns for nothing.
const INITIAL_NEAR_BYTES: u64 = 256 * 1024;
/// Never less than this many datagrams.
const MIN_DATAGRAMS: u64 = 2;
/// No window grows beyond what counters and credits are made for.
const WINDOW_MAX: u64 = 64 << 20;
/// No pacing where the minimum RTT is below this.
const NEAR_NS: u64 = MS;
/// The bucket is at least one segmented send deep.
const BURST_BYTES_MIN: u64 = 64 * 1024;

/// One link's controller.
#[derive(Debug)]
pub(crate) struct Congestion {
    window: u64,
    threshold: u64,
    in_flight: u64,
    /// The most in flight since nothing was.
    peak: u64,
    datagram: u64,
    share: u64,
    /// Packets sent before this belong to a round trip that was already paid for.
    recovery_start: Option<u64>,
    before: Option<Before>,
    grown: u64,
    pacing: Pacing,
    started: bool,
}

/// What a decrease can restore if it proves spurious.
#[derive(Debug, Clone, Copy)]
struct Before {
    window: u64,
    threshold: u64,
}

#[derive(Debug, Default)]
struct Pacing {
    /// Bytes per second, 0 for unpaced.
    rate: u64,
    tokens: u64,
    filled_at: u64,
}

impl Congestion {
    /// A fresh controller for datagrams of `datagram` bytes to a peer that grants `share` bytes of its socket buffer.
    pub(crate) fn new(datagram: usize, share: u64) -> Self {
        let datagram = datagram as u64;
        Self {
            window: INITIAL_DATAGRAMS * datagram,
            threshold: u64::MAX,
            in_flight: 0,
            peak: 0,
            datagram,
            share: share.max(MIN_DATAGRAMS * datagram),
            recovery_start: None,
            before: None,
            grown: 0,
            pacing: Pacing {
                rate: 0,
                tokens: BURST_BYTES_MIN,
                filled_at: 0,
            },
            started: false,
        }
    }

    /// The peer stated (anew) its share of the receive buffer.
    pub(crate) fn set_share(&mut self, share: u64) {
        self.share = share.max(MIN_DATAGRAMS * self.datagram);
    }

    /// The path carries datagrams of this size now.
    pub(crate) fn set_datagram(&mut self, datagram: usize) {
        self.datagram = datagram as u64;
        self.window = self.window.max(MIN_DATAGRAMS * self.datagram);
    }

    /// Bytes that may be sent now without regard to pacing.
    pub(crate) fn available(&self) -> u64 {
        self.limit().saturating_sub(self.in_flight)
    }

    /// Bytes that window and pacing let go at `now`.
    pub(crate) fn allowance(&mut self, now: u64) -> u64 {
        self.available().min(self.pacing.fill(now))
    }

    /// When pacing, not the window, will let another datagram go. None where nothing is paced or the window is full.
    pub(crate) fn paced_until(&self, now: u64) -> Option<u64> {
        let wanted = self.datagram;
        if self.pacing.rate == 0 || self.pacing.tokens >= wanted || self.available() < wanted {
            return None;
        }
        let missing = wanted - self.pacing.tokens;
        Some(now + (missing * 1_000_000_000).div_ceil(self.pacing.rate))
    }

    /// Bytes sent and neither acknowledged nor lost.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The window in bytes.
    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// A datagram went out, for the first time or again.
    pub(crate) fn on_sent(&mut self, bytes: u64) {
        self.in_flight += bytes;
        self.peak = self.peak.max(self.in_flight);
        if self.pacing.rate > 0 {
            self.pacing.tokens = self.pacing.tokens.saturating_sub(bytes);
        }
    }

    /// A datagram sent at `sent_at` was acknowledged. Grows the window only if the window was what limited us.
    pub(crate) fn on_acked(&mut self, bytes: u64, now: u64, sent_at: u64, rtt: &Rtt) {
        // The window was in use if half of it was in flight when the last of this round trip went out.
        let limited = self.peak * 2 >= self.limit();
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.start_near(rtt);
        if self.in_flight == 0 {
            self.peak = 0;
        }
        let recovering = self.recovery_start.is_some_and(|start| sent_at <= start);
        if limited && !recovering {
            self.grow(bytes);
        }
        self.pacing.set_rate(self.window, rtt, now);
    }

    /// A datagram sent at `sent_at` is held lost. One decrease for everything sent before the last one.
    pub(crate) fn on_lost(&mut self, bytes: u64, sent_at: u64, now: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if self.recovery_start.is_some_and(|start| sent_at <= start) {
            return;
        }
        self.before = Some(Before {
            window: self.window,
            threshold: self.threshold,
        });
        self.recovery_start = Some(now);
        self.window = (self.window * BETA_TENTHS / 10).max(MIN_DATAGRAMS * self.datagram);
        self.threshold = self.window;
        self.grown = 0;
    }

    /// What was held lost, sent at `sent_at`, had arrived after all: the last decrease is undone if it was for that.
    pub(crate) fn on_spurious(&mut self, sent_at: u64) {
        if self.recovery_start.is_some_and(|start| sent_at <= start)
            && let Some(before) = self.before.take()
        {
            self.window = self.window.max(before.window);
            self.threshold = before.threshold;
        }
    }

    /// Nothing came back through several timeouts: begin again from the smallest window.
    pub(crate) fn on_blackout(&mut self, now: u64) {
        self.threshold = (self.window / 2).max(MIN_DATAGRAMS * self.datagram);
        self.window = MIN_DATAGRAMS * self.datagram;
        self.recovery_start = Some(now);
        self.before = None;
        self.grown = 0;
    }

    /// Bytes in flight will never be acknowledged because their sender gave them up.
    pub(crate) fn forget(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    fn limit(&self) -> u64 {
        self.window.min(self.share)
    }

    fn grow(&mut self, bytes: u64) {
        if self.window < self.threshold {
            self.window += bytes;
        } else {
            self.grown += bytes;
            if self.grown >= self.window {
                self.grown -= self.window;
                self.window += self.datagram;
            }
        }
        self.window = self.window.min(WINDOW_MAX);
    }

    fn start_near(&mut self, rtt: &Rtt) {
        if !self.started && rtt.is_known() {
            self.started = true;
            if rtt.min().is_some_and(|min| min < NEAR_NS) && self.recovery_start.is_none() {
                self.window = self.window.max(INITIAL_NEAR_BYTES);
            }
        }
    }
}

impl Pacing {
    fn set_rate(&mut self, window: u64, rtt: &Rtt, now: u64) {
        self.fill(now);
        self.rate = match rtt.min() {
            Some(min) if min >= NEAR_NS => {
                let per_second =
                    u128::from(window) * 1_250_000_000 / u128::from(rtt.smoothed().max(1));
                u64::try_from(per_second).unwrap_or(u64::MAX).max(1)
            }
            _ => 0,
        };
    }

    /// Adds what has accrued and returns the tokens, or everything where nothing is paced.
    fn fill(&mut self, now: u64) -> u64 {
        let elapsed = now.saturating_sub(self.filled_at);
        self.filled_at = self.filled_at.max(now);
        if self.rate == 0 {
            self.tokens = BURST_BYTES_MIN;
            return u64::MAX;
        }
        let accrued = u128::from(self.rate) * u128::from(elapsed) / 1_000_000_000;
        let depth = BURST_BYTES_MIN.max(self.rate / 1000);
        let tokens = u128::from(self.tokens) + accrued;
        self.tokens = u64::try_from(tokens).unwrap_or(u64::MAX).min(depth);
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: u64 = 1200;

    fn far() -> Rtt {
        let mut rtt = Rtt::default();
        rtt.sample(40 * MS);
        rtt
    }

    fn fresh() -> Congestion {
        Congestion::new(DATAGRAM as usize, 1 << 30)
    }

    /// Sends all that the window lets go at `now` and has it acknowledged one RTT later.
    fn full_round(congestion: &mut Congestion, now: u64, rtt: &Rtt) {
        let count = congestion.available() / DATAGRAM;
        for _ in 0..count {
            congestion.on_sent(DATAGRAM);
        }
        for _ in 0..count {
            congestion.on_acked(DATAGRAM, now + 40 * MS, now, rtt);
        }
    }

    #[test]
    fn slow_start_grows_while_the_window_is_used_and_not_when_the_application_is_the_limit() {
        let mut congestion = fresh();
        full_round(&mut congestion, 0, &far());
        assert!(congestion.window() > 14 * DATAGRAM);
        let before = congestion.window();
        congestion.on_sent(DATAGRAM);
        congestion.on_acked(DATAGRAM, 100 * MS, 60 * MS, &far());
        assert_eq!(congestion.window(), before);
    }

    #[test]
    fn losses_of_one_round_trip_decrease_once() {
        let mut congestion = fresh();
        for _ in 0..10 {
            congestion.on_sent(DATAGRAM);
        }
        congestion.on_lost(DATAGRAM, 0, 50 * MS);
        let once = congestion.window();
        assert_eq!(once, 10 * DATAGRAM * 7 / 10);
        congestion.on_lost(DATAGRAM, 1, 51 * MS);
        congestion.on_lost(DATAGRAM, 50 * MS, 60 * MS);
        assert_eq!(congestion.window(), once);
        congestion.on_lost(DATAGRAM, 51 * MS, 100 * MS);
        assert!(congestion.window() < once);
    }

    #[test]
    fn a_spurious_loss_gives_the_window_back() {
        let mut congestion = fresh();
        congestion.on_sent(DATAGRAM);
        congestion.on_lost(DATAGRAM, 0, 50 * MS);
        congestion.on_spurious(0);
        assert_eq!(congestion.window(), 10 * DATAGRAM);
        congestion.on_spurious(0);
        assert_eq!(congestion.window(), 10 * DATAGRAM);
    }

    #[test]
    fn the_window_never_falls_below_two_datagrams() {
        let mut congestion = fresh();
        for round in 1..50 {
            congestion.on_lost(DATAGRAM, round * 100 * MS, round * 100 * MS + 1);
        }
        assert_eq!(congestion.window(), 2 * DATAGRAM);
        congestion.on_blackout(0);
        assert_eq!(congestion.available(), 2 * DATAGRAM);
    }

    #[test]
    fn the_share_of_the_receiver_bounds_what_is_in_flight() {
        let mut congestion = Congestion::new(DATAGRAM as usize, 4 * DATAGRAM);
        assert_eq!(congestion.available(), 4 * DATAGRAM);
        congestion.set_share(0);
        assert_eq!(congestion.available(), 2 * DATAGRAM);
    }

    #[test]
    fn a_near_path_starts_wide_and_is_not_paced() {
        let mut rtt = Rtt::default();
        rtt.sample(50_000);
        let mut congestion = fresh();
        congestion.on_sent(DATAGRAM);
        congestion.on_acked(DATAGRAM, 1000, 0, &rtt);
        assert!(congestion.window() >= INITIAL_NEAR_BYTES);
        assert_eq!(congestion.allowance(1000), congestion.available());
        assert_eq!(congestion.paced_until(1000), None);
    }

    #[test]
    fn a_far_path_is_paced_at_a_quarter_above_the_window_per_round_trip() {
        let mut congestion = fresh();
        let rtt = far();
        let mut now = 0;
        while congestion.window() < 1_000_000 {
            full_round(&mut congestion, now, &rtt);
            now += 40 * MS;
        }
        let burst = congestion.allowance(now);
        assert!(burst < congestion.available());
        while congestion.allowance(now) >= DATAGRAM {
            congestion.on_sent(DATAGRAM);
        }
        let next = congestion.paced_until(now).unwrap();
        assert!(next > now && next < now + MS);
        let rate = congestion.window() * 125 / 100 / 40;
        let after = congestion.allowance(now + MS);
        assert!(after.abs_diff(rate) <= DATAGRAM + rate / 50);
    }
}
