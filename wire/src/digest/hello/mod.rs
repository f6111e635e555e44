//! Digests of the handshake, and of discovery.

mod beacon;
mod cookie;
mod h1;
mod h2;
mod h3;

pub use beacon::Beacon;
pub use cookie::Cookie;
pub use h1::{H1, H1View, Introduction};
pub use h2::H2;
pub use h3::{H3, H3View};
