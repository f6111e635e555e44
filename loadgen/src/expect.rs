//! What a run is expected to show: `--expect p99=100us`.

use serde::Serialize;

use crate::error::Error;
use crate::report::Report;
use crate::units::{Unit, trimmed};

/// One figure that can be expected, or compared.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    /// Whether less is better.
    pub(crate) less: bool,
    /// Where it stands in the JSON report, for [`crate::compare`].
    pub(crate) path: &'static str,
}

const fn metric(name: &'static str, unit: Unit, less: bool, path: &'static str) -> Metric {
    Metric {
        name,
        unit,
        less,
        path,
    }
}

/// All of them.
pub(crate) const METRICS: [Metric; 10] = [
    metric("rate", Unit::Rate, false, "/window/rate"),
    metric("cpu_ns", Unit::Ns, true, "/window/cpu_ns"),
    metric("p50", Unit::Time, true, "/received/latency/p50"),
    metric("p90", Unit::Time, true, "/received/latency/p90"),
    metric("p99", Unit::Time, true, "/received/latency/p99"),
    metric("p999", Unit::Time, true, "/received/latency/p999"),
    metric("max", Unit::Time, true, "/received/latency/max"),
    metric("loss", Unit::Share, true, "/loss"),
    metric("duplicates", Unit::Count, true, "/received/duplicates"),
    metric("rss", Unit::Bytes, true, "/rss"),
];

/// The figure of a name.
pub(crate) fn find(name: &str) -> Result<&'static Metric, Error> {
    let found = METRICS.iter().find(|metric| metric.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        Error::Usage(format!(
            "--expect does not know `{name}`; it knows {}",
            names.join(", ")
        ))
    })
}

/// Reads `NAME=VALUE`; what stands behind the sign is left to the caller.
pub(crate) fn split(text: &str) -> Result<(&'static Metric, &str), Error> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        let remedy = "say it as NAME=VALUE, for example p99=100us";
        Error::Usage(format!("--expect {text}: {remedy}"))
    })?;
    Ok((find(name.trim())?, value))
}

/// Bounds on figures of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectations(Vec<(&'static str, f64)>);

/// What became of one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) name: &'static str,
    pub(crate) bound: f64,
    /// What the run showed, if it showed any such figure.
    pub(crate) value: Option<f64>,
    pub(crate) holds: bool,
}

impl Expectations {
    pub(crate) fn parse(texts: &[String]) -> Result<Self, Error> {
        let parse = |text: &String| {
            let (metric, value) = split(text)?;
            let wrong = |why| Error::Usage(format!("--expect {}: {why}", metric.name));
            Ok((metric.name, metric.unit.parse(value).map_err(wrong)?))
        };
        Ok(Self(texts.iter().map(parse).collect::<Result<_, Error>>()?))
    }

    /// Whether there is one of that name.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(each, _)| *each == name)
    }

    /// Holds each against the run. A figure that the run does not have does not hold.
    pub(crate) fn weigh(&self, report: &Report) -> Vec<Verdict> {
        let weigh = |&(name, bound): &(&'static str, f64)| {
            let metric = METRICS.iter().find(|metric| metric.name == name)?;
            let value = figure(report, name);
            let holds = value.is_some_and(|value| match metric.less {
                true => value <= bound,
                false => value >= bound,
            });
            Some(Verdict {
                name,
                bound,
                value,
                holds,
            })
        };
        self.0.iter().filter_map(weigh).collect()
    }
}

/// A figure of a run.
pub(crate) fn figure(report: &Report, name: &str) -> Option<f64> {
    let received = report.received.as_ref();
    let latency = received
        .map(|received| received.latency)
        .filter(|latency| latency.count > 0);
    let latency = |pick: fn(&crate::times::Percentiles) -> u64| {
        latency.as_ref().map(|latency| pick(latency) as f64)
    };
    match name {
        "rate" => report.window.map(|window| window.rate),
        "cpu_ns" => report.window.and_then(|window| window.cpu_ns),
        "p50" => latency(|at| at.p50),
        "p90" => latency(|at| at.p90),
        "p99" => latency(|at| at.p99),
        "p999" => latency(|at| at.p999),
        "max" => latency(|at| at.max),
        "loss" => report.loss,
        "duplicates" => received.map(|received| received.counts.duplicates as f64),
        "rss" => (!report.processes.is_empty()).then_some(report.rss as f64),
        _ => None,
    }
}

impl Verdict {
    /// For people.
    pub(crate) fn say(&self) -> String {
        let Some(metric) = METRICS.iter().find(|metric| metric.name == self.name) else {
            return String::new();
        };
        let bound = metric.unit.say(self.bound);
        let sign = if metric.less { "at most" } else { "at least" };
        let Some(value) = self.value else {
            let name = self.name;
            return format!(
                "{name} was expected to be {sign} {bound}, but this run has no such figure"
            );
        };
        let times = match self.bound > 0.0 && !self.holds {
            true => format!(" ({} times that)", trimmed(value / self.bound)),
            false => String::new(),
        };
        let value = metric.unit.say(value);
        format!("{} is {value}, expected {sign} {bound}{times}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Window, tests::report};
    use crate::tally::Counts;

    fn expect(texts: &[&str]) -> Result<Expectations, Error> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        Expectations::parse(&texts)
    }

    #[test]
    fn unknown_names_and_units_are_refused_with_what_is_known() {
        for (wrong, known) in [
            ("p98=1us", "p999"),
            ("p99=1", "us"),
            ("p99", "NAME=VALUE"),
            ("rate=5us", "M/s"),
        ] {
            let refused = expect(&[wrong]).unwrap_err().to_string();
            assert!(refused.contains(known), "{refused}");
        }
    }

    #[test]
    fn bounds_hold_on_their_side() {
        let counts = Counts {
            unique: 99,
            ..Counts::default()
        };
        let mut report = report(100, counts);
        report.window = Some(Window::new(1_000, 1.0, &[]));
        let bounds = ["rate=1k", "rate=1001/s", "loss=1%", "loss=0.5%", "p99=1s"];
        let verdicts = expect(&bounds).unwrap().weigh(&report);
        let holds: Vec<bool> = verdicts.iter().map(|verdict| verdict.holds).collect();
        assert_eq!(holds, [true, false, true, false, false]);
        assert_eq!(
            verdicts[3].say(),
            "loss is 1 %, expected at most 0.5 % (2 times that)"
        );
        assert!(verdicts[4].say().contains("no such figure"));
    }
}
