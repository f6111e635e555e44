//! The clock: nanoseconds since the process first asked. Read once per turn by a shard; nothing below the shard reads it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Now, in ns. Never zero, so that zero may stand for "never".
pub fn now() -> u64 {
    START.elapsed().as_nanos() as u64 + 1
}

/// CPU time that the calling thread has taken so far. A system call: for statistics only.
pub fn thread_cpu() -> Duration {
    let taken = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        taken.tv_sec.unsigned_abs(),
        taken.tv_nsec.unsigned_abs() as u32,
    )
}
