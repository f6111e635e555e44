//! What black-box tests of Tidings stand on: hosts and bad networks on one machine.

#[cfg(feature = "hosts")]
pub mod blackbox;
mod books;
#[cfg(feature = "hosts")]
pub mod crowd;
#[cfg(feature = "hosts")]
pub mod host;
#[cfg(feature = "hosts")]
pub mod lab;
pub mod net;
pub mod props;
#[cfg(feature = "hosts")]
pub mod scale;
pub mod sim;
