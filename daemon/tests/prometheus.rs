//! Dashboard and alerts of `deploy` against what a node serves, and all of it in the real Prometheus.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::managed::{deliver, managed, managed_in, samples};
use common::recorder::{ask, coded};
use common::tool::{Running, tool};
use common::{Node, run, stderr, within};
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

/// A page of the documentation.
fn page(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::read_to_string(docs.join(name)).unwrap()
}

/// The names that people of memberlist, Serf, Aeron, NATS and gossipsub alert on, without our prefix.
const CONVENTION: [&str; 48] = [
    "health_score",
    "members",
    "member_transitions_total",
    "refutes_total",
    "flaps_total",
    "queue_depth",
    "queue_limit",
    "queue_dropped_total",
    "probe_rtt_seconds",
    "gossip_round_seconds",
    "sync_seconds",
    "net_bytes_total",
    "net_packets_total",
    "net_syscalls_total",
    "probe_degraded_total",
    "state_bytes",
    "coord_error",
    "coord_rejected_total",
    "naks_total",
    "retransmit_bytes_total",
    "backpressure_total",
    "rx_invalid_total",
    "loop_lag_seconds",
    "loop_stalls_total",
    "client_timeouts_total",
    "msgs_total",
    "subs",
    "clients",
    "slow_subscribers",
    "delivery_gap_total",
    "tree_peers",
    "duplicates_total",
    "lazy_repairs_total",
    "e2e_latency_seconds",
    "ack_outstanding",
    "redelivered_total",
    "dup_suppressed_total",
    "replay_dropped_total",
    "auth_fail_total",
    "key_epoch",
    "key_laggards",
    "partition_suspected",
    "converged_seconds",
    "cpu_ns_per_msg",
    "bytes_per_member",
    "io_backend_info",
    "enobufs_total",
    "busy_ratio",
];

/// The names of families in a scrape. One has no sample before there is something to count: its head is there from the beginning.
fn families(text: &str) -> BTreeSet<&str> {
    let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = heads.filter_map(|head| head.split_once(' '));
    names.map(|(name, _)| name).collect()
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_name_of_the_convention_is_served_or_the_table_says_what_is_instead() {
    let (_node, service) = managed("");
    let text = service.ask("GET", "/metrics", &[]).body;
    let served = families(&text);
    let page = page("management.md");
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| name of the field's convention | ours | why not |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut told = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, theirs, ours, why, _] = cells[..] else {
            panic!("{row} has another number of cells");
        };
        assert!(why.len() > 10, "{row}");
        for name in quoted(theirs) {
            let name = name.split('{').next().unwrap();
            assert!(CONVENTION.contains(&name), "{name} is none of theirs");
            told.insert(name);
        }
        assert!(quoted(ours).count() > 0, "{row}");
        for name in quoted(ours) {
            assert!(served.contains(name), "{name} of {row} is not served");
        }
    }
    for name in CONVENTION {
        let is_served = served.contains(&*format!("tidings_{name}"));
        assert!(is_served || told.contains(name), "{name}");
    }
}

#[test]
fn metrics_follow_what_happens_to_members_and_messages() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("news.key");
    let made = run(home.path(), &["keygen", key.to_str().unwrap()]);
    assert!(made.status.success(), "{}", stderr(&made));
    let overlay = "[[overlay]]\nname = \"news\"\nkey_file = \"news.key\"";
    let (one, service) = managed_in(home, overlay);
    let value = |name: &str, labels: &str| {
        let text = service.ask("GET", "/metrics", &[]).body;
        let found = samples(&text, name);
        let found = found.iter().find(|(written, _)| *written == labels);
        found
            .unwrap_or_else(|| panic!("{name}{labels} in {text}"))
            .1
    };
    let news = "{overlay=\"news\"}";
    let became = |state: &str| {
        let labels = format!("{{overlay=\"news\",to=\"{state}\"}}");
        value("tidings_member_transitions_total", &labels)
    };
    assert_eq!((became("alive"), value("tidings_links", news)), (0.0, 0.0));
    let members = one.run(&["members", "news", "--format", "json"]);
    let members: Value = serde_json::from_slice(&members.stdout).unwrap();
    let address = members[0]["address"].as_str().unwrap();
    let key = one.path().join("news.key");
    let mut two = Node::start(&[
        "run",
        "--bind",
        "127.0.0.1:0",
        "--overlay",
        "news",
        "--key-file",
        key.to_str().unwrap(),
        "--name",
        "two",
        "--join",
        address,
    ]);
    assert!(within(LONG, || became("alive") == 1.0));
    for (name, labels) in [
        ("tidings_links", news),
        ("tidings_sync_seconds_count", news),
        ("tidings_probe_rtt_seconds_count", news),
        (
            "tidings_link_rtt_seconds",
            "{overlay=\"news\",rank=\"most\"}",
        ),
        ("tidings_loop_lag_seconds_count", "{shard=\"0\"}"),
        ("tidings_shard_cpu_seconds_total", "{shard=\"0\"}"),
    ] {
        let text = || service.ask("GET", "/metrics", &[]).body;
        let is_told = || {
            let text = text();
            let mut found = samples(&text, name).into_iter();
            found.any(|(written, value)| written == labels && value > 0.0)
        };
        assert!(within(LONG, is_told), "{name}{labels} in {}", text());
    }
    // A key that the other lacks.
    let file = one.path().join("5.key");
    let file = file.to_str().unwrap();
    assert_eq!(value("tidings_key_laggards", news), 0.0);
    for args in [
        &["keygen", file, "--slot", "5"][..],
        &["keys", "install", "news", file],
        &["keys", "use", "news", "5", "--force"],
    ] {
        let output = one.run(args);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert_eq!(value("tidings_key_laggards", news), 1.0);
    // What was delivered waits for nothing.
    let outstanding = "{overlay=\"demo\"}";
    assert_eq!(value("tidings_ack_outstanding", outstanding), 0.0);
    deliver(&one, 10);
    assert!(within(LONG, || value(
        "tidings_ack_outstanding",
        outstanding
    ) == 0.0));
    two.kill();
    assert!(within(LONG, || became("dead") == 1.0));
    let dead = "{overlay=\"news\",state=\"dead\"}";
    assert_eq!(value("tidings_members", dead), 1.0);
    assert!(became("suspect") >= 1.0);
}

/// Every expression of the dashboard, with what Grafana puts in for its variables.
fn expressions() -> Vec<String> {
    let text = fs::read_to_string(deploy("grafana/tidings.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let rows = panels.iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<&str> = rows.map(|row| row["title"].as_str().unwrap()).collect();
    for wanted in ["At a glance", "Members", "Messages", "Links", "Nodes"] {
        assert!(rows.contains(&wanted), "{wanted} in {rows:?}");
    }
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
    let asked = alert_expressions(&rules).join(" ");
    let unknown: Vec<_> = names(&asked).difference(&served).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?} of the alerts");
}

/// The expressions of the alerts.
fn alert_expressions(rules: &str) -> Vec<String> {
    let written = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    written
        .map(|text| text.trim_matches('\'').to_owned())
        .collect()
}

/// What Prometheus adds to what a node serves.
const ADDED: [&str; 2] = ["job", "instance"];

/// What an expression takes for granted of labels: of a metric that it has this label, with this value if it says one.
fn labels_of(expression: &str) -> Vec<(String, String, Option<String>)> {
    let mut wanted = Vec::new();
    for (at, _) in expression.match_indices('{') {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
        let before = expression[..at].trim_end_matches(is_name);
        let metric = &expression[before.len()..at];
        let matchers = expression[at + 1..].split('}').next().unwrap();
        // `label="value"`, `label=~"one|other"` and so on: every second part stands between the marks.
        let parts: Vec<&str> = matchers.split('"').collect();
        for pair in parts.chunks_exact(2) {
            let label = pair[0].trim_matches([',', ' ', '=', '~', '!']);
            for value in pair[1].split('|') {
                let value = (value != ".*").then(|| value.to_owned());
                wanted.push((metric.to_owned(), label.to_owned(), value));
            }
        }
    }
    // What is grouped and joined by is a label of some metric in it.
    for word in ["by (", "on (", "without (", "group_left ("] {
        for part in expression.split(word).skip(1) {
            for label in part.split(')').next().unwrap().split(',') {
                wanted.push((String::new(), label.trim().to_owned(), None));
            }
        }
    }
    wanted.retain(|(metric, label, _)| !ADDED.contains(&label.as_str()) && metric != "up");
    wanted
}

/// Whether a sample of one of these metrics has it.
fn has_label(scrape: &str, metrics: &BTreeSet<String>, label: &str, value: Option<&str>) -> bool {
    let end = value.map_or(String::new(), |value| format!("{value}\""));
    scrape.lines().any(|line| {
        let Some((name, labels)) = line.split_once('{') else {
            return false;
        };
        let written = format!("{label}=\"{end}");
        metrics.contains(name)
            && (labels.starts_with(&written) || labels.contains(&format!(",{written}")))
    })
}

#[test]
fn what_an_expression_takes_for_granted_of_labels_is_found_in_it() {
    let text = "sum by (job, class) (a{x=\"1\", y=~\"2|3\",z!=\".*\"}) / on (q) b{job=\"j\"}";
    let found: Vec<String> = labels_of(text)
        .into_iter()
        .map(|(metric, label, value)| format!("{metric}.{label}.{}", value.unwrap_or_default()))
        .collect();
    assert_eq!(found, ["a.x.1", "a.y.2", "a.y.3", "a.z.", ".class.", ".q."]);
    let scrape = "a{x=\"1\",y=\"2\"} 5\n";
    let of = |name: &str| BTreeSet::from([name.to_owned()]);
    assert!(has_label(scrape, &of("a"), "y", None));
    assert!(has_label(scrape, &of("a"), "x", Some("1")));
    assert!(!has_label(scrape, &of("a"), "x", Some("2")));
    assert!(!has_label(scrape, &of("b"), "x", Some("1")));
}

#[test]
fn every_label_that_dashboard_and_alerts_ask_for_is_served() {
    let (node, service) = managed("");
    let other = Node::start(&["run", "--bind", "127.0.0.1:0"]);
    // Some metrics have samples only where there is a link.
    common::meet(&node, &other);
    let mut asked = BTreeSet::new();
    for expression in expressions().iter().chain(&alert_expressions(&rules())) {
        let metrics = names(expression);
        for (metric, label, value) in labels_of(expression) {
            let of = match metric.is_empty() {
                true => metrics.clone(),
                false => BTreeSet::from([metric]),
            };
            asked.insert((of, label, value));
        }
    }
    assert!(asked.len() > 60, "{}", asked.len());
    let scrape = || service.ask("GET", "/metrics", &[]).body;
    let missing = || {
        let scrape = scrape();
        let is_missing = |(metrics, label, value): &&(BTreeSet<String>, String, Option<String>)| {
            !has_label(&scrape, metrics, label, value.as_deref())
        };
        asked.iter().filter(is_missing).collect::<Vec<_>>()
    };
    assert!(within(LONG, || missing().is_empty()), "{:?}", missing());
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
            line.starts_with("tidings_key_") && line.contains("slot=")
                || line.starts_with("tidings_rx_invalid_total")
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
    let runbook = page("runbook.md");
    let sections: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let all: BTreeSet<&str> = alerts
        .iter()
        .map(|alert| alert.lines().next().unwrap())
        .collect();
    assert_eq!(sections, all, "the runbook has a section for each alert");
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        let runbook = format!("runbook: 'docs/runbook.md#{}'", name.to_lowercase());
        assert!(alert.contains(&runbook), "{name} lacks {runbook}");
        assert!(name.starts_with("Tidings"), "{name}");
        for key in ["expr: ", "for: ", "severity: ", "summary: ", "remedy: "] {
            let found = alert.lines().find_map(|line| line.trim().strip_prefix(key));
            assert!(
                found.is_some_and(|text| text.len() > 1),
                "{name} has no {key}"
            );
        }
    }
    each_alert_has_a_case(&all);
    let Some(promtool) = tool("promtool", "prometheus", "what the alerts do") else {
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

/// promtool is asked of each alert by itself when it fires, for whom, and when it does not.
fn each_alert_has_a_case(alerts: &BTreeSet<&str>) {
    let cases = fs::read_to_string(deploy("prometheus/tidings.rules.test.yml")).unwrap();
    for alert in alerts {
        let case = cases
            .split("  - name: ")
            .find(|case| case.lines().next() == Some(*alert));
        let case = case.unwrap_or_else(|| panic!("no case of {alert}"));
        let firing = format!("(ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}})");
        let answers: Vec<&str> = case.split(&firing).skip(1).collect();
        let fires = |answer: &&&str| answer.contains("exp_samples:\n");
        let told = answers.iter().filter(fires).count();
        assert!(told > 0, "{alert} never fires");
        assert!(told < answers.len(), "{alert} always fires");
        let ill = answers.iter().flat_map(|answer| answer.lines());
        let mut ill = ill.filter(|line| line.contains("labels: "));
        assert!(ill.all(|line| line.contains("=\"ill")), "{alert}");
        assert!(case.contains("=\"well\""), "{alert}: nobody is well");
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
    let Some(program) = tool("prometheus", "prometheus", "the real Prometheus") else {
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
