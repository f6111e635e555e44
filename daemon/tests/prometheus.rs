//! Dashboard and alerts of `deploy` against what a node serves, and all of it in the real Prometheus.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::managed::{deliver, managed, managed_in};
use common::recorder::{ask, coded};
use common::tool::{Running, tool};
use common::{run, stderr, within};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(90);

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}

fn rules() -> String {
    fs::read_to_string(deploy("prometheus/tidings.rules.yml")).unwrap()
}

/// Every expression of the dashboard, with what Grafana puts in for its variables.
fn expressions() -> Vec<String> {
    let text = fs::read_to_string(deploy("grafana/tidings.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let written = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap());
    written
        .map(|expression| {
            let mut text = expression.to_owned();
            for (variable, value) in [
                ("$__rate_interval", "1m"),
                ("$__range", "1h"),
                ("$job", ".*"),
                ("$instance", ".*"),
                ("$overlay", ".*"),
            ] {
                text = text.replace(variable, value);
            }
            assert!(!text.contains('$'), "an unknown variable in {expression}");
            text
        })
        .collect()
}

/// The names of metrics of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("tidings_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

#[test]
fn a_node_serves_every_metric_that_dashboard_and_alerts_ask_for() {
    let (_node, service) = managed("");
    let text = service.ask("GET", "/metrics", &[]).body;
    // A family has no sample before there is something to count: its head is there from the beginning.
    let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let served: BTreeSet<String> = heads
        .filter_map(|head| head.split_once(' '))
        .flat_map(|(name, kind)| match kind {
            "histogram" => ["_bucket", "_sum", "_count"]
                .map(|part| format!("{name}{part}"))
                .to_vec(),
            _ => vec![name.to_owned()],
        })
        .collect();
    let expressions = expressions();
    assert!(expressions.len() > 50, "{}", expressions.len());
    for expression in &expressions {
        let asked = names(expression);
        assert!(
            !asked.is_empty() || expression.contains("up{"),
            "{expression}"
        );
        let unknown: Vec<_> = asked.difference(&served).collect();
        assert!(
            unknown.is_empty(),
            "{unknown:?} of the dashboard: {expression}"
        );
    }
    let rules = rules();
    let asked: String = rules
        .lines()
        .filter(|line| line.contains("expr: "))
        .collect();
    let unknown: Vec<_> = names(&asked).difference(&served).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?} of the alerts");
    // Labels, too, are those that are served.
    for label in [
        "part=\"store\"",
        "state=\"dead\"",
        "state=\"suspect\"",
        "fate=\"dropped\"",
        "reason=\"open_slot\"",
        "reason=\"open_suite\"",
        "reason=\"open_gate\"",
        "reason=\"open_forged\"",
    ] {
        assert!(text.contains(label), "{label}");
    }
}

#[test]
fn metrics_tell_of_keys_by_slot_and_of_refusals_because_of_keys_from_the_beginning() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("news.key");
    let made = run(home.path(), &["keygen", key.to_str().unwrap()]);
    assert!(made.status.success(), "{}", stderr(&made));
    let overlay = "[[overlay]]\nname = \"news\"\nkey_file = \"news.key\"";
    let (node, service) = managed_in(home, overlay);
    let metrics = || {
        let text = service.ask("GET", "/metrics", &[]).body;
        let lines = text
            .lines()
            .filter(|line| line.contains("overlay=\"news\""));
        let ours = lines.filter(|line| {
            line.starts_with("tidings_key_") || line.starts_with("tidings_rx_invalid_total")
        });
        ours.map(|line| line.replace("overlay=\"news\",", ""))
            .collect::<Vec<_>>()
    };
    let refused = ["open_slot", "open_suite", "open_gate", "open_forged"]
        .map(|reason| format!("tidings_rx_invalid_total{{reason=\"{reason}\"}} 0"));
    let keys = |lines: &[&str]| {
        let lines = lines.iter().map(|line| format!("tidings_key_{line}"));
        refused.iter().cloned().chain(lines).collect::<Vec<_>>()
    };
    let before = keys(&[
        "installed{slot=\"0\"} 1",
        "primary{slot=\"0\"} 1",
        "used{slot=\"0\"} 0",
    ]);
    assert_eq!(metrics(), before);
    let file = node.path().join("5.key");
    let file = file.to_str().unwrap();
    for args in [
        &["keygen", file, "--slot", "5"][..],
        &["keys", "install", "news", file],
        &["keys", "use", "news", "5"],
    ] {
        let output = node.run(args);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let after = keys(&[
        "installed{slot=\"0\"} 1",
        "installed{slot=\"5\"} 1",
        "primary{slot=\"0\"} 0",
        "primary{slot=\"5\"} 1",
        "used{slot=\"0\"} 0",
        "used{slot=\"5\"} 0",
    ]);
    assert_eq!(metrics(), after);
    let removed = node.run(&["keys", "remove", "news", "0"]);
    assert!(removed.status.success(), "{}", stderr(&removed));
    let last = keys(&[
        "installed{slot=\"5\"} 1",
        "primary{slot=\"5\"} 1",
        "used{slot=\"5\"} 0",
    ]);
    assert_eq!(metrics(), last);
}

#[test]
fn every_alert_says_what_is_the_matter_and_what_to_do_and_fires_when_it_should() {
    let rules = rules();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 12);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(name.starts_with("Tidings"), "{name}");
        for key in ["expr: ", "for: ", "severity: ", "summary: ", "remedy: "] {
            let found = alert.lines().find_map(|line| line.trim().strip_prefix(key));
            assert!(
                found.is_some_and(|text| text.len() > 1),
                "{name} has no {key}"
            );
        }
    }
    let Some(promtool) = tool("promtool", "what the alerts do") else {
        return;
    };
    for (verb, file) in [
        ("check", "tidings.rules.yml"),
        ("test", "tidings.rules.test.yml"),
    ] {
        let output = Command::new(&promtool)
            .args([verb, "rules", file])
            .current_dir(deploy("prometheus"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// What Prometheus answers to a question of its API.
fn api(port: u16, path: &str) -> Option<Value> {
    let (status, body) = ask(port, "GET", &format!("/api/v1/{path}"), "")?;
    let answer: Value = serde_json::from_str(&body).ok()?;
    assert!(
        status == 200 && answer["status"] == "success",
        "{path}: {body}"
    );
    Some(answer["data"].clone())
}

/// The series of a query, with their last values.
fn query(port: u16, expression: &str) -> Vec<(Value, f64)> {
    let answer = api(port, &format!("query?query={}", coded(expression)));
    let answer = answer.unwrap_or_default();
    let series = answer["result"].as_array().cloned().unwrap_or_default();
    let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
    series
        .iter()
        .map(|series| (series["metric"].clone(), value(series)))
        .collect()
}

#[test]
fn the_real_prometheus_scrapes_a_node_and_evaluates_dashboard_and_alerts() {
    let Some(program) = tool("prometheus", "the real Prometheus") else {
        return;
    };
    let (node, service) = managed("");
    let folder = node.path().join("prometheus");
    fs::create_dir(&folder).unwrap();
    let config = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [{}]\n\
        scrape_configs:\n  - job_name: tidings\n    static_configs:\n      - targets: ['{}']\n",
        fs::canonicalize(deploy("prometheus/tidings.rules.yml"))
            .unwrap()
            .display(),
        service.address
    );
    fs::write(folder.join("prometheus.yml"), config).unwrap();
    let command = |port: u16| {
        let mut command = Command::new(&program);
        command.current_dir(&folder).args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            &format!("--web.listen-address=127.0.0.1:{port}"),
        ]);
        command
    };
    let is_up = |port| {
        query(port, "up{job=\"tidings\"}")
            .first()
            .is_some_and(|(_, up)| *up == 1.0)
    };
    let (_running, port) = Running::at_a_port(command, &folder.join("log"), is_up);
    deliver(&node, 100);
    let delivered = "tidings_delivery_latency_seconds_count{overlay=\"demo\"}";
    let has_all = || {
        query(port, delivered)
            .first()
            .is_some_and(|(_, count)| *count == 100.0)
    };
    assert!(within(LONG, has_all));
    let alive = query(port, "tidings_members{overlay=\"demo\",state=\"alive\"}");
    assert_eq!(alive.len(), 1);
    assert_eq!(alive[0].1, 1.0);
    // Its bounds are such as Prometheus makes quantiles of.
    let quantile = "histogram_quantile(0.99, tidings_delivery_latency_seconds_bucket)";
    let p99 = query(port, quantile)[0].1;
    assert!(p99 > 0.0 && p99 < 4_400.0, "{p99}");
    for expression in expressions() {
        query(port, &expression);
    }
    let evaluated = || {
        let groups = api(port, "rules").unwrap();
        let rules = groups["groups"][0]["rules"].as_array().unwrap().clone();
        rules
            .iter()
            .all(|rule| rule["health"] == "ok")
            .then_some(rules)
    };
    assert!(
        within(LONG, || evaluated().is_some()),
        "{:?}",
        api(port, "rules")
    );
    let named = rules().matches("- alert: ").count();
    assert_eq!(evaluated().unwrap().len(), named);
    // It is seen when the node is gone.
    drop(node);
    assert!(within(LONG, || query(port, "up{job=\"tidings\"}")
        .first()
        .is_some_and(|(_, up)| *up == 0.0)));
    let pending = "ALERTS{alertname=\"TidingsNodeDown\"}";
    assert!(within(LONG, || !query(port, pending).is_empty()));
}
