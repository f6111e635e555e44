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
mod company;
mod compare;
mod control;
mod crowd;
mod error;
mod expect;
mod find_max;
mod generator;
mod guard;
mod hgrm;
mod html;
mod idle;
mod machine;
mod options;
mod output;
mod peer;
mod plan;
mod preset;
mod progress;
mod report;
mod run;
mod schedule;
mod sent;
mod series;
mod server;
mod sizes;
mod stamp;
mod svg;
mod system;
mod table;
mod tally;
mod tidings;
mod times;
mod units;
mod usage;
mod verbs;

use std::process::ExitCode;

pub use error::{Error, While};
pub use generator::{Generator, Next};
pub use plan::{Place, Plan, PollChoice, Scenario, Side, Task};
pub use schedule::Schedule;
pub use sent::Sent;
pub use server::{Server, free_port};
pub use sizes::Sizes;
pub use stamp::Stamp;
pub use system::{Caller, Class, NoServices, Services, Sink, Source, System};
pub use tally::{Seen, Tallied, Tally};
pub use tidings::tidings;
pub use times::Times;
pub use usage::Usage;

/// The whole program: reads the command line, makes the run, prints the report. The first system is what `--attach` means
/// without a name.
pub fn main(systems: &[&dyn System]) -> ExitCode {
    match verbs::act(systems) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{}: {error}", options::program());
            ExitCode::from(2)
        }
    }
}
