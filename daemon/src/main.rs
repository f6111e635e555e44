//! `tidings`: the daemon and its command line in one binary.
#![allow(unreachable_pub)] // A binary: nothing is reachable from outside, `pub` marks what other modules use.

use std::process::ExitCode;

use clap::Parser;

mod args;
mod config;
mod files;
mod load;
mod node;
mod output;
mod paths;
mod verbs;

use args::Verb;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    small_pages();
    let cli = args::Cli::parse();
    let result = match cli.verb.unwrap_or(Verb::Run(cli.run)) {
        Verb::Run(args) => verbs::run::run(args),
        Verb::Keygen(args) => verbs::keygen::keygen(args),
        Verb::Validate(args) => verbs::validate::validate(args),
        Verb::Members(args) => verbs::members::members(args),
        Verb::Overlays(args) => verbs::read::overlays(args),
        Verb::Stats(args) => verbs::read::stats(args),
        Verb::Leave(args) => verbs::read::leave(args),
        Verb::Pub(args) => verbs::publish::publish(args),
        Verb::Sub(args) => verbs::subscribe::subscribe(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Keeps huge pages out of this process. Each thread allocates from a segment of its own, and each segment that the kernel
/// backs with 2 MiB pages costs them whole: 18 of 29 MiB of an idle node. First of all, because the allocator's first page
/// is touched before the command line is known.
fn small_pages() {
    // A kernel that refuses only costs that memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
