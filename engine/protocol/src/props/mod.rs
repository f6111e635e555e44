//! What must hold of single parts of the core whatever their input is: functions of bytes, called by fuzz targets and by
//! ordinary tests. Each compares a part with an oracle that is too slow and too simple to be wrong, and panics where they
//! differ.
//!
//! Built with the feature `props` only, which nothing but tests asks for.

mod acks;
mod input;
mod outstanding;
mod ranges;
mod reassembly;
mod topics;

pub use acks::acks;
pub use input::Input;
pub use outstanding::outstanding;
pub use ranges::ranges;
pub use reassembly::reassembly;
pub use topics::topics;
