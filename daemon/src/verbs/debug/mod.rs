//! `tidings debug bundle`: what somebody needs who is to find out what is wrong with a node, in one file, without secrets.

mod bundle;
mod collect;
mod redact;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::{BundleArgs, DebugArgs, DebugVerb};
use crate::output::{Failure, line};

/// Runs the verb.
pub fn debug(args: DebugArgs) -> Result<(), Failure> {
    match args.verb {
        DebugVerb::Bundle(args) => bundle(&args),
    }
}

fn bundle(args: &BundleArgs) -> Result<(), Failure> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let file = args.output.clone();
    let file = file.unwrap_or_else(|| PathBuf::from(format!("tidings-debug-{now}.tar.gz")));
    let parts = collect::collect(args);
    let listing = bundle::write(&file, &parts, now).map_err(|error| {
        Failure::Failed(format!(
            "the bundle cannot be written to {}: {error}\n  remedy: name a new file in a folder where this user may write, with --output",
            file.display()
        ))
    })?;
    line(format_args!(
        "{listing}\n{} has all of it, without keys, tokens and passwords. Names, addresses and topics are in it: look at it before it goes out.",
        file.display()
    ))
}
