//! Instruction counts of the hot steps against a committed baseline: what got dearer, what got cheaper, what is not in both.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

/// Counts by the name of the step.
pub type Counts = BTreeMap<String, u64>;

/// What was counted, and what it depends on beside the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// As `rustc --version` says.
    pub rustc: String,
    /// As `valgrind --version` says.
    pub valgrind: String,
    /// Counts by step.
    pub instructions: Counts,
}

impl Baseline {
    /// Reads the committed file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let whole: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let word = |name: &str| {
            let found = whole[name].as_str().map(str::to_owned);
            found.ok_or_else(|| format!("`{name}` is not there or no text"))
        };
        let counts = whole["instructions"].as_object();
        let counts = counts.ok_or("`instructions` is not there or no table")?;
        let each = counts.iter().map(|(name, count)| {
            let count = count.as_u64().filter(|count| *count > 0);
            let count = count.ok_or_else(|| format!("`{name}` has no count above 0"))?;
            Ok((name.clone(), count))
        });
        Ok(Self {
            rustc: word("rustc")?,
            valgrind: word("valgrind")?,
            instructions: each.collect::<Result<_, String>>()?,
        })
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let whole = json!({
            "rustc": self.rustc,
            "valgrind": self.valgrind,
            "instructions": self.instructions,
        });
        format!("{whole:#}\n")
    }
}

/// Reads what gungraun printed with `--output-format=json`: an object for each bench, one a line.
pub fn parse_run(text: &str) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let bench: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let name = bench["id"].as_str().ok_or("a bench has no `id`")?;
        let profiles = bench["profiles"].as_array().into_iter().flatten();
        let mut callgrind = profiles.filter(|profile| profile["tool"] == "Callgrind");
        let count = callgrind.next().and_then(|profile| {
            profile
                .pointer("/data/total/metrics/Ir/values/new")?
                .as_u64()
        });
        let count = count.ok_or_else(|| format!("`{name}` has no count of instructions"))?;
        counts.insert(name.to_owned(), count);
    }
    if counts.is_empty() {
        return Err("no bench in it".to_owned());
    }
    Ok(counts)
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Within the limit.
    Alike,
    /// Dearer by more than the limit.
    Worse,
    /// Cheaper by more than the limit.
    Better,
    /// Not in the baseline.
    New,
    /// In the baseline, and not counted now.
    Missing,
}

/// One step, before and now.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The step.
    pub name: String,
    /// Its count in the baseline.
    pub before: Option<u64>,
    /// Its count now.
    pub after: Option<u64>,
    /// What that means.
    pub change: Change,
}

impl Row {
    fn new(name: &str, before: Option<u64>, after: Option<u64>, limit: f64) -> Self {
        let change = match (before, after) {
            (None, _) => Change::New,
            (_, None) => Change::Missing,
            (Some(before), Some(after)) if percent(before, after) > limit => Change::Worse,
            (Some(before), Some(after)) if percent(before, after) < -limit => Change::Better,
            (Some(_), Some(_)) => Change::Alike,
        };
        Self {
            name: name.to_owned(),
            before,
            after,
            change,
        }
    }

    /// Whether the check fails for it.
    pub fn is_fault(&self) -> bool {
        matches!(self.change, Change::Worse | Change::New | Change::Missing)
    }

    fn text(&self) -> String {
        let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        let percent = match (self.before, self.after) {
            (Some(before), Some(after)) => format!("{:+.2} %", percent(before, after)),
            _ => "-".to_owned(),
        };
        let say = match self.change {
            Change::Alike => "",
            Change::Worse => "  DEARER",
            Change::Better => "  cheaper",
            Change::New => "  NOT IN THE BASELINE",
            Change::Missing => "  NOT COUNTED",
        };
        format!(
            "{:<22} {:>10} {:>10} {percent:>10}{say}",
            self.name,
            count(self.before),
            count(self.after)
        )
    }
}

fn percent(before: u64, after: u64) -> f64 {
    (after as f64 / before as f64 - 1.0) * 100.0
}

/// Every step of either side. `limit` is in percent.
pub fn compare(before: &Counts, after: &Counts, limit: f64) -> Vec<Row> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let row = |name: &String| {
        let of = |counts: &Counts| counts.get(name).copied();
        Row::new(name, of(before), of(after), limit)
    };
    names.into_iter().map(row).collect()
}

/// The table and what to do. `before` and `after` are what the counts were made with.
pub fn judgement(rows: &[Row], before: &Baseline, after: &Baseline, limit: f64) -> String {
    let mut text = format!(
        "{:<22} {:>10} {:>10} {:>10}\n",
        "instructions", "baseline", "now", "change"
    );
    for row in rows {
        text += &row.text();
        text.push('\n');
    }
    let count = |change| rows.iter().filter(|row| row.change == change).count();
    let (worse, better) = (count(Change::Worse), count(Change::Better));
    let strange = count(Change::New) + count(Change::Missing);
    // Writing to a String does not fail.
    if worse > 0 {
        let _ = writeln!(
            text,
            "{worse} dearer by more than {limit} %: find out why, or, if it is worth it, `bench/instructions.sh bless`"
        );
    }
    if strange > 0 {
        let _ = writeln!(
            text,
            "{strange} not in both: `bench/instructions.sh bless` after benches came or went"
        );
    }
    if better > 0 {
        let _ = writeln!(
            text,
            "{better} cheaper by more than {limit} %: `bench/instructions.sh bless` keeps it so"
        );
    }
    for (what, was, is) in [
        ("rustc", &before.rustc, &after.rustc),
        ("valgrind", &before.valgrind, &after.valgrind),
    ] {
        if was != is {
            let _ = writeln!(
                text,
                "the baseline was made with another {what}: {was}, now {is}; counts may differ for that alone"
            );
        }
    }
    if worse + strange + better == 0 {
        let _ = writeln!(text, "all within {limit} %");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, u64)]) -> Counts {
        all.iter()
            .map(|&(name, count)| (name.to_owned(), count))
            .collect()
    }

    fn change(before: u64, after: u64) -> Change {
        let rows = compare(&counts(&[("a", before)]), &counts(&[("a", after)]), 5.0);
        rows[0].change
    }

    #[test]
    fn five_percent_are_within_the_limit_both_ways_and_more_is_not() {
        assert_eq!(change(1_000, 1_050), Change::Alike);
        assert_eq!(change(1_000, 1_051), Change::Worse);
        assert_eq!(change(1_000, 950), Change::Alike);
        assert_eq!(change(1_000, 949), Change::Better);
        assert_eq!(change(7, 7), Change::Alike);
    }

    #[test]
    fn only_what_got_dearer_or_is_not_in_both_fails() {
        let rows = compare(
            &counts(&[("dear", 100), ("cheap", 100), ("gone", 100)]),
            &counts(&[("dear", 110), ("cheap", 90), ("new", 100)]),
            5.0,
        );
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.change, row.is_fault()))
            .collect();
        let expected = [
            ("cheap", Change::Better, false),
            ("dear", Change::Worse, true),
            ("gone", Change::Missing, true),
            ("new", Change::New, true),
        ];
        assert_eq!(told, expected);
        let made = |rustc: &str| Baseline {
            rustc: rustc.to_owned(),
            ..Baseline::default()
        };
        let text = judgement(&rows, &made("1"), &made("2"), 5.0);
        for told in [
            "+10.00 %  DEARER",
            "-10.00 %  cheaper",
            "NOT COUNTED",
            "2 not in both",
            "another rustc: 1, now 2",
        ] {
            assert!(text.contains(told), "{told} in:\n{text}");
        }
    }

    #[test]
    fn a_baseline_reads_back_as_written_and_nonsense_is_refused() {
        let baseline = Baseline {
            rustc: "rustc 1".to_owned(),
            valgrind: "valgrind-3".to_owned(),
            instructions: counts(&[("a", 1), ("b", 2)]),
        };
        assert_eq!(Baseline::parse(&baseline.to_text()), Ok(baseline));
        for (text, told) in [
            ("", "EOF"),
            (r#"{"rustc":"r","valgrind":"v"}"#, "`instructions`"),
            (r#"{"instructions":{},"valgrind":"v"}"#, "`rustc`"),
            (
                r#"{"rustc":"r","valgrind":"v","instructions":{"a":0}}"#,
                "`a`",
            ),
            (
                r#"{"rustc":"r","valgrind":"v","instructions":{"a":"1"}}"#,
                "`a`",
            ),
        ] {
            let error = Baseline::parse(text).expect_err("nonsense");
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_counts_of_a_run_are_read_from_among_other_lines() {
        let bench = |id: &str, tool: &str| {
            let total = json!({"metrics": {"Ir": {"values": {"new": 42, "old": 41}}}});
            json!({"id": id, "profiles": [{"tool": tool, "data": {"total": total}}]}).to_string()
        };
        let text = format!(
            "running\n{}\n{}\n",
            bench("a", "Callgrind"),
            bench("b", "Callgrind")
        );
        assert_eq!(parse_run(&text), Ok(counts(&[("a", 42), ("b", 42)])));
        assert!(parse_run(&bench("a", "DHAT")).is_err());
        assert!(parse_run("nothing").is_err());
    }

    #[test]
    fn the_committed_baseline_has_every_step() {
        let baseline = Baseline::parse(include_str!("../instructions.json")).expect("it is valid");
        let mut names: Vec<_> = crate::steps::all().iter().map(|step| step.name).collect();
        names.sort_unstable();
        assert!(
            baseline.instructions.keys().eq(names),
            "bench/instructions.sh bless"
        );
    }
}
