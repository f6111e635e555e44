//! Where the program under test is: beside the tests, built when it is missing or older than its sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `tidings` program of this build: TIDINGS_BIN if set, else the one of the running test's target folder and profile,
/// which cargo brings up to date first.
///
/// # Panics
/// If it cannot be built.
pub fn tidings() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("TIDINGS_BIN") {
        Some(path) => path.into(),
        None => built(),
    })
}

fn built() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a program");
    // TARGET/PROFILE/deps/TEST, or TARGET/PROFILE/PROGRAM
    let profile = exe
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"))
        .expect("cargo puts programs into a folder");
    let name = profile.file_name().unwrap_or_default();
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", "tidings"])
        .arg("--profile")
        .arg(if name == "debug" {
            "dev".as_ref()
        } else {
            name
        })
        .arg("--target-dir")
        .arg(profile.parent().unwrap_or(profile))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().expect("cargo runs the tests, so it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "building tidings failed: {}",
        errors.chars().take(2000).collect::<String>()
    );
    profile.join("tidings")
}
