//! `tidings doctor`: what of this host and configuration would keep a node from working, or from working well, and what
//! to do about it. Starts nothing, changes nothing.

use serde_json::json as value;

use crate::args::{DoctorArgs, Format};
use crate::doctor::{self, Finding, State, count};
use crate::load::load;
use crate::output::{Failure, json, line};

/// Runs the verb. A wrong configuration does not keep it from looking at the host.
pub fn doctor(args: DoctorArgs) -> Result<(), Failure> {
    let (findings, is_configured) = match load(&args.run) {
        Ok(loaded) => (doctor::examine(&loaded), true),
        Err(problems) => (doctor::examine_without(&problems), false),
    };
    let [warnings, failures] = [State::Warning, State::Failure].map(|s| count(&findings, s));
    match args.format {
        Format::Json => json(&value!({
            "ok": failures == 0,
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        }))?,
        Format::Text => {
            for finding in &findings {
                line(finding)?;
            }
            line(format_args!(
                "{} checks: {warnings} with a warning, {failures} failed",
                findings.len()
            ))?;
        }
    }
    match (is_configured, failures) {
        (true, 0) => Ok(()),
        (true, _) => Err(Failure::Failed(format!(
            "{failures} of {} checks failed, each with its remedy",
            findings.len()
        ))),
        (false, _) => Err(Failure::Usage(
            "error: the configuration is wrong; what of it is told above".to_owned(),
        )),
    }
}
