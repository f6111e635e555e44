//! How membership grows with the number of nodes: thousands of real cores on one clean network, in virtual time.
//!
//! `src/bin/scale.rs` runs it and writes `docs/scale.md`; `tests/scale.rs` is the same code with few nodes.

pub mod heap;
pub mod page;
pub mod run;
pub mod world;
