//! CPU time and memory of processes, from /proc.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a process used until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in ns; of another process that of its living threads.
    pub cpu_ns: u64,
    /// Resident memory, in bytes.
    pub rss: u64,
    /// The same at its highest.
    pub rss_peak: u64,
}

impl Usage {
    /// Of a process; zeros if it is gone.
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        Self {
            cpu_ns: cpu_ns(pid),
            rss: kib(&status, "VmRSS:") * 1024,
            rss_peak: kib(&status, "VmHWM:") * 1024,
        }
    }

    /// Of this process.
    pub fn own() -> Self {
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self {
            // Threads that ended are in it, which matters where nodes come and go.
            cpu_ns: clock.tv_sec.unsigned_abs() * 1_000_000_000 + clock.tv_nsec.unsigned_abs(),
            ..Self::of(std::process::id())
        }
    }

    /// CPU time since an earlier look.
    pub fn cpu_since(&self, earlier: &Self) -> Duration {
        Duration::from_nanos(self.cpu_ns.saturating_sub(earlier.cpu_ns))
    }
}

/// The scheduler's own sum for each thread: exact to the ns, where the ticks of `stat` are 10 ms.
fn cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let times = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    times.sum()
}

fn kib(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_and_memory_is_there() {
        let before = Usage::own();
        // On a loaded machine that much work takes longer.
        let start = std::time::Instant::now();
        let mut after = before;
        while after.cpu_since(&before) <= Duration::from_millis(5) {
            assert!(start.elapsed() < Duration::from_secs(20), "{after:?}");
            after = Usage::own();
        }
        assert!(after.rss > 0 && after.rss_peak >= after.rss);
        assert_eq!(Usage::of(u32::MAX), Usage::default());
    }
}
