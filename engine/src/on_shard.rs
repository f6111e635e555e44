//! The fastest path for an embedder: handlers that run on the shard itself, with messages borrowed from the datagram they
//! came in. They must not block, or everything on that shard waits.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;

use tidings_protocol::{CommandError, Delivery, Event, PublishError, Run, SubSpec, Taken};

use crate::limits::OUTBOX_BYTES_MAX;
use crate::number_map::NumberMap;
use crate::seat::Seat;
use crate::session::{Flushed, Session, Verdict};

type MessageHandler = Box<dyn FnMut(&Delivery<'_>, &mut Outbox) -> Taken>;
type EventHandler = Box<dyn FnMut(&Event<'_>, &mut Outbox)>;
type TurnHandler = Box<dyn FnMut(&mut Seat<'_>) -> bool>;

/// What handlers publish while the core is busy delivering; it goes out at the end of the same turn.
#[derive(Default)]
pub struct Outbox {
    /// Handle and end of each payload in `bytes`.
    queued: Vec<(u32, usize)>,
    bytes: Vec<u8>,
}

impl Outbox {
    /// Queues a message of the publisher `handle`. `false`: the outbox is full; answer [`Taken::Full`], and the message
    /// being handled comes again.
    pub fn publish(&mut self, handle: u32, payload: &[u8]) -> bool {
        if self.bytes.len() + payload.len() > OUTBOX_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(payload);
        self.queued.push((handle, self.bytes.len()));
        true
    }

    /// Publishes from the front as far as the overlay has room; `true`: all of it.
    fn drain(&mut self, seat: &mut Seat<'_>) -> bool {
        let (mut done, mut from) = (0, 0);
        for &(handle, to) in &self.queued {
            // A closed publisher or an oversized message is the handler's own doing; neither would ever go through.
            if seat.publish(handle, &self.bytes[from..to]) == Err(PublishError::WouldBlock) {
                break;
            }
            (done, from) = (done + 1, to);
        }
        self.queued.drain(..done);
        self.bytes.drain(..from);
        self.queued.iter_mut().for_each(|(_, to)| *to -= from);
        self.queued.is_empty()
    }

    fn append(&mut self, later: &mut Self) {
        let base = self.bytes.len();
        self.bytes.append(&mut later.bytes);
        self.queued.extend(
            later
                .queued
                .drain(..)
                .map(|(handle, to)| (handle, base + to)),
        );
    }
}

/// The handlers of one `on_shard` call.
#[derive(Default)]
pub(crate) struct Resident {
    messages: RefCell<NumberMap<MessageHandler>>,
    events: RefCell<Option<EventHandler>>,
    turn: RefCell<Option<TurnHandler>>,
    outbox: RefCell<Outbox>,
    /// Subscriptions that were answered `Full` because the outbox was.
    refused: RefCell<Vec<u32>>,
}

impl Resident {
    /// Who gets the messages of a subscription.
    pub(crate) fn handle(
        &self,
        sub: u32,
        handler: impl FnMut(&Delivery<'_>, &mut Outbox) -> Taken + 'static,
    ) {
        self.messages.borrow_mut().insert(sub, Box::new(handler));
    }

    fn note_refused(&self, sub: u32) {
        let mut refused = self.refused.borrow_mut();
        if !refused.contains(&sub) {
            refused.push(sub);
        }
    }
}

/// The session is one `Resident`, owned by the shard's table; handlers are added through this.
pub(crate) struct ResidentSession(pub(crate) std::rc::Rc<Resident>);

impl Session for ResidentSession {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Called when there is room again after a pause.
    fn on_readable(&self, _seat: &mut Seat<'_>) -> Verdict {
        Verdict::Stay
    }

    fn deliver(&self, sub: u32, message: &Delivery<'_>) -> Taken {
        let mut handlers = self.0.messages.borrow_mut();
        let Some(handler) = handlers.get_mut(&sub) else {
            return Taken::Full;
        };
        let taken = handler(message, &mut self.0.outbox.borrow_mut());
        if taken == Taken::Full {
            self.0.note_refused(sub);
        }
        taken
    }

    fn deliver_run(&self, sub: u32, run: &mut Run<'_, '_>) {
        let mut handlers = self.0.messages.borrow_mut();
        let Some(handler) = handlers.get_mut(&sub) else {
            return run.each(|_| Taken::Full);
        };
        let mut outbox = self.0.outbox.borrow_mut();
        run.each(|message| handler(message, &mut outbox));
        if run.is_full() {
            self.0.note_refused(sub);
        }
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(handler) = &mut *self.0.events.borrow_mut() {
            handler(event, &mut self.0.outbox.borrow_mut());
        }
    }

    fn flush(&self, seat: &mut Seat<'_>) -> Flushed {
        // Publishing may deliver to our own handlers, which fill the outbox again: it must not be borrowed meanwhile.
        let mut outbox = self.0.outbox.take();
        let empty = outbox.drain(seat);
        outbox.append(&mut self.0.outbox.borrow_mut());
        self.0.outbox.replace(outbox);
        seat.me.paused.set(!empty);
        if empty {
            for sub in self.0.refused.take() {
                seat.ready(sub);
            }
        }
        Flushed::Done
    }

    fn on_turn(&self, seat: &mut Seat<'_>) -> bool {
        match &mut *self.0.turn.borrow_mut() {
            Some(handler) => handler(seat),
            None => false,
        }
    }

    fn on_close(&self, _seat: &mut Seat<'_>) {}
}

/// Where handlers are set up: on the shard, in the call that `Engine::on_shard` makes.
pub struct Desk<'a> {
    pub(crate) seat: Seat<'a>,
    pub(crate) resident: std::rc::Rc<Resident>,
}

impl<'a> Desk<'a> {
    /// Opens a publisher, for use by the handlers and by [`Seat::publish`].
    pub fn publisher(&mut self, topic: &str) -> Result<u32, CommandError> {
        self.seat.open_publisher(topic)
    }

    /// Subscribes; `handler` gets every message, borrowed for the call, and an outbox to publish into.
    pub fn subscribe(
        &mut self,
        spec: SubSpec,
        handler: impl FnMut(&Delivery<'_>, &mut Outbox) -> Taken + 'static,
    ) -> Result<u32, CommandError> {
        let sub = self.seat.subscribe(spec)?;
        self.resident.handle(sub, handler);
        // What came before the handler was there was refused.
        self.seat.ready(sub);
        Ok(sub)
    }

    /// Calls `handler` for outcomes, gaps, effective subscriptions and, if watched, presence.
    pub fn on_event(&mut self, handler: impl FnMut(&Event<'_>, &mut Outbox) + 'static) {
        *self.resident.events.borrow_mut() = Some(Box::new(handler));
    }

    /// Calls `handler` each turn while it answers `true`: a source of messages. A shard with one does not sleep. After
    /// `false` it is called no more.
    pub fn each_turn(&mut self, handler: impl FnMut(&mut Seat<'_>) -> bool + 'static) {
        *self.resident.turn.borrow_mut() = Some(Box::new(handler));
    }

    /// Everything else that a session may do.
    pub fn seat(&mut self) -> &mut Seat<'a> {
        &mut self.seat
    }
}
