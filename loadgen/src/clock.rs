//! The clock that all processes of a run share, exact sleep, and pinning.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::{ClockId, CpuSet};

use crate::error::{Error, While};

/// `CLOCK_MONOTONIC` in ns: the same for all processes of a host.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// What to add to [`tidings_engine::clock`] to get [`now`].
pub(crate) fn engine_offset() -> u64 {
    now().wrapping_sub(tidings_engine::clock::now())
}

/// Sleeps until [`now`] has reached `at`.
pub fn sleep_until(at: u64) {
    let time = rustix::time::Timespec {
        tv_sec: (at / 1_000_000_000) as i64,
        tv_nsec: (at % 1_000_000_000) as i64,
    };
    // A signal ends it early: the caller looks at the clock again.
    let _ = rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &time);
}

/// Lets the calling thread's sleeps end when they are due, not up to 50 us later.
pub fn sleep_exactly() {
    // Refused: sleeps end later, which the generator's lag shows.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Pins this thread and those that it will start.
pub fn pin(cpu: Option<usize>) -> Result<(), Error> {
    let Some(cpu) = cpu else { return Ok(()) };
    if cpu >= CpuSet::MAX_CPU {
        return Err(Error::Usage(format!("there is no CPU {cpu}")));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).during(&format!("pin to CPU {cpu}"))
}

/// A number of seconds as a duration.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
