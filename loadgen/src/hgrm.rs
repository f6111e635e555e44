//! Percentile files as the HdrHistogram tools write and plot them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, While};
use crate::report::Report;
use crate::times::Times;

/// Lines for each halving of what is above a percentile, as the tools have it.
const TICKS: f64 = 5.0;
/// In these files times are in microseconds.
const NS: f64 = 1e3;

/// The text of one file.
pub(crate) fn text(times: &Times) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut put = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a string");
    };
    let total = times.len();
    let max = times.max();
    let mut quantile = 0.0_f64;
    let all: Vec<(u64, u64)> = times.pairs().collect();
    let (mut at, mut count) = (0, 0);
    loop {
        while at < all.len() && (count as f64) < (quantile * total as f64).max(1.0) {
            count += all[at].1;
            at += 1;
        }
        let ns = all.get(at.saturating_sub(1)).map_or(0, |pair| pair.0);
        if count >= total || quantile >= 1.0 {
            break;
        }
        let inverse = 1.0 / (1.0 - quantile);
        let us = ns.min(max) as f64 / NS;
        put(format_args!(
            "{us:12.3} {quantile:2.12} {count:10} {inverse:14.2}\n"
        ));
        // So many steps for each time that the rest is halved.
        let halvings = inverse.log2().floor() + 1.0;
        quantile += 1.0 / (TICKS * 2.0_f64.powf(halvings));
    }
    let us = max as f64 / NS;
    put(format_args!("{us:12.3} {:2.12} {total:10}\n", 1.0));
    put(format_args!(
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n",
        times.mean() / NS,
        times.deviation() / NS
    ));
    put(format_args!(
        "#[Max     = {us:12.3}, Total count    = {total:12}]\n"
    ));
    put(format_args!(
        "#[Buckets = {:12}, SubBuckets     = {:12}]\n",
        times.buckets(),
        2048
    ));
    text
}

/// Where the histogram of a name goes: latency to the file itself, others beside it.
fn path(file: &Path, name: &str) -> PathBuf {
    if name == "latency" {
        return file.to_owned();
    }
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    let name = name.replace(' ', "-");
    match extension.is_empty() {
        true => file.with_extension(name),
        false => file.with_extension(format!("{name}.{extension}")),
    }
}

/// Writes one file for each histogram of the run. Answers which.
pub(crate) fn write(file: &Path, report: &Report) -> Result<Vec<PathBuf>, Error> {
    let mut written = Vec::new();
    for (name, times) in &report.histograms {
        let path = path(file, name);
        std::fs::write(&path, text(times)).during(&format!("write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_rise_to_all_of_them() {
        let mut times = Times::new();
        for us in 1..=1_000 {
            times.record(us * 1_000);
        }
        let text = text(&times);
        let mut lines = text.lines();
        let head: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(
            head,
            ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        );
        let rows: Vec<Vec<f64>> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|n| n.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(rows.len() > 40, "{text}");
        for pair in rows.windows(2) {
            assert!(
                pair[0][0] <= pair[1][0] && pair[0][1] < pair[1][1],
                "{text}"
            );
        }
        let median = rows.iter().find(|row| row[1] == 0.5).unwrap();
        assert!((median[0] - 500.0).abs() < 1.0 && median[2] == 500.0 && median[3] == 2.0);
        let last = rows.last().unwrap();
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 1_000.0));
        assert!(text.contains("#[Mean    =      500."), "{text}");
        assert!(text.contains("Total count    =         1000]"));
    }

    #[test]
    fn each_histogram_has_a_file_of_its_own() {
        let file = Path::new("out/a.hgrm");
        assert_eq!(path(file, "latency"), file);
        assert_eq!(
            path(file, "first message"),
            Path::new("out/a.first-message.hgrm")
        );
        assert_eq!(path(Path::new("b"), "lag"), Path::new("b.lag"));
    }
}
