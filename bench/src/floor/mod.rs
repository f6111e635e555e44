//! Floor programs: the most that this machine's kernel and cipher let through, without any protocol. Nothing here
//! acknowledges, repairs or controls flow. Figures of Tidings are given beside those of the same run.

pub mod echo;
pub mod fan_out;
pub mod gso;
pub mod meter;
pub mod mmsg;
pub mod one_way;
pub mod options;
pub mod pipe;
pub mod raw;
pub mod report;
pub mod socket;

use options::Measure;
use report::{Figure, Report};
use serde_json::Value;

/// Why a program cannot run, for people.
pub type Fault = Box<dyn std::error::Error>;

/// Runs the rounds of a program and prints what they showed.
pub fn rounds(
    program: &'static str,
    measure: &Measure,
    settings: Vec<(&'static str, Value)>,
    mut round: impl FnMut() -> Result<Vec<Figure>, Fault>,
) -> Result<(), Fault> {
    let mut report = Report {
        program,
        settings,
        rounds: Vec::new(),
    };
    for _ in 0..measure.rounds {
        report.rounds.push(round()?);
    }
    crate::print::line(&if measure.json {
        report.json().to_string()
    } else {
        report.text()
    });
    Ok(())
}
