//! Failures to log in, by where they come from and whom they claim to be: after some the pair is refused unheard for a while,
//! so that guessing is slow and costs nothing here. Another source, or another name from the same one, is not held back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Peer;
use super::credential::User;
use crate::http::error::{ApiError, ApiResult};
use crate::http::limits::{FAILING, FAILURE_WINDOW, FAILURES, LOCK_MAX, LOCK_MIN};

/// Whom somebody claims to be. As few as there are, so that no source takes many entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// A user.
    User(User),
    /// A holder of some token.
    Token,
    /// A user that does not exist.
    Stranger,
}

/// What one pair did.
#[derive(Clone, Copy, Debug)]
struct Failing {
    /// Failures since `since`.
    count: u32,
    since: Instant,
    last: Instant,
    /// Refused until then.
    until: Option<Instant>,
    /// How long the next time.
    next: Duration,
}

/// The table.
#[derive(Default)]
pub struct Throttle(Mutex<HashMap<(Peer, Claim), Failing>>);

impl Throttle {
    fn table(&self) -> MutexGuard<'_, HashMap<(Peer, Claim), Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses those that are locked out.
    pub fn admit(&self, source: Peer, claim: Claim, now: Instant) -> ApiResult<()> {
        let table = self.table();
        let until = table.get(&(source, claim)).and_then(|entry| entry.until);
        match until.map(|until| until.saturating_duration_since(now)) {
            Some(left) if !left.is_zero() => Err(ApiError::too_many(
                "locked_out",
                "too many wrong credentials came from here",
                left.as_secs() + u64::from(left.subsec_nanos() > 0),
            )),
            _ => Ok(()),
        }
    }

    /// Counts a failure.
    pub fn failed(&self, source: Peer, claim: Claim, now: Instant) {
        let mut table = self.table();
        if table.len() >= FAILING && !table.contains_key(&(source, claim)) {
            let oldest = table.iter().min_by_key(|(_, entry)| entry.last);
            if let Some(oldest) = oldest.map(|(pair, _)| *pair) {
                table.remove(&oldest);
            }
        }
        let entry = table.entry((source, claim)).or_insert(Failing {
            count: 0,
            since: now,
            last: now,
            until: None,
            next: LOCK_MIN,
        });
        // Whoever was quiet for long enough begins anew.
        if now.duration_since(entry.last) > 2 * LOCK_MAX {
            (entry.until, entry.next, entry.count) = (None, LOCK_MIN, 0);
        }
        // One that was locked out once has no more free tries.
        let is_known = entry.until.is_some();
        if !is_known && (entry.count == 0 || now.duration_since(entry.since) > FAILURE_WINDOW) {
            (entry.count, entry.since) = (0, now);
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        if is_known || entry.count >= FAILURES {
            entry.until = Some(now + entry.next);
            entry.next = (entry.next * 2).min(LOCK_MAX);
        }
    }

    /// Forgets the failures of somebody who is who they claim to be.
    pub fn succeeded(&self, source: Peer, claim: Claim) {
        self.table().remove(&(source, claim));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Peer = Peer::Uid(1000);
    const ROOT: Claim = Claim::User(User::Superuser);

    fn fail(throttle: &Throttle, times: u32, now: Instant) {
        for _ in 0..times {
            throttle.failed(ME, ROOT, now);
        }
    }

    #[test]
    fn five_failures_lock_a_pair_out_for_longer_and_longer_and_nobody_else() {
        let throttle = Throttle::default();
        let mut now = Instant::now();
        fail(&throttle, 4, now);
        assert!(throttle.admit(ME, ROOT, now).is_ok());
        fail(&throttle, 1, now);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let is_locked = |now| throttle.admit(ME, ROOT, now).is_err();
            assert!(is_locked(now + Duration::from_millis(seconds * 1_000 - 1)));
            assert!(throttle.admit(ME, Claim::Token, now).is_ok());
            assert!(throttle.admit(Peer::Uid(1), ROOT, now).is_ok());
            now += Duration::from_secs(seconds);
            assert!(!is_locked(now), "{seconds} s");
            fail(&throttle, 1, now);
        }
        throttle.succeeded(ME, ROOT);
        assert!(throttle.admit(ME, ROOT, now).is_ok());
    }

    #[test]
    fn failures_far_apart_lock_nobody_out() {
        let throttle = Throttle::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            fail(&throttle, 4, now);
            assert!(throttle.admit(ME, ROOT, now).is_ok());
            now += FAILURE_WINDOW + Duration::from_millis(1);
        }
    }

    #[test]
    fn the_table_has_a_bound_and_the_oldest_makes_room() {
        let throttle = Throttle::default();
        let now = Instant::now();
        fail(&throttle, 5, now);
        for uid in 0..FAILING as u32 {
            let at = now + Duration::from_micros(u64::from(uid) + 1);
            throttle.failed(Peer::Uid(uid + 10_000), ROOT, at);
        }
        assert_eq!(throttle.table().len(), FAILING);
        assert!(throttle.admit(ME, ROOT, now).is_ok());
    }
}
