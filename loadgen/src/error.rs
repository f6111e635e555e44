//! Why a run could not be made. What was measured and found bad is no error but a report.

use std::fmt;

/// Why a run could not be made.
#[derive(Debug)]
pub enum Error {
    /// The command line asks for something that cannot be.
    Usage(String),
    /// Something below failed; what we were about comes first.
    Failed(String),
    /// Not within the time that it may take.
    Late(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Failed(what) => f.write_str(what),
            Self::Late(what) => write!(f, "not in time: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// Says what was tried when something fails.
pub trait While<T> {
    /// Turns an error into one that begins with `what`.
    fn during(self, what: &str) -> Result<T, Error>;
}

impl<T, E: fmt::Display> While<T> for Result<T, E> {
    /// Turns an error into one that begins with `what`.
    fn during(self, what: &str) -> Result<T, Error> {
        self.map_err(|error| Error::Failed(format!("{what}: {error}")))
    }
}
