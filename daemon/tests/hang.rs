//! A management service whose thread hangs: another one answers, messages pass meanwhile, and the node ends as it is told to.
#![allow(clippy::unwrap_used)] // A test.
#![cfg(debug_assertions)] // What hangs on purpose is in no other build.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::http::{Answer, Service, exchange, request};
use common::{Node, stderr, tidings, within};

/// Longer than it takes to notice, twice.
const LONG: Duration = Duration::from_secs(120);

fn started() -> (Node, Service) {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let text =
        "[node]\nbind = \"127.0.0.1:0\"\n[http]\ntls = \"off\"\n[[overlay]]\nname = \"demo\"\n";
    fs::write(path("tidings.toml"), text).unwrap();
    let child = tidings(home.path())
        .args(["run", "--config", path("tidings.toml").to_str().unwrap()])
        .env("TIDINGS_HTTP_PANICS", "1")
        .stdout(Stdio::from(File::create(path("out")).unwrap()))
        .stderr(Stdio::from(File::create(path("log")).unwrap()))
        .spawn()
        .unwrap();
    let node = Node::of(home, child);
    let service = Service::of(&node);
    (node, service)
}

/// Asks for the metrics without much patience: a connection that hangs is given up.
fn metrics(service: &Service) -> Answer {
    let mut way = service.socket();
    way.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    exchange(
        &mut way,
        &request("GET", "/metrics", &[&service.superuser], None),
    )
}

/// Has the service hang; the connection stays open, and is never answered.
fn hang(service: &Service) -> std::net::TcpStream {
    let mut way = service.socket();
    let text = request("GET", "/livez", &["x-tidings-panic: hang"], None);
    way.write_all(&text).unwrap();
    way
}

#[test]
fn a_service_that_hangs_is_left_alone_and_another_one_answers() {
    let (mut node, service) = started();
    let hung = hang(&service);
    let confirmed = ["pub", "demo", "t", "a message", "--confirm", "accepted"];
    let published = node.run(&confirmed);
    assert!(published.status.success(), "{}", stderr(&published));
    let told = |line: &str| {
        let answer = metrics(&service);
        answer.status == 200 && answer.body.contains(&format!("\n{line}\n"))
    };
    assert!(within(LONG, || told("tidings_http_restarts_total 1")));
    assert!(told("tidings_http_hung_threads 1"));
    assert_eq!(service.get("/livez").status, 200);
    assert_eq!(service.over_unix("GET", "/v1/overlays", &[]).status, 200);
    let log = fs::read_to_string(node.path().join("log")).unwrap();
    assert!(log.contains("it hangs"), "{log}");
    // One that hangs when the node is to stop does not keep it.
    let again = hang(&service);
    let is_silent = || metrics(&service).status == 0;
    assert!(within(LONG, is_silent));
    let pid = node.pid().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    let until = Instant::now() + LONG;
    let ended = loop {
        match node.ended() {
            Some(ended) => break ended,
            None => assert!(Instant::now() < until, "it does not end"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(ended.success(), "{ended}");
    drop((hung, again));
}
