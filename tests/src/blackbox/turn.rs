//! Whose turn it is. Tests that measure time or load the machine run alone; the others run beside each other. Holds between
//! test processes too: the lock is on the folder of the test programs, so that nothing stays behind.

use std::fs::File;
use std::path::Path;

/// Held while a test runs.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code)] Option<File>);

/// Waits until no other black-box test runs, and keeps them waiting.
pub fn alone() -> Turn {
    take(File::lock)
}

/// Waits until no test runs that must be alone.
pub fn beside_others() -> Turn {
    take(File::lock_shared)
}

fn take(lock: impl Fn(&File) -> std::io::Result<()>) -> Turn {
    let exe = std::env::current_exe().ok();
    let folder = exe
        .as_deref()
        .and_then(Path::parent)
        .and_then(|folder| File::open(folder).ok());
    // Without locks the tests are only less reliable.
    Turn(folder.filter(|folder| lock(folder).is_ok()))
}
