//! Failed proofs by user and the name that it claimed: after some within a short time that user is refused that name for a
//! while, longer each time. Nobody else is, and no login that proves nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::limits::{FAILING_MAX, FAILURE_TIME, FAILURES_MAX, REFUSAL_TIME};

/// One user's record under one name.
struct Record {
    count: u32,
    since: Instant,
    refused_until: Option<Instant>,
    penalty: Duration,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Failures {
    records: HashMap<(u32, String), Record>,
}

impl Failures {
    /// Whether the user may try this name now.
    pub(crate) fn admits(&self, uid: u32, name: &str, now: Instant) -> bool {
        self.records
            .get(&(uid, name.to_owned()))
            .and_then(|record| record.refused_until)
            .is_none_or(|until| until <= now)
    }

    /// A proof failed.
    pub(crate) fn count(&mut self, uid: u32, name: String, now: Instant) {
        let who = (uid, name);
        if self.records.len() >= FAILING_MAX && !self.records.contains_key(&who) {
            let oldest = self
                .records
                .iter()
                .min_by_key(|(_, record)| record.since)
                .map(|(who, _)| who.clone());
            oldest.map(|who| self.records.remove(&who));
        }
        let record = self.records.entry(who).or_insert_with(|| Record {
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
    pub(crate) fn forget(&mut self, uid: u32, name: &str) {
        self.records.remove(&(uid, name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_refuses_for_a_second_and_the_tenth_for_two() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let fail =
            |failures: &mut Failures, at: Duration| failures.count(1, "a".into(), start + at);
        for _ in 0..4 {
            fail(&mut failures, Duration::ZERO);
        }
        assert!(failures.admits(1, "a", start));
        fail(&mut failures, Duration::ZERO);
        assert!(!failures.admits(1, "a", start + Duration::from_millis(999)));
        assert!(failures.admits(1, "a", start + Duration::from_secs(1)));
        assert!(failures.admits(2, "a", start) && failures.admits(1, "b", start));
        for _ in 0..5 {
            fail(&mut failures, Duration::from_secs(1));
        }
        assert!(!failures.admits(1, "a", start + Duration::from_millis(2_999)));
        assert!(failures.admits(1, "a", start + Duration::from_secs(3)));
        failures.forget(1, "a");
        assert!(failures.admits(1, "a", start));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let mut failures = Failures::default();
        let start = Instant::now();
        for i in 0..20 {
            failures.count(1, "a".into(), start + Duration::from_secs(11) * i);
        }
        assert!(failures.admits(1, "a", start + Duration::from_secs(220)));
    }
}
