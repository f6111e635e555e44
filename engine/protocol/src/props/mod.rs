//! What must hold of single parts of the core whatever their input is: functions of bytes, called by fuzz targets and by
//! ordinary tests. Each compares a part with an oracle that is too slow and too simple to be wrong, and panics where they
//! differ.
//!
//! Built with the feature `props` only, which nothing but tests asks for.

mod input;

pub use input::Input;
