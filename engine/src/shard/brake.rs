//! Readers that take their messages, only not as fast as the network brings them. The shard leaves its data socket unread for
//! a moment then: the senders wait for their acknowledgements meanwhile, which costs nothing, where a message that finds no
//! room has to be fetched later, which costs both sides several times what it would have cost now.
//!
//! Whoever else gets its messages by this socket waits, too. So a moment is short. A reader that does not make room within
//! one is not waited for again before it had some (`outlet.rs`), and nobody is for a while, each time longer.

use crate::limits::{BRAKE_AGAIN_NS_MAX, BRAKE_AGAIN_NS_MIN, BRAKE_NS};

/// Whether the data socket is read. All times in ns of [`crate::clock`].
#[derive(Debug)]
pub(crate) struct Brake {
    /// Since when it is not.
    since: Option<u64>,
    /// Nobody is waited for before then.
    rest_until: u64,
    /// How long the next rest is.
    rest: u64,
}

impl Default for Brake {
    fn default() -> Self {
        Self {
            since: None,
            rest_until: 0,
            rest: BRAKE_AGAIN_NS_MIN,
        }
    }
}

impl Brake {
    /// Whether the socket is to be left unread; `pressed`: a reader is short of room.
    pub(crate) fn holds(&mut self, now: u64, pressed: bool) -> bool {
        match self.since {
            Some(_) if !pressed => {
                self.since = None;
                self.rest = BRAKE_AGAIN_NS_MIN;
            }
            Some(since) if now >= since + BRAKE_NS => {
                self.since = None;
                self.rest_until = now + self.rest;
                self.rest = (self.rest * 2).min(BRAKE_AGAIN_NS_MAX);
            }
            None if pressed && now >= self.rest_until => self.since = Some(now),
            Some(_) | None => {}
        }
        self.since.is_some()
    }

    /// When to look again at the latest, while the socket is left unread.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.since.map(|since| since + BRAKE_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_makes_room_in_time_is_waited_for_again_at_once() {
        let mut brake = Brake::default();
        for at in (0..10).map(|i| i * BRAKE_NS) {
            assert!(brake.holds(at, true));
            assert_eq!(brake.deadline(), Some(at + BRAKE_NS));
            assert!(brake.holds(at + BRAKE_NS - 1, true));
            assert!(!brake.holds(at + BRAKE_NS - 1, false));
            assert_eq!(brake.deadline(), None);
        }
    }

    #[test]
    fn whoever_makes_none_costs_the_others_less_and_less() {
        let mut brake = Brake::default();
        let step = BRAKE_NS / 10;
        let second = 1_000_000_000;
        let mut held = [0; 10];
        for at in (0..10 * second).step_by(step as usize) {
            held[(at / second) as usize] += u64::from(brake.holds(at, true)) * step;
        }
        assert!(held[0] > 0 && held[0] < 12 * BRAKE_NS, "{held:?}");
        assert!(held[2..].iter().all(|&held| held <= BRAKE_NS), "{held:?}");
        assert!(held.iter().sum::<u64>() >= 13 * BRAKE_NS, "{held:?}");
        // It reads on.
        assert!(!brake.holds(11 * second, false));
        assert!(brake.holds(12 * second, true) && !brake.holds(12 * second, false));
        assert!(brake.holds(12 * second, true));
    }
}
