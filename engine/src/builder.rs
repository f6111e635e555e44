//! How a node is set up: raw settings in, a running [`Engine`](crate::Engine) out. Everything is checked here, once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidings_wire::OverlayId;
use tidings_wire::limits::{MAX_ADDRESSES, MAX_METADATA, MAX_NAME};

use crate::discovery::DiscoverySettings;
use crate::engine::Engine;
use crate::error::StartError;
use crate::limits::SHARDS_MAX;
use crate::resolver::Lookup;
use crate::shard::load::LoadHandler;
use crate::shard::notice::Notice;
use crate::tuning::Tuning;
use crate::wait::polling::Poll;

/// Called on a thread of the engine's own, never on a shard.
pub(crate) type NoticeHandler = Box<dyn Fn(OverlayId, &Notice) + Send + Sync>;

/// Settings of a node; see [`crate::Engine::builder`].
pub struct EngineBuilder {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) bind: SocketAddr,
    pub(crate) advertise: Vec<SocketAddr>,
    pub(crate) name: String,
    pub(crate) rack: String,
    pub(crate) metadata: Vec<u8>,
    pub(crate) app_version: u32,
    pub(crate) tuning: Tuning,
    pub(crate) shards: Option<usize>,
    pub(crate) cpus: Vec<usize>,
    pub(crate) poll: Option<Poll>,
    pub(crate) force_epoll: bool,
    pub(crate) on_notice: Option<NoticeHandler>,
    pub(crate) on_load: Option<LoadHandler>,
    pub(crate) discovery: DiscoverySettings,
    /// How join names are resolved, if not by the system.
    pub(crate) lookup: Option<Lookup>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            data_dir: None,
            bind: SocketAddr::from(([0, 0, 0, 0], crate::limits::PORT_DEFAULT)),
            advertise: Vec::new(),
            name: String::new(),
            rack: String::new(),
            metadata: Vec::new(),
            app_version: 0,
            tuning: Tuning::default(),
            shards: None,
            cpus: Vec::new(),
            poll: None,
            force_epoll: false,
            on_notice: None,
            on_load: None,
            discovery: DiscoverySettings::default(),
            lookup: None,
        }
    }
}

impl EngineBuilder {
    /// Where the node keeps its identity. Without one it is a new node at each start.
    pub fn data_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.data_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Address and port of the node's one UDP port; port 0 takes a free one, `[::]` serves IPv4 as well.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind = addr;
        self
    }

    /// Addresses that peers shall use, best first. Without any: the bound one, or all of this host's.
    pub fn advertise(mut self, addrs: impl Into<Vec<SocketAddr>>) -> Self {
        self.advertise = addrs.into();
        self
    }

    /// Label of the node, shown to people; need not be unique.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Rack or cell of the node.
    pub fn rack(mut self, rack: impl Into<String>) -> Self {
        self.rack = rack.into();
        self
    }

    /// Tags in the member record: `key=value` lines, at most 512 bytes.
    pub fn metadata(mut self, metadata: impl Into<Vec<u8>>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// How nodes of one network segment find one another, in the overlays for which that is turned on.
    pub fn discovery(mut self, discovery: DiscoverySettings) -> Self {
        self.discovery = discovery;
        self
    }

    /// Version of the application in the member record.
    pub fn app_version(mut self, version: u32) -> Self {
        self.app_version = version;
        self
    }

    /// What the node is tuned for: the defaults of shards and polling, and whether buffers shrink.
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// Number of shards, 1 to 16; by default as [`Tuning`] says.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// CPUs to pin the shards to, in order; those beyond the list run where they like.
    pub fn cpus(mut self, cpus: impl Into<Vec<usize>>) -> Self {
        self.cpus = cpus.into();
        self
    }

    /// Polling before sleep; by default as [`Tuning`] says.
    pub fn poll(mut self, poll: Poll) -> Self {
        self.poll = Some(poll);
        self
    }

    /// Waits with epoll without asking for io_uring.
    pub fn without_io_uring(mut self) -> Self {
        self.force_epoll = true;
        self
    }

    /// What to do when the node has something to say: see [`Notice`]. It has been logged already.
    pub fn on_notice(
        mut self,
        handler: impl Fn(OverlayId, &Notice) + Send + Sync + 'static,
    ) -> Self {
        self.on_notice = Some(Box::new(handler));
        self
    }

    /// What to do when the node begins to move more than 4 MiB/s over the network (`true`), and when it no longer does. Called on
    /// a shard, which waits for it.
    pub fn on_load(mut self, handler: impl Fn(bool) + Send + Sync + 'static) -> Self {
        self.on_load = Some(Box::new(handler));
        self
    }

    /// Checks the settings, binds the port and starts the shards. No overlay runs yet.
    pub fn start(self) -> Result<Engine, StartError> {
        self.check()?;
        Engine::start(self)
    }

    fn check(&self) -> Result<(), StartError> {
        let bad = |what| Err(StartError::Setting(what));
        if self.name.len() > MAX_NAME || self.rack.len() > MAX_NAME {
            return bad("name and rack have at most 64 bytes");
        }
        if let Err(what) = self.discovery.check() {
            return bad(what);
        }
        if self.metadata.len() > MAX_METADATA {
            return bad("metadata has at most 512 bytes");
        }
        if self.advertise.len() > MAX_ADDRESSES
            || self.advertise.iter().any(|addr| addr.ip().is_unspecified())
        {
            return bad("at most 8 addresses can be advertised, each of a host");
        }
        if self
            .shards
            .is_some_and(|shards| shards == 0 || shards > SHARDS_MAX)
        {
            return bad("a node has 1 to 16 shards");
        }
        Ok(())
    }

    /// Shards to run on `cores` cores.
    pub(crate) fn shard_count(&self, cores: usize) -> usize {
        self.shards.unwrap_or_else(|| self.tuning.shards(cores))
    }

    pub(crate) fn poll_on(&self, cores: usize) -> Poll {
        self.poll.unwrap_or_else(|| self.tuning.poll(cores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn defaults_follow_the_number_of_cores() {
        let builder = EngineBuilder::default();
        for (cores, shards) in [(1, 1), (2, 1), (4, 2), (16, 8), (64, 8)] {
            assert_eq!(builder.shard_count(cores), shards);
        }
        assert_eq!(
            (builder.poll_on(2), builder.poll_on(4)),
            (Poll::Off, Poll::Adaptive)
        );
    }

    #[test]
    fn tunings_choose_what_is_not_said() {
        let tuned = |tuning| EngineBuilder::default().tuning(tuning);
        let low = tuned(Tuning::LowPower);
        assert_eq!((low.shard_count(16), low.poll_on(16)), (1, Poll::Off));
        let fast = tuned(Tuning::Latency);
        assert_eq!(fast.shard_count(16), 8);
        assert_eq!(fast.poll_on(4), Poll::For(Duration::from_micros(200)));
        assert_eq!(fast.poll_on(2), Poll::Adaptive);
        assert!(low.tuning.shrinks() && !fast.tuning.shrinks());
        let said = tuned(Tuning::LowPower).shards(3).poll(Poll::Adaptive);
        assert_eq!(
            (said.shard_count(16), said.poll_on(16)),
            (3, Poll::Adaptive)
        );
    }

    #[test]
    fn settings_that_cannot_be_are_refused_before_anything_starts() {
        let refused =
            |builder: EngineBuilder| matches!(builder.start(), Err(StartError::Setting(_)));
        assert!(refused(EngineBuilder::default().shards(0)));
        assert!(refused(EngineBuilder::default().name("x".repeat(65))));
        assert!(refused(EngineBuilder::default().metadata(vec![0; 513])));
        assert!(refused(
            EngineBuilder::default().advertise(["0.0.0.0:1".parse().unwrap()])
        ));
    }
}
