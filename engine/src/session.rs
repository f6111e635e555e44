//! What lives on a shard beside the protocol: local clients and the embedder's handlers. The trait that both implement.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use tidings_protocol::{Delivery, Event, Run, Taken};

use crate::seat::Seat;

/// What a session wants after it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Stay,
    /// Do not read from it until a publisher may try again ([`Event::Writable`]) or its deadline comes; then `on_readable`
    /// or `on_deadline` is called, which decides anew.
    Pause,
    /// It is over: `on_close` follows, then it is dropped.
    Close,
}

/// How far a session got with writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left.
    Done,
    /// The descriptor takes no more: call again when it is writable.
    Blocked,
    /// It is over.
    Close,
}

/// A session between two shards.
pub type Departed = Box<dyn FnOnce() -> Box<dyn Session> + Send>;

/// One session, on the thread of its shard only. All methods take `&self`: a delivery may happen while another method of
/// the same session is on the stack (a client subscribed to what it publishes), so input and output state belong into two
/// `RefCell`s, and no borrow of the output state may be held across a call on the [`Seat`].
pub trait Session {
    /// The descriptor to wait for, if any. It stays the same for the session's life.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Whether it is a client's connection, which is counted. Handlers have no descriptor; one that has, for its own thread to wake
    /// it by, says no.
    fn is_client(&self) -> bool {
        self.fd().is_some()
    }

    /// The descriptor is readable, or a pause is over.
    fn on_readable(&self, seat: &mut Seat<'_>) -> Verdict;

    /// A message of one of its subscriptions: copy it into a bounded buffer, or answer `Full`.
    fn deliver(&self, sub: u32, message: &Delivery<'_>) -> Taken;

    /// The same for several that follow one another: [`Run::each`] is to be called, or they find no room.
    fn deliver_run(&self, sub: u32, run: &mut Run<'_, '_>) {
        run.each(|message| self.deliver(sub, message));
    }

    /// Outcomes of its publishers, gaps and effect of its subscriptions; presence if it watches.
    fn event(&self, event: &Event<'_>);

    /// The overlay takes messages of up to [`Seat::message_bytes_max`] from now on, which is more or less than before. Called for
    /// each publisher that it has; a flush follows.
    fn largest_changed(&self) {}

    /// Whether it holds messages back until the overlay has room: it hears of [`Event::Writable`] then, paused or not.
    fn waits_for_room(&self) -> bool {
        false
    }

    /// The end of a turn in which any other method was called, or the descriptor became writable.
    fn flush(&self, seat: &mut Seat<'_>) -> Flushed;

    /// Whether more waits to be written than its bounds allow. It is over then, also while its descriptor takes nothing and
    /// no flush is due.
    fn is_overrun(&self) -> bool {
        false
    }

    /// Whether so much waits to be written that its subscriptions will soon find no room. Asked after deliveries, and while
    /// its descriptor takes no more.
    fn is_pressed(&self) -> bool {
        false
    }

    /// Called each turn while it answers `true`; a shard with such a session does not sleep.
    fn on_turn(&self, _seat: &mut Seat<'_>) -> bool {
        false
    }

    /// When `on_deadline` is wanted, in ns of [`crate::clock`].
    fn deadline(&self) -> Option<u64> {
        None
    }

    /// The deadline has come.
    fn on_deadline(&self, _seat: &mut Seat<'_>) -> Verdict {
        Verdict::Stay
    }

    /// Whether it can go to another shard, with all that is of its overlay; see [`Self::depart`]. While one cannot, its overlay stays
    /// where it is.
    fn can_depart(&self) -> bool {
        false
    }

    /// Leaves its thread: what it is made of again on that of another shard. The numbers of its subscriptions and publishers hold; its own
    /// number on the shard is another, and it is given a turn and a flush there, as at its beginning. Called if it can depart.
    fn depart(self: Box<Self>) -> Option<Departed> {
        None
    }

    /// The last call: detach or end its subscriptions, close its publishers.
    fn on_close(&self, seat: &mut Seat<'_>);
}

/// A session with the shard's own notes on it.
pub(crate) struct SessionCell {
    pub(crate) session: Box<dyn Session>,
    /// Its number on the shard.
    pub(crate) index: u32,
    /// Slot of its overlay on the shard.
    pub(crate) overlay: u16,
    /// Something happened that wants a flush.
    pub(crate) dirty: Cell<bool>,
    /// Its descriptor took no more; a flush waits for it to become writable.
    pub(crate) blocked: Cell<bool>,
    /// It waits for room in the overlay's store.
    pub(crate) paused: Cell<bool>,
    /// Its client was waited for in vain while it was short of room, and has not had any since.
    pub(crate) slow: Cell<bool>,
    /// It answered `true` to its last turn, or was just added.
    pub(crate) turning: Cell<bool>,
}

pub(crate) type SessionRc = Rc<SessionCell>;
