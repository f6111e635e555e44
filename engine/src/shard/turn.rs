//! One turn of a shard, top to bottom the path of the data: sockets, mail of other threads, sessions, timers, flush. Then
//! the decision to go on, to look again or to sleep.

use std::io;

use super::Shard;
use super::dispatch::Yard;
use crate::clock;
use crate::limits::{
    BELLS_PER_TURN_MAX, COMMANDS_PER_TURN_MAX, FINDS_MIN, FORWARDED_PER_TURN_MAX, LOOK_NS, NEAR_NS,
    RELAX_NS, SHORT_NS, SHORTS_MAX, SOON_NS,
};
use crate::queue::mesh;
use crate::wait::{Input, Ready, Sleep};

impl Shard {
    /// One pass. Looks at the inputs in `ready`, which afterwards says who has more. Returns whether there was anything to do.
    pub(super) fn turn(&mut self, ready: &mut Ready) -> bool {
        let now = clock::now();
        if self.was_busy {
            // What came just after the turn before had begun waited until that was over: for a sleep, or just now.
            let over = self.slept_at.unwrap_or(now);
            self.lag.record(over.saturating_sub(self.now), 1);
        }
        self.now = now;
        self.yard.counters.turns += 1;
        let mut busy = false;
        busy |= self.take_socket(Input::Control, &mut ready.control);
        // What a heartbeat asks about came before it, whoever said so.
        let is_asked = self.yard.overlays().any(|overlay| overlay.core.is_asked());
        ready.data |= is_asked;
        let holds = self.brakes(ready);
        if !holds {
            busy |= self.take_data(is_asked, &mut ready.data);
        }
        self.note_unread(holds || ready.data);
        busy |= self.take_socket(Input::Hello, &mut ready.hello);
        busy |= self.take_errors();
        busy |= self.take_mail();
        busy |= self.take_ports();
        busy |= self.take_sessions(ready);
        busy |= self.fire_timers();
        self.flush();
        self.part();
        self.keep_house();
        self.was_busy = busy;
        busy
    }

    fn take_socket(&mut self, input: Input, ready: &mut bool) -> bool {
        if !*ready {
            return false;
        }
        let (any, more) = self
            .net
            .receive(input, usize::MAX, self.now, &mut self.yard);
        *ready = more;
        any
    }

    /// The same for data. `all`: all that is there is wanted, as far as a turn goes.
    fn take_data(&mut self, all: bool, ready: &mut bool) -> bool {
        if !*ready {
            return false;
        }
        // Of a socket that is read in every turn all the same one message is read at a time while they come singly: a call that may
        // take more looks for another before it hands over the first.
        let is_single = self.net.is_data_apart() && !self.was_busy && !all;
        let most = if is_single { 1 } else { usize::MAX };
        let (any, more) = self
            .net
            .receive(Input::Data, most, self.now, &mut self.yard);
        *ready = more;
        if any && !self.was_busy && self.slept_at.is_none() {
            self.finds = self.finds.saturating_add(1);
        }
        any
    }

    /// Whether the data socket is left unread for now, because a reader is short of room.
    fn brakes(&mut self, ready: &mut Ready) -> bool {
        let held = self.brake.deadline().is_some();
        let pressed = self.is_pressed();
        // Where nothing waits to be read, nobody has to make room for it.
        let holds = self.brake.holds(self.now, pressed && (held || ready.data));
        if holds != held {
            // What is not read shall not end a sleep.
            self.net.watch_data(&self.set, !holds);
            self.yard.counters.data_held += u64::from(holds);
        }
        if pressed && held && !holds {
            self.yard
                .overlays()
                .for_each(|overlay| overlay.outlets.give_up_pressed());
        }
        // Nobody says what came meanwhile.
        ready.data = !holds && (ready.data || held);
        holds
    }

    /// Whether a reader is short of room.
    fn is_pressed(&mut self) -> bool {
        let mut any = false;
        for overlay in self.yard.overlays() {
            any |= overlay.outlets.is_pressed();
        }
        any
    }

    /// Heartbeats are answered once all is read that came before them.
    fn note_unread(&mut self, unread: bool) {
        for overlay in self.yard.overlays() {
            if overlay.core.is_asked() {
                overlay.core.note_unread(unread);
                overlay.touched |= !unread;
            }
        }
    }

    fn take_errors(&mut self) -> bool {
        let now = self.now;
        let Yard {
            slots, counters, ..
        } = &mut self.yard;
        self.net.errors(counters, |to, quoted| {
            for overlay in slots.iter_mut().flatten() {
                overlay.touched = true;
                overlay
                    .core
                    .handle_unreachable(now, to, quoted, &mut overlay.outlets);
            }
        })
    }

    /// What other threads sent: datagrams of other shards, commands, bells of publishers and subscribers.
    fn take_mail(&mut self) -> bool {
        let mut any = false;
        for shard in 0..self.yard.mesh.from.len() {
            any |= self.take_forwarded(shard);
        }
        self.pass_on();
        for _ in 0..COMMANDS_PER_TURN_MAX {
            let Some(command) = self.door.next_command() else {
                break;
            };
            self.yard.counters.commands += 1;
            any = true;
            command(self);
        }
        for _ in 0..BELLS_PER_TURN_MAX {
            let Some(bell) = self.door.next_bell() else {
                break;
            };
            any = true;
            if let Some(Some(overlay)) = self.yard.slots.get_mut((bell >> 16) as usize) {
                overlay.activate(bell & 0xffff);
            }
        }
        if self.door.take_session_alarm() {
            any = true;
            self.nudge_all();
        }
        if self.door.take_alarm() {
            any = true;
            self.yard
                .overlays()
                .for_each(|overlay| overlay.activate_all());
        }
        any
    }

    fn take_forwarded(&mut self, shard: usize) -> bool {
        let now = self.now;
        let Some(mut ring) = self.yard.mesh.from[shard].take() else {
            return false;
        };
        let mut taken = 0;
        while taken < FORWARDED_PER_TURN_MAX
            && let Some((from, datagram)) = mesh::forwarded(&mut ring)
        {
            self.yard.dispatch_here(now, from, datagram);
            ring.advance();
            taken += 1;
        }
        if taken > 0 {
            ring.release();
            self.yard.counters.forwarded_in += taken as u64;
        }
        self.yard.mesh.from[shard] = Some(ring);
        taken > 0
    }

    fn take_ports(&mut self) -> bool {
        let (mut blocked, mut any) = (0, false);
        let now = self.now;
        for overlay in self.yard.overlays() {
            if overlay.has_active() {
                any = true;
                overlay.serve_ports(now, &mut blocked);
            }
        }
        self.yard.counters.publish_blocked += blocked;
        any
    }

    fn take_sessions(&mut self, ready: &mut Ready) -> bool {
        let any = !ready.sessions.is_empty();
        for (session, interest) in ready.sessions.drain(..) {
            self.sessions
                .on_ready(self.now, session, interest, &mut self.yard, &self.set);
        }
        self.sessions.turn(self.now, &mut self.yard) || any
    }

    fn fire_timers(&mut self) -> bool {
        let now = self.now;
        let mut any = self.sessions.fire(now, &mut self.yard, &self.set);
        for overlay in self.yard.overlays() {
            if overlay.deadline.is_some_and(|deadline| deadline <= now) {
                overlay.touched = true;
                overlay.core.handle_timeout(now, &mut overlay.outlets);
                any = true;
            }
        }
        any
    }

    /// Every overlay that was touched plans, seals and sends; then readers are woken and sessions written to.
    fn flush(&mut self) {
        let now = self.now;
        let yard = &mut self.yard;
        for slot in yard.slots.iter_mut() {
            let Some(overlay) = slot else { continue };
            if !std::mem::take(&mut overlay.touched) {
                continue;
            }
            overlay.core.flush(now, &mut overlay.outlets);
            self.net.send(now, &overlay.core, &mut yard.counters);
            for (to, bytes) in self.net.take_too_big() {
                overlay.core.on_too_big(now, to, bytes);
                overlay.touched = true;
            }
            overlay.core.sent();
            while overlay.core.wants_slots() {
                let Some(block) = yard.map.blocks.grant(yard.index, overlay.slot) else {
                    break;
                };
                overlay.core.grant_slots(block);
                overlay.touched = true;
            }
            if overlay.outlets.writable {
                self.sessions.resume(now, overlay, &self.set);
            }
            self.sessions.flush(now, overlay, &self.set);
            overlay.settle();
            overlay.deadline = overlay.core.deadline();
        }
        self.yard.call_others();
    }

    /// Overlays whose farewell is told, or has taken too long, go.
    fn part(&mut self) {
        for slot in 0..self.yard.slots.len() as u16 {
            let Some(Some(overlay)) = self.yard.slots.get_mut(usize::from(slot)) else {
                continue;
            };
            let over = overlay.leaving.is_some()
                && (overlay.core.has_left(self.now) || overlay.leave_by <= self.now);
            if over && let Some(mut overlay) = self.yard.remove(slot) {
                self.sessions.close_all(self.now, &mut overlay, &self.set);
                overlay.close();
            }
        }
    }

    /// Once a second while receive pools are larger than they must be, and shall not stay so; and whether there is much to do.
    fn keep_house(&mut self) {
        match self.relax_at {
            None if self.shrinks && self.net.is_grown() => {
                self.relax_at = Some(self.now + RELAX_NS)
            }
            Some(at) if at <= self.now => {
                let more = self.net.relax();
                self.relax_at = more.then_some(self.now + RELAX_NS);
            }
            _ => {}
        }
        let moved = self.yard.counters.recv_bytes + self.yard.counters.send_bytes;
        if let Some(is_busy) = self.meter.look(self.now, moved) {
            self.load.change(is_busy);
        }
    }

    /// Between two turns: goes on at once, polls, or sleeps until something is ready or due.
    pub(super) async fn pause(
        &mut self,
        busy: bool,
        sleep: &mut impl Sleep,
        ready: &mut Ready,
    ) -> io::Result<()> {
        if busy {
            self.poller.on_busy(self.now);
        }
        let slept_at = self.slept_at.take();
        if let Some(at) = slept_at {
            let is_short = self.now < at + SHORT_NS;
            self.shorts = if is_short {
                self.shorts.saturating_add(1)
            } else {
                0
            };
        }
        if !busy && self.is_soon() {
            return Ok(());
        }
        let quiet = self.shorts < SHORTS_MAX;
        // After a sleep there is rarely more then, and the next sleep ends at once if there is.
        if !quiet || slept_at.is_none() {
            if self.hears_apart(busy) {
                ready.data = true;
                if self.now < self.looked_at + LOOK_NS {
                    return Ok(());
                }
            }
            self.set.look(ready)?;
            self.looked_at = self.now;
        }
        if ready.any() || self.stopping {
            return Ok(());
        }
        // The next turn looks for everything anyway.
        if !busy && self.poller.on_idle(self.now) || self.has_work() {
            return Ok(());
        }
        let (deadline, now) = (self.deadline(), clock::now());
        // The turn took some time: what is due by now, or nearly, is not slept for.
        let is_due = deadline.is_some_and(|deadline| deadline <= now + NEAR_NS);
        if is_due || self.poller.on_idle(self.now) {
            return Ok(());
        }
        self.door.parker().prepare();
        if self.has_work() {
            self.door.parker().awake();
            return Ok(());
        }
        self.finds = 0;
        self.yard.counters.parks += 1;
        // What was left of an earlier wake does not count.
        ready.woken = false;
        self.slept_at = Some(now);
        self.set.wait(sleep, now, deadline, quiet, ready).await?;
        self.yard.counters.wakes_by_thread += u64::from(ready.woken);
        self.door.parker().awake();
        Ok(())
    }

    /// Whether the data socket is to be read in the next turn whatever the set says. While polling mostly finds data, it is not in
    /// the set: neither is the set asked about it, nor told by whoever sends.
    fn hears_apart(&mut self, busy: bool) -> bool {
        let is_apart = self.net.is_data_apart();
        if self.finds < FINDS_MIN && !is_apart {
            return false;
        }
        // A reader that is short of room is waited for only while data waits, which the set knows.
        let is_braked = self.brake.deadline().is_some();
        let goes_on = busy || self.poller.on_idle(self.now);
        if !goes_on {
            self.finds = 0;
        }
        let apart = goes_on && !is_braked && !self.is_pressed();
        // A set that cannot take it back now may later; until then it is read as before.
        if apart != is_apart && self.net.put_data(&self.set, !apart).is_err() {
            return is_apart;
        }
        if !apart && is_apart && is_braked {
            self.net.watch_data(&self.set, false);
        }
        apart
    }

    /// Whether something is due so soon that a look at the descriptors would make it late.
    fn is_soon(&self) -> bool {
        let soon = self.now..self.now + SOON_NS;
        self.deadline()
            .is_some_and(|deadline| soon.contains(&deadline))
    }

    /// Whether the next turn has something to do without any descriptor being ready.
    fn has_work(&mut self) -> bool {
        // The socket is to be read again as soon as there is room.
        let is_released = self.brake.deadline().is_some() && !self.is_pressed();
        is_released
            || self.door.has_mail()
            || self.sessions.any_turning()
            || self
                .yard
                .slots
                .iter()
                .flatten()
                .any(|overlay| overlay.has_active() || overlay.touched)
            || self
                .yard
                .mesh
                .from
                .iter_mut()
                .flatten()
                .any(|ring| !ring.is_empty())
    }

    /// When the shard must be awake at the latest.
    fn deadline(&self) -> Option<u64> {
        let overlays = self.yard.slots.iter().flatten();
        let cores = overlays.flat_map(|overlay| {
            let leave_by = overlay.leaving.is_some().then_some(overlay.leave_by);
            overlay.deadline.into_iter().chain(leave_by)
        });
        cores
            .chain(self.sessions.deadline)
            .chain(self.relax_at)
            .chain(self.brake.deadline())
            .chain(self.passing_deadline())
            .min()
    }

    /// The last act: whoever waits for this shard is told that it is gone.
    pub(super) fn end(&mut self) {
        for slot in 0..self.yard.slots.len() as u16 {
            if let Some(mut overlay) = self.yard.remove(slot) {
                self.sessions.close_all(self.now, &mut overlay, &self.set);
                overlay.close();
            }
        }
        self.door.stop();
    }
}
