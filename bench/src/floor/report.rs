//! What a floor program found: medians over its rounds, as text and as one line of JSON.

use serde_json::{Map, Value, json};

/// How a figure is shown to people. JSON has the plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Per second; shown in millions.
    Millions,
    /// Nanoseconds.
    Ns,
    /// Nanoseconds, shown as microseconds.
    Us,
    /// Bytes per second, shown in GB.
    Gigabytes,
    /// A plain number.
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Millions => format!("{:.3}", value / 1e6),
            Self::Ns => format!("{value:.1}"),
            Self::Us => format!("{:.1}", value / 1e3),
            Self::Gigabytes => format!("{:.2}", value / 1e9),
            Self::Count => format!("{value:.0}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Millions => " M/s",
            Self::Ns => " ns",
            Self::Us => " us",
            Self::Gigabytes => " GB/s",
            Self::Count => "",
        }
    }
}

/// One figure of one round. A dot in the name makes an object of those before it.
pub type Figure = (&'static str, Unit, f64);

/// All rounds of one program.
pub struct Report {
    /// The subcommand.
    pub program: &'static str,
    /// What was set, in the order to show.
    pub settings: Vec<(&'static str, Value)>,
    /// Figures by round, in the same order in each.
    pub rounds: Vec<Vec<Figure>>,
}

impl Report {
    /// One line of JSON: settings, the median of each figure, and its range.
    pub fn json(&self) -> Value {
        let mut top = Map::new();
        top.insert("program".to_owned(), json!(self.program));
        top.insert("rounds".to_owned(), json!(self.rounds.len()));
        for (name, value) in &self.settings {
            top.insert((*name).to_owned(), value.clone());
        }
        let mut ranges = Map::new();
        for (name, _, [median, least, most]) in self.medians() {
            ranges.insert(name.to_owned(), json!([round(least), round(most)]));
            match name.split_once('.') {
                None => drop(top.insert(name.to_owned(), json!(round(median)))),
                Some((group, name)) => {
                    let group = top.entry(group).or_insert_with(|| json!({}));
                    group[name] = json!(round(median));
                }
            }
        }
        top.insert("range".to_owned(), Value::Object(ranges));
        Value::Object(top)
    }

    /// A table: one figure a line, the range behind the median.
    pub fn text(&self) -> String {
        let settings: Vec<String> = self
            .settings
            .iter()
            .map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value)))
            .collect();
        let mut text = format!("floor {}: {}", self.program, settings.join(", "));
        for (name, unit, [median, least, most]) in self.medians() {
            let range = if self.rounds.len() > 1 {
                format!(" ({}-{})", unit.show(least), unit.show(most))
            } else {
                String::new()
            };
            let name = name.replace(['_', '.'], " ");
            text += &format!(
                "\n  {name:<24} {:>9}{}{range}",
                unit.show(median),
                unit.name()
            );
        }
        text
    }

    fn medians(&self) -> impl Iterator<Item = (&'static str, Unit, [f64; 3])> + '_ {
        let first = self.rounds.first().map_or(&[][..], Vec::as_slice);
        first.iter().enumerate().map(|(at, &(name, unit, _))| {
            let mut values: Vec<f64> = self.rounds.iter().map(|round| round[at].2).collect();
            (name, unit, median(&mut values))
        })
    }
}

/// Median, least and most of a list that is not empty.
pub fn median(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len().is_multiple_of(2) {
        (values[middle - 1] + values[middle]) / 2.0
    } else {
        values[middle]
    };
    [median, values[0], values[values.len() - 1]]
}

/// Three digits behind the point are more than any of these figures is good for.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(values: &[f64]) -> Report {
        Report {
            program: "raw",
            settings: vec![("size", json!(64)), ("sender", json!("parked"))],
            rounds: values
                .iter()
                .map(|&value| {
                    vec![
                        ("rate", Unit::Millions, value),
                        ("latency.p50", Unit::Us, 2e3),
                    ]
                })
                .collect(),
        }
    }

    #[test]
    fn the_median_of_the_rounds_stands_first() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), [2.0, 1.0, 3.0]);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), [2.5, 1.0, 4.0]);
        let json = report(&[3e6, 1e6, 2e6]).json();
        assert_eq!((&json["rate"], &json["rounds"]), (&json!(2e6), &json!(3)));
        assert_eq!(json["range"]["rate"], json!([1e6, 3e6]));
        assert_eq!(json["latency"]["p50"], json!(2e3));
    }

    #[test]
    fn text_has_a_range_only_where_there_are_rounds() {
        let one = report(&[3e6]).text();
        assert!(
            one.starts_with("floor raw: size 64, sender parked\n"),
            "{one}"
        );
        assert!(one.contains("3.000 M/s") && !one.contains('('), "{one}");
        assert!(
            report(&[3e6, 1e6, 2e6])
                .text()
                .contains("2.000 M/s (1.000-3.000)")
        );
    }
}
