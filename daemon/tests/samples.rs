//! Samples of the counters that cannot be taken, because a shard does not answer, are counted.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::http::{Service, once_ok};
use common::managed::{managed_in, samples};
use common::stopped::Stopped;

/// A sample is due within 10 s, and given up after 10 s more: the shard is silent for so long at a time,
const SILENT: Duration = Duration::from_secs(21);
/// and again on a busy machine, until this is over.
const LONG: Duration = Duration::from_secs(180);

/// How many were left out, for `windows` and `influxdb`.
fn skipped(service: &Service) -> [f64; 2] {
    let text = once_ok(|| service.over_unix("GET", "/metrics", &[])).body;
    let found = samples(&text, "tidings_samples_skipped_total");
    ["windows", "influxdb"].map(|of| {
        let labels = format!("{{of=\"{of}\"}}");
        found.iter().find(|(found, _)| *found == labels).unwrap().1
    })
}

#[test]
fn a_shard_that_is_silent_costs_samples_and_they_are_counted() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    fs::write(&secret, "a secret\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    // Nobody is there; the snapshots are taken all the same.
    let influx = "[influxdb]\nurl = \"http://127.0.0.1:1\"\norg = \"o\"\nbucket = \"b\"\ntoken_file = \"secret\"\nevery = \"1s\"\n";
    let (node, service) = managed_in(home, influx);
    let until = Instant::now() + LONG;
    let mut counts = skipped(&service);
    while counts.contains(&0.0) {
        assert!(Instant::now() < until, "{counts:?}");
        let Some(stopped) = Stopped::thread(&node, "tidings-0") else {
            return;
        };
        std::thread::sleep(SILENT);
        drop(stopped);
        counts = skipped(&service);
    }
}
