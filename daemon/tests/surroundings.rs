//! A daemon whose standard streams are closed, and what of its secrets anybody could read.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Node, run, stderr, tidings, within};

fn terminate(node: &Node) {
    let pid = node.pid().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
}

/// The exit code after as many signals as it takes: two that come at once count as one.
fn terminated_twice(node: &mut Node) -> Option<i32> {
    let ends = || {
        terminate(node);
        std::thread::sleep(Duration::from_millis(100));
        node.ended().is_some()
    };
    assert!(within(Duration::from_secs(20), ends));
    node.ended().and_then(|end| end.code())
}

/// The exit code, if it ends within `time`.
fn ends_within(node: &mut Node, time: Duration) -> Option<i32> {
    within(time, || node.ended().is_some());
    node.ended().and_then(|end| end.code())
}

fn works(node: &Node) {
    let args = ["sub", "demo", "t", "--as", "keeper", "--idle", "0.1"];
    assert!(node.run(&args).status.success());
    let output = node.run(&["pub", "demo", "t", "a message"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_daemon_without_standard_streams_works_and_leaves() {
    let home = tempfile::tempdir().unwrap();
    let child = Command::new("sh")
        .args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"])
        .arg(env!("CARGO_BIN_EXE_tidings"))
        .args(["run", "--bind", "127.0.0.1:0"])
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env("XDG_RUNTIME_DIR", home.path().join("run"))
        .env_remove("TIDINGS_SOCKET")
        .spawn()
        .unwrap();
    let mut node = Node::of(home, child);
    works(&node);
    terminate(&node);
    assert_eq!(ends_within(&mut node, Duration::from_secs(60)), Some(0));
}

/// A daemon whose output nobody reads any more.
fn unread() -> Node {
    let home = tempfile::tempdir().unwrap();
    let mut child = tidings(home.path())
        .args(["run", "--bind", "127.0.0.1:0"])
        .env("TIDINGS_LOG", "debug")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    drop(child.stderr.take());
    Node::of(home, child)
}

#[test]
fn a_daemon_whose_output_nobody_reads_any_more_works_and_stops_at_a_second_signal() {
    let mut node = unread();
    // A warning for each, to nobody, and more than a place may log.
    for _ in 0..30 {
        let secret = node.path().join("wrong.secret");
        fs::write(&secret, "0f".repeat(32)).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let secret = secret.to_str().unwrap();
        let args = [
            "pub",
            "demo",
            "t",
            "m",
            "--as",
            "x",
            "--secret-file",
            secret,
        ];
        assert!(!node.run(&args).status.success());
    }
    works(&node);
    let mut code = terminated_twice(&mut node);
    // Leaving takes a second: on a busy machine one may have left before the next signal comes.
    for _ in 0..4 {
        if code == Some(0) {
            code = terminated_twice(&mut unread());
        }
    }
    assert_eq!(code, Some(128 + 15));
}

/// The hex digits of a key or a secret in a file.
fn key_in(text: &str) -> String {
    let word = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_whitespace().find(word).unwrap().to_owned()
}

/// A daemon of the overlay `demo` with a client `worker` that may publish and subscribe there under `jobs`, with its log in
/// a file; and the arguments by which one is that client.
fn logged(level: &str) -> (Node, Vec<String>) {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let secret = path("worker.secret");
    let made = run(home.path(), &["keygen", "--client", "worker", &secret]);
    assert!(made.status.success(), "{}", stderr(&made));
    let entry = "[[client]]\nname = \"worker\"\nsecret_file = \"worker.secret\"\n\
        overlays = [\"demo\"]\npublish = [\"jobs.*\"]\nsubscribe = [\"jobs.*\"]\n";
    fs::write(path("clients.toml"), entry).unwrap();
    fs::set_permissions(path("clients.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let clients = path("clients.toml");
    let config = format!("[client]\nclients_file = {clients:?}\n[[overlay]]\nname = \"demo\"\n");
    fs::write(path("tidings.toml"), config).unwrap();
    let config = path("tidings.toml");
    let child = tidings(home.path())
        .args(["run", "--bind", "127.0.0.1:0", "--config", &config])
        .env("TIDINGS_LOG", level)
        .stdout(fs::File::create(path("out")).unwrap())
        .stderr(fs::File::create(path("log")).unwrap())
        .spawn()
        .unwrap();
    let worker = ["--as", "worker", "--secret-file", &secret].map(str::to_owned);
    (Node::of(home, child), worker.to_vec())
}

fn as_worker(node: &Node, args: &[&str], worker: &[String]) -> Output {
    let worker = worker.iter().map(String::as_str);
    node.run(&args.iter().copied().chain(worker).collect::<Vec<_>>())
}

#[test]
fn what_a_client_may_not_do_is_refused_and_logged_with_its_name() {
    let (node, worker) = logged("warn");
    let denied = [
        (&["pub", "demo", "secrets.new", "m"][..], "secrets.new"),
        (&["sub", "demo", "secrets.*", "--idle", "20"], "secrets.*"),
        (&["pub", "other", "jobs.new", "m"], "other"),
    ];
    for (args, _) in denied {
        let output = as_worker(&node, args, &worker);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    }
    let good = as_worker(&node, &["pub", "demo", "jobs.new", "m"], &worker);
    assert!(good.status.success(), "{}", stderr(&good));
    let log = fs::read_to_string(node.path().join("log")).unwrap();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains("denied")).collect();
    assert_eq!(lines.len(), denied.len(), "{log}");
    for (line, (_, what)) in lines.iter().zip(denied) {
        assert!(
            line.contains("client=worker") && line.contains(what),
            "{line}"
        );
    }
}

#[test]
fn no_key_and_no_secret_is_told_anywhere() {
    let (node, worker) = logged("trace");
    let good = as_worker(&node, &["pub", "demo", "jobs.new", "m"], &worker);
    assert!(good.status.success(), "{}", stderr(&good));
    let secret = node.path().join("worker.secret");
    // Clients can attach a moment before the banner is written.
    let out = node.path().join("out");
    let has_banner = || fs::metadata(&out).is_ok_and(|file| file.len() > 0);
    assert!(within(Duration::from_secs(60), has_banner), "no banner");
    let files = ["out", "log"].map(|name| node.path().join(name).display().to_string());
    let mut told: Vec<(String, Vec<u8>)> = Vec::new();
    for verb in [&["stats"][..], &["overlays"], &["members", "demo"]] {
        let output = node.run(&[verb, &["--format", "json"]].concat());
        assert!(output.status.success());
        told.push((verb.join(" "), output.stdout));
    }
    let own = ["cmdline", "environ"].map(|name| format!("/proc/{}/{name}", node.pid()));
    for file in own.into_iter().chain(files) {
        let text = match fs::read(&file) {
            // The process hides what it can, also from its own user.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => continue,
            text => text.unwrap(),
        };
        assert!(!text.is_empty(), "{file}");
        told.push((file, text));
    }
    let overlay_key = fs::read_to_string(node.path().join("data/tidings/demo.key")).unwrap();
    let secrets = [
        key_in(&overlay_key),
        key_in(&fs::read_to_string(secret).unwrap()),
    ];
    for hex in &secrets {
        let raw: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        for (place, text) in &told {
            let has = |part: &[u8]| text.windows(part.len()).any(|bytes| bytes == part);
            // Half of it would be too much.
            assert!(!has(&hex.as_bytes()[..32]) && !has(&raw[..16]), "{place}");
        }
    }
}

/// Whom a file of the process in /proc belongs to: its user, or root where the kernel neither dumps it nor shows its memory.
fn owner(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid()
}

#[test]
fn neither_daemon_nor_verb_can_be_dumped_or_looked_into_by_its_own_user() {
    let home = tempfile::tempdir().unwrap();
    // To root everything belongs to root: then it runs as nobody, a copy that nobody can read.
    let own = rustix::process::geteuid().as_raw();
    let user = if own == 0 { 65_534 } else { own };
    let program = home.path().join("tidings");
    fs::copy(env!("CARGO_BIN_EXE_tidings"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let is_theirs = std::os::unix::fs::chown(home.path(), Some(user), Some(user));
    let mut tried = Command::new(&program);
    let tried = tried
        .arg("--version")
        .uid(user)
        .stdout(Stdio::null())
        .status();
    if let Some(error) = is_theirs.err().or(tried.err()) {
        tidings_skip::skipped(
            "root",
            &format!(
                "nobody but root can run what lies in {}: {error}",
                home.path().display()
            ),
        );
        return;
    }
    let as_user = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(args)
            .uid(user)
            .env("XDG_DATA_HOME", home.path().join("data"))
            .env("XDG_RUNTIME_DIR", home.path().join("run"))
            .env_remove("TIDINGS_SOCKET")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let program = program.to_str().unwrap();
    // What any other program looks like, so that this can be seen here at all.
    let mut other = as_user("cat", &[]);
    assert!(within(Duration::from_secs(20), || owner(other.id()) == user));
    other.kill().unwrap();
    other.wait().unwrap();
    let mut daemon = as_user(program, &["run", "--bind", "127.0.0.1:0"]);
    let socket = home.path().join("run/tidings/tidings.sock");
    let is_up = within(Duration::from_secs(60), || socket.exists());
    let seen = is_up.then(|| owner(daemon.id()));
    let mut verb = as_user(program, &["pub", "demo", "t", "--lines"]);
    // It waits for lines.
    let is_hidden = || owner(verb.id()) == 0;
    let is_hidden = within(Duration::from_secs(20), is_hidden);
    for child in [&mut verb, &mut daemon] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(seen, Some(0), "the daemon");
    assert!(is_hidden, "the verb");
}

/// Runs it with core dumps allowed; it is to kill itself, or to be killed, by SIGABRT.
fn may_dump(home: &std::path::Path, command: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""])
        .args(command)
        .current_dir(home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_RUNTIME_DIR", home.join("run"))
        .env_remove("TIDINGS_SOCKET");
    shell
}

#[test]
fn a_daemon_that_crashes_leaves_no_core_dump_with_its_keys() {
    let home = tempfile::tempdir().unwrap();
    let mut other = may_dump(home.path(), &["sh", "-c", "kill -ABRT $$"]);
    if !other.status().unwrap().core_dumped() {
        tidings_skip::skipped("core", "this system writes no core dumps at all");
        return;
    }
    let daemon = [
        env!("CARGO_BIN_EXE_tidings"),
        "run",
        "--bind",
        "127.0.0.1:0",
    ];
    let mut child = may_dump(home.path(), &daemon);
    let child = child.stdout(Stdio::null()).spawn().unwrap();
    let mut node = Node::of(home, child);
    let args = ["-ABRT".to_owned(), node.pid().to_string()];
    assert!(Command::new("kill").args(args).status().unwrap().success());
    assert!(within(Duration::from_secs(60), || node.ended().is_some()));
    let end = node.ended().unwrap();
    assert_eq!((end.signal(), end.core_dumped()), (Some(6), false));
}

#[test]
fn a_verb_that_crashes_leaves_no_core_dump_with_its_secret() {
    let node = Node::start(&["run", "--bind", "127.0.0.1:0"]);
    let mut other = may_dump(node.path(), &["sh", "-c", "kill -ABRT $$"]);
    if !other.status().unwrap().core_dumped() {
        tidings_skip::skipped("core", "this system writes no core dumps at all");
        return;
    }
    let verb = [env!("CARGO_BIN_EXE_tidings"), "sub", "demo", "t"];
    let mut child = may_dump(node.path(), &verb)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Held until the end: a verb whose words nobody reads ends by itself.
    let mut words = child.stderr.take().unwrap();
    let mut said = [0; 10];
    words.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"subscribed", "it holds its secret by now");
    let args = ["-ABRT".to_owned(), child.id().to_string()];
    assert!(Command::new("kill").args(args).status().unwrap().success());
    let end = child.wait().unwrap();
    drop(words);
    assert_eq!((end.signal(), end.core_dumped()), (Some(6), false));
}
