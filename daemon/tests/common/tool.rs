//! Programs of others that tests run the node against, where they are there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::recorder::free_port;
use super::within;
use tidings_skip::skipped;

/// Where a program is: unpacked beside what cargo builds, as `.ci/run` does it, or in the path. Says loudly what is skipped without it;
/// `needs` is how it is required.
pub(crate) fn tool(name: &str, needs: &str, what: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_tidings")).ancestors().nth(2);
    let unpacked = target.map(|target| target.join("tools/usr/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = unpacked
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        let place = "neither in the path nor in target/tools/usr/bin; .ci/run unpacks it there from Debian's package";
        skipped(needs, &format!("{what}: there is no {name}, {place}"));
    }
    found
}

/// A program that runs until it is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it. Its words go to the file `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Starts it until it `answers` at a port; at another one if it ends by itself, as where somebody took its port meanwhile.
    pub(crate) fn at_a_port(
        command: impl Fn(u16) -> Command,
        log: &Path,
        answers: impl Fn(u16) -> bool,
    ) -> (Self, u16) {
        for _ in 0..5 {
            let port = free_port();
            let mut running = Self::start(&mut command(port), log);
            let mut has_ended = || running.0.try_wait().unwrap().is_some();
            let is_up = within(Duration::from_secs(90), || has_ended() || answers(port));
            if is_up && !has_ended() {
                return (running, port);
            }
        }
        panic!(
            "it does not come up: {}",
            std::fs::read_to_string(log).unwrap()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
