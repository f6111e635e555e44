//! `tidings top`, `rtt`: as text of two real nodes, and on the screen of a terminal.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{Node, run, stderr, stdout, tidings, until, within};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

fn json(output: Output) -> Value {
    serde_json::from_str(&good(output)).unwrap()
}

/// What a verb tells once that is what is wanted: a busy machine may keep a member from answering for a moment.
fn once(wanted: impl Fn(&str) -> bool, verb: impl Fn() -> Output) -> String {
    let is_wanted = |output: &Output| output.status.success() && wanted(&stdout(output));
    let told = good(until(SOON, is_wanted, verb));
    assert!(wanted(&told), "{told}");
    told
}

/// The same of a verb that tells in JSON.
fn once_json(wanted: impl Fn(&Value) -> bool, verb: impl Fn() -> Output) -> Value {
    let is_wanted = |told: &str| wanted(&serde_json::from_str(told).unwrap());
    serde_json::from_str(&once(is_wanted, verb)).unwrap()
}

/// Two nodes that know each other, `one` and `two`, in the overlay `news`.
fn two_nodes() -> (Node, Node) {
    two_nodes_with(&tempfile::tempdir().unwrap())
}

/// The same with their key in `news.key` of this folder.
fn two_nodes_with(keys: &tempfile::TempDir) -> (Node, Node) {
    let key = keys.path().join("news.key");
    let key = key.to_str().unwrap();
    good(run(keys.path(), &["keygen", key]));
    let args = [
        "run",
        "--bind",
        "127.0.0.1:0",
        "--overlay",
        "news",
        "--key-file",
        key,
        "--name",
    ];
    let one = Node::start(&[&args[..], &["one"]].concat());
    let members = json(one.run(&["members", "news", "--format", "json"]));
    let address = members[0]["address"].as_str().unwrap().to_owned();
    let two = Node::start(&[&args[..], &["two", "--join", &address]].concat());
    let is_known = || {
        let members = json(one.run(&["members", "news", "--format", "json"]));
        let members = members.as_array().unwrap().iter();
        members.filter(|member| member["rtt_us"].is_u64()).count() == 1
    };
    assert!(
        within(SOON, is_known),
        "they meet and measure their round trip"
    );
    (one, two)
}

#[test]
fn without_a_terminal_it_is_written_once() {
    let (one, _two) = two_nodes();
    let told = good(one.run(&["top", "--every", "0.2"]));
    for wanted in [
        "tidings one - up",
        "OVERLAY",
        "\nnews ",
        "members of news",
        "this node",
        "\ntwo ",
    ] {
        assert!(told.contains(wanted), "{wanted} in {told}");
    }
    let told = once_json(
        |told| told["overlays"][0]["states"]["alive"] == 2,
        || one.run(&["top", "news", "--every", "0.2", "--format", "json"]),
    );
    let news = &told["overlays"][0];
    assert_eq!(news["name"], "news");
    assert_eq!(news["members"][0]["self"], true);
    assert_eq!(news["members"][1]["name"], "two");
    assert!(news["members"][1]["rtt_us"].is_u64(), "{told}");
    let refused = one.run(&["top", "nwes"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("\"nwes\"") && stderr(&refused).contains("remedy: "));
}

#[test]
fn members_and_addresses_are_reached_or_it_is_told_what_is_wrong() {
    let keys = tempfile::tempdir().unwrap();
    let (one, two) = two_nodes_with(&keys);
    let key = keys.path().join("news.key").display().to_string();
    let flags = ["--overlay", "news", "--key-file", &key];
    let told = once_json(
        |told| told[0]["datagram_bytes"] == 1_448, // Loopback carries it.
        || one.run(&[&["reach", "--format", "json"], &flags[..]].concat()),
    );
    let members = json(one.run(&["members", "news", "--format", "json"]));
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
    assert_eq!(
        (&told[0]["name"], &told[0]["node"]),
        (&"two".into(), &members[1]["id"])
    );
    assert!(told[0]["rtt_us"].as_u64().unwrap() > 0);
    let address = members[1]["address"].as_str().unwrap();
    let text = once(
        |told| told.contains("1448 B"),
        || one.run(&[&["reach", address], &flags[..]].concat()),
    );
    assert!(text.contains(address), "{text}");
    // Whoever was greeted remembers nothing of it.
    let known = json(two.run(&["members", "news", "--format", "json"]));
    assert_eq!(known.as_array().unwrap().len(), 2, "{known}");

    let refuses = |args: &[&str], wanted: &[&str]| {
        let refused = one.run(args);
        assert_ne!(refused.status.code(), Some(0));
        let told = stdout(&refused) + &stderr(&refused);
        let mut wanted = wanted.iter().chain(&["remedy: "]);
        wanted
            .all(|wanted| told.contains(wanted))
            .then_some(())
            .ok_or(told)
    };
    let fails = |args: &[&str], wanted: &[&str]| {
        until(SOON, Result::is_ok, || refuses(args, wanted)).unwrap();
    };
    let is_told_of_nobody = || {
        // Its port may go to another test meanwhile.
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr();
        let nobody = nobody.unwrap().to_string();
        let args = [&["reach", &nobody], &flags[..]].concat();
        refuses(&args, &["nobody listens", &nobody]).is_ok()
    };
    assert!(within(SOON, is_told_of_nobody));
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let deaf = silent.local_addr().unwrap().to_string();
    fails(
        &[&["reach", &deaf, address], &flags[..]].concat(),
        &["no answer to 3", "1 of 2"],
    );
    let other = keys.path().join("other.key").display().to_string();
    good(run(keys.path(), &["keygen", &other]));
    fails(
        &["reach", address, "--overlay", "news", "--key-file", &other],
        &["compare the key files"],
    );
    fails(
        &[&["reach", "no such name"], &flags[..]].concat(),
        &["\"no such name\""],
    );
}

#[test]
fn round_trips_are_told_of_all_members_or_of_one() {
    let (one, _two) = two_nodes();
    let begins = |told: &str| {
        let row = told.lines().nth(1).unwrap().split_whitespace();
        row.take(2).eq(["two", "alive"])
    };
    let told = once(begins, || one.run(&["rtt", "news"]));
    assert!(told.contains(" us  ") || told.contains(" ms  "), "{told}");
    let told = json(one.run(&["rtt", "news", "two", "--format", "json"]));
    let (rtt, min) = (told[0]["rtt_us"].as_u64(), told[0]["rtt_min_us"].as_u64());
    assert!(rtt.is_some() && min.is_some(), "{told}");
    for (args, wanted) in [
        (["rtt", "news", "three"], "\"three\""),
        (["rtt", "nwes", "two"], "\"nwes\""),
    ] {
        let refused = one.run(&args);
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains(wanted) && stderr(&refused).contains("remedy: "));
    }
}

#[test]
fn a_trace_tells_who_would_get_a_message_and_how() {
    let (one, two) = two_nodes();
    let told = good(one.run(&["trace", "orders.new", "--overlay", "news"]));
    assert!(
        told.contains("orders.new: 0 subscriptions of this node"),
        "{told}"
    );
    assert!(told.contains("no other node has"), "{told}");
    let subscribe = |node: &Node| {
        tidings(node.path())
            .args(["sub", "news", "orders.*", "orders.new"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let subs = [&one, &two].map(|node| Sub(subscribe(node)));
    let trace =
        |topic: &str| json(one.run(&["trace", topic, "--overlay", "news", "--format", "json"]));
    let all = || {
        let told = trace("orders.new");
        told["local"] == 2 && told["nodes"][0]["subscriptions"] == 2
    };
    assert!(within(SOON, all), "{}", trace("orders.new"));
    let told = trace("orders.new");
    assert_eq!(told["nodes"][0]["name"], "two");
    assert_eq!(told["nodes"][0]["way"], "no_stream", "{told}");
    assert_eq!(told["suite"], "aes-256-gcm");
    // The first message opens the stream, to which the other node comes.
    good(one.run(&["pub", "news", "orders.new", "x", "--confirm", "delivered"]));
    let is_live = || trace("orders.new")["nodes"][0]["way"] == "stream";
    assert!(within(SOON, is_live), "{}", trace("orders.new"));
    let told = trace("orders.new");
    assert!(
        told["nodes"][0]["datagram_bytes"].as_u64().unwrap() >= 1_200,
        "{told}"
    );
    let members = json(one.run(&["members", "news", "--format", "json"]));
    assert_eq!(told["nodes"][0]["address"], members[1]["address"]);
    let other = trace("orders.old");
    assert_eq!(
        (&other["local"], &other["nodes"][0]["subscriptions"]),
        (&1.into(), &1.into())
    );
    once(
        |told| told.contains("two   alive  2     stream"),
        || one.run(&["trace", "orders.new", "--overlay", "news"]),
    );
    drop(subs);
    let refused = one.run(&["trace", "orders.*", "--overlay", "news"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("remedy: a topic is"));
}

/// A process that ends with the test.
struct Sub(Child);

impl Drop for Sub {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_published_meanwhile_is_a_rate() {
    let (one, _two) = two_nodes();
    let mut publish = tidings(one.path())
        .args(["pub", "news", "t", "--lines"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = publish.stdin.take().unwrap();
    let busy = thread::spawn(move || while lines.write_all(b"line\n").is_ok() {});
    let rate = || {
        let told = json(one.run(&["top", "--every", "0.2", "--format", "json"]));
        let rate = &told["overlays"][0]["per_second"];
        rate["published"].as_f64().unwrap() > 0.0 && rate["published_bytes"].as_f64().unwrap() > 0.0
    };
    let seen = within(SOON, rate);
    publish.kill().unwrap();
    publish.wait().unwrap();
    busy.join().unwrap();
    assert!(seen);
}

/// A terminal, and a process in it.
struct Terminal {
    keys: File,
    screen: Arc<Mutex<String>>,
    child: Child,
}

impl Terminal {
    fn of(node: &Node, args: &[&str]) -> Self {
        let (mut ours, mut theirs) = (0, 0);
        let size = libc::winsize {
            ws_row: 30,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let none = std::ptr::null_mut();
        // SAFETY: both descriptors and the size live through the call; no name and no settings are asked for.
        let opened = unsafe { libc::openpty(&mut ours, &mut theirs, none, none.cast(), &size) };
        assert_eq!(opened, 0);
        // SAFETY: openpty has just made them, and nobody else has them.
        let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let child = tidings(node.path())
            .args(args)
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs)
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut reader, shown) = (File::from(ours.try_clone().unwrap()), Arc::clone(&screen));
        thread::spawn(move || {
            let mut part = [0; 4096];
            // It fails when the process has ended.
            while let Ok(read @ 1..) = reader.read(&mut part) {
                shown
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&part[..read]));
            }
        });
        Self {
            keys: File::from(ours),
            screen,
            child,
        }
    }

    fn count(&self, text: &str) -> usize {
        self.screen.lock().unwrap().matches(text).count()
    }

    fn shows(&self, text: &str) -> bool {
        within(SOON, || self.screen.lock().unwrap().contains(text))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn on_a_terminal_keys_choose_the_overlay_and_q_ends_it() {
    let node = Node::start(&["run", "--bind", "127.0.0.1:0", "--name", "screened"]);
    good(node.run(&["overlays", "create", "more"]));
    let mut terminal = Terminal::of(&node, &["top", "--every", "0.2"]);
    // Words only: where a cell is blank nothing is drawn.
    for word in ["OVERLAY", "more", "MEMBER", "demo", "screened"] {
        assert!(terminal.shows(word), "{word}");
    }
    let before = terminal.count("more");
    terminal.keys.write_all(b"\t").unwrap();
    // In the title of the members, and as the chosen row.
    assert!(within(SOON, || terminal.count("more") > before));
    terminal.keys.write_all(b"q").unwrap();
    let child = &mut terminal.child;
    assert!(within(SOON, || child.try_wait().unwrap().is_some()));
    assert!(child.wait().unwrap().success());
    // The screen of before is back.
    assert!(terminal.shows("\u{1b}[?1049l"));
}
