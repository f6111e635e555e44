//! How results reach the user: tables and JSON on standard output, what went wrong on standard error, exit codes.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why a verb failed, as the user sees it and as the exit code says it.
#[derive(Debug)]
pub enum Failure {
    /// It did not work: exit code 1.
    Failed(String),
    /// Wrong usage or configuration: exit code 2. The text is complete, with its own "error: ".
    Usage(String),
    /// Nobody is subscribed: exit code 3.
    NoSubscriber,
    /// Whoever read the output is gone, which is no news to anybody.
    Pipe,
    /// Another live node has the id that is kept in this directory: exit code 78.
    Twin(PathBuf),
}

impl Failure {
    /// A failure in words.
    pub fn new(text: impl fmt::Display) -> Self {
        Self::Failed(text.to_string())
    }

    /// What the user is told.
    pub fn text(&self) -> String {
        match self {
            Self::Failed(text) => format!("error: {text}"),
            Self::Usage(text) => text.clone(),
            Self::NoSubscriber => "no subscriber".to_owned(),
            Self::Pipe => String::new(),
            Self::Twin(dir) => twin(dir),
        }
    }

    /// A failure of writing to standard output.
    pub fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::Failed(format!("cannot write to standard output: {error}")),
        }
    }

    /// Tells the user and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let code = match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NoSubscriber => 3,
            Self::Pipe => return ExitCode::SUCCESS,
            Self::Twin(_) => 78,
        };
        let _ = writeln!(io::stderr(), "{}", self.text());
        ExitCode::from(code)
    }
}

fn twin(dir: &Path) -> String {
    format!(
        "error: another live node has the id that is kept in {dir}\n  remedy: if this directory was copied, remove {dir}/node on one of the two machines",
        dir = dir.display()
    )
}

/// Writes a line to standard output.
pub fn line(text: impl fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(Failure::output)
}

/// Writes JSON to standard output, laid out for eyes.
pub fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(Failure::new)?)
}

/// Rows under headings, each column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![
                headings
                    .iter()
                    .map(|heading| (*heading).to_owned())
                    .collect(),
            ],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (i, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:<width$}"))
                .collect();
            write!(
                f,
                "{}{}",
                if i > 0 { "\n" } else { "" },
                cells.join("  ").trim_end()
            )?;
        }
        Ok(())
    }
}

/// A count with the noun in its right number.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_its_columns_up() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["a-long-name".to_owned(), "alive".to_owned()]);
        table.row(["b".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "NAME         STATE\na-long-name  alive\nb"
        );
    }

    #[test]
    fn counts_read_well() {
        assert_eq!(count(1, "message"), "1 message");
        assert_eq!(count(2, "message"), "2 messages");
    }
}
