//! What the user wrote, before it is checked: each value with its place, nothing filled in.

use super::problem::{Given, Origin};

/// All that can be given.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// `[node]`.
    pub node: RawNode,
    /// `[client]`.
    pub client: RawClient,
    /// `[http]`.
    pub http: RawHttp,
    /// `[discovery]`.
    pub discovery: RawDiscovery,
    /// `[influxdb]`.
    pub influx: RawInflux,
    /// `[[overlay]]`, in order.
    pub overlays: Vec<RawOverlay>,
    /// It was said that there are none: `overlay = []`.
    pub no_overlay: bool,
}

/// `[node]`.
#[derive(Clone, Debug, Default)]
pub struct RawNode {
    /// Label of the node.
    pub name: Option<Given<String>>,
    /// Address and port to bind.
    pub bind: Option<Given<String>>,
    /// Addresses that others shall use.
    pub advertise: Option<Given<Vec<String>>>,
    /// Where state lives.
    pub data_dir: Option<Given<String>>,
    /// What the node is tuned for.
    pub tuning: Option<Given<String>>,
    /// Number of shards.
    pub shards: Option<Given<i64>>,
    /// Polling before parking.
    pub poll: Option<Given<String>>,
    /// Rack or cell.
    pub rack: Option<Given<String>>,
    /// Timing of failure detection.
    pub profile: Option<Given<String>>,
    /// Tags: key and value.
    pub metadata: Option<Given<Vec<(String, String)>>>,
    /// What SIGTERM asks for.
    pub on_terminate: Option<Given<String>>,
    /// How long the node may wait for others before it is ready.
    pub ready_timeout: Option<Given<String>>,
    /// What is logged.
    pub log: Option<Given<String>>,
}

/// `[client]`.
#[derive(Clone, Debug, Default)]
pub struct RawClient {
    /// Path of the socket.
    pub socket: Option<Given<String>>,
    /// Names, secrets and rights of clients.
    pub clients_file: Option<Given<String>>,
    /// How long a named client's subscriptions outlive it.
    pub grace: Option<Given<String>>,
    /// The shard that serves all clients.
    pub shard: Option<Given<i64>>,
}

/// `[http]`.
#[derive(Clone, Debug, Default)]
pub struct RawHttp {
    /// Address and port, or "off".
    pub bind: Option<Given<String>>,
    /// "on" or "off".
    pub tls: Option<Given<String>>,
    /// Certificate and what leads to its issuer, PEM.
    pub cert_file: Option<Given<String>>,
    /// Its private key, PEM.
    pub key_file: Option<Given<String>>,
    /// Path of the Unix socket.
    pub socket: Option<Given<String>>,
    /// Whether this machine reads the metrics without a password.
    pub metrics_open: Option<Given<bool>>,
}

/// `[discovery]`.
#[derive(Clone, Debug, Default)]
pub struct RawDiscovery {
    /// UDP port of the beacons.
    pub port: Option<Given<i64>>,
    /// IPv4 group.
    pub ipv4_group: Option<Given<String>>,
    /// IPv6 group.
    pub ipv6_group: Option<Given<String>>,
    /// Time between two beacons.
    pub every: Option<Given<String>>,
    /// Interfaces to use.
    pub interfaces: Option<Given<Vec<String>>>,
}

/// `[influxdb]`.
#[derive(Clone, Debug, Default)]
pub struct RawInflux {
    /// Where it begins; `None` if it is not there.
    pub place: Option<Origin>,
    /// Scheme, host, port and what is before all paths.
    pub url: Option<Given<String>>,
    /// Database of version 1.
    pub database: Option<Given<String>>,
    /// User of version 1.
    pub user: Option<Given<String>>,
    /// File with that user's password.
    pub password_file: Option<Given<String>>,
    /// Organisation of version 2.
    pub org: Option<Given<String>>,
    /// Bucket of version 2.
    pub bucket: Option<Given<String>>,
    /// File with the token of version 2.
    pub token_file: Option<Given<String>>,
    /// Time between two snapshots.
    pub every: Option<Given<String>>,
    /// Room for points that wait.
    pub queue: Option<Given<String>>,
    /// Authorities to trust, PEM.
    pub ca_file: Option<Given<String>>,
}

/// One `[[overlay]]`.
#[derive(Clone, Debug, Default)]
pub struct RawOverlay {
    /// Where it begins; `None` if only flags speak of it.
    pub place: Option<Origin>,
    /// It was made while the node ran, and its keyring is kept in the node's state.
    pub is_kept: bool,
    /// Its name.
    pub name: Option<Given<String>>,
    /// Its keyring.
    pub key_file: Option<Given<String>>,
    /// Addresses to join through.
    pub join: Option<Given<Vec<String>>>,
    /// Whether to look for members on the network segment.
    pub discovery: Option<Given<String>>,
    /// When publishers give up.
    pub redelivery: Option<Given<RawRedelivery>>,
    /// Largest message.
    pub max_message: Option<Given<String>>,
    /// Largest datagram.
    pub max_datagram: Option<Given<String>>,
    /// Bound of the store.
    pub retain: Option<Given<String>>,
    /// How long messages wait for a dead node.
    pub park_max: Option<Given<String>>,
    /// How long a named client's subscriptions outlive it.
    pub client_grace: Option<Given<String>>,
    /// Timing of failure detection.
    pub profile: Option<Given<String>>,
    /// The shard to run on.
    pub shard: Option<Given<i64>>,
}

/// `redelivery = { attempts, every }`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawRedelivery {
    /// Attempts; 0 = without end.
    pub attempts: Option<Given<i64>>,
    /// Time between two.
    pub every: Option<Given<String>>,
}
