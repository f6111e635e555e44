//! An overlay goes to another shard while it runs: core, ports and sessions as they are. Its shard packs it and puts it into the queue
//! of commands of the other. Datagrams that come meanwhile are lost, as any may be; commands find their way after it; of bells none
//! is missed, since every port is looked at on arrival.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use tidings_protocol::{CommandError, Core};
use tidings_wire::{NodeId, OverlayId};

use super::Shard;
use super::door::{Command, Errand};
use super::notice::Notices;
use super::outlet::{OutcomeSink, Outlets, PublisherSink, RingSink, Sink};
use super::overlay::{EffectReply, ShardOverlay, close_ports};
use super::port::Port;
use crate::clock;
use crate::error::EngineError;
use crate::limits::{COMMANDS_MAX, PASSING_NS};
use crate::number_map::NumberMap;
use crate::placement::Place;
use crate::routes::OverlayShared;
use crate::session::{Departed, SessionRc};

/// A port, or a session by the number that it has on a shard.
#[derive(Clone, Copy)]
enum End {
    Ring(u32),
    Session(u32),
}

impl From<Sink> for End {
    fn from(sink: Sink) -> Self {
        match sink {
            Sink::Ring(port) => Self::Ring(port),
            Sink::Session(cell) => Self::Session(cell.index),
        }
    }
}

impl From<PublisherSink> for End {
    fn from(sink: PublisherSink) -> Self {
        match sink {
            PublisherSink::Ring(port) => Self::Ring(port),
            PublisherSink::Session(cell) => Self::Session(cell.index),
        }
    }
}

/// What of an overlay its sessions are tied to, while they are between two shards.
struct Ties {
    sinks: Vec<(u32, End)>,
    publishers: Vec<(u32, End)>,
    watchers: Vec<End>,
}

impl Ties {
    fn take(outlets: &mut Outlets) -> Self {
        // What is short of room is found out anew of sessions.
        outlets.pressed.retain(|sink| matches!(sink, Sink::Ring(_)));
        let sinks = outlets.sinks.drain();
        let publishers = outlets.publishers.drain();
        Self {
            sinks: sinks.map(|(sub, sink)| (sub, sink.into())).collect(),
            publishers: publishers
                .map(|(handle, sink)| (handle, sink.into()))
                .collect(),
            watchers: outlets.watchers.drain(..).map(End::from).collect(),
        }
    }

    /// `seated`: the sessions by the numbers that they had.
    fn restore(self, outlets: &mut Outlets, seated: &NumberMap<SessionRc>) {
        let seat = |was| seated.get(&was).map(SessionRc::clone);
        let sink = |end| match end {
            End::Ring(port) => Some(Sink::Ring(port)),
            End::Session(was) => seat(was).map(Sink::Session),
        };
        let publisher = |end| match end {
            End::Ring(port) => Some(PublisherSink::Ring(port)),
            End::Session(was) => seat(was).map(PublisherSink::Session),
        };
        let sinks = self.sinks.into_iter();
        let publishers = self.publishers.into_iter();
        outlets.sinks = sinks
            .filter_map(|(sub, end)| Some((sub, sink(end)?)))
            .collect();
        outlets.publishers = publishers
            .filter_map(|(handle, end)| Some((handle, publisher(end)?)))
            .collect();
        outlets.watchers = self.watchers.into_iter().filter_map(sink).collect();
    }
}

/// An overlay between two shards.
struct Goods {
    was: Place,
    to: Place,
    shared: Arc<OverlayShared>,
    notices: Arc<Notices>,
    core: Core,
    ports: Vec<Option<Port>>,
    effects: Vec<(u32, EffectReply)>,
    rings: Vec<Option<RingSink>>,
    outcomes: Vec<Option<OutcomeSink>>,
    dirty_rings: Vec<u32>,
    dirty_outcomes: Vec<u32>,
    /// Rings whose readers are short of room.
    pressed: Vec<u32>,
    effective: Vec<(u32, Vec<NodeId>)>,
    routes_stale: bool,
    writable: bool,
    ties: Ties,
    sessions: Vec<(u32, Departed)>,
    /// Blocks of receiver indices: they lead to nowhere until it has arrived.
    blocks: Vec<u16>,
}

impl Goods {
    /// Packs an overlay, without its sessions.
    fn pack(overlay: ShardOverlay, to: Place) -> Self {
        let ShardOverlay {
            place,
            shared,
            core,
            mut outlets,
            ports,
            effects,
            ..
        } = overlay;
        let ties = Ties::take(&mut outlets);
        let pressed = outlets.pressed.iter();
        let pressed = pressed.filter_map(|sink| match sink {
            Sink::Ring(port) => Some(*port),
            Sink::Session(_) => None,
        });
        Self {
            was: place,
            to,
            pressed: pressed.collect(),
            notices: outlets.notices,
            rings: outlets.rings,
            outcomes: outlets.outcomes,
            dirty_rings: outlets.dirty_rings,
            dirty_outcomes: outlets.dirty_outcomes,
            effective: outlets.effective,
            routes_stale: outlets.routes_stale,
            writable: outlets.writable,
            shared,
            core,
            ports,
            effects,
            ties,
            sessions: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// The overlay in its new slot, without its sessions.
    fn unpack(self, shard: usize, slot: u16) -> (ShardOverlay, Ties, Vec<(u32, Departed)>) {
        let place = if shard == self.to.shard {
            self.to
        } else {
            self.was
        };
        let mut overlay = ShardOverlay::new(slot, place, self.core, self.shared, self.notices);
        overlay.core.set_steer(place.steer);
        overlay.ports = self.ports;
        overlay.effects = self.effects;
        let outlets = &mut overlay.outlets;
        outlets.rings = self.rings;
        outlets.outcomes = self.outcomes;
        outlets.dirty_rings = self.dirty_rings;
        outlets.dirty_outcomes = self.dirty_outcomes;
        outlets.pressed = self.pressed.into_iter().map(Sink::Ring).collect();
        outlets.effective = self.effective;
        outlets.routes_stale = self.routes_stale;
        outlets.writable = self.writable;
        (overlay, self.ties, self.sessions)
    }
}

/// Goods in a queue. Should their shard end before they arrive, whoever holds an end of their rings is told.
struct Parcel(Option<Box<Goods>>);

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(goods) = &self.0 {
            close_ports(&goods.shared, &goods.ports);
        }
    }
}

impl Shard {
    /// Does an errand at an overlay, or passes it on to where the overlay went.
    pub(crate) fn visit(&mut self, id: OverlayId, errand: Errand) {
        let slot = self.yard.slot_of(id);
        match self.yard.moved.get(&id) {
            // It comes after the overlay, which was put into that queue before it.
            Some(&shard) if slot.is_none() => {
                let command: Command = Box::new(move |shard| shard.visit(id, errand));
                // More are dropped, which tells who waits.
                if self.passing.len() < COMMANDS_MAX {
                    self.passing.push_back((shard, command));
                }
                self.pass_on();
            }
            _ => errand(self, slot),
        }
    }

    /// When to look again for room for what is to be passed on.
    pub(super) fn passing_deadline(&self) -> Option<u64> {
        (!self.passing.is_empty()).then_some(self.now + PASSING_NS)
    }

    /// Passes errands on, as far as other shards have room. Those of one that has stopped are dropped, which tells who waits.
    pub(super) fn pass_on(&mut self) {
        for _ in 0..self.passing.len() {
            let Some((shard, command)) = self.passing.pop_front() else {
                return;
            };
            let door = &self.yard.doors[shard];
            if let Err(command) = door.offer(command)
                && !door.is_stopped()
            {
                self.passing.push_back((shard, command));
            }
        }
    }

    /// Sends an overlay of this shard to its new place; `arrived` hears which shard took it in. The error: nothing has changed.
    pub(crate) fn send_off(
        &mut self,
        slot: u16,
        of: &Arc<OverlayShared>,
        to: Place,
        arrived: Sender<usize>,
    ) -> Result<(), EngineError> {
        let overlay = self.yard.slots.get(usize::from(slot));
        let overlay = overlay.and_then(Option::as_ref);
        // Another of its name may be there by now.
        if !overlay.is_some_and(|overlay| Arc::ptr_eq(&overlay.shared, of)) {
            return Err(EngineError::Unknown);
        }
        if overlay.is_some_and(|overlay| overlay.leaving.is_some()) {
            return Err(CommandError::Leaving.into());
        }
        if !self.sessions.can_leave(slot) {
            return Err(EngineError::HasHandlers);
        }
        let (map, index) = (Arc::clone(&self.yard.map), self.yard.index);
        let overlay = self.yard.take_out(slot).ok_or(EngineError::Unknown)?;
        self.yard.moved.insert(overlay.shared.id, to.shard);
        let mut goods = Box::new(Goods::pack(*overlay, to));
        goods.sessions = self.sessions.leave(slot, &self.set);
        // The slot is free for another, to whom nothing of this one shall lead.
        goods.blocks = map.blocks.of(index, slot);
        map.blocks.lead(&goods.blocks, to.shard, u16::MAX);
        let parcel = Parcel(Some(goods));
        let command: Command = Box::new(move |shard| {
            shard.take_in(parcel);
            // Whoever asked may have gone, after a long time.
            let _ = arrived.send(shard.yard.index);
        });
        if let Err(command) = self.yard.doors[to.shard].offer(command) {
            // No room in its queue: the overlay stays.
            command(self);
        }
        Ok(())
    }

    fn take_in(&mut self, mut parcel: Parcel) {
        let Some(goods) = parcel.0.take() else { return };
        // The core has seen later times than that at which this turn began.
        self.now = self.now.max(clock::now());
        let slot = self.yard.free_slot();
        let blocks = &self.yard.map.blocks;
        blocks.lead(&goods.blocks, self.yard.index, slot);
        let (mut overlay, ties, sessions) = goods.unpack(self.yard.index, slot);
        let (seated, lost) = self.sessions.arrive(sessions, &mut overlay, &self.set);
        ties.restore(&mut overlay.outlets, &seated);
        for cell in lost {
            self.sessions
                .close(self.now, &cell, &mut overlay, &self.set);
        }
        // What a heartbeat asks about was left unread where it came from.
        if overlay.core.is_asked() {
            overlay.core.note_unread(false);
        }
        self.yard.insert(overlay);
        // Bells that rang on the way did so where it was.
        let arrived = self.yard.slots[usize::from(slot)].as_mut();
        arrived
            .into_iter()
            .for_each(|overlay| overlay.activate_all());
    }
}
