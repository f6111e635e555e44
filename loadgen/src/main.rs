//! The load generator of Tidings: throughput, latency at a fixed rate, and the cost of idling, by each way to attach.
//!
//! A run is two processes. The one that was called publishes and reports; it starts the other by itself, which subscribes,
//! and talks with it over pipes. With `--role` each is started by hand instead.
#![forbid(unsafe_code)]

mod alone;
mod clock;
mod control;
mod daemons;
mod error;
mod guard;
mod idle;
mod node;
mod options;
mod payload;
mod peer;
mod plan;
mod report;
mod run;
mod schedule;
mod sink;
mod source;
mod tally;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use error::Error;
use options::{Options, Role, Verb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match act(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tidings-loadgen: {error}");
            ExitCode::from(2)
        }
    }
}

/// Answers whether everything that was to arrive did.
fn act(options: Options) -> Result<bool, Error> {
    let (load, rate) = match options.verb {
        Verb::Throughput(load) => (load, None),
        Verb::Latency { rate, load } => (load, Some(rate)),
        Verb::Idle(idle) => return idle::run(&idle),
        Verb::Peer => return peer::run().map(|()| true),
        Verb::Guard { pin, command } => return guard::run(&pin, &command),
    };
    let plan = load.plan(rate)?;
    let report = match load.role {
        Role::Both => run::run(&plan, &load.place())?,
        Role::Publish => alone::publish(&plan, &load.place())?,
        Role::Subscribe => alone::subscribe(&plan, &load.place())?,
    };
    report.print(load.format);
    Ok(report.is_good())
}
