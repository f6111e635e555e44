//! Checkers: they stand outside the nodes, know what all of them did, and look after every event.

mod audit;
mod nonces;
mod presence;

pub(crate) use nonces::Nonces;
pub(crate) use presence::Presence;
