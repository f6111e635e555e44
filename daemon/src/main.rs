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
