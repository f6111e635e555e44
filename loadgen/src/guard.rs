//! Becomes a daemon that dies with the process that started it, however that one ends.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::clock;
use crate::error::{Error, While};

/// Ties this process to its parent.
pub(crate) fn die_with_parent() -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .during("tie this process to its parent")
}

/// Does not come back unless the program cannot be run.
pub(crate) fn run(pin: &[usize], command: &[String]) -> Result<bool, Error> {
    die_with_parent()?;
    clock::pin(pin.first().copied())?;
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Error::Usage("guard what?".to_owned()))?;
    Err(Command::new(program).args(arguments).exec()).during(program)
}
