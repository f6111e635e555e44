//! One shard: a thread with its sockets and the overlays that it owns. `turn.rs` is its loop, read that first;
//! `dispatch.rs` finds the core for a datagram, `outlet.rs` is where cores put what they have to say, `door.rs` what other
//! threads hold of it, `moving.rs` how an overlay goes to another shard.

mod brake;
pub(crate) mod dispatch;
pub(crate) mod door;
pub(crate) mod load;
pub(crate) mod moving;
pub(crate) mod net;
pub(crate) mod notice;
pub(crate) mod outlet;
pub(crate) mod overlay;
mod oversize;
pub(crate) mod port;
mod port_list;
pub(crate) mod sessions;
mod turn;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;

use tidings_protocol::latency::Latency;

use self::brake::Brake;
use self::dispatch::Yard;
use self::door::{Command, Door};
use self::load::{Load, Meter};
use self::net::Net;
use self::sessions::Sessions;
use crate::clock;
use crate::metrics::ShardCounters;
use crate::placement::Map;
use crate::queue::mesh::MeshEnds;
use crate::seat::Seat;
use crate::session::Session;
use crate::stats::ShardQueues;
use crate::sys::epoll::Interest;
use crate::sys::group::ShardSockets;
use crate::wait::polling::{Poll, Poller};
use crate::wait::{Life, Ready, Sleep, WaitSet, Waiting};

/// What a shard is made of; it is built on its own thread.
pub(crate) struct ShardParts {
    pub(crate) index: usize,
    pub(crate) boot_tag: u16,
    pub(crate) sockets: ShardSockets,
    pub(crate) map: Arc<Map>,
    pub(crate) mesh: MeshEnds,
    /// Of all shards, this one included.
    pub(crate) doors: Arc<[Arc<Door>]>,
    pub(crate) poll: Poll,
    /// Whether receive pools that grew are given back when it is quiet.
    pub(crate) shrinks: bool,
    /// Where the shard says that it is busy.
    pub(crate) load: Arc<Load>,
    /// Where the shard says how it waits.
    pub(crate) waiting: Arc<WaitingCell>,
    /// Where the shard says, once, that it is there or why not.
    pub(crate) begun: Sender<io::Result<()>>,
}

/// How a shard waits, told to the control thread.
#[derive(Default)]
pub(crate) struct WaitingCell(AtomicU8);

impl WaitingCell {
    fn set(&self, waiting: Waiting) {
        self.0.store(
            if waiting == Waiting::IoUring { 1 } else { 2 },
            Ordering::Release,
        );
    }

    pub(crate) fn waiting(&self) -> Option<Waiting> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Waiting::IoUring),
            2 => Some(Waiting::Epoll),
            _ => None,
        }
    }
}

/// One shard, on its thread.
pub(crate) struct Shard {
    pub(crate) now: u64,
    net: Net,
    pub(crate) yard: Yard,
    pub(crate) sessions: Sessions,
    set: WaitSet,
    brake: Brake,
    door: Arc<Door>,
    poller: Poller,
    shrinks: bool,
    /// When the receive pools are looked at again, while they are larger than at start.
    relax_at: Option<u64>,
    meter: Meter,
    load: Arc<Load>,
    /// Errands at overlays that are on other shards by now, with those, which have no room for them.
    passing: VecDeque<(usize, Command)>,
    /// When the shard went to sleep, until the turn after that.
    slept_at: Option<u64>,
    /// How often, since the last sleep, data ended a time of polling.
    finds: u32,
    /// When the set was last looked at.
    looked_at: u64,
    /// Short sleeps since the last long one.
    shorts: u32,
    /// How long turns took in which there was something to do.
    lag: Box<Latency>,
    /// Whether the last turn was one.
    was_busy: bool,
    stopping: bool,
}

impl Shard {
    fn new(parts: ShardParts) -> io::Result<Self> {
        let door = Arc::clone(&parts.doors[parts.index]);
        let set = WaitSet::new(Arc::clone(door.parker()))?;
        let net = Net::new(parts.sockets);
        net.watch(&set)?;
        Ok(Self {
            now: clock::now(),
            net,
            yard: Yard::new(
                parts.index,
                parts.boot_tag,
                parts.map,
                parts.mesh,
                parts.doors,
            ),
            sessions: Sessions::default(),
            set,
            brake: Brake::default(),
            door,
            poller: Poller::new(parts.poll),
            shrinks: parts.shrinks,
            relax_at: None,
            meter: Meter::default(),
            load: parts.load,
            passing: VecDeque::new(),
            slept_at: None,
            finds: 0,
            looked_at: 0,
            shorts: 0,
            lag: Box::default(),
            was_busy: false,
            stopping: false,
        })
    }

    pub(crate) fn counters(&self) -> ShardCounters {
        let mut counters = self.yard.counters;
        for overlay in self.yard.slots.iter().flatten() {
            overlay.outlets.counts.add_to(&mut counters);
        }
        counters
    }

    /// What waits for this shard.
    pub(crate) fn queued(&self) -> ShardQueues {
        let overlays = self.yard.slots.iter().flatten();
        let (commands, bells) = self.door.queued();
        ShardQueues {
            commands,
            bells,
            ports: overlays.map(|overlay| overlay.active_count()).sum(),
        }
    }

    /// How long turns took in which there was something to do.
    pub(crate) fn lag(&self) -> &Latency {
        &self.lag
    }

    /// Slots that the receive pools hold.
    pub(crate) fn receive_slots(&self) -> usize {
        self.net.slots()
    }

    /// Receive buffer of the data socket in bytes, as the kernel granted it.
    pub(crate) fn rcvbuf(&self) -> usize {
        self.net.rcvbuf()
    }

    /// Seats a session at an overlay and lets it begin. `None`: no such overlay, or no room.
    pub(crate) fn seat<R>(
        &mut self,
        slot: u16,
        session: Box<dyn Session>,
        begin: impl FnOnce(Seat<'_>) -> R,
    ) -> Option<R> {
        let overlay = self.yard.slots.get_mut(usize::from(slot))?.as_mut()?;
        let cell = self.sessions.add(session, overlay, &self.set).ok()?;
        overlay.touched = true;
        Some(begin(Seat {
            now: self.now,
            overlay,
            me: &cell,
        }))
    }

    /// Lets a session look at its input though no descriptor of it is ready: another thread has mail for it.
    pub(crate) fn nudge(&mut self, session: u32) {
        self.sessions
            .on_ready(self.now, session, Interest::READ, &mut self.yard, &self.set);
    }

    /// The same for every session: somebody called one, and nobody noted which.
    fn nudge_all(&mut self) {
        for session in 0..self.sessions.slots() {
            self.nudge(session);
        }
    }

    /// The loop ends after this turn; every overlay is dropped as it is.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }
}

impl Life for ShardParts {
    /// Turn after turn until stopped: at once while there is something to do, polling for a while when that pays, asleep
    /// otherwise.
    async fn live(self, waiting: Waiting, mut sleep: impl Sleep) {
        let _guard = AbortOnPanic;
        self.waiting.set(waiting);
        let begun = self.begun.clone();
        let door = Arc::clone(&self.doors[self.index]);
        let made = Shard::new(self).and_then(|shard| {
            shard.set.begin(&mut sleep)?;
            Ok(shard)
        });
        // Whoever starts the node may have given up meanwhile.
        let mut shard = match made {
            Ok(shard) => {
                let _ = begun.send(Ok(()));
                shard
            }
            Err(error) => {
                door.stop();
                let _ = begun.send(Err(error));
                return;
            }
        };
        let mut ready = Ready::default();
        ready.all_sockets();
        while !shard.stopping {
            let busy = shard.turn(&mut ready);
            if let Err(error) = shard.pause(busy, &mut sleep, &mut ready).await {
                panic!("a shard cannot wait: {error}");
            }
        }
        shard.end();
    }
}

/// A shard that panics left its overlays in an unknown state: better no node than a wrong one.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
