//! A process of a host: its signals, its end, its output, what it uses.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Usage;
use super::spawner;
use crate::lab::sys;

/// How often a condition is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Lines of error output shown when a test fails.
const TAIL: usize = 40;
/// Lines of normal output shown: it is often what was published.
const TAIL_OUT: usize = 4;
/// Characters of such a line: a payload may be a line of many MiB.
const LINE: usize = 300;

/// A running or ended process and the group that it leads. Signals go to the whole group. Dropping it kills the group; if
/// the test is failing, the end of the output is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    child: Mutex<Child>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    pub(super) fn start(name: &str, mut command: Command, folder: &Path) -> io::Result<Process> {
        let file = |ending: &str| -> io::Result<(PathBuf, File)> {
            let path = folder.join(format!("{name}.{ending}"));
            let file = File::options().create(true).append(true).open(&path)?;
            Ok((path, file))
        };
        let (stdout, out) = file("out")?;
        let (stderr, err) = file("err")?;
        command.stdout(out).stderr(err);
        let program = command.get_program().to_owned();
        let child = spawner::spawn(command).map_err(|e| {
            io::Error::new(e.kind(), format!("starting {}: {e}", program.display()))
        })?;
        Ok(Process {
            name: name.into(),
            pid: child.id(),
            child: Mutex::new(child),
            stdout,
            stderr,
        })
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Its end, if it has ended.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        self.child().try_wait()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        matches!(self.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// `TimedOut` when it runs longer.
    pub fn wait(&self, within: Duration) -> io::Result<ExitStatus> {
        let mut status = None;
        self.until(within, "its end", || {
            status = self.try_wait()?;
            Ok(status.is_some())
        })?;
        status.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// Waits until its output, normal or error, contains `text`.
    ///
    /// # Errors
    /// `TimedOut`, or `UnexpectedEof` when the process ended without it.
    pub fn wait_for(&self, text: &str, within: Duration) -> io::Result<()> {
        let written = || self.stdout().contains(text) || self.stderr().contains(text);
        self.wait_until(text, within, written)
    }

    fn wait_until(
        &self,
        text: &str,
        within: Duration,
        written: impl Fn() -> bool,
    ) -> io::Result<()> {
        self.until(within, text, || {
            let running = self.is_running();
            if written() {
                return Ok(true);
            }
            let ended = || {
                io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("{} ended without `{text}`", self.name),
                )
            };
            if running { Ok(false) } else { Err(ended()) }
        })
    }

    fn until(
        &self,
        within: Duration,
        what: &str,
        mut done: impl FnMut() -> io::Result<bool>,
    ) -> io::Result<()> {
        let deadline = Instant::now() + within;
        while !done()? {
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{}: no `{what}` within {within:?}", self.name),
                ));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Sends a signal to its group.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let mut child = self.child();
        if child.try_wait()?.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} has ended", self.name),
            ));
        }
        sys::kill(-(self.pid as i32), signal)
    }

    /// SIGTERM: asks it to end.
    ///
    /// # Errors
    /// If it has ended.
    pub fn term(&self) -> io::Result<()> {
        self.signal(libc::SIGTERM)
    }

    /// SIGINT: asks it to end, as somebody at a terminal does.
    ///
    /// # Errors
    /// If it has ended.
    pub fn int(&self) -> io::Result<()> {
        self.signal(libc::SIGINT)
    }

    /// SIGSTOP: freezes it. Returns when it stands still: the signal alone leaves its threads running for a moment.
    ///
    /// # Errors
    /// If it has ended.
    pub fn stop(&self) -> io::Result<()> {
        self.signal(libc::SIGSTOP)?;
        sys::wait_stopped(self.pid)
    }

    /// SIGCONT: lets it go on.
    ///
    /// # Errors
    /// If it has ended.
    pub fn cont(&self) -> io::Result<()> {
        self.signal(libc::SIGCONT)
    }

    /// SIGKILL, and waits for the end, so that its ports are free when this returns. Does nothing if it has ended.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn kill9(&self) -> io::Result<ExitStatus> {
        let mut child = self.child();
        match child.try_wait()? {
            Some(status) => Ok(status),
            None => {
                sys::kill(-(self.pid as i32), libc::SIGKILL)?;
                child.wait()
            }
        }
    }

    /// The file that its standard output goes to.
    pub fn stdout_path(&self) -> &Path {
        &self.stdout
    }

    /// As [`wait_for`](Self::wait_for), but looks at the standard error only: for processes that write a lot.
    ///
    /// # Errors
    /// As `wait_for`.
    pub fn wait_for_err(&self, text: &str, within: Duration) -> io::Result<()> {
        self.wait_until(text, within, || self.stderr().contains(text))
    }

    /// Everything written to the standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Everything written to the standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Memory, time, descriptors and threads that it uses now.
    ///
    /// # Errors
    /// If it has ended.
    pub fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.pid)
    }

    /// Memory in RAM.
    ///
    /// # Errors
    /// If it has ended.
    pub fn rss_bytes(&self) -> io::Result<u64> {
        Ok(self.usage()?.rss_bytes)
    }

    /// Processor time so far.
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu(&self) -> io::Result<Duration> {
        Ok(self.usage()?.cpu)
    }

    /// Open descriptors.
    ///
    /// # Errors
    /// If it has ended.
    pub fn open_fds(&self) -> io::Result<usize> {
        Ok(self.usage()?.open_fds)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What cannot be killed here the lab's watchdog kills.
        let _ = self.kill9();
        if std::thread::panicking() {
            for (stream, text, tail) in [
                ("stdout", self.stdout(), TAIL_OUT),
                ("stderr", self.stderr(), TAIL),
            ] {
                let lines: Vec<&str> = text.lines().collect();
                let tail: Vec<String> = lines[lines.len().saturating_sub(tail)..]
                    .iter()
                    .map(|line| line.chars().take(LINE).collect())
                    .collect();
                eprintln!(
                    "---- {} of {} ({} lines)\n{}",
                    stream,
                    self.name,
                    lines.len(),
                    tail.join("\n")
                );
            }
        }
    }
}

/// Output may end in the middle of a character, and a process that wrote nothing may have no file.
fn read(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
