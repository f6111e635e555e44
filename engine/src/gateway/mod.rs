//! Sessions of local clients, and the seam by which a shard serves them.
//!
//! A session lives on the shard of an overlay. The control thread accepts the descriptor, checks uid, name and secret, and
//! sends the shard a constructor, which the shard runs on its own thread. From then on the shard waits on [`Session::fd`]
//! beside its sockets and calls the session in its turns; no other thread touches it. It speaks for that overlay itself, and
//! for overlays on other shards through agents there. An embedder makes sessions by [`crate::Engine::attach_session`].
//!
//! # What the shard calls, in a turn
//!
//! 1. [`Session::on_readable`] when the descriptor is readable: read at most
//!    [`SESSION_READ_BYTES_MAX`](crate::limits::SESSION_READ_BYTES_MAX), handle every whole frame through the [`Seat`]
//!    (publish, subscribe, acknowledge ...), keep the rest for the next turn. If a publish answers `WouldBlock`, keep the
//!    frame and answer [`Verdict::Pause`]: the descriptor is left alone until the overlay has room, then the shard calls
//!    `on_readable` again (it need not be readable then). A session that pauses for another reason says by
//!    [`Session::deadline`] when it wants to look again.
//! 2. [`Session::deliver`] from inside the protocol core, for a message of one of its subscriptions: encode it into the
//!    session's bounded output buffer and answer `Kept`, or `Full` when it does not fit. Never write to the descriptor here.
//! 3. [`Session::event`] likewise, for outcomes of its publishers, gaps and effect of its subscriptions, and presence if
//!    [`Seat::watch_presence`] asked for it.
//! 4. [`Session::flush`] once at the end of a turn in which anything of the above happened, and when a blocked descriptor
//!    became writable: write what is buffered, answer [`Flushed::Blocked`] if the descriptor takes no more. When room
//!    returns in the buffer, call [`Seat::ready`] for each subscription that had been answered `Full`.
//! 5. [`Session::largest_changed`] when the overlay takes messages of another size, if it has publishers.
//! 6. If it holds messages back without pausing ([`Session::waits_for_room`]), [`Session::event`] with `Writable`.
//! 7. [`Session::is_overrun`] before a flush, and instead of it while the descriptor takes no more: what cannot be refused
//!    is bounded, and `true` ends the session.
//! 8. [`Session::can_depart`] and [`Session::depart`] when the overlay goes to another shard, whose thread is another.
//! 9. [`Session::on_close`] last. Subscriptions that it did not end are detached: those of a named client wait for it.
//!
//! All methods take `&self`: a client that subscribes to what it publishes gets `deliver` called while its own
//! `on_readable` is on the stack. Keep the input half and the output half in two `RefCell`s, and never hold the output's
//! borrow across a call on the `Seat`. During `Seat::subscribe` nothing is delivered to the session yet: what waits comes
//! as soon as its number is known, which may be before `subscribe` returns.
//!
//! The embedder's handlers of `Engine::on_shard` are sessions too, without a descriptor: `on_shard.rs` is an example.
//!
//! # Local clients
//!
//! Read them in the order of a client's life: `accept.rs` (the control thread: uid, login, questions), `home.rs` (the
//! connection on its shard), `agent.rs` (its dealings with one overlay),
//! `publisher.rs` (what it may publish), `out.rs` (what waits to be written). An overlay on
//! another shard than the connection has an agent of its own there (`remote.rs`), joined to the connection by two rings
//! (`link.rs`) that carry the client's own frames; `elsewhere.rs` knows which of the client's numbers is where.

mod accept;
mod agent;
mod client;
mod desk;
mod elsewhere;
mod failures;
mod grant;
mod held;
mod home;
mod input;
mod limits;
mod link;
mod login;
mod mail;
mod out;
mod publisher;
mod refusals;
mod remote;
mod socket;
mod start;
mod tell;
mod wake;

pub use desk::{Control, Refused, Viewer};
pub use grant::Grant;
pub use socket::Listening;
pub use start::{Gateway, GatewayConfig};

pub use crate::seat::Seat;
pub use crate::session::{Departed, Flushed, Session, Verdict};
