//! Half a second of load by every way to attach, as a user would run it: nothing lost, exit code 0.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that one run may take: starting, meeting, draining and leaving included.
const LIMIT: Duration = Duration::from_secs(60);

fn loadgen(arguments: &[&str]) -> Output {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_tidings-loadgen"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(start.elapsed() < LIMIT, "bounded in time");
    output
}

/// The report of a short run, after its exit code and its books were checked.
fn report(arguments: &[&str]) -> Value {
    let short = ["--seconds", "0.5", "--warmup", "0.2", "--format", "json"];
    let output = loadgen(&[arguments, &short].concat());
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{text}\n{errors}",
        output.status
    );
    let report: Value = serde_json::from_str(&text).unwrap();
    let accepted = report["published"]["accepted"].as_u64().unwrap();
    assert!(accepted > 0, "{report}");
    assert_eq!(report["lost"], 0, "{report}");
    assert_eq!(report["received"]["unique"], accepted, "{report}");
    assert_eq!(report["received"]["duplicates"], 0, "{report}");
    assert_eq!(report["published"]["delivered"], accepted, "{report}");
    assert_eq!(report["published"]["failed"], 0, "{report}");
    report
}

fn check(attach: &[&str]) {
    let throughput = report(&[&["throughput"], attach].concat());
    let rate = throughput["window"]["rate"].as_f64().unwrap();
    // How fast is no matter of this test: half a second may fall into the catch-up of the beginning.
    assert!(rate > 0.0, "{throughput}");
    assert!(throughput["window"]["cpu_ns"].as_f64().unwrap() > 0.0);
    let latency = report(&[&["latency", "--rate", "1000"], attach].concat());
    assert_eq!(latency["received"]["latency"]["count"], 500, "{latency}");
    assert_eq!(latency["published"]["lag"]["count"], 500, "{latency}");
    let short = ["idle", "--seconds", "0.5", "--warmup", "0.2"];
    let idle = loadgen(&[&short, &attach[..2]].concat());
    assert!(idle.status.success(), "{idle:?}");
}

#[test]
fn handlers_on_the_shard_lose_nothing() {
    check(&["--attach", "on-shard", "--ordered"]);
}

#[test]
fn threads_beside_the_shard_lose_nothing() {
    check(&["--attach", "any-thread", "--ordered"]);
}

#[test]
fn clients_of_daemons_lose_nothing() {
    let beside = Path::new(env!("CARGO_BIN_EXE_tidings-loadgen")).with_file_name("tidings");
    if !beside.is_file() || !serves(&beside) {
        // Past the capture of the test harness: this must be seen.
        let what = format!("SKIPPED: no working daemon at {}\n", beside.display());
        std::io::stderr().write_all(what.as_bytes()).unwrap();
        return;
    }
    check(&["--attach", "daemon", "--ordered"]);
}

fn serves(program: &PathBuf) -> bool {
    Command::new(program)
        .args(["run", "--help"])
        .output()
        .is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

#[test]
fn sides_started_by_hand_find_each_other() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap().to_string();
    drop(free);
    let subscriber = std::thread::spawn({
        let addr = addr.clone();
        move || report_of_a_side(&["--role", "subscribe", "--bind", &addr])
    });
    let publisher = report_of_a_side(&["--role", "publish", "--join", &addr]);
    let subscriber = subscriber.join().unwrap();
    assert_eq!(
        publisher["published"]["accepted"],
        subscriber["received"]["unique"]
    );
    assert_eq!(subscriber["lost"], 0);
}

fn report_of_a_side(arguments: &[&str]) -> Value {
    let short = ["throughput", "--seconds", "0.5", "--warmup", "0.1"];
    let output = loadgen(&[&short[..], &["--format", "json"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_str(&String::from_utf8_lossy(&output.stdout)).unwrap()
}

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    for wrong in [
        ["throughput", "--size", "3"],
        ["latency", "--rate", "0"],
        ["throughput", "--seconds", "-1"],
    ] {
        let output = loadgen(&wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}
