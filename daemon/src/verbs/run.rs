//! `tidings run`: a node until it is told to leave.

use crate::args::RunArgs;
use crate::load::load;
use crate::node;
use crate::output::Failure;

/// Runs the verb. Nothing is started unless everything is right.
pub fn run(args: RunArgs) -> Result<(), Failure> {
    let loaded = load(&args).map_err(|problems| Failure::Usage(problems.to_string()))?;
    node::run(loaded)
}
