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
use tidings_engine::memory;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Before anything is allocated, because what lies in a huge page by then stays there. A node at rest has a few pages in many places,
/// and huge pages would make 16 MiB of them; one that is busy allows them.
#[used]
#[unsafe(link_section = ".init_array")]
static FIRST: extern "C" fn() = first;

extern "C" fn first() {
    memory::huge_pages(false);
}

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let verb = cli.verb.unwrap_or(Verb::Run(cli.run));
    if !matches!(verb, Verb::Run(_)) {
        memory::huge_pages(true);
    }
    let result = match verb {
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
