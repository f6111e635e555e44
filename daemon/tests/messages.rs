//! Messages through one daemon, and what clients may do.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::{Node, run, stderr, stdout, tidings, within};

/// A subscriber whose output goes to a file: a pipe that nobody reads would fill, and keep it from acknowledging.
struct Sub {
    child: Child,
    output: std::path::PathBuf,
}

fn start_sub(node: &Node, args: &[&str]) -> Sub {
    let output = node.path().join("sub.out");
    let file = fs::File::create(&output).unwrap();
    let mut command = tidings(node.path());
    let child = command
        .arg("sub")
        .args(args)
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Sub { child, output }
}

fn end(mut sub: Sub) -> Vec<u8> {
    assert!(sub.child.wait().unwrap().success());
    fs::read(sub.output).unwrap()
}

#[test]
fn a_file_comes_out_as_it_went_in() {
    let node = Node::start(&["--bind", "127.0.0.1:0"]);
    let lines: String = (0..20_000)
        .map(|n| format!("line {n} of the file\n"))
        .collect();
    let file = node.path().join("lines");
    fs::write(&file, &lines).unwrap();
    let sub = start_sub(&node, &["demo", "logs.*", "--ordered", "--count", "20000"]);
    let args = [
        "pub",
        "demo",
        "logs.a",
        "--lines",
        "--wait-for",
        "1",
        "--confirm",
        "delivered",
        "--file",
    ];
    let output = node.run(&[&args[..], &[file.to_str().unwrap()]].concat());
    assert!(
        output.status.success(),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    assert_eq!(
        stdout(&output),
        "accepted 20000, delivered 20000, failed 0\n"
    );
    assert!(end(sub) == lines.as_bytes());
}

#[test]
fn nobody_subscribed_is_exit_code_3_and_too_large_is_told_with_the_limit() {
    let node = Node::start(&["--bind", "127.0.0.1:0"]);
    let output = node.run(&["pub", "demo", "a", "x", "--confirm", "delivered"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("no subscriber"));
    let file = node.path().join("large");
    fs::write(&file, vec![7; (1 << 20) + 1]).unwrap();
    let output = node.run(&["pub", "demo", "a", "--file", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("TooLarge"), "{}", stderr(&output));
    assert!(stderr(&output).contains("1048576"));
}

#[test]
fn what_became_of_messages_decides_the_exit_code_though_nobody_reads_the_counts() {
    let node = Node::start(&["--bind", "127.0.0.1:0"]);
    let publish = |confirm: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = tidings(node.path());
        command.args(["pub", "demo", "a", "x", "--confirm", confirm]);
        command.stdout(writer).output().unwrap()
    };
    assert_eq!(publish("delivered").status.code(), Some(3));
    assert_eq!(publish("accepted").status.code(), Some(0));
}

#[test]
fn input_without_end_is_refused_once_it_exceeds_the_largest_message() {
    let node = Node::start(&["--bind", "127.0.0.1:0"]);
    let lines = node.path().join("lines");
    fs::write(
        &lines,
        [b"short\n", &vec![b'x'; 1 << 20][..], b"\n"].concat(),
    )
    .unwrap();
    let lines = lines.to_str().unwrap();
    for (args, wanted) in [
        (
            ["--file", "/dev/zero", "--confirm", "accepted"],
            "TooLarge: /dev/zero has",
        ),
        (
            ["--file", "/dev/zero", "--lines", "--as=zeros"],
            "TooLarge: line 1 of /dev/zero has",
        ),
        (
            ["--file", lines, "--lines", "--as=lines"],
            "TooLarge: line 2 of ",
        ),
    ] {
        // Should it read without bound, it meets this one instead of the machine's.
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 4000000; exec \"$0\" pub demo a \"$@\""])
            .arg(env!("CARGO_BIN_EXE_tidings"))
            .args(args)
            .env("TIDINGS_SOCKET", node.socket())
            .output()
            .unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("1048576 bytes"), "{text}");
        assert!(
            text.contains("remedy: ") && text.contains("max_message"),
            "{text}"
        );
    }
}

#[test]
fn messages_of_every_size_arrive_intact() {
    let node = Node::start(&["--bind", "127.0.0.1:0"]);
    for size in [0, 1, 1200, 64 << 10, 1 << 20] {
        let payload: Vec<u8> = (0..size).map(|n: u32| (n * 31 % 251) as u8).collect();
        let file = node.path().join("payload");
        fs::write(&file, &payload).unwrap();
        let sub = start_sub(&node, &["demo", "sized", "--count", "1"]);
        let args = [
            "pub",
            "demo",
            "sized",
            "--wait-for",
            "1",
            "--confirm",
            "delivered",
            "--file",
        ];
        let output = node.run(&[&args[..], &[file.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{size}: {}", stderr(&output));
        assert!(end(sub) == payload, "{size}");
    }
}

#[test]
fn reads_come_as_json_and_leave_stops_the_daemon() {
    let mut node = Node::start(&["--bind", "127.0.0.1:0", "--name", "first"]);
    let output = node.run(&["members", "demo", "--format", "json"]);
    let members: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(members[0]["name"], "first");
    assert_eq!(members[0]["state"], "alive");
    assert_eq!(members[0]["self"], true);
    for verb in ["overlays", "stats"] {
        let output = node.run(&[verb, "--format", "json"]);
        assert!(
            serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(),
            "{verb}"
        );
    }
    assert_eq!(node.run(&["members", "nothing"]).status.code(), Some(1));
    assert!(node.run(&["leave"]).status.success());
    assert!(node.wait());
    assert!(!node.socket().exists());
}

#[test]
fn a_named_client_finds_what_it_had_not_acknowledged() {
    let node = Node::start(&["--bind", "127.0.0.1:0"]);
    let sub = start_sub(&node, &["demo", "jobs", "--as", "worker", "--count", "1"]);
    let output = node.run(&[
        "pub",
        "demo",
        "jobs",
        "one\n",
        "--wait-for",
        "1",
        "--confirm",
        "delivered",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(end(sub), b"one\n");
    assert!(node.run(&["pub", "demo", "jobs", "two\n"]).status.success());
    let output = node.run(&[
        "sub", "demo", "jobs", "--as", "worker", "--count", "1", "--idle", "10",
    ]);
    assert_eq!(stdout(&output), "two\n", "{}", stderr(&output));
}

#[test]
fn a_subscriber_survives_its_daemon() {
    let mut node = Node::start(&["--bind", "127.0.0.1:0"]);
    let sub = start_sub(&node, &["demo", "news", "--count", "1"]);
    let stands = || {
        let stats = node.run(&["stats", "--format", "json"]).stdout;
        let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
        stats["overlays"][0]["subscriptions"] == 1
    };
    assert!(within(Duration::from_secs(60), stands));
    node.kill();
    node.restart(&["--bind", "127.0.0.1:0"]);
    let output = node.run(&[
        "pub",
        "demo",
        "news",
        "again\n",
        "--wait-for",
        "1",
        "--confirm",
        "delivered",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(end(sub), b"again\n");
}

#[test]
fn a_client_with_a_secret_may_do_what_it_was_granted_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let made = run(
        home.path(),
        &["keygen", "--client", "worker", &path("worker.secret")],
    );
    assert!(made.status.success(), "{}", stderr(&made));
    let entry = "[[client]]\nname = \"worker\"\nsecret_file = \"worker.secret\"\noverlays = [\"demo\"]\npublish = [\"orders.*\"]\n";
    fs::write(path("clients.toml"), entry).unwrap();
    fs::set_permissions(path("clients.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "[client]\nclients_file = {:?}\n[[overlay]]\nname = \"demo\"\n",
        path("clients.toml")
    );
    fs::write(path("tidings.toml"), config).unwrap();
    let node = Node::start(&["--config", &path("tidings.toml"), "--bind", "127.0.0.1:0"]);
    let secret = path("worker.secret");
    let worker = ["--as", "worker", "--secret-file", &secret];
    let publish =
        |topic: &str, who: &[&str]| node.run(&[&["pub", "demo", topic, "x"], who].concat());
    let good = publish("orders.new", &worker);
    assert!(good.status.success(), "{}", stderr(&good));
    let bad = publish("trades", &worker);
    assert_eq!(bad.status.code(), Some(1));
    assert!(stderr(&bad).contains("may not publish"), "{}", stderr(&bad));
    let stranger = publish(
        "orders.new",
        &["--as", "stranger", "--secret-file", &secret],
    );
    assert_eq!(stranger.status.code(), Some(1));
    assert!(
        !node
            .run(&["keygen", &path("worker.secret")])
            .status
            .success()
    );
}
