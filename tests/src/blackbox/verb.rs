//! What the command line did: a verb that ended, a `tidings sub` that goes on.

use std::path::Path;
use std::time::Duration;

use super::eventually;
use super::messages::{Message, messages};
use crate::host::Process;

/// How long a subscription may take to stand: 2 s until it says `partial`, and a loaded machine.
const STANDS_WITHIN: Duration = Duration::from_secs(60);

/// The end of a verb.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Done {
    /// Waits for the end of a process.
    ///
    /// # Panics
    /// If it takes longer.
    #[track_caller]
    pub fn of(process: &Process, within: Duration) -> Done {
        let status = match process.wait(within) {
            Ok(status) => status,
            Err(error) => panic!("{error}"),
        };
        Done {
            code: status.code(),
            out: process.stdout(),
            err: process.stderr(),
        }
    }

    /// The output as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.out) {
            Ok(value) => value,
            Err(error) => panic!(
                "{error} in {:.300}; standard error: {:.300}",
                self.out, self.err
            ),
        }
    }
}

/// A running `tidings sub`.
#[derive(Debug)]
pub struct Subscriber {
    process: Process,
}

impl Subscriber {
    pub(super) fn new(process: Process) -> Subscriber {
        Subscriber { process }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until the subscription stands: at every member, or on a loaded machine at those that confirmed it in time. Who
    /// publishes next waits until its own node knows it, by `--wait-for` or [`wait_owed`](super::wait_owed).
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn wait_standing(&self) {
        if let Err(error) = self.process.wait_for_err("subscribed to", STANDS_WITHIN) {
            panic!("{error}: {:.300}", self.process.stderr());
        }
    }

    /// The file that its output goes to.
    pub fn output(&self) -> &Path {
        self.process.stdout_path()
    }

    /// Bytes that it wrote so far.
    pub fn written(&self) -> u64 {
        std::fs::metadata(self.output()).map_or(0, |file| file.len())
    }

    /// Waits until it wrote so many bytes.
    ///
    /// # Panics
    /// If it does not in time.
    #[track_caller]
    pub fn wait_written(&self, bytes: u64, within: Duration) -> Duration {
        let what = format!("{bytes} bytes at {}", self.process.name());
        if self.written() >= bytes {
            return Duration::ZERO;
        }
        eventually(&what, within, || {
            assert!(
                self.process.is_running() || self.written() >= bytes,
                "{} ended after {} of {bytes} bytes: {:.300}",
                self.process.name(),
                self.written(),
                self.process.stderr()
            );
            self.written() >= bytes
        })
    }

    /// Waits until it wrote so many lines.
    ///
    /// # Panics
    /// If it does not in time.
    #[track_caller]
    pub fn wait_lines(&self, lines: usize, within: Duration) -> Duration {
        let what = format!("{lines} lines at {}", self.process.name());
        let count = || {
            let bytes = std::fs::read(self.output()).unwrap_or_default();
            bytes.iter().filter(|&&byte| byte == b'\n').count()
        };
        eventually(&what, within, || count() >= lines)
    }

    /// What it received, of a `--format json`. A line that is not complete yet is left out.
    pub fn messages(&self) -> Vec<Message> {
        messages(&self.process.stdout())
    }
}
