//! A mistake in the configuration, told so that a person can mend it: where, which key, which value, what is wrong and
//! what to write instead.

use std::fmt;
use std::sync::Arc;

/// The source of flags.
const FLAGS: &str = "command line";

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file as the user named it, or "command line".
    pub source: Arc<str>,
    /// Its line, from 1; 0 if there is none.
    pub line: usize,
    /// The key with its table, as `node.bind`, or the flag, as `--bind`.
    pub key: String,
}

impl Origin {
    /// A flag of the command line.
    pub fn flag(name: &str) -> Self {
        Self {
            source: FLAGS.into(),
            line: 0,
            key: name.to_owned(),
        }
    }

    /// Whether it is one.
    pub fn is_flag(&self) -> bool {
        &*self.source == FLAGS
    }
}

/// A value and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub origin: Origin,
}

impl<T> Given<T> {
    /// A value of a flag.
    pub fn flag(name: &str, value: T) -> Self {
        Self {
            value,
            origin: Origin::flag(name),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// The value as it was written; empty if the key itself is the mistake.
    pub value: String,
    /// What is wrong.
    pub wrong: String,
    /// What to write instead.
    pub remedy: String,
}

impl Problem {
    /// A mistake in a value.
    pub fn new<T>(
        given: &Given<T>,
        value: impl fmt::Display,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            origin: given.origin.clone(),
            value: value.to_string(),
            wrong: wrong.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin.source)?;
        if self.origin.line > 0 {
            write!(f, ":{}", self.origin.line)?;
        }
        write!(f, ": {}", self.origin.key)?;
        if !self.value.is_empty() {
            write!(f, " = {}", self.value)?;
        }
        write!(f, ": {}\n  remedy: {}", self.wrong, self.remedy)
    }
}

/// All mistakes that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One mistake in something that has no lines.
    pub fn one(source: &str, key: &str, wrong: impl Into<String>, remedy: &str) -> Self {
        Self(vec![Problem {
            origin: Origin {
                source: source.into(),
                line: 0,
                key: key.to_owned(),
            },
            value: String::new(),
            wrong: wrong.into(),
            remedy: remedy.to_owned(),
        }])
    }

    /// Adds one and gives the place of the value that is missing now.
    pub fn push<T>(&mut self, problem: Problem) -> Option<T> {
        self.0.push(problem);
        None
    }

    /// `value` if nothing is wrong.
    pub fn or<T>(self, value: T) -> Result<T, Problems> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}error: {problem}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
