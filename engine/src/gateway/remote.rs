//! A client's agent for an overlay that lives on another shard than its connection: a session without a descriptor, whose
//! input and output are the rings of a link.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use tidings_protocol::{Delivery, Event, Taken};
use tidings_wire::client::Request;
use tidings_wire::client::frame::split;

use super::agent::{Agent, Breach};
use super::limits::RETRY_NS;
use super::link::End;
use crate::limits::SESSION_READ_BYTES_MAX;
use crate::seat::Seat;
use crate::session::{Flushed, Session, Verdict};

/// How often a flush fills the output again before the others get their turn.
const ROUNDS: usize = 4;

/// The session.
pub(crate) struct Remote {
    agent: Agent,
    end: RefCell<End>,
    /// When to try again what found no room: a wake, a record.
    retry_at: std::cell::Cell<Option<u64>>,
    /// The link holds more than one turn takes.
    more: std::cell::Cell<bool>,
    /// The connection is gone and everything that it sent is served.
    over: std::cell::Cell<bool>,
    /// Messages delivered since the last flush.
    crossed: std::cell::Cell<u64>,
}

impl Remote {
    pub(crate) fn new(agent: Agent, end: End) -> Self {
        Self {
            agent,
            end: RefCell::new(end),
            retry_at: std::cell::Cell::new(None),
            more: std::cell::Cell::new(false),
            over: std::cell::Cell::new(false),
            crossed: std::cell::Cell::new(0),
        }
    }

    /// Serves what the connection passed on. Returns whether there is more.
    fn read(&self, seat: &mut Seat<'_>) -> Result<bool, Breach> {
        let mut left = SESSION_READ_BYTES_MAX;
        let mut end = self.end.borrow_mut();
        while left > 0 {
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
            end.shared.agent.born(seat.me.index);
            end.shared.agent.answer();
            end.shared.is_closed()
        };
        match self.read(seat) {
            // The last acknowledgements of a client that is gone came before its end did.
            Ok(more) => {
                self.more.set(more);
                self.over.set(closed && !more);
            }
            Err(_) if closed => self.over.set(true),
            Err(Breach(text)) => {
                let code = tidings_wire::client::ErrorCode::Protocol;
                self.agent.out.borrow_mut().refuse_all(code, text);
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

    fn event(&self, event: &Event<'_>) {
        self.agent.event(event);
    }

    fn waits_for_room(&self) -> bool {
        self.agent.waits_for_room()
    }

    fn flush(&self, seat: &mut Seat<'_>) -> Flushed {
        let again = self.more.get() || self.over.get();
        self.retry_at.set(again.then_some(seat.now()));
        for _ in 0..ROUNDS {
            self.agent.settle(seat);
            if self.agent.out.borrow().is_overrun() {
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
            if told && !end.shared.home.call() {
                self.retry_at.set(Some(seat.now() + RETRY_NS));
            }
            drop(end);
            if !self.agent.feed(seat) {
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
        let end = self.end.borrow();
        // The frames that were told of may not have been heard of.
        let heard = end.shared.home.call();
        drop(end);
        let verdict = self.on_readable(seat);
        if !heard {
            self.retry_at.set(Some(seat.now() + RETRY_NS));
        }
        verdict
    }

    fn on_close(&self, seat: &mut Seat<'_>) {
        let end = self.end.borrow();
        end.shared.close();
        end.shared.home.call();
        drop(end);
        self.agent.end(seat);
    }
}
