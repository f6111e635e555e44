//! What one core is told at its start: who it is, its overlay's policy, its bounds. Checked by the owner, never changed here.

use std::net::SocketAddr;

use tidings_wire::{Boot, NodeId};

use crate::limits;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Everything that a [`Core`](crate::Core) needs to know about itself. The overlay is the keyring's.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// This node's persistent id.
    pub node: NodeId,
    /// 128 random bits of this start of the node, never persisted.
    pub boot: Boot,
    /// Label of the node: shown to people, not unique by itself.
    pub name: String,
    /// Rack or cell of the node, empty if none. Carried in the member record, not acted upon.
    pub rack: String,
    /// Opaque application metadata (tags), at most 512 bytes.
    pub metadata: Vec<u8>,
    /// Application version carried in the member record.
    pub app_version: u32,
    /// Addresses that peers shall use, best first; at most 8.
    pub addresses: Vec<SocketAddr>,
    /// 12 random bits of this boot, in every receiver index: see the control socket's filter.
    pub boot_tag: u16,
    /// Steer byte that this node asks of its peers for PAIR and BULK datagrams.
    pub steer: u8,
    /// Persisted generation of this node in this overlay, already raised for this boot; `None` if the disk was lost.
    pub generation: Option<u64>,
    /// Configured addresses to join through.
    pub seeds: Vec<SocketAddr>,
    /// There is somebody to join, though no address of theirs may be known yet.
    pub joins: bool,
    /// Beacons will tell of whoever is on the network segment, if anybody is: see [`Core::on_found`](crate::Core::on_found).
    pub discovers: bool,
    /// Addresses of members of an earlier life, tried when no seed answers.
    pub cached: Vec<SocketAddr>,
    /// Bytes of the data socket's receive buffer that one peer may fill.
    pub rcvbuf: u32,
    /// Bytes of UDP payload that every path is taken to carry without a probe: at least 1,200, rounded down to a multiple of 8.
    pub datagram_size: usize,
    /// What may change while the overlay runs.
    pub policy: Policy,
}

impl CoreConfig {
    /// The defaults of every policy, for a node with the given identity.
    pub fn new(node: NodeId, boot: Boot, name: &str) -> Self {
        CoreConfig {
            node,
            boot,
            name: name.to_owned(),
            rack: String::new(),
            metadata: Vec::new(),
            app_version: 0,
            addresses: Vec::new(),
            boot_tag: u16::from_le_bytes([boot.0[0], boot.0[1]]) & 0x0fff,
            steer: 0,
            generation: None,
            seeds: Vec::new(),
            joins: false,
            discovers: false,
            cached: Vec::new(),
            rcvbuf: limits::RCVBUF_DEFAULT,
            datagram_size: tidings_wire::MIN_DATAGRAM_SIZE,
            policy: Policy::default(),
        }
    }
}

/// What of an overlay may change while it runs: see [`Core::set_policy`](crate::Core::set_policy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Timing of failure detection.
    pub profile: Profile,
    /// Largest message in bytes that `publish` takes; at most 4 MiB.
    pub max_message: usize,
    /// The most in bytes of UDP payload that paths are probed for (RFC 8899), up to 64,992; one that does not carry so much is used
    /// for what it carries. 1,200 or less: no probes.
    pub max_datagram: usize,
    /// Bound of the message store in bytes; at least two of the largest messages that were ever allowed.
    pub retain: usize,
    /// When publishers give up on subscriptions that do not say so themselves.
    pub redelivery: Redelivery,
    /// How long an indefinite message waits for a dead node, in ns.
    pub park_max: u64,
    /// How long a named client's subscriptions outlive it, in ns.
    pub client_grace: u64,
}

impl Policy {
    /// As it is kept to: under the hard cap of messages.
    pub fn bounded(mut self) -> Self {
        self.max_message = self.max_message.min(limits::MAX_MESSAGE_CAP);
        self
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            profile: Profile::LAN,
            max_message: limits::MAX_MESSAGE_DEFAULT,
            max_datagram: limits::DATAGRAM_MAX,
            retain: limits::RETAIN_DEFAULT,
            redelivery: Redelivery::default(),
            park_max: 24 * 3600 * SECOND,
            client_grace: 600 * SECOND,
        }
    }
}

/// Timing of failure detection; design section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// SWIM protocol period in ns.
    pub period: u64,
    /// Shortest and longest probe time-out in ns; between them it follows the round-trip time.
    pub probe_timeout: (u64, u64),
    /// Shortest suspicion in ns, at any number of members.
    pub suspicion_min: u64,
}

impl Profile {
    /// Hosts of one data centre (default).
    pub const LAN: Profile = Profile {
        period: 300 * MS,
        probe_timeout: (50 * MS, 500 * MS),
        suspicion_min: 4 * SECOND,
    };
    /// Hosts joined by wide-area links.
    pub const WAN: Profile = Profile {
        period: 1_500 * MS,
        probe_timeout: (200 * MS, 3 * SECOND),
        suspicion_min: 12 * SECOND,
    };
    /// Nodes of one machine.
    pub const LOCAL: Profile = Profile {
        period: 200 * MS,
        probe_timeout: (20 * MS, 200 * MS),
        suspicion_min: 4 * SECOND,
    };
}

/// When the publisher gives an unacknowledged message up; design section 7.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redelivery {
    /// Periods without delivery acknowledgement after which the message fails; 0 = never (indefinite).
    pub attempts: u32,
    /// Length of one period in milliseconds.
    pub every_ms: u32,
}

impl Default for Redelivery {
    fn default() -> Self {
        Redelivery {
            attempts: 0,
            every_ms: 5_000,
        }
    }
}

pub use tidings_wire::digest::{AckMode, SlowPolicy};

/// A wish to subscribe, made by a local client or the embedding program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubSpec {
    /// Topic, prefix pattern or `*`.
    pub pattern: String,
    /// Name of the client, empty for an unnamed one. A name makes the subscription survive its client and this node.
    pub client: String,
    /// Meaning of an acknowledgement.
    pub ack: AckMode,
    /// Increasing sequence numbers per publisher, holes reported.
    pub ordered: bool,
    /// Policy for a slow client.
    pub policy: SlowPolicy,
    /// When publishers give up; `None`: as the overlay's policy says, now and when it changes.
    pub redelivery: Option<Redelivery>,
}

impl SubSpec {
    /// An unnamed, unordered subscription with every default.
    pub fn new(pattern: &str) -> Self {
        SubSpec {
            pattern: pattern.to_owned(),
            client: String::new(),
            ack: AckMode::Client,
            ordered: false,
            policy: SlowPolicy::Detach,
            redelivery: None,
        }
    }
}
