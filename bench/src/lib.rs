//! What the benches and the floor programs share. Nothing else uses this crate.

pub mod floor;
pub mod instructions;
pub mod pair;
pub mod print;
pub mod steps;
pub mod sys;
