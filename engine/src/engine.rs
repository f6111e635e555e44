//! A running node: its shards, its overlays, and the control thread's side of everything. All calls may come from any
//! thread; those that need a shard's answer wait for it, none of them is on the path of a message.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidings_protocol::{Core, CoreConfig, Health, KeyUse, Member, Subscription, Trace};
use tidings_wire::{Boot, Keyring, NodeId, OverlayId, Suite};

use crate::builder::EngineBuilder;
use crate::clock;
use crate::discovery::{Discovery, DiscoverySettings};
use crate::entropy;
use crate::error::{EngineError, StartError};
use crate::join::Seed;
use crate::keeper;
use crate::limits::{COMMAND_WAIT, LEAVE_NS, RESOLVE_FIRST, SECOND_NS, SUBSCRIPTIONS_MAX};
use crate::overlay_config::{OverlayConfig, OverlayEntry};
use crate::placement::{Map, Place, Placement};
use crate::queue::mesh::mesh;
use crate::queue::rcu::Rcu;
use crate::resolver::{self, Lookup, Resolver};
use crate::routes::{OverlayShared, Routes};
use crate::shard::door::{Command, Door, Errand};
use crate::shard::load::Load;
use crate::shard::notice::Notices;
use crate::shard::overlay::ShardOverlay;
use crate::shard::{Shard, ShardParts, WaitingCell};
use crate::stats::{EngineStats, OverlayStats, ShardStats};
use crate::storage::Storage;
use crate::supervise::supervise;
use crate::sys::eventfd::EventFd;
use crate::sys::group::{SocketGroup, Steering};
use crate::sys::interfaces;
use crate::wait::{self, ShardParker};
use crate::whereabouts::Whereabouts;

/// One running node.
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the engine's handles and its own threads share.
pub(crate) struct Inner {
    pub(crate) node: NodeId,
    pub(crate) boot: Boot,
    local: SocketAddr,
    advertise: Vec<SocketAddr>,
    builder: EngineBuilder,
    pub(crate) doors: Arc<[Arc<Door>]>,
    waiting: Vec<Arc<WaitingCell>>,
    map: Arc<Map>,
    pub(crate) storage: Storage,
    pub(crate) notices: Arc<Notices>,
    /// Overlays that run, and the right to change them.
    overlays: Mutex<Overlays>,
    /// Held for writing while an overlay moves to another shard.
    pub(crate) moving: RwLock<()>,
    pub(crate) stopped: AtomicBool,
    /// See [`Engine::refuse_publishers`].
    draining: Arc<AtomicBool>,
    /// Panics of threads that were started again.
    pub(crate) panics: AtomicU64,
    pub(crate) discovery: Discovery,
    pub(crate) resolver: Sender<resolver::Message>,
}

pub(crate) struct Overlays {
    steering: Steering,
    pub(crate) running: HashMap<OverlayId, Running>,
}

/// One running overlay, on the control side.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) shared: Arc<OverlayShared>,
    pub(crate) seeds: Arc<[Seed]>,
}

impl Engine {
    /// Settings of a new node.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    pub(crate) fn start(mut builder: EngineBuilder) -> Result<Self, StartError> {
        let storage = match &builder.data_dir {
            Some(dir) => Storage::open(dir).map_err(StartError::Storage)?,
            None => Storage::ephemeral(),
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shards = builder.shard_count(cores);
        let boot = Boot(entropy::bytes());
        let map = Arc::new(Map::new(shards));
        let table = map.placement.read(|placement| *placement.table());
        let group = SocketGroup::bind(builder.bind, shards, boot.tag12(), &table)
            .map_err(|error| StartError::Bind(builder.bind, error))?;
        let advertise = match builder.advertise.is_empty() {
            true => reachable(group.local),
            false => builder.advertise.clone(),
        };
        let mut doors = Vec::with_capacity(shards);
        for _ in 0..shards {
            let wake = EventFd::new().map_err(StartError::Shard)?;
            doors.push(Arc::new(Door::new(Arc::new(ShardParker::new(wake)))));
        }
        let on_notice = builder.on_notice.take();
        let load = Arc::new(Load::new(builder.on_load.take()));
        let lookup = builder.lookup.take();
        let (resolver, mail) = channel();
        let inner = Arc::new(Inner {
            node: storage.node(),
            boot,
            local: group.local,
            advertise,
            waiting: (0..shards).map(|_| Arc::default()).collect(),
            doors: doors.into(),
            map,
            storage,
            notices: Arc::new(Notices::new()),
            overlays: Mutex::new(Overlays {
                steering: group.steering,
                running: HashMap::new(),
            }),
            moving: RwLock::default(),
            stopped: AtomicBool::new(false),
            draining: Arc::default(),
            panics: AtomicU64::new(0),
            discovery: Discovery::default(),
            resolver: resolver.clone(),
            builder,
        });
        let engine = Self {
            inner,
            threads: Mutex::new(Vec::new()),
        };
        engine.start_shards(group.shards, cores, &load)?;
        let keeper =
            keeper::start(Arc::clone(&engine.inner), on_notice).map_err(StartError::Shard)?;
        engine.threads().push(keeper);
        let lookup: Lookup = lookup.unwrap_or_else(|| Arc::new(Seed::resolve));
        let mut resolver = Resolver::new(Arc::clone(&engine.inner), lookup, resolver, mail);
        let inner = Arc::clone(&engine.inner);
        let resolver = thread::Builder::new()
            .name("tidings-resolver".into())
            .spawn(move || supervise("resolver", &inner.panics, &inner.stopped, || resolver.run()))
            .map_err(StartError::Shard)?;
        engine.threads().push(resolver);
        Ok(engine)
    }

    fn start_shards(
        &self,
        sockets: Vec<crate::sys::group::ShardSockets>,
        cores: usize,
        load: &Arc<Load>,
    ) -> Result<(), StartError> {
        let inner = &self.inner;
        let ends = mesh(sockets.len());
        let (begun, beginnings) = channel();
        let refusal_told = Arc::new(AtomicBool::new(false));
        for (index, (sockets, mesh)) in sockets.into_iter().zip(ends).enumerate() {
            let parts = ShardParts {
                index,
                boot_tag: inner.boot.tag12(),
                sockets,
                map: Arc::clone(&inner.map),
                mesh,
                doors: Arc::clone(&inner.doors),
                poll: inner.builder.poll_on(cores),
                shrinks: inner.builder.tuning.shrinks(),
                load: Arc::clone(load),
                waiting: Arc::clone(&inner.waiting[index]),
                begun: begun.clone(),
            };
            let cpu = inner.builder.cpus.get(index).copied();
            let force_epoll = inner.builder.force_epoll;
            let told = Arc::clone(&refusal_told);
            let thread = thread::Builder::new()
                .name(format!("tidings-{index}"))
                .spawn(move || wait::run(parts, cpu, force_epoll, &told))
                .map_err(StartError::Shard)?;
            self.threads().push(thread);
        }
        // With this end gone, a shard that ends without a word is heard as such.
        drop(begun);
        for _ in inner.doors.iter() {
            let told = beginnings.recv_timeout(COMMAND_WAIT);
            let silent = |_| StartError::Shard(ErrorKind::TimedOut.into());
            told.map_err(silent)?.map_err(StartError::Shard)?;
        }
        Ok(())
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node's id: the same at each start from the same data directory.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// This start of the node.
    pub fn boot(&self) -> Boot {
        self.inner.boot
    }

    /// The address that the node is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local
    }

    /// The addresses that the node tells its peers.
    pub fn advertised(&self) -> &[SocketAddr] {
        &self.inner.advertise
    }

    /// How this node finds others on its network segments, in overlays for which that is turned on.
    pub fn discovery(&self) -> &DiscoverySettings {
        self.inner.discovery_settings()
    }

    /// Starts an overlay. Returns when its shard runs it; joining goes on by itself. Waits at most 2 s for names to join
    /// through; those that resolve later are used as soon as they do.
    pub fn add_overlay(&self, config: OverlayConfig) -> Result<OverlayId, EngineError> {
        let inner = &self.inner;
        let id = config.id();
        let seeds: Arc<[Seed]> = config.join.clone().into();
        let resolved = resolver::first(&inner.resolver, &seeds, RESOLVE_FIRST);
        let mut overlays = inner.overlays();
        if overlays.running.contains_key(&id) {
            return Err(EngineError::Exists);
        }
        let generation = inner.storage.raise_generation(id)?;
        let cached = inner.storage.peers(id)?;
        let place = inner.place(&mut overlays, |placement| placement.add(id, config.shard))?;
        let place = place.ok_or(EngineError::Exists)?;
        let shared = Arc::new(OverlayShared {
            id,
            name: config.name.clone(),
            node: inner.node,
            boot: inner.boot,
            at: Arc::new(Whereabouts::new(Arc::clone(&inner.doors), place.shard)),
            message_bytes_max: AtomicUsize::new(config.policy.bounded().max_message),
            routes: Rcu::new(Routes::default()),
            closed: AtomicBool::new(false),
            draining: Arc::clone(&inner.draining),
        });
        let mut core = inner.core_config(&config, place);
        (core.generation, core.seeds, core.cached) = (generation, resolved, cached);
        (core.joins, core.discovers) = (!config.join.is_empty(), config.discovery);
        let found_by = config.discovery.then(|| config.keyring.share());
        let found = match found_by {
            Some(ring) => inner.discovery.turn_on(inner, id, ring),
            None => Ok(()),
        };
        let found = found.map_err(EngineError::Discovery);
        let made =
            found.and_then(|()| inner.make_overlay(core, config, place, Arc::clone(&shared)));
        match made {
            Ok(()) => {
                overlays.running.insert(id, Running { shared, seeds });
                // A resolver that is gone means that the node ends.
                let _ = inner.resolver.send(resolver::Message::Started(id));
                Ok(id)
            }
            Err(error) => {
                inner.discovery.turn_off(id);
                inner.displace(&mut overlays, id);
                Err(error)
            }
        }
    }

    /// Leaves an overlay: says farewell, then forgets it. Its publishers and subscribers are closed.
    pub fn remove_overlay(&self, id: OverlayId) -> Result<(), EngineError> {
        self.inner.remove_overlay(id, true)
    }

    /// Forgets what is kept on disk of an overlay that does not run: its generation, and where its members were.
    pub fn forget_overlay(&self, id: OverlayId) -> Result<(), EngineError> {
        let overlays = self.inner.overlays();
        if overlays.running.contains_key(&id) {
            return Err(EngineError::Exists);
        }
        Ok(self.inner.storage.forget(id)?)
    }

    /// The overlays of which something is kept on disk, whether they run or not.
    pub fn kept_overlays(&self) -> Result<Vec<OverlayId>, EngineError> {
        Ok(self.inner.storage.overlays()?)
    }

    /// The cipher that an overlay seals with now.
    pub fn suite(&self, id: OverlayId) -> Result<Suite, EngineError> {
        let suite = self.inner.ask(id, |_, overlay| overlay.core.suite())?;
        suite.ok_or(EngineError::Unknown)
    }

    /// The keyring that an overlay runs with; no key is copied.
    pub fn keyring(&self, id: OverlayId) -> Result<Keyring, EngineError> {
        self.inner
            .ask(id, |_, overlay| overlay.core.keyring().share())
    }

    /// Which keys an overlay has, and which of them something depends on.
    pub fn key_use(&self, id: OverlayId) -> Result<KeyUse, EngineError> {
        self.inner.ask(id, |now, overlay| overlay.core.key_use(now))
    }

    /// Whom an overlay has sessions or streams with, and the slots of the keys that these depend on, one bit each. Who stays at an
    /// old key holds another one in the slot of the new one, or has not changed over yet.
    pub fn key_peers(&self, id: OverlayId) -> Result<Vec<(NodeId, u8)>, EngineError> {
        self.inner
            .ask(id, |now, overlay| overlay.core.key_peers(now))
    }

    /// The overlays that run.
    pub fn overlays(&self) -> Vec<OverlayEntry> {
        let overlays = self.inner.overlays();
        let entry = |running: &Running| OverlayEntry {
            id: running.shared.id,
            name: running.shared.name.clone(),
            shard: running.shared.at.shard(),
        };
        let mut entries: Vec<_> = overlays.running.values().map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// Everybody in an overlay, this node included.
    pub fn members(&self, id: OverlayId) -> Result<Vec<Member>, EngineError> {
        self.inner.ask(id, |_, overlay| overlay.members())
    }

    /// How an overlay is doing. Its shard goes through all members and all that is outstanding: not to be asked several times a second.
    pub fn health(&self, id: OverlayId) -> Result<Health, EngineError> {
        self.inner.ask(id, |now, overlay| overlay.core.health(now))
    }

    /// Subscriptions that are known: this node's, then those of the others, by node and number. Those behind `after`, and at
    /// most `most` and [`SUBSCRIPTIONS_MAX`](crate::limits::SUBSCRIPTIONS_MAX): a shard tells no more in a turn.
    pub fn subscriptions(
        &self,
        id: OverlayId,
        after: Option<(NodeId, u32)>,
        most: usize,
    ) -> Result<Vec<Subscription>, EngineError> {
        let most = most.min(SUBSCRIPTIONS_MAX);
        self.inner.ask(id, move |_, overlay| {
            overlay.core.subscriptions(after, most)
        })
    }

    /// Whether the subscriptions of every member held alive were known once since the overlay had somebody to join. It stays so: of
    /// members that come later, or again after a partition, subscriptions take effect one by one.
    pub fn is_synced(&self, id: OverlayId) -> Result<bool, EngineError> {
        self.inner.ask(id, |_, overlay| overlay.is_synced())
    }

    /// Subscriptions that a message on `topic` would be owed now. Reads the routing table; no shard is asked.
    pub fn owed(&self, id: OverlayId, topic: &str) -> Result<u32, EngineError> {
        Ok(self
            .inner
            .running(id)?
            .shared
            .routes
            .read(|routes| routes.owed(topic)))
    }

    /// Who would get a message on `topic` if it were published here now, and how.
    pub fn trace(&self, id: OverlayId, topic: &str) -> Result<Trace, EngineError> {
        let topic = topic.to_owned();
        self.inner
            .ask(id, move |_, overlay| overlay.core.trace(&topic))
    }

    /// Waits until every accepted message of an overlay has all its outcomes, at most `timeout`. `false`: not yet.
    pub fn wait_settled(&self, id: OverlayId, timeout: Duration) -> Result<bool, EngineError> {
        let deadline = Instant::now() + timeout;
        loop {
            // What is still in the ring of a publisher is not accepted by the core yet.
            let settled = self.inner.ask(id, |_, overlay| {
                !overlay.has_active() && overlay.core.is_settled()
            })?;
            if settled || Instant::now() >= deadline {
                return Ok(settled);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Counters of shards and overlays.
    pub fn stats(&self) -> Result<EngineStats, EngineError> {
        let mut stats = EngineStats {
            panics: self.inner.panics.load(Ordering::Relaxed),
            discovery: self.inner.discovery.stats(),
            ..EngineStats::default()
        };
        // No overlay is on its way between two shards meanwhile, counted twice or not at all.
        let _all_stay = self.inner.stay();
        for (index, door) in self.inner.doors.iter().enumerate() {
            let waiting = self.inner.waiting[index].waiting();
            let (shard, overlays) = door.ask(move |shard| {
                let of_shard = ShardStats {
                    waiting,
                    rcvbuf: shard.rcvbuf(),
                    receive_slots: shard.receive_slots(),
                    queued: shard.queued(),
                    lag: Box::new(shard.lag().clone()),
                    cpu: clock::thread_cpu(),
                    sessions: shard.sessions.len(),
                    clients: shard.sessions.connected(),
                    counters: shard.counters(),
                };
                let of_overlays = shard
                    .yard
                    .overlays()
                    .map(|overlay| OverlayStats::new(index, overlay));
                (of_shard, of_overlays.collect::<Vec<_>>())
            })?;
            stats.shards.push(shard);
            stats.overlays.extend(overlays);
        }
        Ok(stats)
    }

    /// The node goes out of service: from now on, and for good, its local clients can open no more publishers. Those that are open,
    /// and those of this process, go on.
    pub fn refuse_publishers(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Leaves every overlay gracefully; the node goes on with none.
    pub fn leave(&self) {
        for entry in self.overlays() {
            // Gone meanwhile: somebody else removed it.
            let _ = self.remove_overlay(entry.id);
        }
    }

    /// Leaves every overlay and stops the shards. Publishers and subscribers that still exist are closed.
    pub fn shutdown(self) {
        self.stop(true);
    }

    /// Stops the shards without a farewell, for a node that is started again soon: the others wait for it as for one that crashed, and
    /// what they owe to its named subscriptions waits, too. What its subscriptions acknowledged is sent as far as it goes at once.
    /// Publishers and subscribers that still exist are closed, and what its own publishers had not delivered is lost.
    pub fn halt(&self) {
        self.stop(false);
    }

    fn stop(&self, farewell: bool) {
        if self.inner.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inner.discovery.stop();
        let running: Vec<Running> = self.inner.overlays().running.values().cloned().collect();
        self.inner.leave(&running, farewell);
        self.inner.overlays().running.clear();
        for door in self.inner.doors.iter() {
            // A shard that is gone needs no stopping.
            let _ = door.send(Box::new(Shard::stop));
        }
        self.inner.notices.notify.notify();
        // It may be gone already.
        let _ = self.inner.resolver.send(resolver::Message::Stop);
        for thread in self.threads().drain(..) {
            // A panic on a shard has aborted the process; that of any other thread has been told.
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop(true);
    }
}

impl Inner {
    pub(crate) fn overlays(&self) -> MutexGuard<'_, Overlays> {
        self.overlays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn running(&self, id: OverlayId) -> Result<Running, EngineError> {
        self.overlays()
            .running
            .get(&id)
            .cloned()
            .ok_or(EngineError::Unknown)
    }

    /// The name of an overlay, for people; its id once it is gone.
    pub(crate) fn name_of(&self, id: OverlayId) -> String {
        self.running(id)
            .map_or_else(|_| id.to_string(), |running| running.shared.name.clone())
    }

    pub(crate) fn all_running(&self) -> Vec<Running> {
        self.overlays().running.values().cloned().collect()
    }

    /// Has a question about one overlay answered on its shard.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        id: OverlayId,
        question: impl FnOnce(u64, &mut ShardOverlay) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        let answer = self.visit(id, move |shard, slot| {
            let now = shard.now;
            let overlay = shard.yard.slots.get_mut(usize::from(slot))?.as_mut()?;
            Some(question(now, overlay))
        })?;
        answer.ok_or(EngineError::Unknown)
    }

    /// Has something done at an overlay by its shard, which is given the slot that it has there.
    pub(crate) fn visit<R: Send + 'static>(
        &self,
        id: OverlayId,
        act: impl FnOnce(&mut Shard, u16) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        let running = self.running(id)?;
        let answer = running.shared.at.door().ask_at(id, act)?;
        answer.ok_or(EngineError::Unknown)
    }

    fn core_config(&self, config: &OverlayConfig, place: Place) -> CoreConfig {
        let mut core = CoreConfig::new(self.node, self.boot, &self.builder.name);
        core.rack
            .clone_from(config.rack.as_ref().unwrap_or(&self.builder.rack));
        let metadata = config.metadata.as_ref();
        core.metadata
            .clone_from(metadata.unwrap_or(&self.builder.metadata));
        core.app_version = self.builder.app_version;
        core.addresses.clone_from(&self.advertise);
        core.boot_tag = self.boot.tag12();
        core.steer = place.steer;
        core.policy = config.policy;
        core
    }

    /// Builds the core on its shard.
    fn make_overlay(
        &self,
        mut core: CoreConfig,
        config: OverlayConfig,
        place: Place,
        shared: Arc<OverlayShared>,
    ) -> Result<(), EngineError> {
        let notices = Arc::clone(&self.notices);
        let seed = entropy::bytes();
        let keyring = config.keyring;
        Ok(self.doors[place.shard].ask(move |shard| {
            // Half of the buffer for one peer: several that send at once find room, and one alone is not held back.
            core.rcvbuf = u32::try_from(shard.rcvbuf() / 2).unwrap_or(u32::MAX);
            let slot = shard.yard.free_slot();
            let core = Core::new(core, keyring, shard.now, seed);
            shard
                .yard
                .insert(ShardOverlay::new(slot, place, core, shared, notices));
        })?)
    }

    /// How nodes of a segment find one another.
    pub(crate) fn discovery_settings(&self) -> &DiscoverySettings {
        &self.builder.discovery
    }

    /// The address that the node is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Tells a core where a beacon says a node is reached, without waiting for it. `false`: it cannot take it now, and is to hear
    /// of it with a later beacon.
    pub(crate) fn found(&self, id: OverlayId, node: NodeId, addr: SocketAddr) -> bool {
        let Ok(running) = self.running(id) else {
            return false;
        };
        let errand: Errand = Box::new(move |shard, slot| {
            let now = shard.now;
            let slot = slot.and_then(|slot| shard.yard.slots.get_mut(usize::from(slot)));
            if let Some(Some(overlay)) = slot {
                overlay.touched = true;
                overlay.core.on_found(now, &node, addr);
            }
        });
        running.shared.at.door().try_visit(id, errand)
    }

    /// Ends an overlay here, with a farewell to the others or without a word.
    pub(crate) fn remove_overlay(&self, id: OverlayId, farewell: bool) -> Result<(), EngineError> {
        let running = self.running(id)?;
        let shared = Arc::clone(&running.shared);
        self.discovery.turn_off(id);
        self.leave(&[running], farewell);
        let mut overlays = self.overlays();
        let there = overlays.running.get(&id);
        // Somebody else may have removed it meanwhile, and another of its name may run.
        if there.is_some_and(|now| Arc::ptr_eq(&now.shared, &shared)) {
            overlays.running.remove(&id);
            // It may have been turned on again meanwhile.
            self.discovery.turn_off(id);
            self.displace(&mut overlays, id);
        }
        Ok(())
    }

    /// Changes the placement, and has datagrams steered by it. `None`: the change is none.
    pub(crate) fn place<R>(
        &self,
        overlays: &mut Overlays,
        change: impl FnOnce(&mut Placement) -> Option<R>,
    ) -> Result<Option<R>, EngineError> {
        let mut placement = self.map.placement.read(Placement::clone);
        let Some(changed) = change(&mut placement) else {
            return Ok(None);
        };
        let steered = overlays.steering.replace(placement.table());
        steered.map_err(EngineError::Steering)?;
        self.map.placement.replace(placement);
        Ok(Some(changed))
    }

    /// The shard that an overlay is steered to.
    pub(crate) fn placed(&self, id: OverlayId) -> Option<usize> {
        self.map.placement.read(|placement| placement.shard_of(id))
    }

    /// Takes an overlay out of the placement. The steering program may keep an old entry if the kernel refuses: harmless.
    fn displace(&self, overlays: &mut Overlays, id: OverlayId) {
        let mut placement = self.map.placement.read(Placement::clone);
        placement.remove(id);
        if let Err(error) = overlays.steering.replace(placement.table()) {
            tracing::warn!(%error, "the steering program keeps a removed overlay");
        }
        self.map.placement.replace(placement);
    }

    /// Addresses of the other members of an overlay, best first each.
    pub(crate) fn peers(&self, id: OverlayId) -> Result<Vec<SocketAddr>, EngineError> {
        let me = self.node;
        self.ask(id, move |_, overlay| overlay.peer_addresses(me))
    }

    /// Keeps members' addresses on disk, for a start without seeds. Nobody known is no reason to forget those of before. `false`: they
    /// cannot be written, which is logged.
    pub(crate) fn keep_peers(&self, id: OverlayId, peers: &[SocketAddr]) -> bool {
        if peers.is_empty() {
            return true;
        }
        let kept = self.storage.keep_peers(id, peers);
        if let Err(error) = &kept {
            tracing::warn!(overlay = self.name_of(id), %error, "members' addresses cannot be kept");
        }
        kept.is_ok()
    }

    /// Has overlays end, all at once, those that say farewell when they have, and waits for that.
    fn leave(&self, running: &[Running], farewell: bool) {
        for Running { shared, .. } in running {
            // An overlay whose shard does not answer has nobody to keep.
            let peers = self.peers(shared.id).unwrap_or_default();
            self.keep_peers(shared.id, &peers);
        }
        let (tx, rx) = channel();
        let mut asked = 0;
        for Running { shared, .. } in running {
            let (tx, id) = (tx.clone(), shared.id);
            let errand: Errand = Box::new(move |shard, slot| {
                let now = shard.now;
                let slot = slot.and_then(|slot| shard.yard.slots.get_mut(usize::from(slot)));
                let Some(Some(overlay)) = slot else {
                    return;
                };
                overlay.touched = true;
                overlay.leave_by = now;
                if farewell {
                    overlay.core.leave(now);
                    overlay.leave_by = now + LEAVE_NS;
                }
                overlay.leaving = Some(Box::new(move || {
                    // The one who asked may be gone.
                    let _ = tx.send(());
                }));
            });
            let visit: Command = Box::new(move |shard| shard.visit(id, errand));
            asked += usize::from(shared.at.door().send(visit).is_ok());
        }
        drop(tx);
        let deadline = Instant::now() + Duration::from_nanos(LEAVE_NS + SECOND_NS);
        for _ in 0..asked {
            let left = deadline.saturating_duration_since(Instant::now());
            match rx.recv_timeout(left) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => return,
            }
        }
    }

    /// Tells a core the addresses that its join names have now. `begins`: it had none to join through.
    pub(crate) fn set_seeds(
        &self,
        id: OverlayId,
        seeds: Vec<SocketAddr>,
        begins: bool,
    ) -> Result<(), EngineError> {
        self.ask(id, move |now, overlay| {
            if begins {
                overlay.begin_joining(now);
            }
            overlay.touched = true;
            overlay.core.set_seeds(now, &seeds);
        })
    }
}

/// What others can reach of an address that we are bound to.
fn reachable(local: SocketAddr) -> Vec<SocketAddr> {
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let ips = interfaces::reachable(tidings_wire::limits::MAX_ADDRESSES);
    let served = ips.into_iter().filter(|ip| ip.is_ipv4() || local.is_ipv6());
    let mut addrs: Vec<_> = served.map(|ip| SocketAddr::new(ip, local.port())).collect();
    if addrs.is_empty() {
        // A machine without a network: its own processes can still meet.
        addrs.push(SocketAddr::from(([127, 0, 0, 1], local.port())));
    }
    addrs
}
