//! The daemon proper: an engine with its overlays, the door to local clients, signals, and what the log and the
//! service manager are told of it all.

mod banner;
mod clients;
mod control;
mod drain;
mod dump;
mod keys;
mod log;
mod notify;
mod overlays;
mod reload;
mod reloading;
mod roster;
mod signals;
mod start;
pub mod view;

#[cfg(test)]
pub use clients::Clients;
pub use clients::{ClientRefusal, ClientRights, ClientView, KeptClient, NewSecret};
pub use drain::{DRAIN_TIME, Drain};
pub use keys::{KeyChange, KeysView};
pub use overlays::{Overlays, Refusal, Wish};
pub use reload::Report;
#[cfg(test)]
pub use signals::orders;
pub use start::{hide_memory, run};
pub use view::Facts;
