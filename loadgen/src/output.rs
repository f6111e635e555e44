//! Where a report goes: the terminal, and the files that were asked for.

use std::fs;
use std::path::Path;

use crate::error::{Error, While};
use crate::hgrm;
use crate::html;
use crate::options::{Format, Output};
use crate::report::Report;

/// Prints the report and writes its files.
pub(crate) fn put(report: &Report, output: &Output) -> Result<(), Error> {
    match output.format {
        Format::Json => println!("{}", json(report)?),
        Format::Text => print!("{}", report.text()),
    }
    files(report, output)
}

fn json(report: &Report) -> Result<String, Error> {
    serde_json::to_string(report).during("write the report")
}

/// Writes its files only.
pub(crate) fn files(report: &Report, output: &Output) -> Result<(), Error> {
    if let Some(file) = &output.json {
        write(file, &(json(report)? + "\n"))?;
    }
    if let Some(file) = &output.html {
        write(file, &html::page(report))?;
    }
    if let Some(file) = &output.hgrm {
        let written = hgrm::write(file, report)?;
        if written.is_empty() {
            eprintln!(
                "{}: no times were measured, so {} is not written; --rate measures them",
                crate::options::program(),
                file.display()
            );
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).during(&format!("write {}", file.display()))
}
