//! What black-box tests of Tidings stand on: hosts and bad networks on one machine.

pub mod blackbox;
pub mod host;
pub mod lab;
pub mod net;
