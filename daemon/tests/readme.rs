//! Every command block of README.md, typed as a user would. A block is known here by its text: one that is new or changed fails the
//! first test until it is run below, or the list names the test elsewhere that types it.
//!
//! What differs from a user's terminal: `cargo run` is the binary that is built already, hosts are folders, their names behind
//! `--join` ports of loopback without a management service beside each, and `scp` copies between the folders.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{stderr, stdout, within};

const SOON: Duration = Duration::from_secs(20);

/// What is said first in each block, and what becomes of it, in their order.
const BLOCKS: [(&str, Fate); 11] = [
    ("cargo run --release", Fate::Typed),
    ("target/release/tidings sub demo", Fate::Typed),
    ("tidings keygen news.key", Fate::Typed),
    (
        "host-a$ tidings run --overlay news --key-file news.key --join",
        Fate::Typed,
    ),
    ("host-a$ tidings members news", Fate::Typed),
    (
        "host-a$ tidings run --overlay news --key-file news.key --discover",
        Fate::Typed,
    ),
    (
        "sudo tidings keygen /etc/tidings/news.key",
        Fate::In("tests/tests/operators_day/main.rs"),
    ),
    ("tidings keygen new.key --slot 1", Fate::Typed),
    ("tidings keygen --client worker", Fate::Typed),
    (
        "cargo build --release -p tidings -p tidings-loadgen",
        Fate::In("loadgen/tests/readme.rs"),
    ),
    (
        "host-a$ tidings-loadgen throughput",
        Fate::In("loadgen/tests/readme.rs"),
    ),
];

enum Fate {
    /// By a test below.
    Typed,
    /// By that one.
    In(&'static str),
}

/// The blocks without a language, which are commands; others are examples of files.
fn blocks() -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"));
    let text = text.unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some((language, block))) => {
                assert!(
                    ["", "toml"].contains(&language.as_str()),
                    "{language}: {block}"
                );
                if language.is_empty() {
                    blocks.push(std::mem::take(block));
                }
                open = None;
            }
            (None, Some((_, block))) => block.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

/// The block that begins so.
fn block(begins: &str) -> String {
    let mut found = blocks()
        .into_iter()
        .filter(|block| block.starts_with(begins));
    let block = found
        .next()
        .unwrap_or_else(|| panic!("no block begins with {begins}"));
    assert!(found.next().is_none(), "{begins}");
    block
}

#[test]
fn every_block_is_typed_here_or_by_a_test_that_is_named() {
    let found = blocks();
    for (index, block) in found.iter().enumerate() {
        let Some((begins, fate)) = BLOCKS.get(index) else {
            panic!("this block is new: run it in a test here, and list it in BLOCKS\n{block}");
        };
        assert!(
            block.starts_with(begins),
            "expected {begins}, found\n{block}"
        );
        if let Fate::In(test) = fate {
            let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(test);
            let test = fs::read_to_string(test).unwrap();
            assert!(test.contains(begins), "{begins}");
        }
    }
    assert_eq!(found.len(), BLOCKS.len(), "a block is gone");
}

/// A folder with one for each host, and the commands that are on their path.
struct Place {
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let binary = env!("CARGO_BIN_EXE_tidings");
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(binary, bin.join("tidings")).unwrap();
        for host in ["host-a", "host-b", "host-c"] {
            fs::create_dir_all(home.path().join(host).join("target/release")).unwrap();
            let built = home.path().join(host).join("target/release/tidings");
            symlink(binary, built).unwrap();
        }
        let scripts = [
            ("scp", "cp -p \"$1\" \"../${2%:}/\""),
            // Its own ports may be taken here.
            (
                "cargo",
                "test \"$*\" = 'run --release' && exec target/release/tidings --bind 127.0.0.1:0",
            ),
        ];
        for (name, script) in scripts {
            let file = bin.join(name);
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { home }
    }

    fn host(&self, host: &str) -> PathBuf {
        self.home.path().join(host)
    }

    /// A line as a shell on this host takes it.
    fn typed(&self, host: &str, line: &str) -> Command {
        let mut shell = Command::new("sh");
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.host(host);
        // In the place of the shell, so that it can be ended.
        shell
            .args(["-c", &format!("exec {line}")])
            .current_dir(&home)
            .env(
                "PATH",
                format!("{}:{path}", self.home.path().join("bin").display()),
            )
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .env_remove("TIDINGS_SOCKET")
            .stdin(Stdio::null());
        shell
    }

    /// Runs it to its end, which is to be a good one.
    fn run(&self, host: &str, line: &str) -> String {
        let output = self.typed(host, line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        stdout(&output)
    }

    /// Leaves it running; what it writes is in the file `name` of the host's folder, if it does not say itself where to.
    fn start(&self, host: &str, line: &str, name: &str) -> Running {
        let file = fs::File::create(self.host(host).join(name)).unwrap();
        let log = fs::File::create(self.host(host).join(format!("{name}.log"))).unwrap();
        Running(
            self.typed(host, line)
                .stdout(file)
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }

    fn read(&self, host: &str, name: &str) -> String {
        fs::read_to_string(self.host(host).join(name)).unwrap_or_default()
    }

    /// A node of this host answers.
    fn is_up(&self, host: &str) -> bool {
        within(SOON, || {
            let asked = self.typed(host, "tidings overlays").output();
            asked.unwrap().status.success()
        })
    }
}

/// Something that runs until the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a block, each with its host.
fn lines(block: &str) -> Vec<(String, String)> {
    let lines = block.lines().filter(|line| !line.trim().is_empty());
    let with_host = lines.map(|line| match line.split_once("$ ") {
        Some((host, line)) => (host.to_owned(), line.to_owned()),
        None => ("host-a".to_owned(), line.to_owned()),
    });
    with_host.collect()
}

#[test]
fn a_node_without_flags_is_published_to_and_subscribed_at() {
    let place = Place::new();
    let block_of_run = block("cargo run --release");
    // The second line is what runs this.
    let [(host, run), (_, test)] = &lines(&block_of_run)[..] else {
        panic!("{block_of_run}");
    };
    assert_eq!(test, "cargo test --workspace");
    let _node = place.start(host, run, "node");
    assert!(place.is_up(host));
    let block_of_news = block("target/release/tidings sub demo");
    let [(_, subscribe), (_, publish)] = &lines(&block_of_news)[..] else {
        panic!("{block_of_news}");
    };
    let _subscriber = place.start(host, subscribe, "news");
    let stands = || place.read(host, "news.log").contains("subscribed");
    assert!(within(SOON, stands));
    place.run(host, publish);
    assert!(within(SOON, || place
        .read(host, "news")
        .contains("Good news!")));
}

/// A port of loopback that is free now.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn three_hosts_find_each_other_and_a_file_comes_out_as_it_went_in() {
    let place = Place::new();
    for (host, line) in lines(&block("tidings keygen news.key")) {
        place.run(&host, &line);
    }
    let hosts =
        ["host-a", "host-b", "host-c"].map(|host| (host, format!("127.0.0.1:{}", free_port())));
    let mut nodes = Vec::new();
    for (host, line) in lines(&block(
        "host-a$ tidings run --overlay news --key-file news.key --join",
    )) {
        let (_, own) = hosts.iter().find(|(name, _)| *name == host).unwrap();
        let mut line = line;
        for (name, address) in &hosts {
            line = line.replace(name, address);
        }
        let line = format!("{line} --bind {own} --http off --name {host}");
        nodes.push(place.start(&host, &line, "node"));
    }
    assert_eq!(nodes.len(), 3);
    assert!(hosts.iter().all(|(host, _)| place.is_up(host)));
    let block = block("host-a$ tidings members news");
    let [(a, members), (b, first), (c, second), (_, publish)] = &lines(&block)[..] else {
        panic!("{block}");
    };
    let all = || {
        let told = place.run(a, members);
        told.matches(" alive ").count() == 3
    };
    assert!(within(SOON, all), "{}", place.run(a, members));
    let _first = place.start(b, first, "sub");
    let _second = place.start(c, second, "sub");
    let log: String = (0..1_000).map(|n| format!("line {n}\n")).collect();
    fs::write(place.host(a).join("daily.log"), &log).unwrap();
    let told = place.run(a, publish);
    assert!(told.contains("delivered 2000"), "{told}");
    assert!(within(SOON, || place.read(b, "copy-b") == log));
    assert!(within(SOON, || place.read(c, "copy-c") == log));
}

#[test]
fn nodes_of_one_host_find_each_other_without_seeds() {
    let place = Place::new();
    for (host, line) in lines(&block("tidings keygen news.key")) {
        place.run(&host, &line);
    }
    // On loopback, which they use because they are bound to it.
    let start = |(host, line): &(String, String)| {
        let line = format!("{line} --bind 127.0.0.1:0 --http off --name {host}");
        place.start(host, &line, "node")
    };
    let runs = lines(&block(
        "host-a$ tidings run --overlay news --key-file news.key --discover",
    ));
    let nodes: Vec<Running> = runs.iter().map(start).collect();
    assert_eq!(nodes.len(), 2);
    for (host, _) in &runs {
        assert!(place.is_up(host), "{}", place.read(host, "node.log"));
        let members = || place.run(host, "tidings members news");
        let both = || members().matches(" alive ").count() == 2;
        assert!(
            within(SOON, both),
            "{}\n{}",
            members(),
            place.read(host, "node.log")
        );
    }
}

#[test]
fn the_key_of_an_overlay_that_runs_becomes_another() {
    let place = Place::new();
    let host = "host-a";
    place.run(host, "tidings keygen news.key");
    let run = "tidings run --overlay news --key-file news.key --bind 127.0.0.1:0";
    let _node = place.start(host, run, "node");
    assert!(place.is_up(host));
    let told: String = lines(&block("tidings keygen new.key --slot 1"))
        .iter()
        .map(|(host, line)| place.run(host, line))
        .collect();
    assert!(told.contains("key 0 is removed"), "{told}");
    let kept = place.read(host, "news.key");
    assert!(kept.contains("\n1 chacha20-poly1305 primary "), "{kept}");
}

#[test]
fn a_client_attaches_by_the_name_and_the_secret_of_its_entry() {
    let place = Place::new();
    let block = block("tidings keygen --client worker");
    let [(host, keygen), (_, subscribe)] = &lines(&block)[..] else {
        panic!("{block}");
    };
    let entry = place.run(host, keygen);
    assert!(entry.contains("[[client]]"), "{entry}");
    // The example of a client file stands below it.
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"));
    let readme = readme.unwrap();
    let (_, example) = readme.split_once("```toml\n[[client]]").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let file = place.host(host).join("clients.toml");
    fs::write(&file, format!("[[client]]{example}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    place.run(host, "tidings keygen news.key");
    let config = "[client]\nclients_file = \"clients.toml\"\n[[overlay]]\nname = \"news\"\nkey_file = \"news.key\"\n";
    fs::write(place.host(host).join("t.toml"), config).unwrap();
    let _node = place.start(
        host,
        "tidings run --config t.toml --bind 127.0.0.1:0",
        "node",
    );
    assert!(place.is_up(host));
    let _worker = place.start(host, subscribe, "orders");
    let stands = || place.read(host, "orders.log").contains("subscribed");
    assert!(within(SOON, stands), "{}", place.read(host, "orders.log"));
    place.run(host, "tidings pub news orders.new one --confirm delivered");
    assert!(within(SOON, || place.read(host, "orders").contains("one")));
}
