//! Failed proofs by user: after some within a short time the user is refused for a while, longer each time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::limits::{FAILING_UIDS_MAX, FAILURE_TIME, FAILURES_MAX, REFUSAL_TIME};

/// One user's record.
struct Record {
    count: u32,
    since: Instant,
    refused_until: Option<Instant>,
    penalty: Duration,
}

/// All users'.
#[derive(Default)]
pub(crate) struct Failures {
    records: HashMap<u32, Record>,
}

impl Failures {
    /// Whether the user may try now.
    pub(crate) fn admits(&self, uid: u32, now: Instant) -> bool {
        self.records
            .get(&uid)
            .and_then(|record| record.refused_until)
            .is_none_or(|until| until <= now)
    }

    /// A proof failed.
    pub(crate) fn count(&mut self, uid: u32, now: Instant) {
        if self.records.len() >= FAILING_UIDS_MAX && !self.records.contains_key(&uid) {
            let oldest = self
                .records
                .iter()
                .min_by_key(|(_, record)| record.since)
                .map(|(uid, _)| *uid);
            oldest.map(|uid| self.records.remove(&uid));
        }
        let record = self.records.entry(uid).or_insert_with(|| Record {
            count: 0,
            since: now,
            refused_until: None,
            penalty: REFUSAL_TIME.0,
        });
        if now.duration_since(record.since) > FAILURE_TIME {
            if record
                .refused_until
                .is_none_or(|until| now.duration_since(until) > REFUSAL_TIME.1)
            {
                record.penalty = REFUSAL_TIME.0;
            }
            (record.count, record.since) = (0, now);
        }
        record.count += 1;
        if record.count >= FAILURES_MAX {
            record.refused_until = Some(now + record.penalty);
            record.penalty = (record.penalty * 2).min(REFUSAL_TIME.1);
            (record.count, record.since) = (0, now);
        }
    }

    /// A proof was right: the slate is clean.
    pub(crate) fn forget(&mut self, uid: u32) {
        self.records.remove(&uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_refuses_for_a_second_and_the_tenth_for_two() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let fail = |failures: &mut Failures, at: Duration| failures.count(1, start + at);
        for _ in 0..4 {
            fail(&mut failures, Duration::ZERO);
        }
        assert!(failures.admits(1, start));
        fail(&mut failures, Duration::ZERO);
        assert!(!failures.admits(1, start + Duration::from_millis(999)));
        assert!(failures.admits(1, start + Duration::from_secs(1)));
        assert!(failures.admits(2, start));
        for _ in 0..5 {
            fail(&mut failures, Duration::from_secs(1));
        }
        assert!(!failures.admits(1, start + Duration::from_millis(2_999)));
        assert!(failures.admits(1, start + Duration::from_secs(3)));
        failures.forget(1);
        assert!(failures.admits(1, start));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let mut failures = Failures::default();
        let start = Instant::now();
        for i in 0..20 {
            failures.count(1, start + Duration::from_secs(11) * i);
        }
        assert!(failures.admits(1, start + Duration::from_secs(220)));
    }
}
