//! `tidings man` and `tidings completions`: what packages install beside the binary, made from the same description of the
//! command line that parses it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::shells::{Bash, Fish, Zsh};
use clap_complete::{Generator, generate};
use clap_mangen::Man;

use crate::args::{Cli, CompletionsArgs, ManArgs, ShellName};
use crate::output::{Failure, line};

/// `tidings man`.
pub fn man(args: ManArgs) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let dir = args.dir.display();
        Failure::Failed(format!(
            "the pages cannot be written to {dir}: {error}\n  remedy: name a folder in which this user may write"
        ))
    };
    fs::create_dir_all(&args.dir).map_err(failed)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let written = pages(&command, &args.dir).map_err(failed)?;
    line(format_args!("{written} pages in {}", args.dir.display()))
}

/// The page of a command and those of the commands below it; how many.
fn pages(command: &Command, dir: &Path) -> io::Result<usize> {
    Man::new(command.clone())
        .source(concat!("tidings ", env!("CARGO_PKG_VERSION")))
        .manual("Tidings")
        .generate_to(dir)?;
    let mut written = 1;
    for below in command.get_subcommands() {
        written += pages(below, dir)?;
    }
    Ok(written)
}

/// `tidings completions`.
pub fn completions(args: CompletionsArgs) -> Result<(), Failure> {
    let script = match args.shell {
        ShellName::Bash => script(Bash),
        ShellName::Zsh => script(Zsh),
        ShellName::Fish => script(Fish),
    };
    io::stdout().write_all(&script).map_err(Failure::output)
}

/// Made in memory: the generator does not bear a reader that goes away.
fn script(shell: impl Generator) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "tidings", &mut script);
    script
}
