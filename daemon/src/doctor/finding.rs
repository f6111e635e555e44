//! What one check of `tidings doctor` found, and how all of it is told. Made by every check, written by the verb.

use std::fmt;

use serde_json::{Value, json};

/// How a check ended. The worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Ok,
    /// A node works, and something of it is worse than it could be.
    Warning,
    /// A node does not start, or does not do what its configuration says.
    Failure,
}

impl State {
    /// Its name in both formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub state: State,
    /// What was found.
    pub value: String,
    /// What to do about it; empty if nothing is to be done.
    pub remedy: String,
}

impl Finding {
    /// Nothing to do.
    pub fn ok(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(what, State::Ok, value, "")
    }

    /// A node works, but.
    pub fn warning(
        what: impl Into<String>,
        value: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(what, State::Warning, value, remedy)
    }

    /// A node does not work.
    pub fn failure(
        what: impl Into<String>,
        value: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(what, State::Failure, value, remedy)
    }

    fn new(
        what: impl Into<String>,
        state: State,
        value: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            state,
            value: value.into(),
            remedy: remedy.into(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "state": self.state.name(),
            "value": self.value,
            "remedy": (!self.remedy.is_empty()).then_some(&self.remedy),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<7}  {}: {}", self.state.name(), self.what, self.value)?;
        if !self.remedy.is_empty() {
            write!(f, "\n         remedy: {}", self.remedy)?;
        }
        Ok(())
    }
}

/// How many of them are in this state.
pub fn count(findings: &[Finding], state: State) -> usize {
    findings
        .iter()
        .filter(|finding| finding.state == state)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_with_its_remedy_if_it_has_one() {
        assert_eq!(Finding::ok("a", "b").to_string(), "ok       a: b");
        assert_eq!(
            Finding::failure("a", "b", "c").to_string(),
            "failure  a: b\n         remedy: c"
        );
        assert_eq!(Finding::ok("a", "b").json()["remedy"], Value::Null);
        assert_eq!(Finding::warning("a", "b", "c").json()["state"], "warning");
    }

    #[test]
    fn findings_are_counted_by_state() {
        let all = [Finding::ok("a", ""), Finding::warning("b", "", "c")];
        let counts = [State::Ok, State::Warning, State::Failure].map(|state| count(&all, state));
        assert_eq!(counts, [1, 1, 0]);
    }
}
