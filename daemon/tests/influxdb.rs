//! Statistics as they are sent to InfluxDB: against a server that writes down what comes and fails on demand, and against the real one.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::http::{Answer, Service, once_ok};
use common::managed::{deliver, log, managed, managed_in, samples, whole};
use common::recorder::{Recorder, ask, coded, free_port, header};
use common::tool::{Running, tool};
use common::{run, stderr, stdout, within};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);
const SECRET: &str = "s3cret-of-the-test";

/// Directories with a file `secret` in them.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    secret(home.path(), 0o600);
    home
}

fn secret(home: &Path, mode: u32) {
    let file = home.join("secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
}

fn v2(url: &str, more: &str) -> String {
    format!(
        "[influxdb]\nurl = \"{url}\"\norg = \"o p\"\nbucket = \"b\"\ntoken_file = \"secret\"\nevery = \"1s\"\n{more}"
    )
}

/// How many points met this fate.
fn points(service: &Service, fate: &str) -> f64 {
    let text = service.ask("GET", "/metrics", &[]).body;
    let found = samples(&text, "tidings_report_points_total");
    let labels = format!("{{fate=\"{fate}\"}}");
    found.iter().find(|(found, _)| *found == labels).unwrap().1
}

fn gauge(service: &Service, name: &str) -> f64 {
    let text = service.ask("GET", "/metrics", &[]).body;
    samples(&text, name)[0].1
}

#[test]
fn points_go_to_the_second_version_and_come_again_after_it_failed() {
    let answers = [
        "503 Service Unavailable",
        "429 Too Many Requests\r\nRetry-After: 2",
    ];
    let recorder = Recorder::start(&answers, None);
    let url = format!("http://{}/below", recorder.address);
    let (node, service) = managed_in(home(), &v2(&url, ""));
    assert!(within(LONG, || recorder.seen().len() >= 4));
    let seen = recorder.seen();
    for request in &seen {
        let first = request.head.lines().next().unwrap();
        assert_eq!(
            first,
            "POST /below/api/v2/write?org=o%20p&bucket=b HTTP/1.1"
        );
        let header = |name| header(&request.head, name).unwrap();
        assert_eq!(header("authorization"), format!("Token {SECRET}"));
        assert_eq!(header("host"), recorder.address.to_string());
        assert_eq!(header("content-type"), "text/plain; charset=utf-8");
        assert!(!request.body.is_empty());
        for line in request.body.lines() {
            let parts: Vec<&str> = line.split(' ').collect();
            assert_eq!(parts.len(), 3, "{line}");
            assert!(parts[0].starts_with("tidings_") && parts[0].contains(",node=n1"));
            // Nanoseconds, of this century.
            assert_eq!(parts[2].len(), 19, "{line}");
        }
    }
    let has = |begin: &str| seen[0].body.lines().any(|line| line.starts_with(begin));
    for begin in [
        "tidings_node,node=n1 uptime_s=",
        "tidings_shard,node=n1,shard=0 ",
        "tidings_overlay,node=n1,overlay=demo members_alive=1i,",
        "tidings_publish,node=n1,overlay=demo accepted=0i,",
        "tidings_latency,node=n1,overlay=demo count=0i ",
    ] {
        assert!(has(begin), "{begin} in {}", seen[0].body);
    }
    // What failed came again, the oldest first, and after what was taken it did not.
    assert!(seen[1].body.starts_with(&seen[0].body));
    assert!(seen[2].body.starts_with(&seen[1].body));
    assert!(!seen[3].body.starts_with(&seen[0].body));
    // At its own pace the node would have come a second later, and half of it.
    let waited = seen[2].at.duration_since(seen[1].at);
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert_eq!(gauge(&service, "tidings_report_failures_total"), 2.0);
    let lines: usize = seen[2..].iter().map(|r| r.body.lines().count()).sum();
    assert!(within(LONG, || points(&service, "written") >= lines as f64));
    assert_eq!(points(&service, "dropped"), 0.0);
    let told = log(node.path());
    assert_eq!(
        told.matches("statistics cannot be sent").count(),
        1,
        "{told}"
    );
    assert!(told.contains("takes statistics again"), "{told}");
    assert!(!told.contains(SECRET));
}

#[test]
fn a_destination_that_never_answers_costs_the_oldest_points_and_nothing_else() {
    // Connections wait in its queue for ever.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = home();
    let key = home.path().join("k.key");
    assert!(
        run(home.path(), &["keygen", key.to_str().unwrap()])
            .status
            .success()
    );
    let more: String = (0..16)
        .map(|n| format!("[[overlay]]\nname = \"o{n}\"\nkey_file = \"k.key\"\n"))
        .collect();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let config = v2(&url, "queue = \"64KiB\"\n");
    let (mut node, service) = managed_in(home, &format!("{config}{more}"));
    assert!(within(LONG, || points(&service, "dropped") > 0.0));
    let most = 64.0 * 1024.0;
    assert!(gauge(&service, "tidings_report_queue_bytes") <= most);
    deliver(&node, 10);
    assert!(within(LONG, || gauge(
        &service,
        "tidings_report_failures_total"
    ) >= 1.0));
    assert!(gauge(&service, "tidings_report_queue_bytes") <= most);
    assert_eq!(once_ok(|| service.get("/livez")).status, 200);
    let told = log(node.path());
    assert!(told.contains("did not answer within"), "{told}");
    // It ends as soon as any node does.
    let process = rustix::process::Pid::from_raw(node.pid().cast_signed()).unwrap();
    let since = Instant::now();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert!(node.wait());
    assert!(since.elapsed() < Duration::from_secs(60));
}

#[test]
fn points_that_are_refused_are_dropped_counted_and_not_sent_again() {
    let recorder = Recorder::start(&["400 Bad Request"], None);
    let config = format!(
        "[influxdb]\nurl = \"http://{}\"\ndatabase = \"d\"\nevery = \"1s\"\n",
        recorder.address
    );
    let (node, service) = managed(&config);
    assert!(within(LONG, || recorder.seen().len() >= 2));
    let seen = recorder.seen();
    let first = seen[0].head.lines().next().unwrap();
    assert_eq!(first, "POST /write?db=d HTTP/1.1");
    assert_eq!(header(&seen[0].head, "authorization"), None);
    assert!(!seen[1].body.starts_with(&seen[0].body));
    assert!(within(LONG, || points(&service, "refused")
        == seen[0].body.lines().count() as f64));
    assert!(log(node.path()).contains("InfluxDB refuses statistics"));
}

#[test]
fn over_https_only_the_authority_that_was_named_is_trusted() {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let cert = rcgen::CertificateParams::new(names.clone())
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let recorder = Recorder::start(&[], Some(Arc::new(tls)));
    let url = format!("https://localhost:{}", recorder.address.port());
    let other_key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&other_key)
        .unwrap();
    for (pem, is_trusted) in [(other.pem(), false), (cert.pem(), true)] {
        let home = home();
        fs::write(home.path().join("ca.pem"), pem).unwrap();
        let (node, service) = managed_in(home, &v2(&url, "ca_file = \"ca.pem\"\n"));
        match is_trusted {
            true => assert!(within(LONG, || points(&service, "written") > 0.0)),
            false => {
                let failed = || gauge(&service, "tidings_report_failures_total") > 0.0;
                assert!(within(LONG, failed));
                assert!(recorder.seen().is_empty());
                assert!(
                    log(node.path()).contains("certificate"),
                    "{}",
                    log(node.path())
                );
            }
        }
    }
    assert!(!recorder.seen().is_empty());
}

#[test]
fn a_secret_that_others_may_read_fails_the_start_and_no_secret_is_ever_shown() {
    let home = home();
    let config = home.path().join("tidings.toml");
    fs::write(&config, whole(&v2("http://localhost:1", ""))).unwrap();
    let config = config.to_str().unwrap();
    let shown = stdout(&run(home.path(), &["config", "show", "--config", config]));
    assert!(shown.contains("influxdb.token_file"), "{shown}");
    assert!(shown.contains("influxdb.every") && !shown.contains(SECRET));
    secret(home.path(), 0o644);
    let output = run(home.path(), &["run", "--config", config]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains("has mode 0644") && told.contains("chmod 600"),
        "{told}"
    );
    assert!(!told.contains(SECRET));
}

#[test]
fn a_reload_says_that_a_destination_holds_from_the_next_start_on_but_takes_a_new_secret() {
    let recorder = Recorder::start(&[], None);
    let url = format!("http://{}", recorder.address);
    let (node, service) = managed_in(home(), &v2(&url, ""));
    assert!(within(LONG, || !recorder.seen().is_empty()));
    fs::write(node.path().join("secret"), "another").unwrap();
    let is_new = || {
        let seen = recorder.seen();
        seen.iter()
            .any(|r| header(&r.head, "authorization") == Some("Token another"))
    };
    assert!(within(LONG, is_new));
    fs::write(
        node.path().join("tidings.toml"),
        whole(&v2(&url, "queue = \"1MiB\"\n")),
    )
    .unwrap();
    let answer: Answer = service.ask("POST", "/v1/reload", &[&service.superuser]);
    let refused = answer.json()["refused"].to_string();
    for told in ["influxdb.queue", "1MiB", "it holds from the next start"] {
        assert!(refused.contains(told), "{told}: {answer:?}");
    }
}

/// InfluxDB 1 in directories of its own, where users need a password.
fn influxd(program: &Path, home: &Path) -> (Running, u16) {
    let folder = home.join("influxdb");
    fs::create_dir(&folder).unwrap();
    let config = |port: u16| {
        format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{}\"\n[meta]\ndir = \"{dir}/meta\"\n[data]\ndir = \"{dir}/data\"\nwal-dir = \"{dir}/wal\"\n\
        [http]\nbind-address = \"127.0.0.1:{port}\"\nauth-enabled = true\nlog-enabled = false\n[monitor]\nstore-enabled = false\n",
            free_port(),
            dir = folder.display(),
        )
    };
    let command = |port| {
        fs::write(folder.join("conf"), config(port)).unwrap();
        let mut command = Command::new(program);
        command.arg("-config").arg(folder.join("conf"));
        command
    };
    let answers = |port| ask(port, "GET", "/ping", "").is_some_and(|(status, _)| status == 204);
    Running::at_a_port(command, &folder.join("log"), answers)
}

fn query(port: u16, text: &str) -> Value {
    let path = format!("/query?u=root&p=r00t&db=d&q={}", coded(text));
    let (status, body) = ask(port, "POST", &path, "").unwrap();
    assert_eq!(status, 200, "{text}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn the_real_influxdb_takes_the_points_and_answers_questions_about_them() {
    let Some(program) = tool("influxd", "influxdb", "points in the real InfluxDB") else {
        return;
    };
    let home = home();
    let (_running, port) = influxd(&program, home.path());
    let made = format!(
        "/query?q={}",
        coded("CREATE USER root WITH PASSWORD 'r00t' WITH ALL PRIVILEGES")
    );
    assert_eq!(ask(port, "POST", &made, "").unwrap().0, 200);
    query(
        port,
        &format!("CREATE USER tidings WITH PASSWORD '{SECRET}'"),
    );
    // The database is not there yet: the points wait for it.
    let config = format!(
        "[influxdb]\nurl = \"http://127.0.0.1:{port}\"\ndatabase = \"d\"\nuser = \"tidings\"\npassword_file = \"secret\"\nevery = \"1s\"\n"
    );
    let (node, service) = managed_in(home, &config);
    assert!(within(LONG, || gauge(
        &service,
        "tidings_report_failures_total"
    ) > 0.0));
    query(port, "CREATE DATABASE d");
    query(port, "GRANT WRITE ON d TO tidings");
    deliver(&node, 7);
    let last = |field: &str, from: &str| {
        let told = query(
            port,
            &format!("SELECT last({field}) FROM {from} WHERE node = 'n1'"),
        );
        told["results"][0]["series"][0]["values"][0][1].clone()
    };
    let has = |field, from, value: Value| within(LONG, || last(field, from) == value);
    assert!(
        has("accepted", "tidings_publish", 7.into()),
        "{}",
        log(node.path())
    );
    assert!(has("delivered", "tidings_publish", 7.into()));
    assert!(has("members_alive", "tidings_overlay", 1.into()));
    assert!(has("\"count\"", "tidings_latency", 7.into()));
    let p99 = last("p99_s", "tidings_latency").as_f64().unwrap();
    assert!(p99 > 0.0 && p99 < 3_600.0, "{p99}");
    // Nothing was malformed.
    assert_eq!(points(&service, "refused"), 0.0);
    let told = query(port, "SHOW MEASUREMENTS");
    let measurements = told["results"][0]["series"][0]["values"].to_string();
    for name in [
        "node",
        "shard",
        "overlay",
        "membership",
        "publish",
        "receive",
        "latency",
    ] {
        assert!(
            measurements.contains(&format!("\"tidings_{name}\"")),
            "{measurements}"
        );
    }
}
