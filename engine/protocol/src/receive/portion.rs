//! How many messages a FETCH asks for: about as many as there proved to be room for. What is more would be sent in vain.

use crate::limits;

/// Least messages that a FETCH asks for if there are more.
const LEAST: u32 = 32;

/// Of one local subscription.
#[derive(Debug)]
pub(super) struct Portion {
    most: u32,
    // Since the last FETCH was answered.
    taken: u32,
    refused: bool,
}

impl Default for Portion {
    fn default() -> Self {
        Self {
            most: limits::FETCH_COUNT,
            taken: 0,
            refused: false,
        }
    }
}

impl Portion {
    /// How many of `missed` messages to ask for.
    pub(super) fn of(&self, missed: u64) -> u32 {
        missed.min(self.most.into()) as u32
    }

    /// A message came by FETCH and was taken, or found no room.
    pub(super) fn on_message(&mut self, taken: bool) {
        self.taken = self.taken.saturating_add(taken.into());
        self.refused |= !taken;
    }

    /// A FETCH was answered: the next one asks for as many as were taken if some were not, else for a quarter more.
    pub(super) fn end_fetch(&mut self) {
        if self.refused {
            self.most = self.taken;
        } else if self.taken >= self.most / 2 {
            self.most = self.most.saturating_add(self.most / 4);
        }
        self.most = self.most.clamp(LEAST, limits::FETCH_COUNT);
        (self.taken, self.refused) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_asks_for_what_was_taken_and_for_more_and_more_when_there_is_room() {
        let mut portion = Portion::default();
        assert_eq!(
            (portion.of(10), portion.of(1 << 40)),
            (10, limits::FETCH_COUNT)
        );
        (0..100).for_each(|_| portion.on_message(true));
        portion.on_message(false);
        portion.end_fetch();
        assert_eq!(portion.of(1 << 40), 100);
        portion.on_message(false);
        portion.end_fetch();
        assert_eq!(portion.of(1 << 40), LEAST);
        for _ in 0..40 {
            (0..portion.of(1 << 40)).for_each(|_| portion.on_message(true));
            portion.end_fetch();
        }
        assert_eq!(portion.of(1 << 40), limits::FETCH_COUNT);
    }
}
