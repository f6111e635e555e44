//! The load generator's command blocks of README.md, typed as a user would, on folders instead of hosts and with short runs:
//! how fast this machine is is not judged. `daemon/tests/readme.rs` has the other blocks.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

/// What makes each run short, after what the user types.
const SHORT: &str = "--seconds 1 --warmup 0.2";
/// A measured time into which no message falls is no run: the machine was busy.
const TRIES: usize = 3;

/// The block that begins so, a line each.
fn block(begins: &str) -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, block) = readme.split_once(&format!("```\n{begins}")).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let block = format!("{begins}{block}");
    block.lines().map(str::to_owned).collect()
}

/// A folder with what was built.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let release = folder.path().join("target/release");
    fs::create_dir_all(&release).unwrap();
    let generator = Path::new(env!("CARGO_BIN_EXE_tidings-loadgen"));
    symlink(generator, release.join("tidings-loadgen")).unwrap();
    folder
}

/// A line as a shell takes it.
fn typed(folder: &Path, line: &str) -> Command {
    let mut shell = Command::new("sh");
    let bin = Path::new(env!("CARGO_BIN_EXE_tidings-loadgen"));
    let path = std::env::var("PATH").unwrap_or_default();
    let beside = bin.parent().unwrap().display();
    shell
        .args(["-c", &format!("exec {line}")])
        .env("PATH", format!("{beside}:{path}"))
        .current_dir(folder);
    shell
}

/// Runs a line until it is well: 0, or 1 for a speed that this machine does not have.
fn run(folder: &Path, line: &str) -> String {
    let mut output = None;
    for _ in 0..TRIES {
        let done = typed(folder, line).output().unwrap();
        if is_well(&done) {
            return String::from_utf8(done.stdout).unwrap();
        }
        output = Some(done);
    }
    panic!("{line}: {output:?}");
}

fn is_well(output: &Output) -> bool {
    let told = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => true,
        Some(1) => ["p99 is", "NOT EXPECTED p99"]
            .iter()
            .any(|words| told.contains(words)),
        _ => false,
    }
}

#[test]
fn what_it_measures_on_one_host() {
    let beside = Path::new(env!("CARGO_BIN_EXE_tidings-loadgen")).with_file_name("tidings");
    let lines = block("cargo build --release -p tidings -p tidings-loadgen");
    let [_built, throughput, latency, find_max, compare] = &lines[..] else {
        panic!("{lines:?}");
    };
    let folder = folder();
    let at = folder.path();
    if beside.is_file() {
        let told = run(at, &format!("{throughput} {SHORT}"));
        assert!(told.contains("delivered"), "{told}");
    } else {
        let why = format!("{throughput}: no daemon at {}", beside.display());
        tidings_skip::skipped("daemon", &why);
    }
    run(at, &format!("{latency} {SHORT}"));
    let page = fs::read_to_string(at.join("latency.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"), "{page:.200}");
    // As few steps as can be.
    let few = "--start 200 --factor 50 --precision 100000000%";
    run(
        at,
        &format!("{find_max} {few} --seconds 0.2 --warmup 0 --drain 5"),
    );
    for name in ["before", "after"] {
        let json = format!(
            "{} --json {name}.json",
            latency.split(" --").next().unwrap()
        );
        run(at, &format!("{json} --rate 1000 {SHORT}"));
    }
    let told = run(at, compare);
    assert!(told.contains("p99"), "{told}");
}

#[test]
fn what_it_measures_between_two_hosts() {
    let lines = block("host-a$ tidings-loadgen throughput");
    let hosts = ["192.0.2.1:7500", "192.0.2.2:7500"].map(|example| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        (example, socket.local_addr().unwrap().to_string())
    });
    let folder = folder();
    let line = |number: usize| {
        let (_, line) = lines[number].split_once("$ ").unwrap();
        let here = |line: String, (example, own): &(&str, String)| line.replace(example, own);
        let line = hosts.iter().fold(line.to_owned(), here);
        format!("{line} {SHORT} --format json")
    };
    assert_eq!(lines.len(), 2);
    let subscriber = typed(folder.path(), &line(0));
    let publisher = typed(folder.path(), &line(1));
    let both: Vec<_> = [subscriber, publisher]
        .into_iter()
        .map(|mut side| std::thread::spawn(move || side.output().unwrap()))
        .collect();
    for side in both {
        let output = side.join().unwrap();
        assert!(output.status.success(), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        // Each side tells of its own; what was published and what came are compared by the subscriber.
        let is_subscriber = report["received"].is_object();
        let whole = if is_subscriber {
            &report["lost"]
        } else {
            &report["published"]["failed"]
        };
        assert_eq!(whole, 0, "{report}");
    }
}
