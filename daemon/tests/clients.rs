//! Clients that are added, rotated and removed while the node runs, and a client file that is read again.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use common::{Node, fails, good, run, stdout, text, tidings, within};

const ARGS: [&str; 3] = ["run", "--bind", "127.0.0.1:0"];
const NEW: [&str; 3] = ["pub", "demo", "orders.new"];
const SOON: Duration = Duration::from_secs(30);

fn publish(node: &Node, topic: &str, secret: &Path) -> Output {
    let args = ["pub", "demo", topic, "m", "--as", "worker", "--secret-file"];
    node.run(&[&args[..], &[text(secret)]].concat())
}

/// The client, as a command that writes what it gets.
fn reader(node: &Node, secret: &Path, count: &str) -> Child {
    tidings(node.path())
        .args(["sub", "demo", "orders.*", "--ordered", "--count", count])
        .args(["--as", "worker", "--secret-file", text(secret)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Publishes it and waits until the client has it.
fn deliver(node: &Node, message: &str) {
    let args = [message, "--wait-for", "1", "--confirm", "delivered"];
    good(node.run(&[&NEW[..], &args].concat()));
}

#[test]
fn a_client_that_is_added_may_do_what_it_was_given_until_it_is_removed() {
    let mut node = Node::start(&ARGS);
    let secret = node.path().join("worker.secret");
    let mode = |node: &Node| fs::metadata(node.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&node), 0o600);
    let add = [
        "clients",
        "add",
        "worker",
        "--overlay",
        "demo",
        "--file",
        text(&secret),
    ];
    let rights = ["--publish", "orders.*", "--subscribe", "orders.*"];
    let told = good(node.run(&[&add[..], &rights].concat()));
    assert!(
        told.contains("holds the secret of the client worker"),
        "{told}"
    );
    assert!(within(SOON, || mode(&node) == 0o666));
    assert!(publish(&node, "orders.new", &secret).status.success());
    fails(&publish(&node, "others", &secret), 1, &["others"]);
    let listed = good(node.run(&["clients", "list"]));
    let key = fs::read_to_string(&secret).unwrap();
    assert!(listed.contains("worker") && listed.contains("orders.*"));
    assert!(!listed.contains(key.trim()));
    let again = ["clients", "add", "worker", "--overlay", "*"];
    fails(&node.run(&again), 1, &["already", "remedy: "]);
    for (name, rights) in [("a b", "*"), ("b", "a..b")] {
        let add = [
            "clients",
            "add",
            name,
            "--overlay",
            "*",
            "--publish",
            rights,
        ];
        fails(&node.run(&add), 2, &["remedy: "]);
    }

    node.kill();
    node.restart(&ARGS);
    assert!(
        publish(&node, "orders.new", &secret).status.success(),
        "it is kept"
    );
    let reader = reader(&node, &secret, "9");
    deliver(&node, "1");
    good(node.run(&["clients", "remove", "worker"]));
    let ended = reader.wait_with_output().unwrap();
    fails(&ended, 1, &["does not know this client"]);
    fails(
        &publish(&node, "orders.new", &secret),
        1,
        &["does not know this client"],
    );
    assert!(within(SOON, || mode(&node) == 0o600));
    fails(
        &node.run(&["clients", "remove", "worker"]),
        1,
        &["no client", "remedy: "],
    );
}

#[test]
fn another_secret_ends_the_session_under_the_old_one_and_nothing_is_lost() {
    let node = Node::start(&ARGS);
    let files = ["old", "new"].map(|name| node.path().join(name));
    let add = [
        "clients",
        "add",
        "worker",
        "--overlay",
        "*",
        "--subscribe",
        "*",
        "--file",
    ];
    good(node.run(&[&add[..], &[text(&files[0])]].concat()));
    let old = reader(&node, &files[0], "9");
    deliver(&node, "1");
    let rotate = ["clients", "rotate", "worker", "--file"];
    good(node.run(&[&rotate[..], &[text(&files[1])]].concat()));
    let ended = old.wait_with_output().unwrap();
    fails(&ended, 1, &["does not know this client"]);
    assert_eq!(stdout(&ended), "1");
    // Nobody is there to take it.
    good(node.run(&[&NEW[..], &["2", "--wait-for", "1"]].concat()));
    let new = reader(&node, &files[1], "2");
    deliver(&node, "3");
    assert_eq!(good(new.wait_with_output().unwrap()), "23");
}

#[test]
fn a_client_file_that_is_read_again_counts_for_those_who_are_attached() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("worker.secret");
    good(run(
        home.path(),
        &["keygen", text(&secret), "--client", "worker"],
    ));
    let (config, clients) = (home.path().join("t.toml"), home.path().join("clients.toml"));
    fs::write(&config, "[client]\nclients_file = \"clients.toml\"\n").unwrap();
    let entry = |overlay: &str| {
        let entry = format!(
            "[[client]]\nname = \"worker\"\nsecret_file = \"worker.secret\"\noverlays = [\"{overlay}\"]\npublish = [\"*\"]\nsubscribe = [\"*\"]\n"
        );
        fs::write(&clients, entry).unwrap();
        fs::set_permissions(&clients, fs::Permissions::from_mode(0o600)).unwrap();
    };
    entry("other");
    let args = [&ARGS[..], &["--config", text(&config)]].concat();
    let node = Node::start_in(home, &args);
    fails(&publish(&node, "orders.new", &secret), 1, &["demo"]);
    entry("demo");
    let reload = || good(node.run(&["reload"]));
    assert_eq!(reload(), "holds now: clients\n");
    assert_eq!(reload(), "nothing has changed\n");
    assert!(publish(&node, "orders.new", &secret).status.success());
    fails(
        &node.run(&["clients", "rotate", "worker"]),
        1,
        &["client file", "remedy: "],
    );

    // What has nothing to do with it goes on; a mistake changes nothing.
    let mut reader = reader(&node, &secret, "2");
    deliver(&node, "1");
    fs::write(&clients, "[[client]]\nname = \"worker\"\n").unwrap();
    fails(&node.run(&["reload"]), 2, &["secret"]);
    assert!(reader.try_wait().unwrap().is_none());
    entry("*");
    assert_eq!(reload(), "holds now: clients\n");
    // It had to log in again, and did.
    deliver(&node, "2");
    assert_eq!(good(reader.wait_with_output().unwrap()), "12");
    fs::write(&clients, "").unwrap();
    assert_eq!(reload(), "holds now: clients\n");
    fails(
        &publish(&node, "orders.new", &secret),
        1,
        &["does not know this client"],
    );
}
