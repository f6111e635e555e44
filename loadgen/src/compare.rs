//! Two sets of reports beside each other: medians, ranges and their ratio.

use serde_json::Value;

use crate::error::{Error, While};
use crate::expect::{METRICS, Metric, split};
use crate::units::trimmed;

/// The reports of one side: files, each with a report on every line.
pub(crate) struct Set {
    pub(crate) name: String,
    reports: Vec<Value>,
}

/// Bounds on ratios of the second set to the first.
pub(crate) type Bounds = Vec<(&'static Metric, f64)>;

/// Reads `--expect NAME=RATIO`, as `p99=1.1` or `rate=95%`.
pub(crate) fn bounds(texts: &[String]) -> Result<Bounds, Error> {
    let parse = |text: &String| {
        let (metric, value) = split(text)?;
        let (number, factor) = match value.trim().strip_suffix('%') {
            Some(number) => (number, 0.01),
            None => (value.trim().trim_end_matches('x'), 1.0),
        };
        let number = number.trim().parse::<f64>().ok().filter(|n| *n >= 0.0);
        let wrong = || {
            let remedy = "a ratio of B to A, for example p99=1.1 or rate=95%";
            Error::Usage(format!("--expect {text}: `{value}` is not {remedy}"))
        };
        Ok((metric, number.ok_or_else(wrong)? * factor))
    };
    texts.iter().map(parse).collect()
}

impl Set {
    /// Files separated by commas.
    pub(crate) fn read(files: &str) -> Result<Self, Error> {
        let mut reports = Vec::new();
        for file in files.split(',') {
            let text = std::fs::read_to_string(file).during(&format!("read {file}"))?;
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            for line in lines {
                let report: Value =
                    serde_json::from_str(line).during(&format!("read {file} as reports"))?;
                if report.pointer("/scenario").is_none() {
                    return Err(Error::Failed(format!(
                        "{file} has a line that is no report; --json FILE writes such files"
                    )));
                }
                reports.push(report);
            }
        }
        if reports.is_empty() {
            return Err(Error::Failed(format!("{files}: there is no report in it")));
        }
        let name = files.to_owned();
        Ok(Self { name, reports })
    }

    /// What the set is of, if all its reports are of the same.
    fn kind(&self) -> String {
        let of = |report: &Value| {
            let text = |path: &str| match report.pointer(path) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => "-".to_owned(),
                Some(other) => other.to_string(),
            };
            let paths = [
                "/scenario",
                "/attach",
                "/sizes",
                "/encryption",
                "/guarantee",
            ];
            paths.map(text).join(", ")
        };
        let first = of(&self.reports[0]);
        match self.reports.iter().all(|report| of(report) == first) {
            true => first,
            false => "different runs".to_owned(),
        }
    }

    fn spread(&self, metric: &Metric) -> Option<Spread> {
        let values = self.reports.iter().filter_map(|report| {
            let latency = metric.path.starts_with("/received/latency");
            let count = report.pointer("/received/latency/count");
            // Percentiles of nothing are zeros.
            let is_empty = latency && count.and_then(Value::as_u64) == Some(0);
            let value = report.pointer(metric.path)?.as_f64()?;
            (!is_empty).then_some(value)
        });
        Spread::of(values.collect())
    }
}

/// Median and range.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
    count: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = match values.len().is_multiple_of(2) {
            true => (values[middle - 1] + values[middle]) / 2.0,
            false => values[middle],
        };
        Some(Self {
            median,
            least,
            most,
            count: values.len(),
        })
    }

    fn say(&self, metric: &Metric) -> String {
        let say = |value| metric.unit.say(value);
        match self.count {
            1 => say(self.median),
            _ => format!(
                "{} ({} to {})",
                say(self.median),
                say(self.least),
                say(self.most)
            ),
        }
    }
}

/// How B stands to A; `None` where A is 0 and B is not.
fn ratio(a: f64, b: f64) -> Option<f64> {
    match (a, b) {
        (0.0, 0.0) => Some(1.0),
        (0.0, _) => None,
        (a, b) => Some(b / a),
    }
}

/// The table, and whether every bound holds.
pub(crate) fn compare(a: &Set, b: &Set, bounds: &Bounds) -> (String, bool) {
    let mut text = String::new();
    for (letter, set) in [("A", a), ("B", b)] {
        let runs = set.reports.len();
        let runs = if runs == 1 {
            String::new()
        } else {
            format!(" ({runs} runs)")
        };
        text += &format!("{letter}  {}{runs}: {}\n", set.name, set.kind());
    }
    text += &format!("\n{:<11} {:<34} {:<34} {:>8}\n", "", "A", "B", "B/A");
    let mut faults = String::new();
    for metric in &METRICS {
        let both = (a.spread(metric), b.spread(metric));
        let bound = bounds.iter().find(|bound| bound.0.name == metric.name);
        let (Some(of_a), Some(of_b)) = both else {
            if bound.is_some() {
                faults += &format!("NOT EXPECTED {}: not both sets have it\n", metric.name);
            }
            continue;
        };
        let ratio = ratio(of_a.median, of_b.median);
        text += &format!(
            "{:<11} {:<34} {:<34} {:>8}\n",
            metric.name,
            of_a.say(metric),
            of_b.say(metric),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"))
        );
        let Some((_, bound)) = bound else { continue };
        let holds = ratio.is_some_and(|ratio| match metric.less {
            true => ratio <= *bound,
            false => ratio >= *bound,
        });
        if !holds {
            let sign = if metric.less { "at most" } else { "at least" };
            let ratio = ratio.map_or("without bound".to_owned(), trimmed);
            faults += &format!(
                "NOT EXPECTED {}: B/A is {ratio}, expected {sign} {}\n",
                metric.name,
                trimmed(*bound)
            );
        }
    }
    let holds = faults.is_empty();
    (text + &faults, holds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(name: &str, figures: &[(f64, u64)]) -> Set {
        let report = |&(rate, p99): &(f64, u64)| {
            json!({
                "scenario": "latency", "attach": name, "window": {"rate": rate},
                "received": {"duplicates": 0, "latency": {"count": 5, "p99": p99}}
            })
        };
        Set {
            name: name.to_owned(),
            reports: figures.iter().map(report).collect(),
        }
    }

    fn holds(bound: &str) -> bool {
        let a = set("a", &[(100.0, 1_000), (300.0, 3_000), (200.0, 2_000)]);
        let b = set("b", &[(100.0, 4_000)]);
        let bounds = bounds(&[bound.to_owned()]).unwrap();
        compare(&a, &b, &bounds).1
    }

    #[test]
    fn medians_ranges_and_ratios_are_told() {
        let a = set("a", &[(100.0, 1_000), (300.0, 3_000), (200.0, 2_000)]);
        let b = set("b", &[(100.0, 4_000)]);
        let (text, holds) = compare(&a, &b, &Vec::new());
        assert!(holds, "without bounds nothing fails");
        assert!(text.contains("2 us (1 us to 3 us)"), "{text}");
        assert!(text.contains("4 us") && text.contains("2.000"), "{text}");
        assert!(text.contains("0.500") && !text.contains("cpu_ns"), "{text}");
    }

    #[test]
    fn bounds_are_on_the_ratio_and_have_a_side() {
        assert!(holds("p99=2.0") && holds("p99=200%") && holds("rate=0.5"));
        assert!(!holds("p99=1.9x") && !holds("rate=0.6"));
        assert!(!holds("p50=9"), "what is not there does not hold");
        assert!(holds("duplicates=1"), "nothing is as much as nothing");
        for wrong in ["p99=1ms", "p99", "p98=1", "p99=-1"] {
            assert!(bounds(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn medians_of_two_lie_between_them() {
        assert_eq!(Spread::of(vec![3.0, 1.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
