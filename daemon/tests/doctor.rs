//! `tidings doctor`, as somebody calls it whose node does not come up.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use common::{Node, run, stderr, stdout};
use serde_json::Value;

fn doctor(home: &Path, args: &[&str]) -> Output {
    run(home, &[&["doctor"], args].concat())
}

/// The finding about `what`.
fn finding(output: &Output, what: &str) -> Value {
    let report: Value = serde_json::from_str(&stdout(output)).unwrap();
    let all = report["findings"].as_array().unwrap();
    let is_it = |one: &&Value| one["what"].as_str().unwrap().starts_with(what);
    let one = all.iter().find(is_it);
    one.unwrap_or_else(|| panic!("nothing about {what} in {report}"))
        .clone()
}

#[test]
fn a_host_on_which_nothing_is_wrong_is_told_so_and_nothing_is_left_there() {
    let home = tempfile::tempdir().unwrap();
    let output = doctor(home.path(), &["--bind", "127.0.0.1:0"]);
    assert!(output.status.success(), "{}", stdout(&output));
    let text = stdout(&output);
    for what in [
        "configuration",
        "key of overlay \"demo\"",
        "data directory",
        "free space",
        "clients' socket",
        "management socket",
        "udp 127.0.0.1:0",
        "tcp 127.0.0.1:0",
        "management certificate",
        "mtu of lo",
        "AES in hardware",
        "net.core.rmem_max",
        "net.core.wmem_max",
        "locked memory",
        "open files",
        "io_uring",
        "processors",
        "processor quota",
        "clock",
        "clock discipline",
    ] {
        assert!(text.contains(&format!("  {what}")), "{what} in {text}");
    }
    assert!(text.contains(", 0 failed\n"), "{text}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn every_finding_that_is_not_as_it_should_be_has_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let args = ["--bind", "192.0.2.1:7", "--join", "nowhere.invalid"];
    let output = doctor(home.path(), &[&args[..], &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["ok"], false);
    for one in report["findings"].as_array().unwrap() {
        let has_remedy = one["remedy"].as_str().is_some_and(|text| !text.is_empty());
        assert_eq!(has_remedy, one["state"] != "ok", "{one}");
    }
    assert_eq!(finding(&output, "udp 192.0.2.1:7")["state"], "failure");
    assert_eq!(
        finding(&output, "seed nowhere.invalid:7400")["state"],
        "failure"
    );
}

#[test]
fn a_port_is_told_apart_by_who_holds_it() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let bind = held.local_addr().unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    let output = doctor(home.path(), &["--bind", &bind, "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let port = finding(&output, "udp ");
    assert_eq!(port["value"], "held by another process", "{port}");
    drop(held);
    let node = Node::start(&["run", "--bind", &bind, "--name", "our-own"]);
    let output = doctor(node.path(), &["--bind", &bind, "--format", "json"]);
    let port = finding(&output, "udp ");
    assert_eq!(port["state"], "ok", "{port}");
    assert!(port["value"].as_str().unwrap().contains("daemon our-own"));
}

#[test]
fn discovery_is_looked_at_where_it_is_on() {
    let home = tempfile::tempdir().unwrap();
    let json = ["--format", "json", "--bind"];
    let output = doctor(home.path(), &[&json[..], &["127.0.0.1:0"]].concat());
    assert!(!stdout(&output).contains("discovery"), "it is off");
    let on = [&json[..], &["127.0.0.1:0", "--discover"]].concat();
    let output = doctor(home.path(), &on);
    let fine = finding(&output, "discovery on lo");
    assert_eq!(fine["state"], "ok", "{fine}");
    assert!(fine["value"].as_str().unwrap().contains("7399"), "{fine}");
    // An address of which no interface is.
    let nowhere = [&json[..], &["192.0.2.1:7", "--discover"]].concat();
    let output = doctor(home.path(), &nowhere);
    let none = finding(&output, "discovery");
    assert_eq!(none["state"], "failure", "{none}");
    assert!(
        none["remedy"].as_str().unwrap().contains("0.0.0.0"),
        "{none}"
    );
}

#[test]
fn the_port_of_the_management_service_is_told_apart_by_who_holds_it_too() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = held.local_addr().unwrap().to_string();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let bind = free.local_addr().unwrap().to_string();
    drop(free);
    let args = ["--bind", &bind, "--http", &http, "--format", "json"];
    let home = tempfile::tempdir().unwrap();
    let output = doctor(home.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    let port = finding(&output, "tcp ");
    assert_eq!(port["state"], "failure", "{port}");
    assert!(port["remedy"].as_str().unwrap().contains("--http"));
    drop(held);
    let node = Node::start(&["run", "--bind", &bind, "--http", &http, "--name", "our-own"]);
    let output = doctor(node.path(), &args);
    let port = finding(&output, "tcp ");
    assert_eq!(port["state"], "ok", "{port}");
    assert!(port["value"].as_str().unwrap().contains("daemon our-own"));
    let certificate = finding(&output, "management certificate");
    let value = certificate["value"].as_str().unwrap();
    assert!(value.contains("valid until 2"), "{certificate}");
    let off = ["--bind", &bind, "--http", "off", "--format", "json"];
    let output = doctor(home.path(), &off);
    assert!(!stdout(&output).contains("\"tcp "), "{}", stdout(&output));
}

#[test]
fn a_wrong_configuration_is_told_and_the_host_is_looked_at_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("tidings.toml");
    fs::write(&config, "[node]\nshards = 0\n").unwrap();
    let config = config.to_str().unwrap();
    let output = doctor(home.path(), &["--config", config, "--format", "json"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let wrong = finding(&output, "configuration");
    assert_eq!(wrong["state"], "failure");
    assert!(
        wrong["value"]
            .as_str()
            .unwrap()
            .contains(":2: node.shards = 0")
    );
    assert!(finding(&output, "io_uring")["value"].is_string());
}

#[test]
fn a_key_that_others_may_read_is_a_wrong_configuration() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("news.key");
    assert!(
        run(home.path(), &["keygen", key.to_str().unwrap()])
            .status
            .success()
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let args = ["--overlay", "news", "--key-file", key.to_str().unwrap()];
    let output = doctor(home.path(), &args);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("chmod 600"), "{}", stdout(&output));
}

#[test]
fn a_seed_that_resolves_is_told_with_its_addresses() {
    let home = tempfile::tempdir().unwrap();
    let args = [
        "--bind",
        "127.0.0.1:0",
        "--join",
        "127.0.0.1:9",
        "nowhere.invalid",
    ];
    let output = doctor(home.path(), &[&args[..], &["--format", "json"]].concat());
    assert!(
        output.status.success(),
        "one seed is enough: {}",
        stdout(&output)
    );
    let good = finding(&output, "seed 127.0.0.1:9");
    assert!(good["value"].as_str().unwrap().contains("B of UDP payload"));
    assert_eq!(finding(&output, "seed nowhere.invalid")["state"], "warning");
}
