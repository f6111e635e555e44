//! Where a core's output goes: rings of the embedder's threads, sessions on this shard. Called from inside the core, so it
//! only copies and takes notes; threads are woken and sessions flushed at the end of the turn.

use std::collections::VecDeque;
use std::sync::Arc;

use tidings_protocol::{Delivery, Event, Outcome, Outlet, PresenceKind, PublisherId, Run, Taken};
use tidings_wire::NodeId;

use super::notice::{Notice, Notices};
use crate::gaps::Gaps;
use crate::limits::{CHANGES_WAITING_MAX, GAPS_WAITING_MAX, OUTCOMES_WAITING_MAX};
use crate::metrics::ShardCounters;
use crate::number_map::NumberMap;
use crate::presence::Changes;
use crate::publisher::PublisherShared;
use crate::queue::ring::Producer;
use crate::record::{self, Gap, OutcomeRange};
use crate::routes::OverlayShared;
use crate::session::SessionRc;
use crate::subscriber::SubscriberShared;

/// Where the messages of one subscription go.
pub(crate) enum Sink {
    /// The ring of a `Subscriber`, by its port.
    Ring(u32),
    Session(SessionRc),
}

impl Sink {
    pub(crate) fn is_session(&self, index: u32) -> bool {
        matches!(self, Self::Session(cell) if cell.index == index)
    }

    /// Whether both are the same.
    pub(crate) fn is(&self, other: &Sink) -> bool {
        match (self, other) {
            (Self::Session(one), Self::Session(other)) => one.index == other.index,
            (Self::Ring(one), Self::Ring(other)) => one == other,
            _ => false,
        }
    }
}

/// Where the outcomes of one publisher go.
pub(crate) enum PublisherSink {
    /// The outcome ring of a `Publisher`, by its port.
    Ring(u32),
    Session(SessionRc),
}

/// The shard's end of a subscriber's ring.
pub(crate) struct RingSink {
    producer: Producer,
    shared: Arc<SubscriberShared>,
    /// Subscription and publisher of the last message written.
    source: Option<(u32, PublisherId)>,
    /// What found the ring full and must not be lost. Messages wait behind it.
    gaps: Gaps,
    changes: Changes,
    /// Subscriptions that were answered `Full` and want to hear of room.
    starved: Vec<u32>,
    dirty: bool,
    /// Messages were written in this turn: changes of members are no reason to wait for their reader.
    got_message: bool,
    /// It is among those that are short of room.
    pressed: bool,
    /// It was waited for in vain, and has not had room since.
    slow: bool,
}

impl RingSink {
    pub(crate) fn new(producer: Producer, shared: Arc<SubscriberShared>) -> Self {
        Self {
            producer,
            shared,
            source: None,
            gaps: Gaps::default(),
            changes: Changes::default(),
            starved: Vec::new(),
            dirty: false,
            got_message: false,
            pressed: false,
            slow: false,
        }
    }

    /// Whether less than half of the ring is free, and that is news.
    fn is_newly_short(&mut self) -> bool {
        if self.producer.is_half_free() {
            self.slow = false;
            return false;
        }
        !self.pressed && !self.slow
    }

    /// Whether less than half of the ring is free. Its reader says so when that is over.
    fn is_short(&mut self) -> bool {
        if self.producer.is_half_free() {
            return false;
        }
        self.shared.starved.raise();
        !self.producer.is_half_free() && !self.producer.is_closed()
    }

    pub(crate) fn take(&mut self, sub: u32, message: &Delivery<'_>) -> Taken {
        let taken = self.drain_waiting() && self.write(sub, message) || self.starve(sub, message);
        if taken { Taken::Kept } else { Taken::Full }
    }

    fn write(&mut self, sub: u32, message: &Delivery<'_>) -> bool {
        let source = (sub, message.publisher);
        let is_other = self.source != Some(source);
        let kind = record::message_kind(message, is_other);
        let len = record::message_bytes(message, is_other);
        let Some(mut reserved) = self.producer.reserve(kind, len) else {
            return false;
        };
        record::write_message(reserved.bytes_mut(), message, is_other.then_some(sub));
        reserved.commit();
        self.source = Some(source);
        self.got_message = true;
        true
    }

    /// Asks the reader to say when there is room, and tries once more: it may have made some meanwhile.
    fn starve(&mut self, sub: u32, message: &Delivery<'_>) -> bool {
        self.shared.starved.raise();
        if self.drain_waiting() && self.write(sub, message) {
            return true;
        }
        if !self.starved.contains(&sub) {
            self.starved.push(sub);
        }
        false
    }

    /// Tells of a hole, now or as soon as there is room.
    fn tell_gap(&mut self, gap: Gap) {
        self.gaps.push(gap, GAPS_WAITING_MAX);
        self.tell_waiting();
    }

    /// Tells of a change of a member, now or as soon as there is room.
    fn tell_change(&mut self, kind: PresenceKind, node: NodeId) {
        self.changes.push(kind, node, CHANGES_WAITING_MAX);
        self.tell_waiting();
    }

    /// What finds no room asks the reader to say when there is some, and tries once more.
    fn tell_waiting(&mut self) {
        if !self.drain_waiting() {
            self.shared.starved.raise();
            self.drain_waiting();
        }
    }

    /// The subscriptions that may be filled again: those refused, once half of the ring is free. While it is not, the
    /// reader is asked to say so.
    fn take_fed(&mut self) -> Vec<u32> {
        if self.starved.is_empty() && self.gaps.is_empty() && self.changes.is_empty() {
            return Vec::new();
        }
        if !(self.drain_waiting() && self.producer.is_half_free()) {
            self.shared.starved.raise();
            if !(self.drain_waiting() && self.producer.is_half_free()) {
                return Vec::new();
            }
            self.shared.starved.lower();
        }
        std::mem::take(&mut self.starved)
    }

    /// `true`: nothing waits any more.
    fn drain_waiting(&mut self) -> bool {
        while let Some(gap) = self.gaps.front() {
            if !self.producer.push(record::GAP, &[&record::gap_bytes(gap)]) {
                return false;
            }
            self.gaps.pop();
        }
        while let Some((kind, node)) = self.changes.front() {
            let record = crate::presence::write(kind, node);
            if !self.producer.push(record::PRESENCE, &[&record]) {
                return false;
            }
            self.changes.pop();
        }
        true
    }
}

/// The shard's end of a publisher's outcome ring.
pub(crate) struct OutcomeSink {
    producer: Producer,
    shared: Arc<PublisherShared>,
    wants: OutcomeWish,
    /// Ranges that found the ring full, neighbours merged. While any wait, the publisher's own ring is not read.
    waiting: VecDeque<OutcomeRange>,
    dirty: bool,
}

/// Which outcomes a publisher hears of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutcomeWish {
    /// None.
    Nothing,
    /// Those that mean "not known delivered".
    #[default]
    Failures,
    /// All.
    All,
}

impl OutcomeSink {
    pub(crate) fn new(
        producer: Producer,
        shared: Arc<PublisherShared>,
        wants: OutcomeWish,
    ) -> Self {
        Self {
            producer,
            shared,
            wants,
            waiting: VecDeque::new(),
            dirty: false,
        }
    }

    fn push(&mut self, range: OutcomeRange) -> bool {
        let merged = self.waiting.back_mut().is_some_and(|last| {
            let joins = last.to == range.from
                && (last.node, last.sub, last.outcome) == (range.node, range.sub, range.outcome);
            if joins {
                last.to = range.to;
            }
            joins
        });
        if !merged {
            self.waiting.push_back(range);
        }
        self.drain_waiting()
    }

    /// Moves what waits into the ring; `true`: nothing waits any more.
    fn drain_waiting(&mut self) -> bool {
        while let Some(range) = self.waiting.front() {
            if !self
                .producer
                .push(record::OUTCOME, &[&record::outcome_bytes(range)])
            {
                return false;
            }
            self.waiting.pop_front();
        }
        true
    }

    /// Whether the publisher may go on; if it has left too many outcomes unread, it is asked to say when it read some.
    fn has_room(&mut self) -> bool {
        if self.drain_waiting() || self.waiting.len() < OUTCOMES_WAITING_MAX {
            return true;
        }
        self.shared.unread.raise();
        self.drain_waiting();
        self.waiting.len() < OUTCOMES_WAITING_MAX
    }
}

/// What is counted for one overlay's local users; the shard adds it to its counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OutletCounts {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) full: u64,
    pub(crate) outcomes_waiting: u64,
    pub(crate) crossed_in: u64,
    pub(crate) crossed_out: u64,
}

impl OutletCounts {
    pub(crate) fn add_to(&self, counters: &mut ShardCounters) {
        counters.messages_published += self.published;
        counters.messages_delivered += self.delivered;
        counters.deliver_full += self.full;
        counters.outcomes_waiting += self.outcomes_waiting;
        counters.messages_crossed_in += self.crossed_in;
        counters.messages_crossed_out += self.crossed_out;
    }
}

/// All outlets of one overlay.
pub(crate) struct Outlets {
    pub(crate) sinks: NumberMap<Sink>,
    pub(crate) publishers: NumberMap<PublisherSink>,
    /// Who hears of presence.
    pub(crate) watchers: Vec<Sink>,
    /// By port.
    pub(crate) rings: Vec<Option<RingSink>>,
    /// By port.
    pub(crate) outcomes: Vec<Option<OutcomeSink>>,
    /// Rings written to in this turn, and sessions that want a flush.
    pub(crate) dirty_rings: Vec<u32>,
    pub(crate) dirty_outcomes: Vec<u32>,
    pub(crate) dirty_sessions: Vec<u32>,
    /// The routing table is to be built anew.
    pub(crate) routes_stale: bool,
    /// Blocked publishers may try again.
    pub(crate) writable: bool,
    /// A reader got so much in this turn that it is short of room.
    pub(crate) filling: bool,
    /// Readers that are short of room.
    pub(super) pressed: Vec<Sink>,
    /// Subscriptions that became effective, with the members that did not confirm.
    pub(crate) effective: Vec<(u32, Vec<NodeId>)>,
    pub(crate) counts: OutletCounts,
    pub(crate) shared: Arc<OverlayShared>,
    pub(crate) notices: Arc<Notices>,
}

impl Outlets {
    pub(crate) fn new(shared: Arc<OverlayShared>, notices: Arc<Notices>) -> Self {
        Self {
            sinks: NumberMap::default(),
            publishers: NumberMap::default(),
            watchers: Vec::new(),
            rings: Vec::new(),
            outcomes: Vec::new(),
            dirty_rings: Vec::new(),
            dirty_outcomes: Vec::new(),
            dirty_sessions: Vec::new(),
            routes_stale: true,
            writable: false,
            filling: false,
            pressed: Vec::new(),
            effective: Vec::new(),
            counts: OutletCounts::default(),
            shared,
            notices,
        }
    }

    fn ring(&mut self, port: u32) -> Option<&mut RingSink> {
        let ring = self.rings.get_mut(port as usize)?.as_mut()?;
        if !ring.dirty {
            ring.dirty = true;
            self.dirty_rings.push(port);
        }
        Some(ring)
    }

    /// Wakes the readers of all rings written to in this turn.
    pub(crate) fn notify(&mut self) {
        self.filling = false;
        for port in self.dirty_rings.drain(..) {
            if let Some(Some(ring)) = self.rings.get_mut(port as usize) {
                ring.dirty = false;
                ring.shared.notify.notify();
                if std::mem::take(&mut ring.got_message) && ring.is_newly_short() {
                    ring.pressed = true;
                    self.pressed.push(Sink::Ring(port));
                }
            }
        }
        for port in self.dirty_outcomes.drain(..) {
            if let Some(Some(sink)) = self.outcomes.get_mut(port as usize) {
                sink.dirty = false;
                sink.shared.outcomes.notify();
            }
        }
    }

    /// Notes a session whose client is short of room, unless it was waited for in vain.
    pub(crate) fn press(&mut self, cell: &SessionRc) {
        let is_known = |sink: &Sink| sink.is_session(cell.index);
        if !cell.slow.get() && !self.pressed.iter().any(is_known) {
            self.pressed.push(Sink::Session(SessionRc::clone(cell)));
        }
    }

    /// A session is gone: nobody waits for it.
    pub(crate) fn unpress(&mut self, session: u32) {
        self.pressed.retain(|sink| !sink.is_session(session));
    }

    /// Whoever is short of room was waited for long enough. It is not again before it has had room.
    pub(crate) fn give_up_pressed(&mut self) {
        for sink in self.pressed.drain(..) {
            match sink {
                Sink::Ring(port) => {
                    if let Some(Some(ring)) = self.rings.get_mut(port as usize) {
                        (ring.pressed, ring.slow) = (false, true);
                    }
                }
                Sink::Session(cell) => cell.slow.set(true),
            }
        }
    }

    /// Whether a reader is short of room.
    pub(crate) fn is_pressed(&mut self) -> bool {
        let rings = &mut self.rings;
        self.pressed.retain(|sink| match sink {
            Sink::Ring(port) => match rings.get_mut(*port as usize) {
                Some(Some(ring)) => {
                    ring.pressed = ring.is_short();
                    ring.pressed
                }
                _ => false,
            },
            Sink::Session(cell) => cell.blocked.get() && cell.session.is_pressed(),
        });
        !self.pressed.is_empty()
    }

    /// Notes that a publisher is to look at its outcomes.
    pub(crate) fn mark_outcomes(&mut self, port: u32) {
        if let Some(Some(sink)) = self.outcomes.get_mut(port as usize)
            && !std::mem::replace(&mut sink.dirty, true)
        {
            self.dirty_outcomes.push(port);
        }
    }

    /// See [`RingSink::take_fed`].
    pub(crate) fn take_fed(&mut self, port: u32) -> Vec<u32> {
        match self.rings.get_mut(port as usize) {
            Some(Some(ring)) => ring.take_fed(),
            _ => Vec::new(),
        }
    }

    /// See [`OutcomeSink::has_room`].
    pub(crate) fn has_outcome_room(&mut self, port: u32) -> bool {
        match self.outcomes.get_mut(port as usize) {
            Some(Some(sink)) => sink.has_room(),
            _ => true,
        }
    }

    /// The overlay takes messages of another size: the sessions that publish are told.
    pub(crate) fn tell_largest(&mut self) {
        for sink in self.publishers.values() {
            if let PublisherSink::Session(cell) = sink {
                cell.session.largest_changed();
                mark(&mut self.dirty_sessions, cell);
            }
        }
    }

    fn on_outcome(&mut self, handle: u32, range: OutcomeRange, event: &Event<'_>) {
        match self.publishers.get(&handle) {
            Some(PublisherSink::Ring(port)) => {
                let port = *port;
                let Some(Some(sink)) = self.outcomes.get_mut(port as usize) else {
                    return;
                };
                let wanted = match sink.wants {
                    OutcomeWish::Nothing => false,
                    OutcomeWish::Failures => range.outcome != Outcome::Delivered,
                    OutcomeWish::All => true,
                };
                let count = range.to - range.from;
                if wanted && !sink.push(range) {
                    self.counts.outcomes_waiting += 1;
                }
                // After the outcome is in the ring: whoever finds all settled finds it there.
                let tally = &sink.shared.tally;
                tally.settle(count);
                if wanted || tally.is_even() {
                    self.mark_outcomes(port);
                }
            }
            Some(PublisherSink::Session(cell)) => {
                cell.session.event(event);
                mark(&mut self.dirty_sessions, cell);
            }
            None => {}
        }
    }

    fn on_gap(&mut self, sub: u32, event: &Event<'_>, gap: impl FnOnce() -> Gap) {
        match self.sinks.get(&sub) {
            Some(Sink::Ring(port)) => {
                let port = *port;
                if let Some(ring) = self.ring(port) {
                    ring.tell_gap(gap());
                }
            }
            Some(Sink::Session(cell)) => {
                cell.session.event(event);
                mark(&mut self.dirty_sessions, cell);
            }
            None => {}
        }
    }

    fn on_presence(&mut self, event: &Event<'_>, kind: PresenceKind, node: NodeId) {
        let watchers = std::mem::take(&mut self.watchers);
        for watcher in &watchers {
            match watcher {
                Sink::Ring(port) => {
                    if let Some(ring) = self.ring(*port) {
                        ring.tell_change(kind, node);
                    }
                }
                Sink::Session(cell) => {
                    cell.session.event(event);
                    mark(&mut self.dirty_sessions, cell);
                }
            }
        }
        self.watchers = watchers;
    }

    /// Tells every session of this overlay that has a stake in room: those that publish.
    fn on_writable(&mut self, event: &Event<'_>) {
        self.writable = true;
        for sink in self.publishers.values() {
            if let PublisherSink::Session(cell) = sink
                && (cell.paused.get() || cell.session.waits_for_room())
            {
                cell.session.event(event);
                mark(&mut self.dirty_sessions, cell);
            }
        }
    }
}

/// Notes that a session wants a flush.
pub(crate) fn mark(dirty: &mut Vec<u32>, cell: &SessionRc) {
    if !cell.dirty.replace(true) {
        dirty.push(cell.index);
    }
}

impl Outlet for Outlets {
    fn deliver_run(&mut self, sub: u32, run: &mut Run<'_, '_>) {
        match self.sinks.get(&sub) {
            Some(Sink::Ring(port)) => {
                let port = *port;
                if let Some(ring) = self.ring(port) {
                    run.each(|message| ring.take(sub, message));
                    self.filling |= !ring.producer.is_half_free();
                } else {
                    run.each(|_| Taken::Full);
                }
            }
            Some(Sink::Session(cell)) => {
                cell.session.deliver_run(sub, run);
                self.filling |= cell.session.is_pressed();
                mark(&mut self.dirty_sessions, cell);
            }
            None => run.each(|_| Taken::Full),
        }
        self.counts.delivered += run.taken();
        self.counts.full += u64::from(run.is_full());
    }

    fn deliver(&mut self, sub: u32, message: &Delivery<'_>) -> Taken {
        let taken = match self.sinks.get(&sub) {
            Some(Sink::Ring(port)) => {
                let port = *port;
                match self.ring(port) {
                    Some(ring) => {
                        let taken = ring.take(sub, message);
                        self.filling |= !ring.producer.is_half_free();
                        taken
                    }
                    None => Taken::Full,
                }
            }
            Some(Sink::Session(cell)) => {
                let taken = cell.session.deliver(sub, message);
                self.filling |= cell.session.is_pressed();
                mark(&mut self.dirty_sessions, cell);
                taken
            }
            // The client of a named subscription is away.
            None => Taken::Full,
        };
        match taken {
            Taken::Full => self.counts.full += 1,
            Taken::Acked | Taken::Kept => self.counts.delivered += 1,
        }
        taken
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Presence { kind, node } => self.on_presence(&event, kind, node),
            Event::Outcome {
                handle,
                node,
                sub,
                from,
                to,
                outcome,
            } => {
                self.on_outcome(
                    handle,
                    OutcomeRange {
                        node,
                        sub,
                        from,
                        to,
                        outcome,
                    },
                    &event,
                );
            }
            Event::Subscribed { sub, missing } => {
                if let Some(Sink::Session(cell)) = self.sinks.get(&sub) {
                    cell.session.event(&event);
                    mark(&mut self.dirty_sessions, cell);
                } else {
                    self.effective.push((sub, missing.to_vec()));
                }
            }
            Event::Gap {
                sub,
                publisher,
                topic,
                from,
                to,
                reason,
            } => {
                let gap = || Gap {
                    sub,
                    publisher,
                    topic: topic.into(),
                    from,
                    to,
                    reason,
                };
                self.on_gap(sub, &event, gap);
            }
            Event::Writable => self.on_writable(&event),
            Event::Routes => self.routes_stale = true,
            Event::Synced { complete } => self
                .notices
                .push(self.shared.id, Notice::Synced { complete }),
            Event::Generation(generation) => self
                .notices
                .push(self.shared.id, Notice::Generation(generation)),
            Event::IdConflict => self.notices.push(self.shared.id, Notice::IdConflict),
            Event::Foreign { reason, from } => self
                .notices
                .push(self.shared.id, Notice::Foreign { reason, from }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::ring::ring;
    use tidings_wire::Boot;

    #[test]
    fn a_hole_that_finds_the_ring_full_is_told_when_there_is_room() {
        const COUNT: u64 = 50_000;
        let (producer, mut reader) = ring(4096);
        let mut sink = RingSink::new(producer, Arc::new(SubscriberShared::new()));
        let hole = |handle: u32, from: u64, to: u64| Gap {
            sub: 1,
            publisher: PublisherId {
                node: NodeId([1; 16]),
                boot: Boot([2; 16]),
                handle,
            },
            topic: "t".into(),
            from,
            to,
            reason: Outcome::Overflow,
        };
        for seq in 0..COUNT {
            sink.tell_gap(hole(1, seq, seq + 1));
            sink.tell_gap(hole(2, 2 * seq, 2 * seq + 1));
        }
        // Of the first publisher all that found no room are one.
        let mut told = [Vec::new(), Vec::new()];
        loop {
            while let Some((kind, bytes)) = reader.peek() {
                assert_eq!(kind, record::GAP);
                let gap = record::read_gap(bytes);
                told[gap.publisher.handle as usize - 1].push((gap.from, gap.to));
                reader.advance();
            }
            reader.release();
            let done = sink.drain_waiting();
            if done && reader.is_empty() {
                break;
            }
        }
        for (gaps, step) in told.iter().zip([1, 2]) {
            assert!(gaps.is_sorted() && gaps.len() <= GAPS_WAITING_MAX + 100);
            let mut gaps = gaps.iter().peekable();
            for seq in (0..COUNT).map(|i| step * i) {
                while gaps.next_if(|&&(_, to)| to <= seq).is_some() {}
                assert!(gaps.peek().is_some_and(|&&(from, _)| from <= seq), "{seq}");
            }
        }
        assert!(told[0].len() < 100);
    }
}
