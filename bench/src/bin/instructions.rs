//! Compares instruction counts with the committed baseline, or makes them the baseline. `bench/instructions.sh` counts and
//! calls it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use tidings_bench::instructions::{Baseline, Row, compare, judgement, parse_run};
use tidings_bench::print::line;

#[derive(Parser)]
#[command(
    version,
    about = "Compares instruction counts of the hot steps with a baseline",
    after_help = "Exit codes: 0 nothing got dearer by more than the limit; 1 something did, or is not in both; 2 a file cannot be \
read or written."
)]
struct Options {
    /// What `cargo bench -p tidings-bench --bench instructions -- --output-format=json` printed
    run: PathBuf,
    /// The baseline
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json"))]
    baseline: PathBuf,
    /// Make the run the baseline
    #[arg(long)]
    bless: bool,
    /// Percent that a step may be dearer
    #[arg(long, default_value_t = 5.0)]
    limit: f64,
}

fn main() -> ExitCode {
    match act(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::from(2)
        }
    }
}

fn act(options: &Options) -> Result<bool, String> {
    let instructions = parse_run(&read(&options.run)?)
        .map_err(|error| format!("{}: {error}", options.run.display()))?;
    let now = Baseline {
        rustc: version("rustc")?,
        valgrind: version("valgrind")?,
        instructions,
    };
    let file = &options.baseline;
    if options.bless {
        let cannot = |error| format!("cannot write {}: {error}", file.display());
        fs::write(file, now.to_text()).map_err(cannot)?;
        line(&format!(
            "{} counts written to {}",
            now.instructions.len(),
            file.display()
        ));
        return Ok(true);
    }
    let before =
        Baseline::parse(&read(file)?).map_err(|error| format!("{}: {error}", file.display()))?;
    let rows = compare(&before.instructions, &now.instructions, options.limit);
    line(&judgement(&rows, &before, &now, options.limit));
    Ok(!rows.iter().any(Row::is_fault))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn version(program: &str) -> Result<String, String> {
    let cannot = |error| format!("cannot run {program} --version: {error}");
    let output = Command::new(program).arg("--version").output();
    let text = output.map_err(cannot)?.stdout;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}
