//! One run: its command, a limit on its time, and what to make of how it ended.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::options::{Options, What};
use crate::rows::{Kind, Row};
use crate::store::{Outcome, Scenario};

/// Seconds that a run may take beside those that it measures: starting brokers, joining, draining.
const LIMIT_SECONDS: f64 = 60.0;
/// Characters of an error that are kept.
const ERROR_MAX: usize = 600;

/// A run that is to be made in every round.
pub(crate) struct Job {
    row: Row,
    scenario: Scenario,
    /// Program and arguments; without a program the row cannot be run, for this reason.
    command: Result<Vec<String>, String>,
}

/// The runs of a row.
pub(crate) fn jobs(row: &Row, what: What, options: &Options) -> Vec<Job> {
    let scenarios: Vec<Scenario> = match what {
        What::Throughput => {
            let flat_out = |&size| Scenario {
                what,
                size,
                rate: None,
            };
            options.sizes.iter().map(flat_out).collect()
        }
        What::Latency => {
            let at = |&rate| Scenario {
                what,
                size: options.latency_size,
                rate: Some(rate),
            };
            options.rates.iter().map(at).collect()
        }
        What::PingPong | What::Idle => vec![Scenario {
            what,
            size: options.latency_size,
            rate: None,
        }],
    };
    let job = |scenario| {
        Some(Job {
            row: row.clone(),
            scenario,
            command: command(row, scenario, options)?,
        })
    };
    scenarios.into_iter().filter_map(job).collect()
}

/// The command of a run; `None`: this row has no such run.
fn command(
    row: &Row,
    scenario: Scenario,
    options: &Options,
) -> Option<Result<Vec<String>, String>> {
    let program = |folder: &std::path::Path, name: &str| folder.join(name).display().to_string();
    let mut parts = match &row.kind {
        // The floors of latency answer as well.
        Kind::Floor { what, .. }
            if *what != scenario.what
                && (*what, scenario.what) != (What::Latency, What::PingPong) =>
        {
            return None;
        }
        Kind::Peer if scenario.what == What::PingPong => return None,
        Kind::Missing { .. } if scenario.what == What::PingPong => return None,
        Kind::Missing { why } => return Some(Err(why.clone())),
        Kind::Floor { arguments, .. } => {
            let mut parts = vec![program(&options.tidings, "floor")];
            parts.extend(arguments.iter().map(ToString::to_string));
            parts.push("--json".to_owned());
            parts
        }
        // How large datagrams are tells of throughput.
        Kind::Tidings { arguments, .. }
            if !arguments.is_empty() && scenario.what != What::Throughput =>
        {
            return None;
        }
        Kind::Tidings { attach, arguments } => {
            let mut parts = vec![
                program(&options.tidings, "tidings-loadgen"),
                scenario.what.label().to_owned(),
                "--attach".to_owned(),
                (*attach).to_owned(),
            ];
            parts.extend(arguments.iter().map(ToString::to_string));
            parts
        }
        Kind::Peer => vec![
            program(&options.peers, "release/tidings-peers"),
            scenario.what.label().to_owned(),
            "--attach".to_owned(),
            row.name.clone(),
        ],
    };
    if !matches!(row.kind, Kind::Floor { .. }) {
        parts.extend(["--format".to_owned(), "json".to_owned()]);
    }
    parts.extend(["--size".to_owned(), scenario.size.to_string()]);
    parts.extend(["--seconds".to_owned(), options.seconds.to_string()]);
    parts.extend(["--warmup".to_owned(), options.warmup.to_string()]);
    parts.extend(["--pin".to_owned(), options.pin.clone()]);
    if let Some(rate) = scenario.rate {
        parts.extend(["--rate".to_owned(), rate.to_string()]);
    }
    Some(Ok(parts))
}

/// Makes a run. It never fails: what goes wrong is its outcome.
pub(crate) fn run(job: &Job, round: u32, options: &Options) -> Outcome {
    let (report, error) = match &job.command {
        Ok(command) => execute(command, options),
        Err(why) => (None, Some(format!("could not be built: {why}"))),
    };
    let error = error.or_else(|| report.as_ref().and_then(|report| fault(&job.row, report)));
    Outcome {
        row: job.row.name.clone(),
        scenario: job.scenario,
        round,
        error,
        report,
    }
}

/// What the program printed, and why that is not to be trusted, if so.
fn execute(command: &[String], options: &Options) -> (Option<Value>, Option<String>) {
    let limit = LIMIT_SECONDS + options.warmup + options.seconds;
    let wrap = options.wrap.as_deref().unwrap_or_default();
    // In the foreground: what ends this program from a terminal ends the run as well. What a run starts dies with it.
    let bounded = ["timeout", "--foreground", "--kill-after=5"].map(str::to_owned);
    let mut whole = wrap.split_whitespace().map(str::to_owned).chain(bounded);
    let Some(program) = whole.next() else {
        return (None, Some("no program".to_owned()));
    };
    let output = Command::new(program)
        .args(whole)
        .arg(limit.to_string())
        .args(command)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return (None, Some(format!("{}: {error}", command[0]))),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    let report: Option<Value> = printed
        .lines()
        .rev()
        .find_map(|l| serde_json::from_str(l).ok());
    // 1: measured, and something was lost or came twice; the report says what.
    let error = match (output.status.code(), &report) {
        (Some(0 | 1), Some(_)) => None,
        (Some(124 | 137), _) => Some(format!("not over within {limit} s; {}", tail(&said))),
        (_, _) => Some(format!("{}; {}", output.status, tail(&said))),
    };
    (report, error)
}

/// What the generator found wrong, as far as it breaks a promise of this system.
fn fault(row: &Row, report: &Value) -> Option<String> {
    let faults: Vec<&str> = report
        .get("faults")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .filter(|fault| !(row.may_lose() && fault.ends_with("messages lost")))
        .collect();
    (!faults.is_empty()).then(|| faults.join(", "))
}

/// The end of what a program said, in one line.
fn tail(said: &str) -> String {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let skip = line.chars().count().saturating_sub(ERROR_MAX);
    line.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    fn options(wrap: Option<&str>) -> Options {
        let folders = ["--tidings", "t", "--peers", "p", "--page", "x"];
        let wrap = wrap.map(|wrap| ["--wrap", wrap]).into_iter().flatten();
        Options::parse_from(["side-by-side"].into_iter().chain(folders).chain(wrap))
    }

    fn row(class: &str) -> Row {
        Row {
            name: "a".to_owned(),
            title: "A".to_owned(),
            class: class.to_owned(),
            encryption: "none".to_owned(),
            kind: Kind::Peer,
        }
    }

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_report_is_taken_with_exit_code_1_and_not_with_2() {
        let (report, error) = execute(&shell("echo '{\"a\":1}'; exit 1"), &options(None));
        assert_eq!((report, error), (Some(json!({"a": 1})), None));
        let (_, error) = execute(&shell("echo no broker >&2; exit 2"), &options(None));
        assert!(error.unwrap().contains("no broker"));
        let (_, error) = execute(&shell("exit 0"), &options(Some("env")));
        assert!(error.is_some(), "nothing was printed");
    }

    #[test]
    fn a_loss_breaks_only_the_promise_of_those_that_gave_it() {
        let report = json!({"faults": ["3 messages lost"]});
        assert_eq!(fault(&row("at most once"), &report), None);
        let told = fault(&row("at least once"), &report);
        assert_eq!(told.as_deref(), Some("3 messages lost"));
        assert_eq!(fault(&row("at least once"), &json!({"faults": []})), None);
    }

    #[test]
    fn a_missing_peer_is_reported_in_each_of_its_runs() {
        let why = "no cmake".to_owned();
        let missing = Row {
            kind: Kind::Missing { why },
            ..row("x")
        };
        let jobs = jobs(&missing, What::Latency, &options(None));
        assert_eq!(jobs.len(), 3);
        let outcome = run(&jobs[0], 1, &options(None));
        assert!(outcome.error.unwrap().contains("no cmake"));
    }

    #[test]
    fn a_command_names_all_that_is_the_same_for_every_system() {
        let jobs = jobs(&row("x"), What::Throughput, &options(None));
        let command = jobs[1].command.as_ref().unwrap().join(" ");
        let expected = "p/release/tidings-peers throughput --attach a --format json --size 1024 --seconds 2 --warmup 1 --pin 0,1";
        assert_eq!(command, expected);
    }
}
