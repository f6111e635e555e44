//! The harness of the black-box tests: real daemons in the hosts of a lab, driven through the command line and the client
//! library only. Used by `tests/blackbox_*.rs`; it knows nothing of the engine's insides.
//!
//! A [`Cluster`] is a lab with a daemon per host. Everything of it lies in the lab's folder and goes with the lab.
//! TIDINGS_FULL=1 makes the tests last as long as the acceptance list says; without it they are shorter where a shorter
//! time proves the same.

mod binary;
mod builder;
mod client;
mod cluster;
mod flood;
mod members;
mod messages;
mod node;
mod replay;
mod sniff;
mod stats;
pub mod storm;
mod sys;
mod text;
mod turn;
mod verb;

use std::time::{Duration, Instant};

pub use binary::tidings;
pub use builder::{ClusterBuilder, bad_network};
pub use client::{Published, publish_all, wait_owed};
pub use cluster::Cluster;
pub use flood::{Flood, Junk};
pub use members::{Member, Watcher};
pub use messages::{Message, Seen, messages};
pub use node::Node;
pub use replay::{Recorder, classes, commonest, replay};
pub use sniff::{Sniffed, Sniffer};
pub use stats::Stats;
pub use sys::{
    beside_mounts_of, clocks_can_be_shifted, limit_locked_memory, on_a_small_disk, refuse_fsync,
    refuse_io_uring, shift_clocks,
};
pub use text::{RealText, difference, real_text};
pub use turn::{Turn, alone, beside_others};
pub use verb::{Done, Subscriber};

/// The overlay of a cluster that was not told of others.
pub const OVERLAY: &str = "acceptance";
/// The UDP port of every node.
pub const PORT: u16 = 7400;

/// Whether the tests shall last as long as the acceptance list says.
pub fn full() -> bool {
    std::env::var_os("TIDINGS_FULL").is_some_and(|value| value != "0")
}

/// `long` when TIDINGS_FULL is set, else `short`.
pub fn lasting(long: Duration, short: Duration) -> Duration {
    if full() { long } else { short }
}

/// Looks every 10 ms whether `done` holds.
///
/// # Panics
/// Naming `what`, when it does not hold `within` that time.
#[track_caller]
pub fn eventually(what: &str, within: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

/// Tells a figure of a passing test, past the test harness.
pub fn figure(text: impl std::fmt::Display) {
    use std::io::Write;
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // There is nobody to tell when the standard error is closed.
    let _ = std::io::stderr().write_all(format!("{name}: {text}\n").as_bytes());
}
