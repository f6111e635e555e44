//! `tidings`: the daemon and its command line in one binary.
#![allow(unreachable_pub)] // A binary: nothing is reachable from outside, `pub` marks what other modules use.

use std::process::ExitCode;

use clap::Parser;

mod allocator;
mod args;
mod config;
mod doctor;
mod files;
mod http;
mod load;
mod node;
mod output;
mod paths;
mod state;
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
    allocator::give_back_with_threads();
}

fn main() -> ExitCode {
    // Verbs hold secrets, too: of clients, tokens that were just made.
    node::hide_memory();
    let cli = args::Cli::parse();
    let verb = cli.verb.unwrap_or(Verb::Run(cli.run));
    if !matches!(verb, Verb::Run(_)) {
        memory::huge_pages(true);
    }
    let result = match verb {
        Verb::Run(args) => verbs::run::run(args),
        Verb::Keygen(args) => verbs::keygen::keygen(args),
        Verb::Validate(args) => verbs::validate::validate(args),
        Verb::Config(args) => verbs::config::config(args),
        Verb::Doctor(args) => verbs::doctor::doctor(args),
        Verb::Members(args) => verbs::members::members(args),
        Verb::Overlays(args) => verbs::overlays::overlays(args),
        Verb::Tokens(args) => verbs::tokens::tokens(args),
        Verb::Clients(args) => verbs::clients::clients(args),
        Verb::Subscriptions(args) => verbs::subscriptions::subscriptions(args),
        Verb::Keys(args) => verbs::keys::keys(args),
        Verb::Reload(args) => verbs::reload::reload(args),
        Verb::Stats(args) => verbs::read::stats(args),
        Verb::Top(args) => verbs::top::top(args),
        Verb::Reach(args) => verbs::reach::reach(args),
        Verb::Rtt(args) => verbs::rtt::rtt(args),
        Verb::Trace(args) => verbs::trace::trace(args),
        Verb::Debug(args) => verbs::debug::debug(args),
        Verb::Leave(args) => verbs::read::leave(args),
        Verb::Drain(args) => verbs::drain::drain(args),
        Verb::Pub(args) => verbs::publish::publish(args),
        Verb::Sub(args) => verbs::subscribe::subscribe(args),
        Verb::Completions(args) => verbs::manual::completions(args),
        Verb::Man(args) => verbs::manual::man(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
