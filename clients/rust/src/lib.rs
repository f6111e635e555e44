//! A blocking client of the Tidings daemon on this host.
//!
//! A [`Client`] is one connection, owned by one thread: it publishes, subscribes, watches members and asks. What comes
//! back is an [`Event`], borrowed from the input buffer. Writes are gathered and reads are large, so that a message
//! costs neither a system call nor an allocation. When the daemon dies the client says so ([`Event::Lost`]), attaches
//! again for ever with back-off, and subscribes again under the same name. For more threads open more clients.
//!
//! Without a secret, only a daemon of this user or of root is talked to, at a socket that nobody else could have put there
//! ([`Error::Untrusted`]).
//!
//! ```no_run
//! use tidings_client::{Client, Event, Options, SubscribeOptions};
//!
//! # fn main() -> Result<(), tidings_client::Error> {
//! let mut client = Client::connect(Options::new("/run/user/1000/tidings/tidings.sock"))?;
//! let orders = client.subscribe("demo", "orders.*", SubscribeOptions::default())?;
//! let publisher = client.open("demo", "orders.new")?;
//! client.publish(publisher, b"one coffee")?;
//! while let Some(event) = client.next(None)? {
//!     if let Event::Messages(messages) = event {
//!         for payload in messages.payloads {
//!             println!("{}: {}", messages.topic, String::from_utf8_lossy(payload));
//!         }
//!         let all = messages.all();
//!         client.acknowledge(&all);
//!     }
//! }
//! # let _ = orders;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod client;
mod error;
mod event;
mod limits;
mod login;
mod options;
mod publisher;
mod session;
mod stream;
mod subscription;
mod trust;

pub use client::Client;
pub use error::Error;
pub use event::{Attached, Event, Messages, PresenceEvent};
pub use options::{Options, Secret, SubscribeOptions};
pub use publisher::Publisher;
pub use subscription::{Delivered, PublisherId, Subscription};
pub use tidings_wire::client::presence::Change;
pub use tidings_wire::client::query::Topic as Question;
pub use tidings_wire::client::{AckMode, ErrorCode, Order, Outcome, Policy, Records};
pub use tidings_wire::{Boot, NodeId};
pub use trust::{Distrust, check_folder, check_listener};
