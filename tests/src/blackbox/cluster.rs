//! A lab with a daemon per host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::builder::ClusterBuilder;
use super::eventually;
use super::node::Node;
use crate::host::Process;
use crate::lab::Lab;

/// Nodes and the network between them.
#[derive(Debug)]
pub struct Cluster {
    // First, so that processes go before the lab does.
    seats: Vec<Seat>,
    overlays: Vec<String>,
    lab: Lab,
    /// Processes are numbered, so that their outputs have files of their own.
    processes: AtomicUsize,
}

/// What belongs to one node, running or not.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) home: PathBuf,
    pub(super) config: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) daemon: Mutex<Option<Arc<Process>>>,
}

impl Seat {
    pub(super) fn new(home: PathBuf, address: SocketAddr) -> Seat {
        Seat {
            config: home.join("tidings.toml"),
            socket: home.join("sock"),
            home,
            address,
            daemon: Mutex::new(None),
        }
    }
}

impl Cluster {
    /// Begins a cluster.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::new()
    }

    pub(super) fn new(lab: Lab, seats: Vec<Seat>, overlays: Vec<String>) -> Cluster {
        Cluster {
            seats,
            overlays,
            lab,
            processes: AtomicUsize::new(0),
        }
    }

    /// The hosts and links.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The folder of the cluster: `overlay.key`, `CLIENT.secret`, `node-N/`, outputs of all processes.
    pub fn folder(&self) -> &Path {
        self.lab.folder()
    }

    /// The node on host `number`, from 1.
    ///
    /// # Panics
    /// If there is none.
    pub fn node(&self, number: usize) -> Node<'_> {
        Node::new(self, number, &self.seats[number - 1])
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (1..=self.seats.len()).map(|number| self.node(number))
    }

    /// Names of the overlays of every node.
    pub fn overlays(&self) -> &[String] {
        &self.overlays
    }

    /// Waits until every running node sees every node alive in every overlay.
    ///
    /// # Panics
    /// If that takes longer.
    #[track_caller]
    pub fn wait_whole(&self, within: Duration) -> Duration {
        let all: Vec<usize> = (1..=self.seats.len()).collect();
        self.wait_view(&all, within)
    }

    /// Waits until each of the nodes `view` holds exactly these alive, in every overlay.
    ///
    /// # Panics
    /// If that takes longer.
    #[track_caller]
    pub fn wait_view(&self, view: &[usize], within: Duration) -> Duration {
        let what = format!("nodes {view:?} see each other");
        eventually(&what, within, || {
            view.iter().all(|&number| {
                self.overlays
                    .iter()
                    .all(|overlay| self.node(number).sees(overlay) == view)
            })
        })
    }

    /// A name for the output of one more process.
    pub(super) fn process_name(&self, what: &str) -> String {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        format!("{number:03}-{what}")
    }
}
