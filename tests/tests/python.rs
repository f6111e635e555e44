//! The Python client, an implementation of its own made from the specification alone: its tests run against the daemon of this
//! build. Every golden vector both ways, a foreign node among daemons, a foreign client on the local socket.
#![cfg(feature = "hosts")]
#![allow(clippy::unwrap_used)]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tidings_tests::blackbox::tidings;
use tidings_tests::lab;

/// They take half a minute on a quiet machine.
const WITHIN: Duration = Duration::from_secs(600);

fn has(script: &str) -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", script]).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

// Waits for the leader of a process group; ends all of the group, daemons included, if it takes too long.
fn wait(tests: &mut Child) -> Option<ExitStatus> {
    let end = Instant::now() + WITHIN;
    while Instant::now() < end {
        if let Some(status) = tests.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let group = format!("-{}", tests.id());
    Command::new("kill")
        .args(["-KILL", "--", &group])
        .status()
        .unwrap();
    tests.wait().unwrap();
    None
}

#[test]
fn the_python_client_passes_its_tests_against_this_daemon() {
    if !has("import sys; sys.exit(sys.version_info < (3, 10))") {
        return lab::skipped("python", "python3 3.10 or newer");
    }
    if !has("import cryptography") {
        return lab::skipped(
            "python",
            "the Python package `cryptography`: pip install cryptography",
        );
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("output");
    let file = std::fs::File::create(&output).unwrap();
    let mut tests = Command::new("python3")
        .args([
            "-B",
            "-m",
            "unittest",
            "discover",
            "-s",
            "clients/python/tests",
        ])
        .current_dir(root)
        .env("TIDINGS_BIN", tidings())
        .env("TMPDIR", home.path())
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .process_group(0)
        .spawn()
        .unwrap();
    let status = wait(&mut tests);
    let said = std::fs::read_to_string(&output).unwrap();
    println!("{said}");
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    // With a daemon at hand none of them is skipped.
    assert!(said.contains("\nOK\n"), "some were skipped");
}
