//! What the benches and the floor programs share. Nothing else uses this crate.

pub mod pair;
pub mod sys;
