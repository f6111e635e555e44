//! The few system calls that measuring needs: pinning, clocks, exact sleep, socket options.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::thread::{ClockId as SleepClock, CpuSet};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Pins the calling thread, and those that it starts, to a CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    if cpu < CpuSet::MAX_CPU {
        set.set(cpu);
    }
    let refused = |error| {
        let why =
            format!("--pin: cannot run on CPU {cpu} ({error}); `nproc` tells how many there are");
        io::Error::new(io::ErrorKind::InvalidInput, why)
    };
    rustix::thread::sched_setaffinity(None, &set).map_err(refused)
}

fn duration(time: Timespec) -> Duration {
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// CPU time of the calling thread, user and system.
pub fn thread_cpu_time() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// `CLOCK_MONOTONIC` in ns.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Sleeps until [`now`] has reached `at`: the way in which the load generator waits for a due time.
pub fn sleep_until(at: u64) {
    let time = Timespec {
        tv_sec: (at / 1_000_000_000) as i64,
        tv_nsec: (at % 1_000_000_000) as i64,
    };
    // A signal ends it early: the caller looks at the clock again.
    let _ = rustix::thread::clock_nanosleep_absolute(SleepClock::Monotonic, &time);
}

/// Lets the calling thread's sleeps end when they are due, not up to 50 us later.
pub fn sleep_exactly() {
    // Refused: sleeps end later, which the measured lag shows.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Sets an integer socket option.
pub fn set_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live integer.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
