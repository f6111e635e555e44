//! The floor programs: what kernel and cipher of this machine let through, without any protocol. Figures of Tidings stand
//! beside those of the same run, never beside those of another.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidings_bench::floor::{Fault, echo::Echo, fan_out::FanOut, gso::Gso, pipe::Pipe, raw::Raw};

#[derive(Parser)]
#[command(
    version,
    about = "Floors: what kernel and cipher of this machine let through, without any protocol",
    after_help = "All over loopback, two threads of one process. CPU times are those of these threads; what the kernel does for a \
send on loopback, delivery included, is the sender's. What a receiver is too slow for is lost and not counted.\n\
Exit codes: 0 measured; 1 the kernel refused something; 2 wrong usage."
)]
struct Options {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// One datagram for each message, sendmmsg to recvmmsg
    Raw(Raw),
    /// Runs of datagrams over GSO and GRO, nothing sealed
    Gso(Gso),
    /// Sealed datagrams of coalesced messages over GSO and GRO
    Pipe(Pipe),
    /// Round trips of one datagram, or with --rate one-way latency from due times
    Echo(Echo),
    /// The same datagrams to several receivers
    FanOut(FanOut),
}

fn main() -> ExitCode {
    let done: Result<(), Fault> = match Options::parse().program {
        Program::Raw(raw) => raw.run(),
        Program::Gso(gso) => gso.run(),
        Program::Pipe(pipe) => pipe.run(),
        Program::Echo(echo) => echo.run(),
        Program::FanOut(fan_out) => fan_out.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            // What the kernel refused, else what was asked for made no sense.
            ExitCode::from(if error.is::<std::io::Error>() { 1 } else { 2 })
        }
    }
}
