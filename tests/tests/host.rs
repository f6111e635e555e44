//! Processes in the hosts of a lab: what they see, how they are signalled and measured, and that nothing outlives the lab,
//! not even when its own process is killed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidings_tests::lab::{self, Lab};

const SECOND: Duration = Duration::from_secs(1);

macro_rules! needs_lab {
    () => {
        if !lab::ready() {
            return;
        }
    };
}

fn shell(lab: &Lab, host: usize, script: &str) -> tidings_tests::host::Process {
    let mut command = lab.host(host).command("/bin/sh");
    command.args(["-c", script]);
    lab.host(host).spawn("shell", command).unwrap()
}

/// Processes whose command line contains `mark`.
fn marked(mark: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let runs = |path: &Path| {
        std::fs::read(path.join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
    };
    processes
        .filter(|path| runs(path))
        .map(|path| path.display().to_string())
        .collect()
}

/// Seconds to sleep that no other process sleeps, not of another run of this test either.
fn sleep_of_our_own(number: u64) -> String {
    format!("{number}{:07}", std::process::id())
}

/// The processes that `sleep` for so long: what they are told stands alone between zeros.
fn sleepers(seconds: &str) -> Vec<String> {
    marked(&format!("\0{seconds}\0"))
}

/// The network namespaces of these processes.
fn namespaces_of(processes: &[String]) -> BTreeSet<String> {
    let links = processes
        .iter()
        .flat_map(|process| std::fs::read_link(format!("{process}/ns/net")));
    links.map(|link| link.display().to_string()).collect()
}

/// Everything that refers to one of `namespaces`: processes in it and descriptors of it.
fn references(namespaces: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
    {
        let fds = std::fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|fd| fd.path());
        for path in fds.chain([process.join("ns/net")]) {
            if std::fs::read_link(&path)
                .is_ok_and(|link| namespaces.contains(&link.display().to_string()))
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + 30 * SECOND;
    while !holds() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_command_sees_its_host_and_no_other() {
    needs_lab!();
    let lab = Lab::builder().hosts(3).build().unwrap();
    let process = shell(
        &lab,
        2,
        "cat /proc/self/net/fib_trie /proc/self/net/dev; echo complaint >&2; exit 7",
    );
    assert_eq!(process.wait(30 * SECOND).unwrap().code(), Some(7));
    let seen = process.stdout();
    assert!(
        seen.contains("10.77.0.2") && !seen.contains("10.77.0.1\n") && seen.contains("eth0:"),
        "{seen}"
    );
    assert_eq!(process.stderr(), "complaint\n");
    assert!(lab.folder().join("shell.out").exists());
}

#[test]
fn waiting_has_a_limit_and_says_why_it_ended() {
    needs_lab!();
    let lab = Lab::builder().build().unwrap();
    let process = shell(&lab, 1, "echo one; sleep 100");
    process.wait_for("one", 30 * SECOND).unwrap();
    assert_eq!(
        process.wait_for("two", SECOND / 10).unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    assert_eq!(
        process.wait(SECOND / 10).unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    process.term().unwrap();
    assert_eq!(process.wait(30 * SECOND).unwrap().signal(), Some(15));
    assert_eq!(
        process.wait_for("two", SECOND).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(process.term().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        process.kill9().unwrap().signal(),
        Some(15),
        "it had ended before"
    );
}

#[test]
fn a_stopped_process_uses_no_time_until_it_goes_on() {
    needs_lab!();
    let lab = Lab::builder().build().unwrap();
    let process = shell(&lab, 1, "echo busy; while :; do :; done");
    process.wait_for("busy", 30 * SECOND).unwrap();
    soon("it is busy", || process.cpu().unwrap() > SECOND / 10);
    process.stop().unwrap();
    let before = process.usage().unwrap();
    std::thread::sleep(SECOND / 4);
    assert_eq!(process.cpu().unwrap(), before.cpu);
    assert!(
        (50_000..50_000_000).contains(&before.rss_bytes),
        "{before:?}"
    );
    assert!(
        (3..10).contains(&before.open_fds) && before.threads == 1,
        "{before:?}"
    );
    process.cont().unwrap();
    soon("it goes on", || process.cpu().unwrap() > before.cpu);
    assert_eq!(process.kill9().unwrap().signal(), Some(9));
    assert!(process.usage().is_err());
}

#[test]
fn a_process_outlives_the_thread_that_started_it() {
    needs_lab!();
    let lab = Lab::builder().build().unwrap();
    let process =
        std::thread::scope(|scope| scope.spawn(|| shell(&lab, 1, "sleep 100")).join().unwrap());
    std::thread::sleep(SECOND / 5);
    assert!(process.is_running());
}

#[test]
fn a_missing_program_is_named() {
    needs_lab!();
    let lab = Lab::builder().build().unwrap();
    let error = lab
        .host(1)
        .spawn("x", lab.host(1).command("/no/such/program"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("/no/such/program"));
}

#[test]
fn a_dropped_lab_takes_along_even_what_left_its_group() {
    needs_lab!();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lab = Lab::builder().hosts(3).build().unwrap();
    let folder = lab.folder().to_owned();
    let time = sleep_of_our_own(1);
    let processes: Vec<_> = (1..=3)
        .map(|host| shell(&lab, host, &format!("setsid sleep {time} & sleep {time}")))
        .collect();
    soon("six sleepers", || sleepers(&time).len() == 6);
    let namespaces = namespaces_of(&sleepers(&time));
    assert_eq!(namespaces.len(), 3);
    drop(lab);
    assert_eq!(sleepers(&time), [""; 0]);
    // A process that another test starts has all descriptors of this one until it becomes its program.
    soon("no namespace is left", || {
        references(&namespaces).is_empty()
    });
    assert!(!folder.exists());
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        mounts
    );
    assert!(processes.iter().all(|process| !process.is_running()));
}

#[test]
fn a_killed_lab_leaves_nothing_behind() {
    needs_lab!();
    let outside = |file: &str| {
        std::fs::read_to_string(file)
            .unwrap()
            .lines()
            .filter_map(|l| l.split(':').next().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let (mounts, interfaces) = (
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        outside("/proc/net/dev"),
    );
    let folder = tempfile::tempdir().unwrap();
    let time = sleep_of_our_own(2);
    let mut program = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args([
            "--hosts",
            "2",
            "--each",
            "--",
            &format!("setsid sleep {time} & sleep {time}"),
        ])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    soon("four sleepers", || sleepers(&time).len() == 4);
    let namespaces = namespaces_of(&sleepers(&time));
    assert_eq!(namespaces.len(), 2);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    program.kill().unwrap();
    program.wait().unwrap();
    soon("no process is left", || sleepers(&time).is_empty());
    soon("no namespace is left", || {
        references(&namespaces).is_empty()
    });
    soon("no folder is left", || {
        folder.path().read_dir().unwrap().count() == 0
    });
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        mounts
    );
    assert_eq!(outside("/proc/net/dev"), interfaces);
}

#[test]
fn the_program_prints_counters_and_passes_the_exit_code_on() {
    needs_lab!();
    let script =
        "$LAB --enter $TIDINGS_LAB_HOST_1 -- /bin/sh -c 'cat /proc/self/net/dev' >&2; exit 3";
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args([
            "--hosts", "2", "--loss", "2%", "--format", "json", "--search", "needle", "--", script,
        ])
        .env("LAB", env!("CARGO_BIN_EXE_lab"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("eth0:"));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interfaces"].as_array().unwrap().len(), 2);
    assert_eq!(report["searches"][0]["frames"], 0);
}
