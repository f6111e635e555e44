//! Subscriptions whose client is gone from this living node: they end when it does not come back in time. Design section 7.3.

use std::collections::{BTreeMap, BTreeSet};

/// All of them, by subscription and by when they end.
#[derive(Debug, Default)]
pub(crate) struct Grace {
    until: BTreeMap<u32, u64>,
    order: BTreeSet<(u64, u32)>,
}

impl Grace {
    /// The client is gone.
    pub(crate) fn client_gone(&mut self, sub: u32, until: u64) {
        self.over(sub);
        self.until.insert(sub, until);
        self.order.insert((until, sub));
    }

    /// The client is there, or the subscription has ended.
    pub(crate) fn over(&mut self, sub: u32) {
        if let Some(until) = self.until.remove(&sub) {
            self.order.remove(&(until, sub));
        }
    }

    /// A subscription whose time is over.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<u32> {
        let &(until, sub) = self.order.first()?;
        if until > now {
            return None;
        }
        self.over(sub);
        Some(sub)
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        self.order.first().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_in_time_is_not_ended_and_who_goes_again_waits_anew() {
        let mut grace = Grace::default();
        grace.client_gone(1, 10);
        grace.client_gone(2, 12);
        grace.over(1);
        assert_eq!(grace.deadline(), Some(12));
        grace.client_gone(1, 15);
        assert_eq!(grace.pop_due(11), None);
        assert_eq!(grace.pop_due(20), Some(2));
        assert_eq!(grace.pop_due(20), Some(1));
        assert_eq!((grace.pop_due(20), grace.deadline()), (None, None));
    }
}
