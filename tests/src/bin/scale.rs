//! `scale`: how membership grows with the number of nodes. Writes `docs/scale.md` and its plots.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tidings_tests::scale::heap::Heap;
use tidings_tests::scale::{page, run};

#[global_allocator]
static HEAP: Heap = Heap;

/// Simulates clusters of several sizes, real cores in virtual time: join, steady state, churn, loss of a tenth at once.
#[derive(Debug, Parser)]
#[command(name = "scale", version)]
struct Options {
    /// Numbers of nodes
    #[arg(default_values_t = [100, 1000, 3000])]
    nodes: Vec<usize>,
    /// What decides everything
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder that the page and its plots are written to
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))]
    write: PathBuf,
    /// Only join and steady state, written nowhere
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.quiet {
        for nodes in options.nodes {
            println!("{:#?}", run::measure_quiet(options.seed, nodes.max(2)));
        }
        return ExitCode::SUCCESS;
    }
    let measured = options
        .nodes
        .iter()
        .map(|nodes| run::measure(options.seed, (*nodes).max(2), |far| eprintln!("{far}")));
    let figures: Vec<_> = measured.collect();
    let sizes: Vec<String> = options.nodes.iter().map(usize::to_string).collect();
    let features = if cfg!(feature = "shared-records") {
        "--features shared-records "
    } else {
        ""
    };
    let command = format!(
        "cargo run --release -p tidings-tests {features}--bin scale -- {} --seed {}",
        sizes.join(" "),
        options.seed
    );
    print!("{}", page::text(&command, &figures));
    match page::write(&options.write, &command, &figures) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", options.write.display());
            ExitCode::FAILURE
        }
    }
}
