//! A daemon in directories of its own, and the command line against it.
#![allow(clippy::unwrap_used, dead_code)] // A test; not every file uses everything.

pub(crate) mod credentials;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod managed;
pub(crate) mod recorder;
pub(crate) mod stopped;
pub(crate) mod tool;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Set when this is dropped, by a panic, too: threads of a scope that wait for it end, and the test with them.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The binary under test, away from the user's own daemon and directories.
pub(crate) fn tidings(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_RUNTIME_DIR", home.join("run"))
        .env_remove("TIDINGS_SOCKET")
        .env_remove("TIDINGS_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(home: &Path, args: &[&str]) -> Output {
    tidings(home).args(args).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it wrote, of a run that ended well.
pub(crate) fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// Fails with this exit code, and names all of these.
pub(crate) fn fails(output: &Output, code: i32, names: &[&str]) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{told}");
    for name in names {
        assert!(told.contains(name), "{name} in {told}");
    }
}

/// The same, with a remedy.
pub(crate) fn fails_with_remedy(output: &Output, code: i32, names: &[&str]) {
    fails(output, code, &[names, &["remedy: "]].concat());
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A running node.
pub(crate) struct Node {
    pub(crate) home: tempfile::TempDir,
    child: Child,
}

impl Node {
    /// Takes over a node that was started otherwise and waits until clients can attach.
    pub(crate) fn of(home: tempfile::TempDir, child: Child) -> Self {
        let node = Self { home, child };
        node.wait_ready();
        node
    }

    /// Starts a node with these flags and waits until clients can attach.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), args)
    }

    /// Starts it in directories that may hold something already.
    pub(crate) fn start_in(home: tempfile::TempDir, args: &[&str]) -> Self {
        let child = spawn(home.path(), args);
        Self::of(home, child)
    }

    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("run/tidings/tidings.sock")
    }

    /// The Unix socket of its management service.
    pub(crate) fn management(&self) -> PathBuf {
        self.path().join("run/tidings/tidings.http.sock")
    }

    /// Starts one whose management service speaks plain HTTP, its banner and its log in files.
    pub(crate) fn plain() -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        let text =
            "[node]\nbind = \"127.0.0.1:0\"\n[http]\ntls = \"off\"\n[[overlay]]\nname = \"demo\"\n";
        std::fs::write(path("tidings.toml"), text).unwrap();
        let child = tidings(home.path())
            .args(["run", "--config", &path("tidings.toml")])
            .stdout(Stdio::from(std::fs::File::create(path("out")).unwrap()))
            .stderr(Stdio::from(std::fs::File::create(path("log")).unwrap()))
            .spawn()
            .unwrap();
        let node = Self::of(home, child);
        let banner = || std::fs::read_to_string(node.path().join("out"));
        assert!(within(Duration::from_secs(60), || banner()
            .is_ok_and(|t| t.contains("manage"))));
        node
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        run(self.path(), args)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Kills the node as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again in its directories.
    pub(crate) fn restart(&mut self, args: &[&str]) {
        self.child = spawn(self.path(), args);
        self.wait_ready();
    }

    /// Waits for its end and tells whether it was a good one.
    pub(crate) fn wait(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    fn wait_ready(&self) {
        let ready = || run(self.path(), &["overlays"]).status.success();
        assert!(
            within(Duration::from_secs(60), ready),
            "the node does not come up"
        );
    }
}

/// Has two nodes meet in the overlay `met`.
pub(crate) fn meet(a: &Node, b: &Node) {
    use serde_json::json;
    let keyring = stdout(&a.run(&["keygen", "-"]));
    let wish = json!({ "name": "met", "keyring": keyring }).to_string();
    for node in [a, b] {
        let made = http::unix(&node.management(), "POST", "/v1/overlays", Some(&wish));
        assert_eq!(made.status, 201, "{made:?}");
    }
    let bind = http::unix(&a.management(), "GET", "/v1/node", None).json()["bind"].clone();
    let port = bind.as_str().unwrap().rsplit(':').next().unwrap();
    let join = json!({ "join": [format!("127.0.0.1:{port}")] }).to_string();
    let joined = http::unix(&b.management(), "PATCH", "/v1/overlays/met", Some(&join));
    assert_eq!(joined.status, 200, "{joined:?}");
    let both = || {
        let members = http::unix(&a.management(), "GET", "/v1/overlays/met/members", None);
        members
            .json()
            .as_array()
            .is_some_and(|members| members.len() == 2)
    };
    assert!(within(Duration::from_secs(60), both));
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(home: &Path, args: &[&str]) -> Child {
    tidings(home)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Whether `holds` comes true in time.
pub(crate) fn within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    holds()
}

/// What `ask` gives once that is `wanted`, or when the time is over.
pub(crate) fn until<T>(time: Duration, wanted: impl Fn(&T) -> bool, ask: impl Fn() -> T) -> T {
    let end = Instant::now() + time;
    loop {
        let told = ask();
        if wanted(&told) || Instant::now() >= end {
            return told;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
