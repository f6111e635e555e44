//! `bench/RESULTS.md`: conditions, the tables of throughput and latency, what failed, and plots beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::figures::{self, Runs, Spread};
use crate::host::Conditions;
use crate::options::What;
use crate::plot;
use crate::rows::{REFERENCE, Row};
use crate::store::{Outcome, Scenario};

const THROUGHPUT_PLOT: &str = "results-throughput.svg";
const LATENCY_PLOT: &str = "results-latency.svg";
/// What stands in the page from here on is by hand and stays.
const BY_HAND: &str = "\n## Remarks\n";

/// Writes the page and its plots into a folder. Remarks in a page that is there stay.
pub(crate) fn write(
    folder: &Path,
    rows: &[Row],
    outcomes: &[Outcome],
    conditions: &Conditions,
) -> Result<(), String> {
    let path = folder.join("RESULTS.md");
    let before = fs::read_to_string(&path).unwrap_or_default();
    let remarks = before.find(BY_HAND).map_or("", |at| &before[at..]);
    let page = text(rows, outcomes, conditions) + remarks;
    fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    plot::throughput(&folder.join(THROUGHPUT_PLOT), rows, outcomes)?;
    plot::latency(&folder.join(LATENCY_PLOT), rows, outcomes)
}

fn text(rows: &[Row], outcomes: &[Outcome], conditions: &Conditions) -> String {
    let mut page = String::from(HEAD);
    for (name, value) in conditions {
        let _ = writeln!(page, "| {name} | {value} |");
    }
    let throughput = figures::scenarios(outcomes, What::Throughput);
    if !throughput.is_empty() {
        page += &throughput_table(rows, outcomes, &throughput);
    }
    let latency = figures::scenarios(outcomes, What::Latency);
    if !latency.is_empty() {
        page += &latency_table(rows, outcomes, &latency);
    }
    let ping_pong = figures::scenarios(outcomes, What::PingPong);
    if !ping_pong.is_empty() {
        page += &ping_pong_table(rows, outcomes, &ping_pong);
    }
    let idle = figures::scenarios(outcomes, What::Idle);
    if !idle.is_empty() {
        page += &idle_table(rows, outcomes, &idle);
    }
    page + &failures(rows, outcomes)
}

const HEAD: &str = "\
# Tidings, its peers and the kernel's floor, side by side

One publisher, one subscriber, two processes on loopback, and what the system needs beside them. Every system ran once in each round, so
that what changed on the machine meanwhile met all of them. Generator, stamps, books, pinning and sizes are the same for all: publisher
on the first CPU, subscriber on the second; brokers and media drivers where the kernel put them. How each peer is set up and why stands
in [peers/README.md](peers/README.md). Rows of different guarantees or encryption are no contest.

| | |
|---|---|
";

const ABOUT_THROUGHPUT: &str = "\
Flat out, counted at the subscriber: the median of all rounds, in brackets the range. *Ratio*: of the medians, to Tidings on the shard in
the same rounds. *CPU*: of all processes, brokers and drivers included, for each message. *Memory*: the most that was resident, summed
over all processes; what processes share counts in each. *Lost, twice*: messages of all rounds.
";

const ABOUT_LATENCY: &str = "\
From when a message was due to its arrival, in us: median of all rounds, in brackets the range, for the 50th, 99th and 99.9th percentile.
Each publisher sleeps until a message is due, and its own lag (the last column) is part of the figures of its row.
";

const ABOUT_PING_PONG: &str = "\
A request and its answer, one at a time, in us: median of all rounds, in brackets the range. Rows of Tidings and of the kernel only.
";

const ABOUT_IDLE: &str = "\
Publisher and subscriber know each other and have nothing to do; brokers and drivers run. CPU and memory of all processes together:
median of all rounds, in brackets the range.
";

/// The cells of a row, from its runs of one scenario.
type Cells<'a> = dyn Fn(&Runs<'_>) -> Vec<String> + 'a;

/// A table with `head` for each scenario after the first three columns.
fn table(
    rows: &[Row],
    outcomes: &[Outcome],
    scenarios: &[Scenario],
    head: &[&str],
    label: fn(Scenario) -> String,
    cells: &Cells<'_>,
) -> String {
    let counts = rows.iter().flat_map(|row| {
        let count = |scenario: &Scenario| Runs::of(outcomes, &row.name, *scenario).count();
        scenarios.iter().map(count)
    });
    let rounds = counts.max().unwrap_or(0);
    let mut text = format!("\nRounds: {rounds}\n\n| system | guarantee | encryption |");
    let mut rule = String::from("\n|---|---|---|");
    for scenario in scenarios {
        for name in head {
            let _ = write!(text, " {}: {name} |", label(*scenario));
            rule += "---|";
        }
    }
    text += &(rule + "\n");
    for row in rows {
        let parts: Vec<Vec<String>> = scenarios
            .iter()
            .map(|scenario| cells(&Runs::of(outcomes, &row.name, *scenario)))
            .collect();
        if parts.iter().flatten().all(String::is_empty) {
            continue;
        }
        let _ = write!(
            text,
            "| {} | {} | {} |",
            row.title, row.class, row.encryption
        );
        for cell in parts.iter().flatten() {
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

fn throughput_table(rows: &[Row], outcomes: &[Outcome], scenarios: &[Scenario]) -> String {
    let mut page = format!("\n## Throughput\n\n{ABOUT_THROUGHPUT}");
    let label = |scenario: Scenario| format!("{} B", scenario.size);
    let head = ["M msg/s", "ratio", "CPU ns", "memory MiB", "lost, twice"];
    for scenario in scenarios {
        let reference = Runs::of(outcomes, REFERENCE, *scenario).rate();
        let cells = |runs: &Runs<'_>| throughput_cells(runs, reference);
        page += &table(rows, outcomes, &[*scenario], &head, label, &cells);
    }
    page + &format!("\n![Throughput]({THROUGHPUT_PLOT})\n")
}

fn throughput_cells(runs: &Runs<'_>, reference: Option<Spread>) -> Vec<String> {
    let rate = runs.rate();
    let ratio = rate.zip(reference).map(|(rate, reference)| {
        let ratio = rate.median / reference.median;
        format!("{ratio:.digits$}", digits = figures::digits(ratio).min(3))
    });
    let lost = runs.sum("/lost").map(|lost| {
        let twice = runs.sum("/received/duplicates").unwrap_or(0.0);
        format!("{}, {}", grouped(lost), grouped(twice))
    });
    vec![
        rate.map(|rate| rate.times(1e-6).text()).unwrap_or_default(),
        ratio.unwrap_or_default(),
        runs.cpu().map(Spread::text).unwrap_or_default(),
        runs.memory()
            .map(|m| format!("{:.0}", m.median))
            .unwrap_or_default(),
        lost.unwrap_or_default(),
    ]
}

fn latency_table(rows: &[Row], outcomes: &[Outcome], scenarios: &[Scenario]) -> String {
    let mut page = format!("\n## Latency\n\n{ABOUT_LATENCY}");
    let label = |scenario: Scenario| {
        let rate = grouped(scenario.rate.unwrap_or(0) as f64);
        format!("{} B, {rate}/s", scenario.size)
    };
    let head = ["p50", "p99", "p99.9", "lag p50"];
    let cells = |runs: &Runs<'_>| {
        let mut cells = percentiles(runs);
        let lag = runs.lag("p50").map(|lag| format!("{:.0}", lag.median));
        cells.push(lag.unwrap_or_default());
        cells
    };
    for scenario in scenarios {
        page += &table(rows, outcomes, &[*scenario], &head, label, &cells);
    }
    page + &format!("\n![Latency]({LATENCY_PLOT})\n")
}

fn percentiles(runs: &Runs<'_>) -> Vec<String> {
    let at = |percentile| runs.latency(percentile).map(Spread::text);
    ["p50", "p99", "p999"]
        .map(|percentile| at(percentile).unwrap_or_default())
        .to_vec()
}

fn ping_pong_table(rows: &[Row], outcomes: &[Outcome], scenarios: &[Scenario]) -> String {
    let head = ["p50", "p99", "p99.9"];
    let label = |scenario: Scenario| format!("{} B", scenario.size);
    let table = table(rows, outcomes, scenarios, &head, label, &percentiles);
    format!("\n## Ping-pong\n\n{ABOUT_PING_PONG}{table}")
}

fn idle_table(rows: &[Row], outcomes: &[Outcome], scenarios: &[Scenario]) -> String {
    let cells = |runs: &Runs<'_>| {
        let memory = runs.memory().map(|memory| format!("{:.0}", memory.median));
        vec![
            runs.load().map(Spread::text).unwrap_or_default(),
            memory.unwrap_or_default(),
        ]
    };
    let head = ["CPU % of a core", "memory MiB"];
    let label = |_: Scenario| "all processes".to_owned();
    let table = table(rows, outcomes, scenarios, &head, label, &cells);
    format!("\n## Idle\n\n{ABOUT_IDLE}{table}")
}

fn failures(rows: &[Row], outcomes: &[Outcome]) -> String {
    let failed: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let why = figures::failure(row, outcomes)?;
            Some(format!("* {} (`{}`): {why}\n", row.title, row.name))
        })
        .collect();
    if failed.is_empty() {
        return String::new();
    }
    format!(
        "\n## What failed\n\nNo claim is made against these rows where they have no figures.\n\n{}",
        failed.concat()
    )
}

/// With a comma after every three digits.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::{FLAT_OUT, outcome};
    use crate::rows::Kind;
    use serde_json::json;

    fn row(name: &str, kind: Kind) -> Row {
        Row {
            name: name.to_owned(),
            title: format!("System {name}"),
            class: "at most once".to_owned(),
            encryption: "none".to_owned(),
            kind,
        }
    }

    fn latency(row: &str) -> Outcome {
        let figures = json!({"p50": 40_000, "p99": 90_000, "p999": 1_200_000});
        Outcome {
            scenario: Scenario {
                what: What::Latency,
                size: 64,
                rate: Some(10_000),
            },
            report: Some(
                json!({"received": {"latency": figures}, "published": {"lag": {"p50": 20_000}}}),
            ),
            ..outcome(row, 1, 0.0)
        }
    }

    #[test]
    fn the_page_has_medians_ratios_and_what_failed() {
        let why = "no compiler".to_owned();
        let rows = [
            row(REFERENCE, Kind::Peer),
            row("b", Kind::Peer),
            row("c", Kind::Missing { why }),
        ];
        let outcomes = [
            outcome(REFERENCE, 1, 20e6),
            outcome(REFERENCE, 2, 24e6),
            outcome("b", 1, 2e6),
            outcome("b", 2, 2.4e6),
            latency("b"),
        ];
        let page = text(&rows, &outcomes, &vec![("date", "today".to_owned())]);
        assert!(page.contains("| date | today |"));
        let b = page.lines().find(|line| line.contains("System b")).unwrap();
        let expected = "| System b | at most once | none | 2.20 (2.00–2.40) | 0.100 | 100 (100–100) | 4 | 4, 2 |";
        assert_eq!(b, expected);
        assert!(page.contains("| 40.0 (40.0–40.0) | 90.0 (90.0–90.0) | 1200 (1200–1200) | 20 |"));
        assert!(page.contains("could not be built: no compiler"));
        assert!(page.contains("Rounds: 2\n"));
        assert!(!page.contains("| System c"), "no row of figures");
    }

    #[test]
    fn remarks_by_hand_stay_and_plots_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("RESULTS.md");
        fs::write(&path, format!("old{BY_HAND}\nby hand\n")).unwrap();
        let outcomes = [outcome("a", 1, 2e6), latency("a")];
        write(
            folder.path(),
            &[row("a", Kind::Peer)],
            &outcomes,
            &Vec::new(),
        )
        .unwrap();
        let page = fs::read_to_string(&path).unwrap();
        assert!(page.starts_with("# Tidings") && page.ends_with("\nby hand\n"));
        for plot in [THROUGHPUT_PLOT, LATENCY_PLOT] {
            let svg = fs::read_to_string(folder.path().join(plot)).unwrap();
            assert!(svg.contains("<svg") && svg.contains("<rect"), "{plot}");
        }
        assert_eq!(
            Runs::of(&outcomes, "a", FLAT_OUT).rate().unwrap().median,
            2e6
        );
    }

    #[test]
    fn thousands_are_parted() {
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(12.0), "12");
    }
}
