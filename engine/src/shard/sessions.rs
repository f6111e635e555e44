//! The sessions on a shard: who they are, whose descriptor waits for what, who wants a flush.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use super::dispatch::Yard;
use super::overlay::ShardOverlay;
use crate::limits::SESSIONS_MAX;
use crate::number_map::NumberMap;
use crate::seat::Seat;
use crate::session::{Departed, Flushed, Session, SessionCell, SessionRc, Verdict};
use crate::sys::epoll::Interest;
use crate::wait::WaitSet;

/// All sessions of a shard.
#[derive(Default)]
pub(crate) struct Sessions {
    cells: Vec<Option<SessionRc>>,
    /// Sessions whose `on_turn` answered `true` last time.
    turning: Vec<u32>,
    // The same array, empty: each turn they change places.
    turned: Vec<u32>,
    /// The earliest deadline of a session, as of the last look.
    pub(crate) deadline: Option<u64>,
    count: usize,
}

impl Sessions {
    /// Takes a session in. It is given a turn and a flush at once.
    pub(crate) fn add(
        &mut self,
        session: Box<dyn Session>,
        overlay: &mut ShardOverlay,
        set: &WaitSet,
    ) -> io::Result<SessionRc> {
        let index = self.free();
        if index >= SESSIONS_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if let Some(fd) = session.fd() {
            set.add_session(index as u32, fd)?;
        }
        Ok(self.settle(index, session, overlay))
    }

    fn settle(
        &mut self,
        index: usize,
        session: Box<dyn Session>,
        overlay: &mut ShardOverlay,
    ) -> SessionRc {
        let cell = Rc::new(SessionCell {
            session,
            index: index as u32,
            overlay: overlay.slot,
            dirty: Cell::new(false),
            blocked: Cell::new(false),
            paused: Cell::new(false),
            slow: Cell::new(false),
            turning: Cell::new(true),
        });
        if index == self.cells.len() {
            self.cells.push(None);
        }
        self.cells[index] = Some(Rc::clone(&cell));
        self.turning.push(index as u32);
        self.count += 1;
        super::outlet::mark(&mut overlay.outlets.dirty_sessions, &cell);
        cell
    }

    /// Whether all sessions of an overlay can go to another shard.
    pub(crate) fn can_leave(&self, slot: u16) -> bool {
        let mut cells = self.cells.iter().flatten();
        cells.all(|cell| cell.overlay != slot || cell.session.can_depart())
    }

    /// The sessions of an overlay that goes to another shard leave with it, each with the number that it had. Nothing of the overlay
    /// holds them any more.
    pub(super) fn leave(&mut self, slot: u16, set: &WaitSet) -> Vec<(u32, Departed)> {
        let mut leavers = Vec::new();
        for place in &mut self.cells {
            let Some(cell) = place.take_if(|cell| cell.overlay == slot) else {
                continue;
            };
            self.count -= 1;
            if let Some(fd) = cell.session.fd() {
                // The session may have closed it already: then the set has forgotten it.
                let _ = set.remove_session(fd);
            }
            let was = cell.index;
            let cell = Rc::into_inner(cell);
            debug_assert!(cell.is_some(), "somebody holds a session that leaves");
            leavers.extend(cell.and_then(|cell| Some((was, cell.session.depart()?))));
        }
        leavers
    }

    /// Takes in sessions that came with their overlay, by the numbers that they had, and gives each a turn and a flush. The others are
    /// those that there is no room for, and are to be closed.
    pub(super) fn arrive(
        &mut self,
        leavers: Vec<(u32, Departed)>,
        overlay: &mut ShardOverlay,
        set: &WaitSet,
    ) -> (NumberMap<SessionRc>, Vec<SessionRc>) {
        let (mut seated, mut lost) = (NumberMap::default(), Vec::new());
        for (was, make) in leavers {
            let index = self.free();
            let session = make();
            let watched = session.fd().map(|fd| set.add_session(index as u32, fd));
            let cell = self.settle(index, session, overlay);
            if index >= SESSIONS_MAX || watched.is_some_and(|watched| watched.is_err()) {
                lost.push(Rc::clone(&cell));
            }
            seated.insert(was, cell);
        }
        (seated, lost)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Connections of clients: not handlers, and not the agents of connections on other shards.
    pub(crate) fn connected(&self) -> usize {
        let cells = self.cells.iter().flatten();
        cells.filter(|cell| cell.session.is_client()).count()
    }

    /// Numbers of sessions are below this.
    pub(crate) fn slots(&self) -> u32 {
        self.cells.len() as u32
    }

    fn free(&self) -> usize {
        let free = self.cells.iter().position(Option::is_none);
        free.unwrap_or(self.cells.len())
    }

    fn cell(&self, index: u32) -> Option<SessionRc> {
        self.cells.get(index as usize)?.clone()
    }

    /// Whether a session wants to be called without input.
    pub(crate) fn any_turning(&self) -> bool {
        !self.turning.is_empty()
    }

    /// A descriptor is ready.
    pub(crate) fn on_ready(
        &mut self,
        now: u64,
        index: u32,
        interest: Interest,
        yard: &mut Yard,
        set: &WaitSet,
    ) {
        let Some(cell) = self.cell(index) else { return };
        let Some(Some(overlay)) = yard.slots.get_mut(usize::from(cell.overlay)) else {
            return;
        };
        overlay.touched = true;
        if interest.writable && cell.blocked.replace(false) {
            super::outlet::mark(&mut overlay.outlets.dirty_sessions, &cell);
            watch(&cell, set);
        }
        // A paused descriptor is not watched for input, but its end or failure is told all the same, again and again until
        // the session has heard of it.
        if interest.readable {
            self.read(now, &cell, overlay, set);
        }
    }

    fn read(&mut self, now: u64, cell: &SessionRc, overlay: &mut ShardOverlay, set: &WaitSet) {
        let verdict = cell.session.on_readable(&mut Seat {
            now,
            overlay,
            me: cell,
        });
        super::outlet::mark(&mut overlay.outlets.dirty_sessions, cell);
        self.obey(now, verdict, cell, overlay, set);
    }

    fn obey(
        &mut self,
        now: u64,
        verdict: Verdict,
        cell: &SessionRc,
        overlay: &mut ShardOverlay,
        set: &WaitSet,
    ) {
        match verdict {
            Verdict::Stay | Verdict::Pause => {
                let pauses = verdict == Verdict::Pause;
                if cell.paused.replace(pauses) != pauses {
                    watch(cell, set);
                }
            }
            Verdict::Close => self.close(now, cell, overlay, set),
        }
    }

    /// Gives every session that asked for it its turn. Returns whether any wants another.
    pub(crate) fn turn(&mut self, now: u64, yard: &mut Yard) -> bool {
        let mut again = false;
        let spare = std::mem::take(&mut self.turned);
        let mut turning = std::mem::replace(&mut self.turning, spare);
        for index in turning.drain(..) {
            let Some(cell) = self.cell(index) else {
                continue;
            };
            let Some(Some(overlay)) = yard.slots.get_mut(usize::from(cell.overlay)) else {
                continue;
            };
            let wants = cell.session.on_turn(&mut Seat {
                now,
                overlay,
                me: &cell,
            });
            cell.turning.set(wants);
            if wants {
                overlay.touched = true;
                super::outlet::mark(&mut overlay.outlets.dirty_sessions, &cell);
                self.turning.push(index);
                again = true;
            }
        }
        self.turned = turning;
        again
    }

    /// Calls the sessions whose deadline has come and looks for the next one.
    pub(crate) fn fire(&mut self, now: u64, yard: &mut Yard, set: &WaitSet) -> bool {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return false;
        }
        for index in 0..self.cells.len() as u32 {
            let Some(cell) = self.cell(index) else {
                continue;
            };
            if cell
                .session
                .deadline()
                .is_none_or(|deadline| deadline > now)
            {
                continue;
            }
            let Some(Some(overlay)) = yard.slots.get_mut(usize::from(cell.overlay)) else {
                continue;
            };
            overlay.touched = true;
            let verdict = cell.session.on_deadline(&mut Seat {
                now,
                overlay,
                me: &cell,
            });
            super::outlet::mark(&mut overlay.outlets.dirty_sessions, &cell);
            self.obey(now, verdict, &cell, overlay, set);
        }
        self.deadline = self
            .cells
            .iter()
            .flatten()
            .filter_map(|cell| cell.session.deadline())
            .min();
        true
    }

    /// Flushes the sessions of one overlay that something happened to.
    pub(crate) fn flush(&mut self, now: u64, overlay: &mut ShardOverlay, set: &WaitSet) {
        // A flush may cause events for others; those come in the second round, what that causes in the next turn.
        for _ in 0..2 {
            let mut dirty = std::mem::take(&mut overlay.outlets.dirty_sessions);
            for index in dirty.drain(..) {
                let Some(cell) = self.cell(index) else {
                    continue;
                };
                cell.dirty.set(false);
                self.flush_one(now, &cell, overlay, set);
            }
            if overlay.outlets.dirty_sessions.is_empty() {
                overlay.outlets.dirty_sessions = dirty;
                return;
            }
        }
    }

    fn flush_one(&mut self, now: u64, cell: &SessionRc, overlay: &mut ShardOverlay, set: &WaitSet) {
        // Also of one whose descriptor takes nothing: that is when its output grows.
        if cell.session.is_overrun() {
            return self.close(now, cell, overlay, set);
        }
        if !cell.blocked.get() {
            match cell.session.flush(&mut Seat {
                now,
                overlay,
                me: cell,
            }) {
                Flushed::Done => {}
                Flushed::Blocked => {
                    cell.blocked.set(true);
                    watch(cell, set);
                }
                Flushed::Close => return self.close(now, cell, overlay, set),
            }
        }
        match cell.blocked.get() && cell.session.is_pressed() {
            true => overlay.outlets.press(cell),
            false => cell.slow.set(false),
        }
        if let Some(deadline) = cell.session.deadline() {
            self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
        }
    }

    /// The overlay has room again: sessions that paused read on.
    pub(crate) fn resume(&mut self, now: u64, overlay: &mut ShardOverlay, set: &WaitSet) {
        for index in 0..self.cells.len() as u32 {
            let Some(cell) = self.cell(index) else {
                continue;
            };
            if cell.overlay == overlay.slot && cell.paused.get() {
                self.read(now, &cell, overlay, set);
            }
        }
    }

    pub(super) fn close(
        &mut self,
        now: u64,
        cell: &SessionRc,
        overlay: &mut ShardOverlay,
        set: &WaitSet,
    ) {
        if self
            .cells
            .get_mut(cell.index as usize)
            .and_then(Option::take)
            .is_none()
        {
            return;
        }
        self.count -= 1;
        if let Some(fd) = cell.session.fd() {
            // The session may have closed it already: then the set has forgotten it.
            let _ = set.remove_session(fd);
        }
        cell.session.on_close(&mut Seat {
            now,
            overlay,
            me: cell,
        });
        overlay.touched = true;
        let gone = cell.index;
        overlay.outlets.unpress(gone);
        let subs: Vec<u32> = overlay
            .outlets
            .sinks
            .iter()
            .filter(|(_, sink)| sink.is_session(gone))
            .map(|(&sub, _)| sub)
            .collect();
        for sub in subs {
            overlay.detach(now, sub);
        }
        overlay
            .outlets
            .watchers
            .retain(|watcher| !watcher.is_session(gone));
        overlay.close_publishers_of(gone);
    }

    /// The overlay goes, and its sessions with it.
    pub(crate) fn close_all(&mut self, now: u64, overlay: &mut ShardOverlay, set: &WaitSet) {
        for index in 0..self.cells.len() as u32 {
            let Some(cell) = self.cell(index) else {
                continue;
            };
            if cell.overlay == overlay.slot {
                self.close(now, &cell, overlay, set);
            }
        }
    }
}

/// Tells the set what the session's descriptor is to be watched for.
fn watch(cell: &SessionRc, set: &WaitSet) {
    if let Some(fd) = cell.session.fd() {
        let interest = Interest {
            readable: !cell.paused.get(),
            writable: cell.blocked.get(),
        };
        // A descriptor that the session closed is gone from the set; its next call tells the session.
        let _ = set.change_session(cell.index, fd, interest);
    }
}
