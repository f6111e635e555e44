//! Programs of others that tests run the node against, where they are there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where a program is: unpacked beside what cargo builds, as `.ci/run` does it, or in the path. Says loudly what is skipped without it.
pub(crate) fn tool(name: &str, skipped: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_tidings")).ancestors().nth(2);
    let unpacked = target.map(|target| target.join("tools/usr/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = unpacked
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!(
            "SKIPPED: {skipped}: there is no {name}, neither in the path nor in target/tools/usr/bin; .ci/run unpacks it there from Debian's package"
        );
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
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
