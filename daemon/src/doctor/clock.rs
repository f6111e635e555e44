//! The wall clock. Nothing that a node does depends on it; what people compare does: log lines of several hosts, and
//! certificates.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::finding::Finding;
use super::sys;

/// 2025-01-01: a clock before this is not set, whatever it shows.
const SET: Duration = Duration::from_secs(1_735_689_600);

/// Looks at the clock and at who keeps it.
pub fn check() -> Vec<Finding> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    vec![
        judge_time(since.unwrap_or_default()),
        judge_synchronised(sys::is_synchronised()),
    ]
}

fn judge_time(since: Duration) -> Finding {
    let value = date(since.as_secs() / 86_400);
    if since >= SET {
        return Finding::ok("clock", value);
    }
    let remedy = "set it: `timedatectl set-ntp true`, or `date -s`; nodes need no clock, logs and certificates do";
    Finding::warning("clock", format!("{value}: it was never set"), remedy)
}

/// The date of a day since 1970-01-01, UTC: the Gregorian calendar in eras of 400 years that begin in March, so that a leap day
/// is the last of its year.
fn date(day: u64) -> String {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{of_month:02}")
}

fn judge_synchronised(synchronised: io::Result<bool>) -> Finding {
    let what = "clock discipline";
    match synchronised {
        Ok(true) => Finding::ok(what, "the kernel's clock is synchronised"),
        Ok(false) => Finding::warning(
            what,
            "the kernel's clock is synchronised by nobody",
            "run chrony or `timedatectl set-ntp true`; nodes need no clock, but log lines of several hosts are compared by it",
        ),
        Err(error) => Finding::warning(
            what,
            format!("the kernel does not tell: {error}"),
            "none is needed in a container, whose host keeps the clock: look there with `timedatectl`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_a_warning_and_no_failure() {
        assert_eq!(judge_time(Duration::ZERO).state, State::Warning);
        assert_eq!(judge_time(SET).state, State::Ok);
    }

    #[test]
    fn days_are_told_as_dates() {
        for (day, text) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (SET.as_secs() / 86_400, "2025-01-01"),
            (20_453, "2025-12-31"),
        ] {
            assert_eq!(date(day), text);
        }
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_a_warning_and_no_failure() {
        assert_eq!(judge_synchronised(Ok(true)).state, State::Ok);
        assert_eq!(judge_synchronised(Ok(false)).state, State::Warning);
        let denied = judge_synchronised(Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(denied.state, State::Warning);
    }

    #[test]
    fn this_system_answers_or_says_why_not() {
        assert_eq!(check().len(), 2);
    }
}
