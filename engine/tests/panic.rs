//! A shard that panics takes the process with it: better no node than a wrong one.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use common::{builder, config};

const ROLE: &str = "TIDINGS_TEST_PANIC";

#[test]
fn a_panic_on_a_shard_aborts_the_process() {
    if std::env::var(ROLE).is_ok() {
        let engine = builder().start().unwrap();
        let overlay = engine.add_overlay(config("panic", &[])).unwrap();
        let answer = engine.on_shard(overlay, |_| panic!("on purpose"));
        unreachable!("the process lives on: {answer:?}");
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_panic_on_a_shard_aborts_the_process"])
        .env(ROLE, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status:?}");
}
