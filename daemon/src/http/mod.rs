//! The management service: HTTP for people, programs and monitoring, on one thread of its own off the data path. It holds
//! nothing of the protocol, asks the engine, and may die: it is started again, and no message notices.
//!
//! A request's way: `serve` accepts and shakes hands, `request` bounds it, `routes` finds out who asks (`auth`) and what that
//! needs (its table), then a handler of the topic's file answers with JSON (`reply`) or an error (`error`).

mod auth;
mod body;
mod certificate;
mod clients;
mod drain;
mod error;
mod expiry;
mod gossiperl;
mod health;
#[cfg(debug_assertions)]
mod injected;
mod keys;
mod limits;
mod links;
mod listen;
mod looks;
mod members;
mod metrics;
mod node;
mod openapi;
mod options;
mod overlays;
mod packed;
mod passwords;
mod patience;
mod publish;
mod pulse;
mod query;
mod questions;
mod reload;
mod reply;
mod report;
mod request;
mod routes;
mod sampler;
mod serve;
mod service;
mod shared;
mod socket;
mod statistics;
mod stream;
mod subscriptions;
mod tokens;
mod trace;
mod wall;
mod watcher;
mod windows;

pub use certificate::{read as read_certificate, self_made as self_made_certificate};
pub use expiry::{Expiry, date, not_after};
pub use report::check as check_influx;
pub use service::{Service, bind};
pub use shared::Parts;
