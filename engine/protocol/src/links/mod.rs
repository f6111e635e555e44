//! Links: the authenticated relations to peers.
mod budget;
mod channel;
mod congestion;
mod handshake;
mod installed;
mod rtt;
mod session;
mod slots;
