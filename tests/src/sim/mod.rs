//! The simulator: many nodes of the real protocol core with the real seal and open, in virtual time. One seed decides
//! topology, configuration, load and faults; checkers stand outside the nodes and look after every event.
//!
//! A run has two phases: safety while faults happen, then a core of the nodes is healed and must be whole in bounded time.
//! Same seed, same bytes: a failure is replayed, and shrunk, by its options.

mod apps;
mod attacker;
mod check;
mod clock;
mod desk;
mod heal;
mod insider;
mod network;
mod node;
mod nonsense;
mod plan;
mod random;
mod recorder;
mod report;
mod run;
mod scenario;
mod shrink;
mod world;

pub use plan::{Fault, Options};
pub use report::Coverage;
pub use run::{Failure, Report, run};
pub use scenario::{SCENARIOS, Scenario};
pub use shrink::shrink;

/// A millisecond of virtual time in ns.
const MS: u64 = 1_000_000;
/// A second.
const S: u64 = 1_000 * MS;
