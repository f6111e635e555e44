//! One node of a cluster: its daemon, and the command line beside it.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tidings_client::{Client, Options};

use super::cluster::{Cluster, Seat};
use super::members::{Member, members};
use super::stats::Stats;
use super::verb::{Done, Subscriber};
use super::{eventually, tidings};
use crate::host::{Host, Process};

/// How long a daemon may take until clients can attach.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a verb that only reads may take.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(60);

/// A node, running or not.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    cluster: &'a Cluster,
    number: usize,
    seat: &'a Seat,
}

impl<'a> Node<'a> {
    pub(super) fn new(cluster: &'a Cluster, number: usize, seat: &'a Seat) -> Node<'a> {
        Node {
            cluster,
            number,
            seat,
        }
    }

    /// Its number, which is its host's.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its name: `n` and its number.
    pub fn name(&self) -> String {
        format!("n{}", self.number)
    }

    /// Its host.
    pub fn host(&self) -> &'a Host {
        self.cluster.lab().host(self.number)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.seat.address
    }

    /// Its configuration file.
    pub fn config(&self) -> &'a Path {
        &self.seat.config
    }

    /// Its folder: data directory, socket, configuration.
    pub fn home(&self) -> &'a Path {
        &self.seat.home
    }

    /// Replaces text of its configuration.
    ///
    /// # Panics
    /// If the text is not there.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).expect("its configuration");
        assert!(text.contains(from), "the configuration has no `{from}`");
        std::fs::write(self.config(), text.replace(from, to)).expect("its configuration");
    }

    /// Starts the daemon and waits until clients can attach.
    ///
    /// # Panics
    /// If it does not come up.
    #[track_caller]
    pub fn start(&self) -> Arc<Process> {
        self.start_by(self.run_command())
    }

    /// The command that runs the daemon.
    pub fn run_command(&self) -> Command {
        let mut command = self.host().command(tidings());
        command.arg("run").arg("--config").arg(&self.seat.config);
        command.env("RUST_BACKTRACE", "1");
        command
    }

    /// Starts the daemon by a command made from [`run_command`](Self::run_command) and waits until clients can attach.
    ///
    /// # Panics
    /// If it does not come up.
    #[track_caller]
    pub fn start_by(&self, command: Command) -> Arc<Process> {
        let daemon = self.launch(command);
        eventually(
            &format!("{} takes clients", self.name()),
            READY_WITHIN,
            || {
                assert!(daemon.is_running(), "the daemon of {} ended", self.name());
                UnixStream::connect(&self.seat.socket).is_ok()
            },
        );
        daemon
    }

    /// Starts the daemon and does not wait.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn launch(&self, command: Command) -> Arc<Process> {
        let name = self.cluster.process_name(&self.name());
        let daemon = Arc::new(
            self.host()
                .spawn(&name, command)
                .expect("the program starts"),
        );
        let mut slot = self
            .seat
            .daemon
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(daemon.clone());
        daemon
    }

    /// The daemon that was started last.
    ///
    /// # Panics
    /// If none was.
    #[track_caller]
    pub fn daemon(&self) -> Arc<Process> {
        let slot = self
            .seat
            .daemon
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        slot.clone().expect("a daemon was started")
    }

    /// `kill -9` of the daemon.
    pub fn kill9(&self) {
        self.daemon().kill9().expect("its end");
    }

    /// Path of its socket for clients.
    pub fn socket(&self) -> PathBuf {
        self.seat.socket.clone()
    }

    /// A client of the library.
    ///
    /// # Panics
    /// If it cannot attach.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(Options::new(self.socket())).expect("a client attaches")
    }

    /// Starts a verb of the command line beside this node.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn spawn(&self, args: &[&str]) -> Process {
        let mut command = self.host().command(tidings());
        command.args(args).env("TIDINGS_SOCKET", &self.seat.socket);
        let name = self.cluster.process_name(args.first().unwrap_or(&"run"));
        self.host()
            .spawn(&name, command)
            .expect("the program starts")
    }

    /// Runs a verb of the command line to its end.
    ///
    /// # Panics
    /// If it takes longer.
    #[track_caller]
    pub fn verb(&self, args: &[&str], within: Duration) -> Done {
        Done::of(&self.spawn(args), within)
    }

    /// Runs a reading verb with `--format json`.
    ///
    /// # Panics
    /// If it fails or its output is no JSON.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
        let done = self.verb(&args, READ_WITHIN);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.err);
        serde_json::from_str(&done.out).expect("JSON")
    }

    /// `tidings stats`.
    #[track_caller]
    pub fn stats(&self) -> Stats {
        Stats::new(self.json(&["stats"]))
    }

    /// `tidings members`; empty while the daemon does not answer.
    pub fn members(&self, overlay: &str) -> Vec<Member> {
        members(self, overlay)
    }

    /// Numbers of the nodes that it holds alive, in order.
    pub fn sees(&self, overlay: &str) -> Vec<usize> {
        let mut alive: Vec<usize> = self
            .members(overlay)
            .iter()
            .filter(|member| member.state == "alive")
            .filter_map(|member| member.name.strip_prefix('n')?.parse().ok())
            .collect();
        alive.sort_unstable();
        alive
    }

    /// Starts `tidings sub` and waits until the subscription stands.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn subscribe(&self, args: &[&str]) -> Subscriber {
        let subscriber = self.subscribe_early(args);
        subscriber.wait_standing();
        subscriber
    }

    /// Starts `tidings sub` and does not wait.
    pub fn subscribe_early(&self, args: &[&str]) -> Subscriber {
        let args: Vec<&str> = ["sub"].iter().chain(args).copied().collect();
        Subscriber::new(self.spawn(&args))
    }

    /// The shard that runs `overlay`.
    ///
    /// # Panics
    /// If the node does not run it.
    #[track_caller]
    pub fn shard_of(&self, overlay: &str) -> u64 {
        let overlays = self.json(&["overlays"]);
        let entry = overlays
            .as_array()
            .and_then(|all| all.iter().find(|entry| entry["name"] == overlay))
            .expect("the overlay is listed");
        entry["shard"].as_u64().expect("its shard")
    }
}
