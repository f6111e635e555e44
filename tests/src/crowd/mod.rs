//! Many nodes on one machine, and how soon they know what happens to one of them: the same questions put to Tidings and
//! to Serf, in turn. Used by the `crowd` binary.

mod herd;
mod measure;
mod serf;
mod tails;
mod tidings;

pub use herd::{Herd, Sight, What};
pub use measure::{Answers, Plan, Spread, measure};
pub use serf::SerfHerd;
pub use tidings::TidingsHerd;
