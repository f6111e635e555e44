//! Checked settings: what the node runs with. Nothing here can be wrong any more.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidings_engine::{Seed, Tuning};

/// Everything that `tidings run` needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node.
    pub node: NodeSettings,
    /// Path of the clients' socket.
    pub socket: PathBuf,
    /// Names, secrets and rights of clients.
    pub clients_file: Option<PathBuf>,
    /// How long a named client's subscriptions outlive it.
    pub client_grace: Duration,
    /// The shard that serves all clients; `None`: that of the first overlay that each uses.
    pub client_shard: Option<usize>,
    /// Overlays to run, at least one.
    pub overlays: Vec<OverlaySettings>,
}

/// The node itself.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Label.
    pub name: String,
    /// Address and port to bind.
    pub bind: SocketAddr,
    /// Addresses that others shall use; empty: found out.
    pub advertise: Vec<SocketAddr>,
    /// Where state lives.
    pub data_dir: PathBuf,
    /// What the node is tuned for.
    pub tuning: Tuning,
    /// Number of shards; `None`: by the tuning and the number of cores.
    pub shards: Option<usize>,
    /// Polling before parking.
    pub poll: Poll,
    /// Rack or cell.
    pub rack: String,
    /// Timing of failure detection.
    pub profile: Profile,
    /// Tags as `key=value` lines.
    pub metadata: Vec<u8>,
}

/// Polling of the sockets before a shard parks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// As tuning and machine suggest.
    Default,
    /// Never.
    Off,
    /// While it pays.
    Adaptive,
    /// For this long after activity.
    For(Duration),
}

/// Timing of failure detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// One data centre.
    Lan,
    /// Wide-area links.
    Wan,
    /// One machine.
    Local,
}

/// Where an overlay's keyring is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// In this file.
    File(PathBuf),
    /// In this file, which is made with a fresh key if it is missing.
    Generated(PathBuf),
}

impl Key {
    /// The file.
    pub fn path(&self) -> &PathBuf {
        match self {
            Key::File(path) | Key::Generated(path) => path,
        }
    }
}

/// One overlay.
#[derive(Clone, Debug)]
pub struct OverlaySettings {
    /// Its name.
    pub name: String,
    /// Its keyring.
    pub key: Key,
    /// Where to join.
    pub join: Vec<Seed>,
    /// Attempts until publishers give up; 0 = never.
    pub attempts: u32,
    /// Time between two attempts.
    pub every: Duration,
    /// Largest message in bytes.
    pub max_message: usize,
    /// Largest datagram that paths are probed for, in bytes.
    pub max_datagram: usize,
    /// Bound of the store in bytes.
    pub retain: usize,
    /// How long messages wait for a dead node.
    pub park_max: Duration,
    /// The shard to run on; `None`: the one with the fewest overlays.
    pub shard: Option<usize>,
}

impl OverlaySettings {
    /// Where it joins, as one text.
    pub fn join_text(&self) -> String {
        let seeds: Vec<String> = self.join.iter().map(Seed::to_string).collect();
        seeds.join(" ")
    }
}
