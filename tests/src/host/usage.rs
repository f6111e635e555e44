//! What a process uses, from `/proc`.

use std::io;
use std::time::Duration;

use crate::lab::sys;

/// What a process uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Memory in RAM, bytes.
    pub rss_bytes: u64,
    /// Processor time so far, in user and kernel mode.
    pub cpu: Duration,
    /// Open descriptors.
    pub open_fds: usize,
    /// Threads.
    pub threads: usize,
}

impl Usage {
    pub(super) fn of(pid: u32) -> io::Result<Usage> {
        let folder = format!("/proc/{pid}");
        let stat = std::fs::read_to_string(format!("{folder}/stat"))?;
        // The second field is the program's name in parentheses, which may contain anything.
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map_or("", |(_, rest)| rest)
            .split(' ')
            .collect();
        let field = |number: usize| {
            fields
                .get(number - 3)
                .and_then(|f| f.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let ticks = field(14) + field(15);
        Ok(Usage {
            rss_bytes: field(24) * sys::page_size(),
            cpu: Duration::from_millis(ticks * 1000 / sys::ticks_per_second()),
            open_fds: std::fs::read_dir(format!("{folder}/fd"))?.count(),
            threads: field(20) as usize,
        })
    }
}
