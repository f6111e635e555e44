//! Standard output of the programs. A reader that goes away (`| head`) ends them quietly.

use std::io::{self, Write};

/// Writes a line. If nobody reads any more the process ends with 0, if it cannot be written for another reason with 1.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) else {
        return;
    };
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    eprintln!("cannot write to standard output: {error}");
    std::process::exit(1);
}
