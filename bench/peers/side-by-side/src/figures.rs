//! Medians and ranges over rounds.

use crate::options::What;
use crate::rows::{Kind, Row};
use crate::store::{Outcome, Scenario};

/// The middle of some values, and the least and the most of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` without values. Of an even number of them the median is the mean of the middle two.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            (values[middle - 1] + values[middle]) / 2.0
        } else {
            values[middle]
        };
        Some(Self {
            median,
            least,
            most,
        })
    }

    /// All three, times a factor.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            least: self.least * factor,
            most: self.most * factor,
        }
    }

    /// `median (least–most)`, with digits as the median needs them.
    pub(crate) fn text(self) -> String {
        let digits = digits(self.median);
        format!(
            "{:.digits$} ({:.digits$}–{:.digits$})",
            self.median, self.least, self.most
        )
    }
}

/// Digits after the point: three that tell something.
pub(crate) fn digits(value: f64) -> usize {
    match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    }
}

/// The runs of one row in one scenario that have a report.
pub(crate) struct Runs<'a>(Vec<&'a Outcome>);

impl<'a> Runs<'a> {
    pub(crate) fn of(outcomes: &'a [Outcome], row: &str, scenario: Scenario) -> Self {
        let same = |run: &&Outcome| run.row == row && run.scenario == scenario;
        let measured = |run: &&Outcome| run.report.is_some();
        Self(outcomes.iter().filter(same).filter(measured).collect())
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn spread(&self, figure: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.0.iter().filter_map(|run| figure(run)).collect())
    }

    /// Messages per second.
    pub(crate) fn rate(&self) -> Option<Spread> {
        self.spread(|run| run.figure("/window/rate").or(run.figure("/rate")))
    }

    /// CPU of all processes for each message, in ns.
    pub(crate) fn cpu(&self) -> Option<Spread> {
        self.spread(|run| run.figure("/window/cpu_ns").or(run.figure("/cpu_ns")))
    }

    /// The most memory that all processes had resident, in MiB.
    pub(crate) fn memory(&self) -> Option<Spread> {
        let bytes = |run: &Outcome| run.of_processes("rss_peak");
        Some(self.spread(bytes)?.times(1.0 / f64::from(1 << 20)))
    }

    /// CPU time of all processes, in percent of a core.
    pub(crate) fn load(&self) -> Option<Spread> {
        Some(self.spread(Outcome::cores)?.times(100.0))
    }

    /// A percentile of the latency, in us.
    pub(crate) fn latency(&self, percentile: &str) -> Option<Spread> {
        let of_system = format!("/received/latency/{percentile}");
        let of_floor = [
            format!("/latency/{percentile}"),
            format!("/rtt/{percentile}"),
        ];
        let of_floor = |run: &Outcome| of_floor.iter().find_map(|at| run.figure(at));
        let figure = |run: &Outcome| run.figure(&of_system).or(of_floor(run));
        Some(self.spread(figure)?.times(1e-3))
    }

    /// A percentile of the generator's own lag, in us.
    pub(crate) fn lag(&self, percentile: &str) -> Option<Spread> {
        let of_system = format!("/published/lag/{percentile}");
        let of_floor = format!("/lag/{percentile}");
        let figure = |run: &Outcome| run.figure(&of_system).or(run.figure(&of_floor));
        Some(self.spread(figure)?.times(1e-3))
    }

    /// The sum of a count over all rounds.
    pub(crate) fn sum(&self, pointer: &str) -> Option<f64> {
        let values: Vec<f64> = self
            .0
            .iter()
            .filter_map(|run| run.figure(pointer))
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

/// The scenarios of one kind that were run, each once, in the order of the runs.
pub(crate) fn scenarios(outcomes: &[Outcome], what: What) -> Vec<Scenario> {
    let mut found: Vec<Scenario> = Vec::new();
    for run in outcomes.iter().filter(|run| run.scenario.what == what) {
        if !found.contains(&run.scenario) {
            found.push(run.scenario);
        }
    }
    found.sort_by_key(|scenario| (scenario.size, scenario.rate));
    found
}

/// What is wrong with a row, if anything is.
pub(crate) fn failure(row: &Row, outcomes: &[Outcome]) -> Option<String> {
    if let Kind::Missing { why } = &row.kind {
        return Some(format!("could not be built: {why}"));
    }
    let runs: Vec<&Outcome> = outcomes.iter().filter(|run| run.row == row.name).collect();
    let failed: Vec<String> = runs
        .iter()
        .filter_map(|run| {
            let error = run.error.as_ref()?;
            Some(format!(
                "{}, round {}: {error}",
                run.scenario.label(),
                run.round
            ))
        })
        .collect();
    let first = failed.first()?;
    Some(format!(
        "{} of {} runs; the first: {first}",
        failed.len(),
        runs.len()
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) const FLAT_OUT: Scenario = Scenario {
        what: What::Throughput,
        size: 64,
        rate: None,
    };

    pub(crate) fn outcome(row: &str, round: u32, rate: f64) -> Outcome {
        let processes = json!([{"rss_peak": 1 << 20}, {"rss_peak": 3 << 20}]);
        Outcome {
            row: row.to_owned(),
            scenario: FLAT_OUT,
            round,
            error: None,
            report: Some(json!({
                "window": {"rate": rate, "cpu_ns": 100.0},
                "lost": 2, "received": {"duplicates": 1}, "processes": processes,
            })),
        }
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_middle_two() {
        let odd = Spread::of(vec![5.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.least, odd.median, odd.most), (1.0, 2.0, 5.0));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 8.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn figures_have_the_digits_that_tell_something() {
        let text = |values: &[f64]| Spread::of(values.to_vec()).unwrap().text();
        assert_eq!(text(&[24.444, 23.0, 25.0]), "24.4 (23.0–25.0)");
        assert_eq!(text(&[0.0711]), "0.071 (0.071–0.071)");
        assert_eq!(text(&[1234.5]), "1234 (1234–1234)");
    }

    #[test]
    fn the_runs_of_a_row_are_put_together() {
        let runs = [
            outcome("a", 1, 2e6),
            outcome("b", 1, 9e6),
            outcome("a", 2, 4e6),
        ];
        let of_a = Runs::of(&runs, "a", FLAT_OUT);
        assert_eq!(of_a.rate().unwrap().median, 3e6);
        assert_eq!(of_a.memory().unwrap().median, 4.0);
        assert_eq!(of_a.sum("/lost"), Some(4.0));
        assert_eq!(of_a.latency("p50"), None);
        let other = Scenario {
            size: 1024,
            ..FLAT_OUT
        };
        assert_eq!(Runs::of(&runs, "a", other).rate(), None);
        assert_eq!(scenarios(&runs, What::Throughput), [FLAT_OUT]);
    }

    #[test]
    fn a_failed_run_makes_its_row_a_failed_one() {
        let row = Row {
            name: "a".to_owned(),
            title: "A".to_owned(),
            class: "at most once".to_owned(),
            encryption: "none".to_owned(),
            kind: Kind::Peer,
        };
        let mut runs = vec![outcome("a", 1, 2e6)];
        assert_eq!(failure(&row, &runs), None);
        runs.push(Outcome {
            error: Some("no broker".to_owned()),
            report: None,
            ..outcome("a", 2, 0.0)
        });
        let told = failure(&row, &runs).unwrap();
        assert!(told.starts_with("1 of 2 runs") && told.contains("no broker"));
    }
}
