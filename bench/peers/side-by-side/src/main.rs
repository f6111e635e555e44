//! Runs the kernel's floor, Tidings and its peers in turn, and writes the page that compares them.
//!
//! Every system runs once in each round, so that what changes on the machine meanwhile meets all of them. A run is a process
//! that is ended when it takes too long; what it printed is kept, and a page can be made from that again.
#![forbid(unsafe_code)]

mod figures;
mod host;
mod options;
mod page;
mod plot;
mod rows;
mod run;
mod store;

use std::process::ExitCode;

use clap::Parser;

use options::Options;
use run::Job;
use store::Store;

fn main() -> ExitCode {
    match act(&Options::parse()) {
        Ok(failed) if failed.is_empty() => ExitCode::SUCCESS,
        Ok(failed) => {
            for row in failed {
                eprintln!("side-by-side: FAILED {row}");
            }
            ExitCode::from(1)
        }
        Err(why) => {
            eprintln!("side-by-side: {why}");
            ExitCode::from(2)
        }
    }
}

/// Answers the rows that failed.
fn act(options: &Options) -> Result<Vec<String>, String> {
    let rows = rows::all(options)?;
    let store = Store::open(&options.results(), options.add || options.page_only)?;
    if !options.page_only {
        let chosen: Vec<_> = rows
            .iter()
            .filter(|row| options.only.is_empty() || options.only.contains(&row.name))
            .collect();
        let jobs: Vec<Job> = options
            .what
            .iter()
            .flat_map(|what| chosen.iter().flat_map(|row| run::jobs(row, *what, options)))
            .collect();
        for round in store.next_round()..store.next_round() + options.rounds {
            for job in &jobs {
                let outcome = run::run(job, round, options);
                println!("{}", outcome.line());
                store.add(&outcome)?;
            }
        }
    }
    let outcomes = store.read()?;
    page::write(&options.page, &rows, &outcomes, &host::conditions(options))?;
    let failed = rows.iter().filter_map(|row| {
        let why = figures::failure(row, &outcomes)?;
        Some(format!("{}: {why}", row.name))
    });
    Ok(failed.collect())
}
