//! A node with a configuration file, whose management service the test uses.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::http::Service;
use super::{Node, run, tidings, within};

/// A node without TLS that lets this machine read its metrics, with these lines of configuration besides, the overlay `demo`, and
/// banner and log in the files `out` and `log` of its home.
pub(crate) fn managed(config: &str) -> (Node, Service) {
    managed_in(tempfile::tempdir().unwrap(), config)
}

/// The same in directories that may hold something already.
pub(crate) fn managed_in(home: tempfile::TempDir, config: &str) -> (Node, Service) {
    let path = |name: &str| home.path().join(name);
    fs::write(path("tidings.toml"), whole(config)).unwrap();
    let child = tidings(home.path())
        .args(["run", "--config", path("tidings.toml").to_str().unwrap()])
        .stdout(Stdio::from(fs::File::create(path("out")).unwrap()))
        .stderr(Stdio::from(fs::File::create(path("log")).unwrap()))
        .spawn()
        .unwrap();
    let node = Node::of(home, child);
    let banner = || fs::read_to_string(node.path().join("out")).is_ok_and(|t| t.contains("manage"));
    assert!(within(Duration::from_secs(60), banner));
    let service = Service::of(&node);
    (node, service)
}

/// The text of such a configuration file.
pub(crate) fn whole(config: &str) -> String {
    format!(
        "[node]\nname = \"n1\"\nbind = \"127.0.0.1:0\"\n[http]\ntls = \"off\"\nmetrics_open = true\n{config}\n\
        [[overlay]]\nname = \"demo\"\n"
    )
}

/// Publishes so many messages to a subscriber that acknowledges each.
pub(crate) fn deliver(node: &Node, count: usize) {
    let lines = node.path().join("lines");
    fs::write(&lines, "a line\n".repeat(count)).unwrap();
    let mut sub = tidings(node.path())
        .args(["sub", "demo", "t", "--count", &count.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = lines.to_str().unwrap();
    let confirmed = [
        "pub",
        "demo",
        "t",
        "--lines",
        "--file",
        lines,
        "--wait-for",
        "1",
        "--confirm",
        "delivered",
    ];
    let output = run(node.path(), &confirmed);
    assert!(output.status.success(), "{output:?}");
    assert!(sub.wait().unwrap().success());
}

/// The values of a metric in a scrape, each with its labels as they are written.
pub(crate) fn samples<'a>(text: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then(|| (labels, value.parse().unwrap()))
    });
    lines.collect()
}

/// What the node has logged.
pub(crate) fn log(home: &Path) -> String {
    fs::read_to_string(home.join("log")).unwrap()
}
