//! What the user wrote, before it is checked: each value with its place, nothing filled in.

use super::problem::{Given, Origin};

/// All that can be given.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// `[node]`.
    pub node: RawNode,
    /// `[client]`.
    pub client: RawClient,
    /// `[[overlay]]`, in order.
    pub overlays: Vec<RawOverlay>,
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

/// One `[[overlay]]`.
#[derive(Clone, Debug, Default)]
pub struct RawOverlay {
    /// Where it begins; `None` if only flags speak of it.
    pub place: Option<Origin>,
    /// Its name.
    pub name: Option<Given<String>>,
    /// Its keyring.
    pub key_file: Option<Given<String>>,
    /// Addresses to join through.
    pub join: Option<Given<Vec<String>>>,
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
