//! What signals ask of a running node, and going out of service.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::http::{once_ok, unix};
use common::stopped::Stopped;
use common::{Node, stderr, stdout, tidings, within};

const SOON: Duration = Duration::from_secs(20);
const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];

/// A node with its log in the file `log` of its home, and its banner in `out`.
fn logging(log: Option<&str>) -> Node {
    let home = tempfile::tempdir().unwrap();
    let file = File::create(home.path().join("log")).unwrap();
    let mut command = tidings(home.path());
    if let Some(level) = log {
        command.env("TIDINGS_LOG", level);
    }
    let out = File::create(home.path().join("out")).unwrap();
    let child = command.args(ARGS).stdout(out).stderr(file).spawn().unwrap();
    Node::of(home, child)
}

fn log(node: &Node) -> String {
    fs::read_to_string(node.path().join("log")).unwrap()
}

fn signal(node: &Node, name: &str) {
    let pid = node.pid().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}

fn ask(node: &Node, method: &str, path: &str, body: Option<&str>) -> common::http::Answer {
    let socket = node.path().join("run/tidings/tidings.http.sock");
    unix(&socket, method, path, body)
}

#[test]
fn usr1_tells_the_state_and_quit_the_threads_too_and_neither_ends_the_node() {
    let mut node = logging(None);
    signal(&node, "USR1");
    let has = |text: &'static str| {
        let node = &node;
        within(SOON, move || log(node).contains(text))
    };
    assert!(has("state: overlay \"demo\": "), "{}", log(&node));
    assert!(log(&node).contains("state: shard 0: "), "{}", log(&node));
    assert!(!log(&node).contains("state: thread "), "{}", log(&node));
    signal(&node, "QUIT");
    assert!(has("state: thread tidings-0 ("), "{}", log(&node));
    assert!(has("ms of processor time"), "{}", log(&node));
    assert!(node.run(&["overlays"]).status.success());
    assert!(node.ended().is_none());
}

#[test]
fn quit_tells_of_a_shard_that_does_not_answer_and_what_its_thread_does() {
    let node = logging(None);
    let Some(stopped) = Stopped::thread(&node, "tidings-0") else {
        return;
    };
    signal(&node, "QUIT");
    let has = |text: &str| within(SOON, || log(&node).contains(text));
    assert!(
        has("state: no state: a shard does not answer"),
        "{}",
        log(&node)
    );
    let told = log(&node);
    let shard = told
        .lines()
        .find(|line| line.contains("thread tidings-0 ("));
    assert!(shard.unwrap().contains("is stopped"), "{told}");
    // Signals that come while it still tells of the one before count as one.
    let tells = |text: &str| {
        let told = || {
            signal(&node, "QUIT");
            within(Duration::from_secs(1), || log(&node).contains(text))
        };
        assert!(within(SOON, told), "{}", log(&node));
    };
    tells("a shard has not answered since it was asked before");
    drop(stopped);
    tells("state: overlay \"demo\"");
}

#[test]
fn usr2_takes_a_node_out_of_service() {
    let mut node = logging(None);
    signal(&node, "USR2");
    assert!(node.wait(), "{}", log(&node));
    assert!(
        log(&node).contains("every message has its outcome"),
        "{}",
        log(&node)
    );
}

#[test]
fn pipe_is_ignored() {
    let mut node = logging(None);
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    assert_ne!(ignored & (1 << 12), 0, "SIGPIPE is number 13: {ignored:x}");
    signal(&node, "PIPE");
    assert!(node.run(&["overlays"]).status.success());
    assert!(node.ended().is_none());
}

#[test]
fn a_node_that_owes_nothing_is_drained_and_stops() {
    let mut node = logging(None);
    let drained = node.run(&["drain", "--deadline", "60s"]);
    assert!(drained.status.success(), "{}", stderr(&drained));
    let told = stdout(&drained);
    assert!(told.contains("has left and stopped"), "{told}");
    assert!(node.wait(), "{}", log(&node));
    assert!(
        log(&node).contains("every message has its outcome"),
        "{}",
        log(&node)
    );
}

/// A node that owes a message to a named client that is gone, for ten minutes.
fn owing() -> Node {
    let node = logging(None);
    let mut sub = tidings(node.path())
        .args(["sub", "demo", "t", "--as", "slow"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let first = node.run(&[
        "pub",
        "demo",
        "t",
        "1",
        "--wait-for",
        "1",
        "--confirm",
        "delivered",
    ]);
    sub.kill().unwrap();
    sub.wait().unwrap();
    assert!(first.status.success(), "{}", stderr(&first));
    let second = node.run(&["pub", "demo", "t", "2"]);
    assert!(second.status.success(), "{}", stderr(&second));
    node
}

#[test]
fn while_it_drains_nothing_is_published_and_it_is_not_ready_and_a_signal_still_ends_it() {
    let mut node = owing();
    let ready = once_ok(|| ask(&node, "GET", "/readyz", None));
    assert_eq!(ready.status, 200);
    let drained = node.run(&["drain", "--deadline", "10m", "--no-wait"]);
    assert!(drained.status.success(), "{}", stderr(&drained));
    assert_eq!(ask(&node, "GET", "/readyz", None).status, 503);
    let checks = ask(&node, "GET", "/readyz?verbose", None).body;
    assert!(checks.contains("it goes out of service"), "{checks}");
    let live = once_ok(|| ask(&node, "GET", "/livez", None));
    assert_eq!(live.status, 200);
    let publish = ask(&node, "POST", "/v1/overlays/demo/publish/t", Some("{}"));
    publish.is_error(503, "draining");
    let digest = "{\"type\": \"t\", \"field\": 1}";
    ask(&node, "POST", "/digest/demo", Some(digest)).is_error(503, "draining");
    let publisher = node.run(&["pub", "demo", "t", "3"]);
    assert_eq!(publisher.status.code(), Some(1), "{}", stderr(&publisher));
    let why = stderr(&publisher);
    assert!(why.contains("this node is draining"), "{why}");
    let metrics = ask(&node, "GET", "/metrics", None).body;
    assert!(metrics.contains("\ntidings_draining 1\n"), "{metrics}");
    // A second one keeps the deadline of the first.
    let again = ask(&node, "POST", "/v1/drain", Some("{\"deadline_s\": 1}"));
    assert_eq!(again.status, 202, "{again:?}");
    assert!(
        again.json()["deadline_s"].as_u64().unwrap() > 300,
        "{again:?}"
    );
    assert!(node.ended().is_none());
    signal(&node, "TERM");
    assert!(node.wait(), "{}", log(&node));
}

#[test]
fn at_the_deadline_it_leaves_and_tells_what_is_not_confirmed() {
    let mut node = owing();
    let drained = node.run(&["drain", "--deadline", "1s"]);
    assert!(drained.status.success(), "{}", stderr(&drained));
    assert!(node.wait(), "{}", log(&node));
    let told = log(&node);
    assert!(told.contains("not every message has its outcome"), "{told}");
    assert!(told.contains("overlays=demo"), "{told}");
    let gone = node.run(&["drain"]);
    assert_eq!(gone.status.code(), Some(1), "{}", stderr(&gone));
}

#[test]
fn a_deadline_that_is_none_is_refused() {
    let node = logging(None);
    let refused = node.run(&["drain", "--deadline", "soon"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("--deadline \"soon\""),
        "{}",
        stderr(&refused)
    );
    let refused = node.run(&["drain", "--deadline", "30d"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("86400"), "{}", stderr(&refused));
    let ready = once_ok(|| ask(&node, "GET", "/readyz", None));
    assert_eq!(ready.status, 200, "nothing has begun");
}

#[test]
fn a_signal_to_stop_is_heard_while_the_configuration_is_read_again() {
    // A reload gives a silent shard up after some 10 s, in which a machine with much to do may not come to the signal.
    let heard = (0..3).any(|_| is_stop_heard_first().unwrap_or(true));
    assert!(
        heard,
        "the node never heard of the stop before the reload was over"
    );
}

/// Whether a node hears that it is to stop before a reload is over that waits for its shard. `None`: not to be tried here.
fn is_stop_heard_first() -> Option<bool> {
    let mut node = logging(None);
    let stopped = Stopped::thread(&node, "tidings-0")?;
    // It asks the shard for its keys, which does not answer.
    signal(&node, "HUP");
    let is_reloading = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
        let names = tasks.flatten().map(|task| task.path().join("comm"));
        let mut names = names.filter_map(|path| fs::read_to_string(path).ok());
        names.any(|name| name.trim() == "tidings-reload")
    };
    assert!(within(SOON, is_reloading), "{}", log(&node));
    signal(&node, "TERM");
    let leaving = "leaving; another signal stops at once";
    assert!(
        within(SOON, || log(&node).contains(leaving)),
        "{}",
        log(&node)
    );
    let told = log(&node);
    drop(stopped);
    assert!(node.wait(), "{}", log(&node));
    let (left, reloaded) = (told.find(leaving), told.find("configuration "));
    Some(reloaded.is_none_or(|at| left < Some(at)))
}
