//! A node's clock: it runs a little fast or slow, and jumps ahead as after a suspend. It never goes back.

/// How one node's time follows from the simulation's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    // At this moment of the simulation the clock showed this.
    at: u64,
    shows: u64,
    // Parts per million that it runs fast.
    drift: i64,
}

impl Clock {
    pub(crate) fn new(at: u64, shows: u64, drift: i64) -> Clock {
        Clock { at, shows, drift }
    }

    /// What it shows at `now`.
    pub(crate) fn read(&self, now: u64) -> u64 {
        let passed = i128::from(now - self.at);
        self.shows + (passed + passed * i128::from(self.drift) / 1_000_000) as u64
    }

    /// When it will show at least `shows`.
    pub(crate) fn when(&self, shows: u64) -> u64 {
        let ahead = i128::from(shows.saturating_sub(self.shows));
        let passed = ahead * 1_000_000 / i128::from(1_000_000 + self.drift) + 1;
        self.at.saturating_add(passed as u64)
    }

    pub(crate) fn jump(&mut self, now: u64, by: u64) {
        (self.shows, self.at) = (self.read(now) + by, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_told_shows_the_time_asked_for() {
        for drift in [-500, 0, 500] {
            let mut clock = Clock::new(1_000, 5_000_000, drift);
            clock.jump(2_000, 777);
            for shows in [5_002_000, 6_000_000, 99_000_000_000] {
                let at = clock.when(shows);
                assert!(clock.read(at) >= shows && clock.read(at) <= shows + 3);
            }
        }
    }
}
