//! The load generator of Tidings, by each way to attach: a thin shell over the library of the same name.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidings_loadgen::main(&tidings_loadgen::tidings())
}
