//! A client's agent for an overlay that lives on another shard than its connection: a session without a descriptor, whose
//! input and output are the rings of a link.

use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use tidings_protocol::{Delivery, Event, Run, Taken};
use tidings_wire::client::frame::split;
use tidings_wire::client::{ErrorCode, Request};

use super::agent::{Agent, Breach};
use super::link::{End, Ended};
use crate::limits::SESSION_READ_BYTES_MAX;
use crate::seat::Seat;
use crate::session::{Departed, Flushed, Session, Verdict};

/// How often a flush fills the output again before the others get their turn.
const ROUNDS: usize = 4;

/// The session.
pub(crate) struct Remote {
    agent: Agent,
    end: RefCell<End>,
    /// When to go on with what one turn did not do.
    retry_at: Cell<Option<u64>>,
    /// The link holds more than one turn takes.
    more: Cell<bool>,
    /// Nothing is read until the client has read.
    choked: Cell<bool>,
    /// The client broke the protocol: the link ends when it has the ERROR.
    broken: Cell<bool>,
    /// The connection is gone and everything that it sent is served.
    over: Cell<bool>,
    /// Messages delivered since the last flush.
    crossed: Cell<u64>,
}

impl Remote {
    pub(crate) fn new(agent: Agent, end: End) -> Self {
        Self {
            agent,
            end: RefCell::new(end),
            retry_at: Cell::new(None),
            more: Cell::new(false),
            choked: Cell::new(false),
            broken: Cell::new(false),
            over: Cell::new(false),
            crossed: Cell::new(0),
        }
    }

    /// Serves what the connection passed on. Returns whether there is more.
    fn read(&self, seat: &mut Seat<'_>) -> Result<bool, Breach> {
        let mut left = SESSION_READ_BYTES_MAX;
        let mut end = self.end.borrow_mut();
        while left > 0 {
            if self.agent.is_choked() && end.shared.ended().is_none() {
                self.choked.set(true);
                return Ok(false);
            }
            let Some(frame) = end.peek() else {
                return Ok(false);
            };
            left = left.saturating_sub(frame.len());
            let (raw, used) = split(frame)
                .ok()
                .flatten()
                .ok_or(Breach("a frame was cut"))?;
            let request = Request::decode(raw).map_err(|_| Breach("a malformed frame"))?;
            if let Request::Publish(publish) = &request {
                seat.count_crossed_in(publish.records.len() as u64);
            }
            self.agent.serve(seat, &request, used as u64)?;
            end.advance();
        }
        Ok(true)
    }

    fn report_consumed(&self, end: &End) -> bool {
        end.shared
            .consumed
            .swap(self.agent.consumed(), Ordering::AcqRel)
            != self.agent.consumed()
    }
}

impl Session for Remote {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn on_readable(&self, seat: &mut Seat<'_>) -> Verdict {
        if self.over.get() {
            // The core reported the last acknowledgements in the flush since.
            return Verdict::Close;
        }
        let closed = {
            let end = self.end.borrow();
            end.shared.agent.born(seat);
            end.shared.agent.answer();
            end.shared.ended().is_some()
        };
        if self.broken.get() {
            self.over.set(closed);
            return Verdict::Stay;
        }
        match self.read(seat) {
            // The last acknowledgements of a client that is gone came before its end did.
            Ok(more) => {
                self.more.set(more);
                self.over.set(closed && !more);
            }
            Err(_) if closed => self.over.set(true),
            Err(Breach(text)) => {
                self.broken.set(true);
                self.more.set(false);
                let mut out = self.agent.out.borrow_mut();
                out.refuse_all(ErrorCode::Protocol, text);
            }
        }
        Verdict::Stay
    }

    fn deliver(&self, sub: u32, message: &Delivery<'_>) -> Taken {
        let taken = self.agent.deliver(sub, message);
        if taken != Taken::Full {
            self.crossed.set(self.crossed.get() + 1);
        }
        taken
    }

    fn deliver_run(&self, sub: u32, run: &mut Run<'_, '_>) {
        self.agent.deliver_run(sub, run);
        self.crossed.set(self.crossed.get() + run.taken());
    }

    fn event(&self, event: &Event<'_>) {
        self.agent.event(event);
    }

    fn largest_changed(&self) {
        self.agent.largest_changed();
    }

    fn waits_for_room(&self) -> bool {
        self.agent.waits_for_room()
    }

    fn is_overrun(&self) -> bool {
        let overrun = self.agent.is_overrun();
        if overrun {
            self.end.borrow().shared.end(Ended::Overrun);
        }
        overrun
    }

    fn flush(&self, seat: &mut Seat<'_>) -> Flushed {
        let again = self.more.get() || self.over.get();
        self.retry_at.set(again.then_some(seat.now()));
        for _ in 0..ROUNDS {
            self.agent.settle(seat);
            if self.is_overrun() {
                return Flushed::Close;
            }
            let mut end = self.end.borrow_mut();
            let mut told = self.report_consumed(&end);
            let crossed = self.crossed.take();
            seat.count_crossed_out(crossed);
            end.shared.crossed.fetch_add(crossed, Ordering::AcqRel);
            self.agent.out.borrow_mut().take_with(|frames| {
                let sent = end.send_all(frames);
                told |= sent > 0;
                sent
            });
            let all_sent = self.agent.out.borrow().backlog() == 0;
            if self.broken.get() && all_sent {
                end.shared.end(Ended::Breach);
                return Flushed::Close;
            }
            if told {
                end.shared.home.call();
            }
            if !self.agent.is_choked() && self.choked.replace(false) {
                self.retry_at.set(Some(seat.now()));
            }
            drop(end);
            if !(self.agent.feed(seat) | self.agent.has_more_to_tell()) {
                return Flushed::Done;
            }
        }
        self.retry_at.set(Some(seat.now()));
        Flushed::Done
    }

    /// The first turn: the session has its number now, and whatever came before is there.
    fn on_turn(&self, seat: &mut Seat<'_>) -> bool {
        self.on_readable(seat);
        false
    }

    fn deadline(&self) -> Option<u64> {
        self.retry_at.get()
    }

    fn on_deadline(&self, seat: &mut Seat<'_>) -> Verdict {
        self.retry_at.set(None);
        self.on_readable(seat)
    }

    fn can_depart(&self) -> bool {
        true
    }

    fn depart(self: Box<Self>) -> Option<Departed> {
        Some(Box::new(move || self))
    }

    fn on_close(&self, seat: &mut Seat<'_>) {
        // The connection hears of it when the link's end is dropped with this session.
        self.agent.end(seat);
    }
}
