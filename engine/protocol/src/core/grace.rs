//! Subscriptions whose client is gone from this living node: they end when it does not come back in time. Design section 7.3.

use std::collections::{BTreeMap, BTreeSet};

/// All of them, by subscription and by when their clients went.
#[derive(Debug)]
pub(crate) struct Grace {
    /// How long each has, in ns.
    pub(crate) time: u64,
    since: BTreeMap<u32, u64>,
    order: BTreeSet<(u64, u32)>,
}

impl Grace {
    pub(crate) fn new(time: u64) -> Self {
        Self {
            time,
            since: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }

    /// The client is gone.
    pub(crate) fn client_gone(&mut self, now: u64, sub: u32) {
        self.over(sub);
        self.since.insert(sub, now);
        self.order.insert((now, sub));
    }

    /// The client is there, or the subscription has ended.
    pub(crate) fn over(&mut self, sub: u32) {
        if let Some(since) = self.since.remove(&sub) {
            self.order.remove(&(since, sub));
        }
    }

    /// A subscription whose time is over.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<u32> {
        if self.deadline()? > now {
            return None;
        }
        let &(_, sub) = self.order.first()?;
        self.over(sub);
        Some(sub)
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        let (since, _) = self.order.first()?;
        Some(since.saturating_add(self.time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_in_time_is_not_ended_and_who_goes_again_waits_anew() {
        let mut grace = Grace::new(4);
        grace.client_gone(6, 1);
        grace.client_gone(8, 2);
        grace.over(1);
        assert_eq!(grace.deadline(), Some(12));
        grace.client_gone(11, 1);
        assert_eq!(grace.pop_due(11), None);
        assert_eq!(grace.pop_due(20), Some(2));
        assert_eq!(grace.pop_due(20), Some(1));
        assert_eq!((grace.pop_due(20), grace.deadline()), (None, None));
    }
}
