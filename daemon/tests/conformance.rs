//! The management service against its own OpenAPI document, by schemathesis: no answer that the document does not have, and no
//! failure of the service, whatever is asked. Skipped, and said so, without the Python package `schemathesis`.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::Node;
use common::http::Service;
use serde_json::Value;
use tidings_skip::skipped;

/// One run takes some 20 s on a quiet machine. It is bounded by examples: a bound of time would leave some operations out, where
/// the machine is slow.
const WITHIN: Duration = Duration::from_secs(500);
/// What is never asked: see the settings below; and the document itself, which schemathesis reads and tests no further.
const LEFT_OUT: [&str; 2] = ["POST /v1/drain", "GET /v1/openapi.json"];

const SCRIPT: &str = "from schemathesis.cli import schemathesis; schemathesis()";

/// What must hold of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,response_headers_conformance,unsupported_method,allow_header_conformance";

/// Statuses from 500 that say what they are for, and how streams end.
const SETTINGS: &str = r#"
[[operations]]
include-path-regex = "^/(readyz|healthz|livez|startupz)$"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]

[[operations]]
include-path = "/v1/overlays/{overlay}/publish/{topic}"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503", "504"]

[[operations]]
include-path = "/v1/passwords/{user}"
parameters = { "path.user" = "user" }

# It ends the node that is asked; tests/signals.rs holds it.
[[operations]]
include-path = "/v1/drain"
enabled = false

[[operations]]
include-path-regex = "/(presence|subscribe)$"
max-stream-events = 1
request-timeout = 20
"#;

fn has_schemathesis() -> bool {
    let mut python = Command::new("python3");
    // It writes down what it asked from this version on.
    let version = "import sys, importlib.metadata as m; \
        sys.exit(not (4, 32) <= tuple(map(int, m.version('schemathesis').split('.')[:2])) < (5,))";
    python.args(["-c", version]);
    let status = python.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs it against a node of its own, with these parameters in place of made-up ones.
fn conforms(parameters: &str, examples: &str) {
    if !has_schemathesis() {
        let why = "no Python package `schemathesis` from 4.32 on: the service is not held against its document";
        skipped("schemathesis", why);
        return;
    }
    let mut node = Node::plain();
    let service = Service::of(&node);
    let settings = node.path().join("schemathesis.toml");
    fs::write(&settings, format!("{parameters}\n{SETTINGS}")).unwrap();
    let url = format!("http://{}/v1/openapi.json", service.address);
    let report = node.path().join("report");
    let file = fs::File::create(&report).unwrap();
    let mut run = Command::new("python3")
        .args(["-c", SCRIPT, "--config-file", settings.to_str().unwrap()])
        .args(["run", &url, "--header", &service.superuser])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", examples, "--seed", "1"])
        .args(["--report", "ndjson", "--report-ndjson-path", "events"])
        .args([
            "--continue-on-failure",
            "--no-color",
            "--request-timeout",
            "20",
        ])
        .current_dir(node.path())
        .stdin(Stdio::null())
        .stderr(Stdio::from(file.try_clone().unwrap()))
        .stdout(Stdio::from(file))
        .spawn()
        .unwrap();
    let end = Instant::now() + WITHIN;
    let status = loop {
        if let Some(status) = run.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > end {
            run.kill().unwrap();
            run.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let report = fs::read_to_string(report).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{report}");
    let events = fs::read_to_string(node.path().join("events")).unwrap();
    each_was_asked(&service, &asked(&events));
    assert!(node.ended().is_none());
    let metrics = service.get("/metrics").body;
    assert!(
        metrics.contains("\ntidings_http_panics_total 0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\ntidings_http_restarts_total 0\n"),
        "{metrics}"
    );
}

/// Requests to each operation, by the events that a run wrote.
fn asked(events: &str) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let recorder = &event["ScenarioFinished"]["recorder"];
        if let (Some(label), Some(cases)) = (
            recorder["label"].as_str(),
            recorder["interactions"].as_object(),
        ) {
            let answered = cases.values().filter(|case| !case["response"].is_null());
            *asked.entry(label.to_owned()).or_default() += answered.count();
        }
    }
    asked
}

/// Every operation of the document answered something.
fn each_was_asked(service: &Service, asked: &BTreeMap<String, usize>) {
    let document = service.get("/v1/openapi.json").json();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let operation = format!("{} {path}", method.to_uppercase());
            let answers = asked.get(&operation).copied().unwrap_or_default();
            let is_asked = !LEFT_OUT.contains(&operation.as_str());
            assert!(answers > 0 || !is_asked, "{operation}: none of {asked:?}");
            operations += usize::from(is_asked);
        }
    }
    assert!(operations >= 50, "{operations}");
    let all: usize = asked.values().sum();
    println!("{operations} operations, {all} answers");
}

#[test]
fn every_answer_about_an_overlay_that_runs_is_one_of_the_document() {
    let parameters = "[parameters]\n\"path.overlay\" = \"demo\"\n\"path.topic\" = \"orders.new\"";
    conforms(parameters, "30");
}

#[test]
fn every_answer_to_names_that_are_made_up_is_one_of_the_document() {
    conforms("", "10");
}
