//! Tidings' peers under the load generator of Tidings: the same schedule, books, accounting and report.
//!
//! `tidings-peers throughput --attach zenoh-tcp` and so on, as `tidings-loadgen` has it; `tidings-peers systems` lists what
//! there is and what could not be built, one line of JSON each, for `side-by-side`.

mod c;
mod catalogue;
mod certificates;
mod home;
mod mqtt;
mod reader;
mod resp;
mod stream;
mod system;
mod writer;

use std::process::ExitCode;

use tidings_loadgen::System;

// The allocator that the generator has when it measures Tidings.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let known = catalogue::all();
    if std::env::args().nth(1).as_deref() == Some("systems") {
        for peer in &known {
            println!("{}", peer.listed());
        }
        return ExitCode::SUCCESS;
    }
    let built: Vec<&dyn System> = known.iter().filter_map(|peer| peer.made.ok()).collect();
    tidings_loadgen::main(&built)
}
