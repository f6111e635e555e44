//! One overlay on one node: everything that the protocol knows, driven from outside.
//!
//! The owner feeds datagrams, commands and the time in; the core answers through [`Outlet`] and by the datagrams that
//! [`Core::flush`] plans. It reads no clock, opens no socket, draws no entropy of its own. Same inputs and seed, same bytes.

mod batch;
mod command;
mod dispatch;
mod farewell;
mod flush;
mod grace;
mod health;
mod keys;
mod policy;
mod roster;
mod streams;
mod subscriptions;
mod sync;
mod trace;

pub use batch::Batch;
pub use flush::Transmit;
pub use health::Health;
pub use keys::KeyUse;
pub use roster::{Member, PeerStats};
pub use subscriptions::{Standing, Subscription};
pub use sync::SyncStage;
pub use trace::{Trace, TraceNode, TraceWay};

use tidings_wire::{Keyring, MAX_DATAGRAM_SIZE, MIN_DATAGRAM_SIZE};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::CoreConfig;
use crate::event::Outlet;
use crate::links::{Env, Links, Local};
use crate::members::{Ctx, Members, Portrait};
use crate::peer::{PeerIx, Peers};
use crate::publish::Publish;
use crate::receive::Receive;
use crate::rng::Rng;
use crate::tables::Tables;
use crate::tx::Tx;
use farewell::Farewell;
use grace::Grace;
use streams::Streams;
use sync::Sync;

/// Datagrams refused, by the reason's counter label; and other counts that belong to no part.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    counts: std::collections::BTreeMap<&'static str, u64>,
}

impl Refusals {
    pub(crate) fn count(&mut self, label: &'static str) {
        *self.counts.entry(label).or_default() += 1;
    }

    /// Label and count of each reason that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(label, count)| (*label, *count))
    }

    /// The count of one label.
    pub fn get(&self, label: &str) -> u64 {
        self.counts.get(label).copied().unwrap_or(0)
    }
}

/// The protocol of one overlay on one node.
pub struct Core {
    config: CoreConfig,
    keyring: Keyring,
    rng: Rng,
    // Makes the ids of unnamed subscriptions differ from boot to boot.
    salt: u64,
    peers: Peers,
    links: Links,
    members: Members,
    tables: Tables,
    publish: Publish,
    receive: Receive,
    streams: Streams,
    sync: Sync,
    grace: Grace,
    tx: Tx,
    // Peers with a link, while a flush goes over them.
    owing: Vec<PeerIx>,
    farewell: Option<Farewell>,
    // The generation that the owner was told to persist.
    told_generation: Option<u64>,
    refusals: Refusals,
    // When the owner was last told of each kind of foreigner.
    foreign_told: std::collections::BTreeMap<&'static str, u64>,
    // A message that could not be written straight to where it goes.
    draft: Vec<u8>,
}

impl Core {
    /// A core that has joined nothing yet. `seed` must be unpredictable in production: nonces and sessions are drawn from it.
    pub fn new(mut config: CoreConfig, keyring: Keyring, now: u64, seed: [u8; 32]) -> Core {
        config.policy = config.policy.bounded();
        let config_generation = config.generation;
        let mut rng = Rng::from_seed(seed);
        let salt = rng.next_u64();
        let steer = tidings_wire::steer(keyring.overlay(), 0);
        let peers = Peers::new(xxh3_64(&seed));
        let mut publish = Publish::new(&config, keyring.primary_slot(), steer);
        publish.add_local(now);
        let mut receive = Receive::default();
        receive.on_session(PeerIx::LOCAL, config.node, config.boot);
        let (local, primary) = (local(&config, steer), keyring.primary_slot());
        let links = Links::new(now, local, primary, &mut rng);
        let mut members = Members::new(
            now,
            portrait(&config, &keyring),
            config.generation,
            config.policy.profile,
            &mut rng,
        );
        members.set_seeds(now, &config.seeds);
        members.set_cached(&config.cached);
        let streams = Streams::new(u64::from(config.rcvbuf));
        let sync = Sync::new(
            now,
            config.joins
                || config.discovers
                || !config.seeds.is_empty()
                || !config.cached.is_empty(),
        );
        let tables = Tables::new(config.policy.redelivery);
        let grace = Grace::new(config.policy.client_grace);
        Core {
            config,
            keyring,
            rng,
            salt,
            peers,
            links,
            members,
            tables,
            publish,
            receive,
            streams,
            sync,
            grace,
            tx: Tx::default(),
            owing: Vec::new(),
            farewell: None,
            told_generation: config_generation,
            refusals: Refusals::default(),
            foreign_told: Default::default(),
            draft: Vec::new(),
        }
    }

    /// Draws from another seed from now on; as unpredictable in production as the first. Tests let two nodes draw the same.
    pub fn reseed(&mut self, seed: [u8; 32]) {
        self.rng = Rng::from_seed(seed);
    }

    // What members work with.
    fn ctx(&mut self, now: u64) -> (Ctx<'_>, &mut Members) {
        let Self {
            links,
            members,
            rng,
            peers,
            ..
        } = self;
        (
            Ctx {
                now,
                peers,
                links,
                rng,
            },
            members,
        )
    }

    /// Whether more receive slots should be granted.
    pub fn wants_slots(&self) -> bool {
        self.links.wants_slots()
    }

    /// Grants the 256 receive slots of a block: the 12 high bits of the 20-bit slot in PAIR and BULK headers. A core without
    /// slots opens no link.
    pub fn grant_slots(&mut self, block: u16) {
        self.links.grant_slots(block);
    }

    /// What it seals with now; every keyring has a primary key.
    pub fn suite(&self) -> Option<tidings_wire::Suite> {
        self.keyring.suite(self.keyring.primary_slot())
    }

    /// Who this node is in the overlay.
    pub fn config(&self) -> &CoreConfig {
        &self.config
    }
}

fn local(config: &CoreConfig, steer: u8) -> Local {
    Local {
        id: config.node,
        boot: config.boot,
        generation: config.generation,
        steer: config.steer,
        hello_steer: steer,
        rcvbuf: config.rcvbuf,
        caps: 0,
        addrs: config.addresses.iter().map(|addr| (*addr).into()).collect(),
        boot_tag: config.boot_tag,
        datagram_min: datagram_min(config),
        datagram_max: config.policy.max_datagram,
    }
}

// Catch-up and control are made for 1,200 bytes; no datagram is larger than UDP's largest.
fn datagram_min(config: &CoreConfig) -> usize {
    config
        .datagram_size
        .clamp(MIN_DATAGRAM_SIZE, MAX_DATAGRAM_SIZE)
        & !7
}

fn portrait(config: &CoreConfig, keyring: &Keyring) -> Portrait {
    Portrait {
        id: config.node,
        boot: config.boot,
        name: config.name.clone(),
        rack: config.rack.clone(),
        addrs: config.addresses.clone(),
        metadata: config.metadata.clone(),
        app_version: config.app_version,
        keys: keyring.slots(),
        primary: keyring.primary_slot(),
        table: 0,
    }
}
