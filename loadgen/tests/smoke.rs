//! Every scenario for a fraction of a second, by every way to attach, as a user would run it: nothing lost, exit code 0.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that one run may take: starting, meeting, draining and leaving included.
const LIMIT: Duration = Duration::from_secs(240);

fn loadgen(arguments: &[&str]) -> Output {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_tidings-loadgen"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(start.elapsed() < LIMIT, "bounded in time");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The report of a short run, after its exit code and its books were checked.
fn report(arguments: &[&str]) -> Value {
    report_of("0.3", arguments)
}

fn report_of(seconds: &str, arguments: &[&str]) -> Value {
    let short = ["--seconds", seconds, "--warmup", "0.1", "--format", "json"];
    // How fast is no matter of this test; but where the machine stands still for the measured time, nothing is in it.
    for _ in 0..3 {
        let report = checked(&[arguments, &short].concat());
        let measured = |name: &str| report["window"][name].as_f64().unwrap();
        if measured("rate") > 0.0 && measured("cpu_ns") > 0.0 {
            return report;
        }
    }
    panic!("{arguments:?}: nothing was measured in three runs");
}

fn checked(arguments: &[&str]) -> Value {
    let output = loadgen(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let accepted = report["published"]["accepted"].as_u64().unwrap();
    assert!(accepted > 0, "{report}");
    assert_eq!(report["lost"], 0, "{report}");
    assert_eq!(report["received"]["duplicates"], 0, "{report}");
    assert_eq!(report["received"]["foreign"], 0, "{report}");
    report
}

fn unique(report: &Value) -> u64 {
    report["received"]["unique"].as_u64().unwrap()
}

fn accepted(report: &Value) -> u64 {
    report["published"]["accepted"].as_u64().unwrap()
}

fn names(report: &Value) -> Vec<&str> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|row| row["name"].as_str().unwrap()).collect()
}

/// Most of a run is waiting: several go at once.
fn check(attach: &str) {
    std::thread::scope(|scope| {
        scope.spawn(|| check_plain(attach));
        scope.spawn(|| check_fan_out(attach));
        scope.spawn(|| check_ping_pong(attach));
        scope.spawn(|| check_slow(attach));
    });
}

fn run(arguments: &[&str], attach: &str) -> Value {
    report(&[arguments, &["--attach", attach]].concat())
}

fn check_plain(attach: &str) {
    let throughput = run(&["throughput", "--ordered"], attach);
    assert_eq!(unique(&throughput), accepted(&throughput));
    let published = &throughput["published"];
    assert_eq!(published["delivered"], published["accepted"]);

    let latency = run(&["latency", "--rate", "1000", "--ordered"], attach);
    assert_eq!(latency["received"]["latency"]["count"], 300, "{latency}");
    assert_eq!(latency["published"]["lag"]["count"], 300, "{latency}");
    assert!(!latency["series"].as_array().unwrap().is_empty());
}

fn check_fan_out(attach: &str) {
    let many = ["--publishers", "2", "--topics", "3", "--rate", "1000"];
    let fan_out = [&["fan-out", "--subscribers", "2"][..], &many].concat();
    let fan_out = run(&fan_out, attach);
    assert_eq!(unique(&fan_out), 2 * accepted(&fan_out));
    // The last message of each publisher, besides.
    assert_eq!(accepted(&fan_out), 402, "{fan_out}");
    assert_eq!(names(&fan_out), ["subscriber 1", "subscriber 2"]);
}

fn check_ping_pong(attach: &str) {
    let calls = run(&["ping-pong"], attach);
    assert_eq!(names(&calls), ["echo", "caller"]);
    assert_eq!(unique(&calls), accepted(&calls));
    let calls = run(&["ping-pong", "--rate", "500"], attach);
    assert_eq!(calls["received"]["latency"]["count"], 150, "{calls}");
}

fn check_slow(attach: &str) {
    let slow = run(&["slow", "--rate", "500", "--slow-us", "3000"], attach);
    assert_eq!(names(&slow), ["subscriber", "slow"]);
    assert_eq!(unique(&slow), 2 * accepted(&slow));
    let row = &slow["rows"][1]["latency"]["max"];
    assert!(row.as_u64().unwrap() > 10_000_000, "it was slow: {slow}");
}

fn check_churn(attach: &str) {
    let at = ["--attach", attach, "--rate", "500"];
    let churn = ["churn", "--clients", "1", "--stay", "0.1"];
    // Long enough for somebody to have come, on a busy machine, too.
    let churn = report_of("3", &[&churn[..], &at].concat());
    assert!(churn["crowd"]["joins"].as_u64().unwrap() > 0, "{churn}");
    assert_eq!(names(&churn), ["subscriber"]);
    assert_eq!(unique(&churn), accepted(&churn));
}

fn check_storm(attach: &str) {
    let at = ["--attach", attach, "--rate", "500"];
    // Long enough for those that come to have come, on a busy machine, too.
    let storm = [
        "storm",
        "--clients",
        "3",
        "--seconds",
        "10",
        "--warmup",
        "0.1",
    ];
    let output = loadgen(&[&storm[..], &at, &["--format", "json"]].concat());
    let storm: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{storm}");
    assert_eq!(storm["crowd"]["first"]["count"], 3, "{storm}");
    assert_eq!(storm["crowd"]["lost"], 0, "{storm}");
}

fn check_idle(attach: &str) {
    let short = ["idle", "--seconds", "0.3", "--warmup", "0.1"];
    let idle = loadgen(&[&short, &["--attach", attach][..]].concat());
    assert!(idle.status.success(), "{idle:?}");
}

#[test]
fn handlers_on_the_shard_lose_nothing() {
    check("on-shard");
}

#[test]
fn threads_beside_the_shard_lose_nothing() {
    check("any-thread");
}

#[test]
fn who_comes_and_goes_disturbs_nobody() {
    check_churn("on-shard");
    check_churn("any-thread");
    check_storm("on-shard");
    check_idle("any-thread");
}

#[test]
fn clients_of_daemons_lose_nothing() {
    let beside = Path::new(env!("CARGO_BIN_EXE_tidings-loadgen")).with_file_name("tidings");
    if !beside.is_file() || !serves(&beside) {
        let why = format!("no working daemon at {}", beside.display());
        tidings_skip::skipped("daemon", &why);
        return;
    }
    check("daemon");
    check_churn("daemon");
    check_storm("daemon");
    check_idle("daemon");
}

fn serves(program: &PathBuf) -> bool {
    Command::new(program)
        .args(["run", "--help"])
        .output()
        .is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

#[test]
fn presets_are_the_same_run_with_other_defaults() {
    let rate = ["--rate", "2000"];
    let topics = report(&[&["topics", "--topics", "50"][..], &rate].concat());
    assert_eq!(topics["topics"], 50);
    let publishers = report(&[&["publishers"][..], &rate].concat());
    assert_eq!(publishers["publishers"], 8);
    let mixed = report(&[&["mixed"][..], &rate].concat());
    assert_eq!(mixed["sizes"], "64:14,1024:5,16384:1");
}

#[test]
fn sides_started_by_hand_find_each_other() {
    by_hand("throughput");
    by_hand("ping-pong");
}

fn by_hand(scenario: &'static str) {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap().to_string();
    drop(free);
    let subscriber = std::thread::spawn({
        let addr = addr.clone();
        move || report_of_a_side(scenario, &["--role", "subscribe", "--bind", &addr])
    });
    let publisher = report_of_a_side(scenario, &["--role", "publish", "--join", &addr]);
    let subscriber = subscriber.join().unwrap();
    assert_eq!(
        publisher["published"]["accepted"],
        subscriber["received"]["unique"]
    );
    assert_eq!(subscriber["lost"], 0);
}

fn report_of_a_side(scenario: &str, arguments: &[&str]) -> Value {
    let short = [scenario, "--seconds", "0.3", "--warmup", "0.1"];
    let output = loadgen(&[&short[..], &["--format", "json"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn files_are_written_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let [json, hgrm, html] = [path("a.json"), path("a.hgrm"), path("a.html")];
    let outputs = ["--json", &json, "--hgrm", &hgrm, "--html", &html];
    report(&[&["latency", "--rate", "1000"][..], &outputs].concat());
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.matches("<svg").count() == 3);
    let percentiles = std::fs::read_to_string(&hgrm).unwrap();
    assert!(percentiles.contains("1/(1-Percentile)"), "{percentiles}");
    assert!(Path::new(&path("a.lag.hgrm")).is_file());

    let same = loadgen(&["compare", &json, &json, "--expect", "p99=1.0"]);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    assert!(text(&same.stdout).contains("1.000"));
    let half = loadgen(&["compare", &json, &json, "--expect", "p99=0.5"]);
    assert_eq!(half.status.code(), Some(1), "{half:?}");
    let missing = loadgen(&["compare", &json, "nowhere.json"]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}

#[test]
fn expectations_decide_the_exit_code() {
    let short = [
        "latency",
        "--rate",
        "500",
        "--seconds",
        "0.2",
        "--warmup",
        "0.1",
    ];
    let kept = ["--expect", "p99=60s", "--expect", "loss=0"];
    let kept = loadgen(&[&short[..], &kept].concat());
    assert_eq!(kept.status.code(), Some(0), "{kept:?}");
    let broken = loadgen(&[&short[..], &["--expect", "p50=1ns"]].concat());
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    let told = text(&broken.stdout);
    assert!(told.contains("p50 is") && told.contains("1 ns"), "{told}");
}

#[test]
fn the_highest_rate_is_searched_and_verified() {
    let search = [
        "find-max", "--p99", "60s", "--start", "200", "--factor", "50",
    ];
    let short = [
        "--seconds",
        "0.2",
        "--warmup",
        "0",
        "--precision",
        "100000000%",
    ];
    let short = [&short[..], &["--drain", "5", "--format", "json"]].concat();
    let output = loadgen(&[&search[..], &short].concat());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{found}");
    let steps = found["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["what"], "again", "{found}");
    assert!(found["rate"].as_f64().unwrap() >= 1.0, "{found}");
}

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    for wrong in [
        ["throughput", "--size", "3"],
        ["latency", "--rate", "0"],
        ["throughput", "--seconds", "-1"],
        ["throughput", "--attach", "carrier-pigeon"],
        ["throughput", "--expect", "speed=1"],
        ["latency", "--expect", "p99=5"],
        ["throughput", "--slow-us", "5"],
        ["ping-pong", "--topics", "2"],
        ["slow", "--subscribers", "1"],
        ["idle", "--role", "publish"],
    ] {
        let output = loadgen(&wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}
