//! One overlay on its shard: the protocol core, its outlets, and the ports of other threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidings_protocol::{
    Accepted, Batch, CommandError, Core, Member, Policy, PublishError, PublisherId, SubSpec,
};
use tidings_wire::{Keyring, NodeId};

use super::notice::Notices;
use super::outlet::{OutcomeSink, Outlets, PublisherSink, RingSink, Sink};
use super::port::{Port, Served};
use super::port_list::PortList;
use crate::limits::PORTS_MAX;
use crate::placement::Place;
use crate::routes::{OverlayShared, Routes};

/// Somebody waits for a subscription to become effective everywhere; gets the members that did not confirm.
pub(crate) type EffectReply = Box<dyn FnOnce(Vec<NodeId>) + Send>;

/// One overlay of a shard.
pub(crate) struct ShardOverlay {
    pub(crate) slot: u16,
    pub(crate) place: Place,
    pub(crate) shared: Arc<OverlayShared>,
    pub(crate) core: Core,
    pub(crate) outlets: Outlets,
    pub(super) ports: Vec<Option<Port>>,
    /// Ports that have something to be served.
    active: PortList,
    /// Ports whose publisher waits for room in the store.
    blocked: PortList,
    pub(super) effects: Vec<(u32, EffectReply)>,
    /// When the core wants its time, as of its last flush.
    pub(crate) deadline: Option<u64>,
    /// Something was handed to the core since its last flush.
    pub(crate) touched: bool,
    /// It says farewell; when done, this is called and the overlay goes.
    pub(crate) leaving: Option<Box<dyn FnOnce()>>,
    /// When to stop waiting for the farewell.
    pub(crate) leave_by: u64,
}

impl ShardOverlay {
    pub(crate) fn new(
        slot: u16,
        place: Place,
        core: Core,
        shared: Arc<OverlayShared>,
        notices: Arc<Notices>,
    ) -> Self {
        Self {
            slot,
            place,
            outlets: Outlets::new(Arc::clone(&shared), notices),
            shared,
            core,
            ports: Vec::new(),
            active: PortList::default(),
            blocked: PortList::default(),
            effects: Vec::new(),
            deadline: None,
            touched: true,
            leaving: None,
            leave_by: u64::MAX,
        }
    }

    pub(crate) fn open_publisher(
        &mut self,
        topic: &str,
        sink: PublisherSink,
    ) -> Result<u32, CommandError> {
        let handle = self.core.open_publisher(topic)?;
        self.outlets.publishers.insert(handle, sink);
        Ok(handle)
    }

    pub(crate) fn close_publisher(&mut self, handle: u32) {
        self.touched = true;
        self.outlets.publishers.remove(&handle);
        // Unknown: the core closed it itself when the overlay began to leave.
        let _ = self.core.close_publisher(handle);
    }

    pub(crate) fn publish(
        &mut self,
        now: u64,
        handle: u32,
        payload: &[u8],
    ) -> Result<Accepted, PublishError> {
        self.touched = true;
        let accepted = self.core.publish(now, handle, payload, &mut self.outlets)?;
        self.outlets.counts.published += 1;
        Ok(accepted)
    }

    pub(crate) fn publish_batch<R>(
        &mut self,
        now: u64,
        handle: u32,
        publish: impl FnOnce(&mut Batch<'_>) -> R,
    ) -> R {
        self.touched = true;
        let mut batch = self.core.batch(now, handle, &mut self.outlets);
        let result = publish(&mut batch);
        let accepted = batch.accepted();
        drop(batch);
        self.outlets.counts.published += accepted;
        result
    }

    /// Subscribes, or continues a named client's subscription. An older sink of it that did not let go hears nothing any more
    /// but that, and what it was handed and did not acknowledge comes again here.
    pub(crate) fn subscribe(
        &mut self,
        now: u64,
        spec: SubSpec,
        sink: Sink,
    ) -> Result<u32, CommandError> {
        self.touched = true;
        let sub = self.core.subscribe(now, spec, &mut self.outlets)?;
        let session = match &sink {
            Sink::Session(cell) => Some(crate::session::SessionRc::clone(cell)),
            Sink::Ring(_) => None,
        };
        let is_same = |older: &Sink| older.is(&sink);
        let takes_over = self.outlets.sinks.get(&sub).is_some_and(|it| !is_same(it));
        let older = self.outlets.sinks.insert(sub, sink);
        if takes_over {
            if let Some(Sink::Ring(port)) = older
                && let Some(Some(Port::Subscriber(it))) = self.ports.get(port as usize)
            {
                it.shared.supersede();
            }
            self.core.detach(now, sub);
            self.core.attach(sub, &mut self.outlets);
        }
        // What the core had to say of it before the sink was known.
        if let Some(cell) = session
            && let Some(at) = self
                .outlets
                .effective
                .iter()
                .position(|(effective, _)| *effective == sub)
        {
            let (_, missing) = self.outlets.effective.swap_remove(at);
            cell.session.event(&tidings_protocol::Event::Subscribed {
                sub,
                missing: &missing,
            });
            super::outlet::mark(&mut self.outlets.dirty_sessions, &cell);
        }
        self.core.ready(sub, &mut self.outlets);
        Ok(sub)
    }

    /// Calls `reply` when the subscription is effective, or the wait for it is over.
    pub(crate) fn when_effective(&mut self, sub: u32, reply: EffectReply) {
        self.effects.push((sub, reply));
    }

    pub(crate) fn unsubscribe(&mut self, now: u64, sub: u32) {
        self.touched = true;
        self.outlets.sinks.remove(&sub);
        // Unknown: it ended by itself, which is what was wanted.
        let _ = self.core.unsubscribe(now, sub, &mut self.outlets);
    }

    pub(crate) fn detach(&mut self, now: u64, sub: u32) {
        self.touched = true;
        self.outlets.sinks.remove(&sub);
        self.core.detach(now, sub);
    }

    pub(crate) fn set_policy(&mut self, now: u64, policy: Policy) {
        self.touched = true;
        self.core.set_policy(now, policy, &mut self.outlets);
        // Here and nowhere else: what is opened on this shard is either told this, or of it.
        let largest = policy.bounded().max_message;
        let shared = &self.shared.message_bytes_max;
        if shared.swap(largest, Ordering::Relaxed) != largest {
            self.outlets.tell_largest();
        }
    }

    pub(crate) fn set_keyring(&mut self, now: u64, keyring: Keyring) -> bool {
        self.touched = true;
        self.core.set_keyring(now, keyring)
    }

    pub(crate) fn ready(&mut self, sub: u32) {
        self.touched = true;
        self.core.ready(sub, &mut self.outlets);
    }

    pub(crate) fn acknowledge(
        &mut self,
        sub: u32,
        publisher: PublisherId,
        seq: u64,
        upto: bool,
    ) -> u64 {
        self.touched = true;
        self.core.acknowledge(sub, publisher, seq, upto)
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        self.core.members()
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.core.is_synced()
    }

    pub(crate) fn begin_joining(&mut self, now: u64) {
        self.touched = true;
        self.core.begin_joining(now);
    }

    /// A free port number, or `None` at the limit.
    pub(crate) fn free_port(&mut self) -> Option<u32> {
        let free = self
            .ports
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.ports.len());
        if free >= PORTS_MAX {
            return None;
        }
        if free == self.ports.len() {
            self.ports.push(None);
            self.outlets.rings.push(None);
            self.outlets.outcomes.push(None);
        }
        Some(free as u32)
    }

    pub(crate) fn set_port(
        &mut self,
        port: u32,
        what: Port,
        ring: Option<RingSink>,
        outcomes: Option<OutcomeSink>,
    ) {
        let at = port as usize;
        self.ports[at] = Some(what);
        self.outlets.rings[at] = ring;
        self.outlets.outcomes[at] = outcomes;
        self.activate(port);
    }

    /// The subscriptions of a subscriber's port, for its end.
    pub(crate) fn set_subs(&mut self, port: u32, subs: &[u32]) {
        if let Some(Some(Port::Subscriber(it))) = self.ports.get_mut(port as usize) {
            it.subs = subs.to_vec();
        }
    }

    /// Takes back a port that was not opened after all, with the subscriptions made so far.
    pub(crate) fn give_up_port(&mut self, now: u64, port: u32, subs: &[u32]) {
        self.set_subs(port, subs);
        self.close_port(now, port);
    }

    /// Where the other members can be reached, best first each.
    pub(crate) fn peer_addresses(&self, me: NodeId) -> Vec<std::net::SocketAddr> {
        let others = self
            .members()
            .into_iter()
            .filter(|member| member.node != me);
        others
            .filter_map(|member| member.addresses.first().copied())
            .collect()
    }

    /// A port's bell rang.
    pub(crate) fn activate(&mut self, port: u32) {
        if self.ports.get(port as usize).is_some_and(Option::is_some) {
            self.active.add(port);
        }
    }

    /// Every port may have something: bells were lost.
    pub(crate) fn activate_all(&mut self) {
        for port in 0..self.ports.len() as u32 {
            self.activate(port);
        }
    }

    /// Publishers and subscribers of other threads.
    pub(crate) fn port_count(&self) -> usize {
        self.ports.iter().flatten().count()
    }

    /// Ports that have something to be served.
    pub(crate) fn active_count(&self) -> usize {
        self.active.len() + self.blocked.len()
    }

    pub(crate) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Serves the ports that have something, each a bounded part, and counts those that must wait.
    pub(crate) fn serve_ports(&mut self, now: u64, blocked: &mut u64) {
        // Those that come meanwhile have the next turn.
        for _ in 0..self.active.len() {
            let Some(port) = self.active.take_next() else {
                break;
            };
            self.touched = true;
            let served = match &mut self.ports[port as usize] {
                Some(Port::Publisher(it)) => it.serve(now, port, &mut self.core, &mut self.outlets),
                Some(Port::Subscriber(it)) => it.serve(port, &mut self.core, &mut self.outlets),
                None => continue,
            };
            match served {
                Served::Empty | Served::Unread => {}
                Served::More => self.active.add(port),
                Served::Blocked => {
                    *blocked += 1;
                    self.blocked.add(port);
                }
                Served::Closed => self.close_port(now, port),
            }
        }
    }

    /// A session is gone: so are its publishers.
    pub(crate) fn close_publishers_of(&mut self, session: u32) {
        let is_its = |sink: &PublisherSink| matches!(sink, PublisherSink::Session(cell) if cell.index == session);
        let handles: Vec<u32> = self
            .outlets
            .publishers
            .iter()
            .filter(|(_, sink)| is_its(sink))
            .map(|(&handle, _)| handle)
            .collect();
        for handle in handles {
            self.close_publisher(handle);
        }
    }

    fn close_port(&mut self, now: u64, port: u32) {
        match self.ports[port as usize].take() {
            Some(Port::Publisher(publisher)) => self.close_publisher(publisher.handle),
            Some(Port::Subscriber(subscriber)) => {
                for sub in subscriber.subs {
                    let mine = matches!(self.outlets.sinks.get(&sub), Some(Sink::Ring(ring)) if *ring == port);
                    match mine {
                        true if subscriber.named => self.detach(now, sub),
                        true => self.unsubscribe(now, sub),
                        // A newer one of the same name has it.
                        false => {}
                    }
                }
                self.outlets
                    .watchers
                    .retain(|watcher| !matches!(watcher, Sink::Ring(ring) if *ring == port));
            }
            None => {}
        }
        self.outlets.rings[port as usize] = None;
        self.outlets.outcomes[port as usize] = None;
        self.active.remove(port);
        self.blocked.remove(port);
    }

    /// After a flush: what the core said meanwhile is passed on.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.outlets.writable) {
            while let Some(port) = self.blocked.take_next() {
                self.activate(port);
            }
        }
        if std::mem::take(&mut self.outlets.routes_stale) {
            self.shared
                .routes
                .replace(Routes::new(self.core.patterns()));
        }
        for (sub, missing) in std::mem::take(&mut self.outlets.effective) {
            while let Some(at) = self.effects.iter().position(|(waiting, _)| *waiting == sub) {
                let (_, reply) = self.effects.swap_remove(at);
                reply(missing.clone());
            }
        }
        self.outlets.notify();
    }

    /// The overlay goes: everybody who holds an end of a ring is told.
    pub(crate) fn close(&mut self) {
        close_ports(&self.shared, &self.ports);
        if let Some(left) = self.leaving.take() {
            left();
        }
    }
}

/// Tells everybody who holds an end of a ring of an overlay that it is no more.
pub(super) fn close_ports(shared: &OverlayShared, ports: &[Option<Port>]) {
    shared.closed.store(true, Ordering::Release);
    for port in ports.iter().flatten() {
        match port {
            Port::Publisher(it) => it.shared.close(),
            Port::Subscriber(it) => it.shared.close(),
        }
    }
}
