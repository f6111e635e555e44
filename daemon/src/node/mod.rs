//! The daemon proper: an engine with its overlays, the door to local clients, signals, and what the log says of it all.

mod banner;
mod control;
mod log;
mod roster;
mod signals;
mod start;

pub use start::{hide_memory, run};
