//! What runs showed, kept as lines of JSON so that rounds can be added and the page made again.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::options::What;

/// What a run is, beside the system that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) what: What,
    pub(crate) size: u64,
    /// Messages per second, where a rate is set.
    pub(crate) rate: Option<u64>,
}

impl Scenario {
    pub(crate) fn label(self) -> String {
        match self.rate {
            Some(rate) => format!("{} {} B at {rate}/s", self.what.label(), self.size),
            None if self.what == What::Idle => self.what.label().to_owned(),
            None => format!("{} {} B", self.what.label(), self.size),
        }
    }
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) row: String,
    pub(crate) scenario: Scenario,
    pub(crate) round: u32,
    /// Why there is no report, or what is wrong with it.
    pub(crate) error: Option<String>,
    /// What the program printed.
    pub(crate) report: Option<Value>,
}

impl Outcome {
    /// A figure of the report.
    pub(crate) fn figure(&self, pointer: &str) -> Option<f64> {
        self.report.as_ref()?.pointer(pointer)?.as_f64()
    }

    /// CPU time of all processes in the measured time, in cores.
    pub(crate) fn cores(&self) -> Option<f64> {
        self.of_processes("cores")
    }

    /// The sum of a figure over all processes.
    pub(crate) fn of_processes(&self, name: &str) -> Option<f64> {
        let processes = self.report.as_ref()?.get("processes")?.as_array()?;
        let figures = processes.iter().filter_map(|each| each.get(name)?.as_f64());
        Some(figures.sum())
    }

    /// What it showed, in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{} {:<18} {:<24}",
            self.round,
            self.row,
            self.scenario.label()
        );
        let rate = self.figure("/window/rate").or(self.figure("/rate"));
        if let (What::Throughput, Some(rate)) = (self.scenario.what, rate) {
            line += &format!(" {:.3} M/s", rate / 1e6);
        }
        if let (What::Idle, Some(cores)) = (self.scenario.what, self.cores()) {
            line += &format!(" {:.3} % of a core", cores * 100.0);
        }
        if let Some(cpu) = self.figure("/window/cpu_ns").or(self.figure("/cpu_ns")) {
            line += &format!(", {cpu:.0} ns");
        }
        let at = |name: &str| {
            let places = ["/received/latency", "/latency", "/rtt"];
            let mut pointers = places.iter().map(|place| format!("{place}/{name}"));
            pointers.find_map(|pointer| self.figure(&pointer))
        };
        let is_timed = matches!(self.scenario.what, What::Latency | What::PingPong);
        if let (true, Some(p50), Some(p99)) = (is_timed, at("p50"), at("p99")) {
            line += &format!(", p50 {:.1} us, p99 {:.1} us", p50 / 1e3, p99 / 1e3);
        }
        if let Some(error) = &self.error {
            line += &format!(" FAILED: {error}");
        }
        line
    }
}

/// The file of all runs.
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    /// Keeps what is there, or begins anew.
    pub(crate) fn open(dir: &Path, keep: bool) -> Result<Self, String> {
        let path = dir.join("results.jsonl");
        let told = |error| format!("{}: {error}", path.display());
        fs::create_dir_all(dir).map_err(told)?;
        if !keep {
            fs::write(&path, "").map_err(told)?;
        }
        Ok(Self { path })
    }

    pub(crate) fn add(&self, outcome: &Outcome) -> Result<(), String> {
        let told = |error| format!("{}: {error}", self.path.display());
        let line = serde_json::to_string(outcome).map_err(|error| error.to_string())?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .map_err(told)?;
        writeln!(file, "{line}").map_err(told)
    }

    pub(crate) fn read(&self) -> Result<Vec<Outcome>, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", self.path.display());
        let text = fs::read_to_string(&self.path).map_err(|error| told(&error))?;
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(|error| told(&error)))
            .collect()
    }

    /// One more than that of the latest run.
    pub(crate) fn next_round(&self) -> u32 {
        let rounds = self.read().unwrap_or_default();
        1 + rounds.iter().map(|run| run.round).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_read_again_and_rounds_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), false).unwrap();
        assert_eq!(store.next_round(), 1);
        let outcome = Outcome {
            row: "a".to_owned(),
            scenario: Scenario {
                what: What::Throughput,
                size: 64,
                rate: None,
            },
            round: 4,
            error: None,
            report: Some(serde_json::json!({"window": {"rate": 2.5e6}})),
        };
        store.add(&outcome).unwrap();
        let again = Store::open(dir.path(), true).unwrap();
        assert_eq!(again.next_round(), 5);
        let read = &again.read().unwrap()[0];
        assert_eq!(read.figure("/window/rate"), Some(2.5e6));
        assert!(read.line().contains("2.500 M/s"));
        assert_eq!(Store::open(dir.path(), false).unwrap().next_round(), 1);
    }
}
