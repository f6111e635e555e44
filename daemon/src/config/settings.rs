//! Checked settings: what the node runs with. Nothing here can be wrong any more.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidings_engine::{DiscoverySettings, Seed, Tuning};

/// Everything that `tidings run` needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node.
    pub node: NodeSettings,
    /// Path of the clients' socket.
    pub socket: PathBuf,
    /// Names, secrets and rights of clients.
    pub clients_file: Option<PathBuf>,
    /// How long a named client's subscriptions outlive it, in overlays that do not say so themselves.
    pub client_grace: Duration,
    /// The shard that serves all clients; `None`: that of the first overlay that each uses.
    pub client_shard: Option<usize>,
    /// The management service.
    pub http: HttpSettings,
    /// How nodes of one network segment find one another.
    pub discovery: DiscoverySettings,
    /// Where statistics are sent; `None`: nowhere.
    pub influx: Option<InfluxSettings>,
    /// Overlays to run.
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
    /// What is logged: a level, or levels by crate.
    pub log: String,
    /// What SIGTERM asks for.
    pub on_terminate: OnTerminate,
    /// How long it may wait for others before it says that it is ready.
    pub ready_timeout: Duration,
}

/// How a node ends by SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTerminate {
    /// It leaves its overlays: the others hear at once that it is gone for good.
    #[default]
    Leave,
    /// It ends without a word, because it is started again soon: the others wait for it.
    Stop,
}

impl OnTerminate {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Stop => "stop",
        }
    }
}

/// The management service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where it listens besides its Unix socket.
    pub bind: HttpBind,
    /// How connections are sealed there.
    pub tls: HttpTls,
    /// Path of its Unix socket, without TLS.
    pub socket: PathBuf,
    /// Whether this machine reads the metrics without a password.
    pub metrics_open: bool,
}

/// Where the management service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpBind {
    /// 127.0.0.1 and the port above that of the node.
    Default,
    /// There.
    At(SocketAddr),
    /// At its Unix socket only.
    Off,
}

/// TLS of the management service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpTls {
    /// Under a certificate that the node makes for itself.
    SelfMade,
    /// Under this certificate.
    Files {
        /// PEM, with what leads to its issuer.
        cert: PathBuf,
        /// PEM.
        key: PathBuf,
    },
    /// Without: nothing but this machine can reach it.
    Off,
}

/// InfluxDB, or what is written to like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfluxSettings {
    /// Whether by TLS.
    pub is_sealed: bool,
    /// Host and port as they were written.
    pub authority: String,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What comes before all paths: nothing, or beginning with a slash.
    pub prefix: String,
    /// Where in it.
    pub target: InfluxTarget,
    /// Time between two snapshots.
    pub every: Duration,
    /// Bytes of points that may wait.
    pub queue: usize,
    /// Authorities to trust; `None`: the system's.
    pub ca_file: Option<PathBuf>,
}

/// Where in InfluxDB, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InfluxTarget {
    /// Version 1.
    V1 {
        /// Its database.
        database: String,
        /// A user and the file of the password.
        login: Option<(String, PathBuf)>,
    },
    /// Version 2.
    V2 {
        /// The organisation.
        org: String,
        /// Its bucket.
        bucket: String,
        /// The file of the token.
        token_file: PathBuf,
    },
}

impl HttpBind {
    /// The address to bind for a node that was to have `wanted` as its UDP address, and has `port`. A node that takes any
    /// free port has its management at any free port, too, so that nodes never meet; there is none above the last one.
    pub fn address(self, wanted: SocketAddr, port: u16) -> Option<SocketAddr> {
        let above = match wanted.port() {
            0 => 0,
            _ => port.checked_add(1).unwrap_or(0),
        };
        match self {
            Self::Default => Some(SocketAddr::from(([127, 0, 0, 1], above))),
            Self::At(address) => Some(address),
            Self::Off => None,
        }
    }
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

impl Profile {
    /// As the file has it.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Lan => "lan",
            Profile::Wan => "wan",
            Profile::Local => "local",
        }
    }
}

/// How members are found of whom nobody was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// They are not.
    #[default]
    Off,
    /// By beacons on the network segment.
    Lan,
}

impl Discovery {
    /// As the file has it.
    pub fn name(self) -> &'static str {
        match self {
            Discovery::Off => "off",
            Discovery::Lan => "lan",
        }
    }
}

/// Where an overlay's keyring is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// In this file.
    File(PathBuf),
    /// In this file, which is made with a fresh key if it is missing.
    Generated(PathBuf),
    /// In the node's state: the overlay was made while it ran.
    Kept,
}

impl Key {
    /// The file, if it is in one of its own.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Key::File(path) | Key::Generated(path) => Some(path),
            Key::Kept => None,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path() {
            Some(path) => path.display().fmt(f),
            None => f.write_str("in the node's state"),
        }
    }
}

/// One overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlaySettings {
    /// Its name.
    pub name: String,
    /// Its keyring.
    pub key: Key,
    /// Where to join.
    pub join: Vec<Seed>,
    /// Whether it looks for members on the network segment.
    pub discovery: Discovery,
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
    /// How long a named client's subscriptions outlive it.
    pub client_grace: Duration,
    /// Timing of failure detection.
    pub profile: Profile,
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
