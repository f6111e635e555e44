//! The load generator as a library: what to publish and when, the books of what came, processes, report and command line,
//! for any system that publishes and subscribes.
//!
//! A run is several processes of one program. The one that was called publishes and reports; it starts the others by
//! itself, which subscribe, and talks with them over pipes. With `--role` each side is started by hand instead.
//!
//! A program that measures another system implements [`System`] for it and calls [`main`] with what it has:
//! `fn main() -> ExitCode { tidings_loadgen::main(&[&Broker]) }`. A [`Source`] asks its [`Generator`] what is due and tells
//! [`Sent`] what was accepted; a [`Sink`] hands every payload to a [`Tally`].
#![forbid(unsafe_code)]

mod alone;
mod book;
pub mod clock;
mod control;
mod error;
mod generator;
mod guard;
mod idle;
mod options;
mod peer;
mod plan;
mod report;
mod run;
mod schedule;
mod sent;
mod server;
mod sizes;
mod stamp;
mod system;
mod tally;
mod tidings;
mod times;
mod usage;

use std::process::ExitCode;

use options::{Role, Verb};

pub use error::{Error, While};
pub use generator::{Generator, Next};
pub use plan::{Place, Plan, PollChoice, Scenario, Side};
pub use schedule::Schedule;
pub use sent::Sent;
pub use server::{Server, free_port};
pub use sizes::Sizes;
pub use stamp::Stamp;
pub use system::{Class, NoServices, Services, Sink, Source, System};
pub use tally::{Seen, Tallied, Tally};
pub use tidings::tidings;
pub use times::Times;
pub use usage::Usage;

/// The whole program: reads the command line, makes the run, prints the report. The first system is what `--attach` means
/// without a name.
pub fn main(systems: &[&dyn System]) -> ExitCode {
    match act(systems) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{}: {error}", options::program());
            ExitCode::from(2)
        }
    }
}

/// Answers whether everything that was to arrive did.
fn act(systems: &[&dyn System]) -> Result<bool, Error> {
    let verb = options::parse(systems).verb;
    let (scenario, load) = match &verb {
        Verb::Peer => return peer::run(systems).map(|()| true),
        Verb::Guard { pin, command } => return guard::run(pin, command),
        Verb::Idle(load) => (Scenario::Idle, load),
        Verb::Throughput(load) => (Scenario::Throughput, load),
        Verb::Latency(load) => (Scenario::Latency, load),
    };
    let system = system::find(systems, load.attach.as_deref())?;
    let plan = load.plan(scenario, system)?;
    let report = match (scenario, load.role) {
        (Scenario::Idle, _) => idle::run(system, &plan, &load.place())?,
        (_, Role::Both) => run::run(system, &plan, &load.place())?,
        (_, Role::Publish) => alone::publish(system, &plan, &load.place())?,
        (_, Role::Subscribe) => alone::subscribe(system, &plan, &load.place())?,
    };
    report.print(load.format);
    Ok(report.is_good())
}
