//! The thread that starts processes. The kernel kills a child when the thread that made it ends; a test's threads come and
//! go, this one stays until the test process ends.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

type Job = (Command, Sender<io::Result<Child>>);

static JOBS: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();

/// Starts `command` from the spawner thread.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let jobs = JOBS.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                // Nobody waits for the answer of a test that has panicked.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (answer, child) = channel();
    let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
    jobs.send((command, answer)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}
