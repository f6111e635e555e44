//! A report as one page that needs nothing else: no script, nothing from elsewhere.

use std::fmt::Write as _;

use crate::plan::Scenario;
use crate::report::Report;
use crate::series::Point;
use crate::svg::{Axis, Line, Scale, escaped, plain, plot};
use crate::table::{mib, micros, sizes};
use crate::times::Times;
use crate::units::{grouped, short, time};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--paper:#fff;--rule:#d8dee4;--card:#f6f8fa;--bad:#b42318;--good:#1a7f37;
--c0:#0969da;--c1:#bc4c00;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#7d6b00}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--paper:#0f1419;--rule:#2d353e;--card:#171d24;--bad:#ff8d82;
--good:#56d364;--c0:#58a6ff;--c1:#f0883e;--c2:#56d364;--c3:#bc8cff;--c4:#f778ba;--c5:#e3b341}}
body{margin:0 auto;max-width:56rem;padding:2rem 1rem 4rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.25rem 0 .5rem}p{margin:.25rem 0}.soft{color:var(--soft)}
.figures{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.25rem 0}.figures div{background:var(--card);border:1px solid var(--rule);
border-radius:8px;padding:.6rem .9rem;flex:1 1 9rem}.figures b{display:block;font-size:1.35rem}.figures span{color:var(--soft);font-size:.85rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:right;padding:.3rem .5rem;
border-bottom:1px solid var(--rule)}th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}
.wide{overflow-x:auto}pre{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:.75rem;white-space:pre-wrap;
overflow-wrap:anywhere}svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font-size:13px;font-family:system-ui,sans-serif}
svg .tick{fill:var(--soft);font-size:12px}.grid{stroke:var(--rule);stroke-width:1;fill:none}.axis{stroke:var(--soft);fill:none}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}
.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}.bad{color:var(--bad)}.good{color:var(--good)}";

/// Shares of the percentile curve for each time that the rest becomes a tenth.
const CURVE_STEPS: i32 = 25;

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let title = escaped(&report.title());
    let mut body = format!(
        "<h1>{title}</h1>\n<p class=\"soft\">{}</p>\n",
        about(report)
    );
    body += &verdict(report);
    body += &figures(report);
    let name = match report.scenario {
        Scenario::PingPong => "Round trip",
        _ => "Latency",
    };
    let sections = [
        (format!("{name} by percentile"), curve(report, name)),
        (format!("{name} over time"), over_time(report, name)),
        ("Rate over time".to_owned(), rate_over_time(report)),
        ("Times".to_owned(), times(report)),
        ("Messages".to_owned(), messages(report)),
        ("Processes".to_owned(), processes(report)),
        ("How this was made".to_owned(), Some(made(report))),
    ];
    for (head, text) in sections {
        if let Some(text) = text {
            write!(body, "<h2>{head}</h2>\n{text}").expect("writing to a string");
        }
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
}

fn about(report: &Report) -> String {
    escaped(&format!(
        "{}; {}; messages of {}",
        report.class.guarantee,
        report.class.encryption,
        sizes(report)
    ))
}

fn verdict(report: &Report) -> String {
    let mut text = String::new();
    for fault in &report.faults {
        text += &format!("<p class=\"bad\">Fault: {}</p>\n", escaped(fault));
    }
    for each in &report.expectations {
        let class = if each.holds { "good" } else { "bad" };
        text += &format!("<p class=\"{class}\">{}</p>\n", escaped(&each.say()));
    }
    if report.is_good() && report.received.is_some() {
        text += "<p class=\"good\">Everything that was published arrived once.</p>\n";
    }
    text
}

fn figures(report: &Report) -> String {
    let mut all: Vec<(String, &str)> = Vec::new();
    if let Some(window) = &report.window {
        all.push((short(window.rate), "messages a second"));
        if let Some(ns) = window.cpu_ns {
            all.push((time(ns), "of CPU for each, over all processes"));
        }
    }
    let latency = report.received.map(|received| received.latency);
    if let Some(latency) = latency.filter(|latency| latency.count > 0) {
        all.push((time(latency.p50 as f64), "median"));
        all.push((time(latency.p99 as f64), "99th percentile"));
    }
    if let Some(lost) = report.lost {
        all.push((grouped(lost), "lost"));
    }
    if !report.processes.is_empty() {
        let rss = format!("{:.0} MiB", mib(report.rss));
        all.push((rss, "of memory, all processes at their highest"));
    }
    let each = all
        .iter()
        .map(|(figure, what)| format!("<div><b>{}</b><span>{what}</span></div>", escaped(figure)));
    format!(
        "<div class=\"figures\">{}</div>\n",
        each.collect::<String>()
    )
}

/// Points of 1/(1-q) and the time that the share q does not exceed.
fn curve_points(times: &Times) -> Vec<(f64, f64)> {
    let most = times.len().max(1) as f64;
    let steps = (most.log10() * f64::from(CURVE_STEPS)).ceil() as i32;
    let inverse = |step| {
        10f64
            .powf(f64::from(step) / f64::from(CURVE_STEPS))
            .min(most)
    };
    (0..=steps)
        .map(inverse)
        .map(|inverse| (inverse, times.at(1.0 - 1.0 / inverse) as f64))
        .collect()
}

/// 10 is the 90th percentile, 1,000 the 99.9th.
fn say_percentile(inverse: f64) -> String {
    let digits = (inverse.log10() - 2.0 - 1e-9).ceil().max(0.0) as usize;
    match inverse {
        inverse if inverse <= 1.0 => "0 %".to_owned(),
        inverse => format!("{:.digits$} %", 100.0 - 100.0 / inverse),
    }
}

fn time_axis(label: &str, scale: Scale) -> Axis {
    Axis {
        label: format!("{label} (log scale)"),
        scale,
        say: time,
    }
}

fn curve(report: &Report, name: &str) -> Option<String> {
    let line = |(name, times): &(String, Times)| Line {
        name: name.clone(),
        points: curve_points(times),
    };
    let lines: Vec<Line> = report.histograms.iter().map(line).collect();
    let x = Axis {
        label: "percentile (log scale of 1/(1-q))".to_owned(),
        scale: Scale::Log,
        say: say_percentile,
    };
    plot(name, &x, &time_axis("time", Scale::Log), &lines)
}

fn seconds() -> Axis {
    Axis {
        label: "seconds since the measured time began".to_owned(),
        scale: Scale::Linear,
        say: plain,
    }
}

fn line_of(report: &Report, name: &str, pick: fn(&Point) -> Option<f64>) -> Line {
    let points = report.series.iter();
    Line {
        name: name.to_owned(),
        points: points
            .filter_map(|point| Some((point.at, pick(point)?)))
            .collect(),
    }
}

fn over_time(report: &Report, name: &str) -> Option<String> {
    let lines = [
        line_of(report, "p50", |point| point.p50.map(|ns| ns as f64)),
        line_of(report, "p99", |point| point.p99.map(|ns| ns as f64)),
        line_of(report, "max", |point| point.max.map(|ns| ns as f64)),
    ];
    plot(name, &seconds(), &time_axis("time", Scale::Log), &lines)
}

fn rate_over_time(report: &Report) -> Option<String> {
    let y = Axis {
        label: "messages received a second".to_owned(),
        scale: Scale::Linear,
        say: short,
    };
    let lines = [line_of(report, "rate", |point| point.rate)];
    plot("Rate over time", &seconds(), &y, &lines)
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let cells = |tag: &str, cells: &[String]| {
        let each = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("<tr>{}</tr>\n", each.collect::<String>())
    };
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let body: String = rows.iter().map(|row| cells("td", row)).collect();
    Some(format!(
        "<div class=\"wide\"><table>\n{}{body}</table></div>\n",
        cells("th", &head)
    ))
}

fn times(report: &Report) -> Option<String> {
    let head = [
        "microseconds",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "mean",
        "messages",
    ];
    let rows = report.percentiles().into_iter().map(|(name, at)| {
        let mut row = vec![name.trim().to_owned()];
        row.extend([at.p50, at.p90, at.p99, at.p999, at.max].map(micros));
        row.extend([micros(at.mean as u64), grouped(at.count)]);
        row
    });
    table(&head, rows.collect())
}

fn messages(report: &Report) -> Option<String> {
    let head = ["", "received", "twice", "late", "gaps"];
    let mut rows = Vec::new();
    let row = |name: &str, counts: &crate::tally::Counts| {
        let counts = [counts.unique, counts.duplicates, counts.late, counts.gaps];
        let mut row = vec![name.to_owned()];
        row.extend(counts.map(grouped));
        row
    };
    rows.extend(
        report
            .rows
            .iter()
            .map(|each| row(&each.name, &each.received.counts)),
    );
    rows.extend(
        report
            .crowd
            .iter()
            .map(|crowd| row(report.scenario.name(), &crowd.counts)),
    );
    let published = report.published.as_ref().map(|published| {
        format!(
            "<p>Accepted {}; outcomes: {} delivered, {} failed of {} owed; waited for room {} times.</p>\n",
            grouped(published.accepted),
            grouped(published.delivered),
            grouped(published.failed),
            grouped(published.owed),
            grouped(published.refused)
        )
    });
    Some(published.unwrap_or_default() + &table(&head, rows)?)
}

fn processes(report: &Report) -> Option<String> {
    let rows = report.processes.iter().map(|process| {
        vec![
            process.name.clone(),
            format!("{:.4}", process.cores),
            format!("{:.1}", mib(process.rss)),
            format!("{:.1}", mib(process.rss_peak)),
        ]
    });
    table(&["", "cores", "memory, MiB", "at most"], rows.collect())
}

fn made(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "<pre>{}</pre>\n<p class=\"soft\">Version {} on {}, {} cores, {}. Latency counts from the moment when a message was due, \
         so that what waited because others were slow counts in full; lag is how late the generator itself published.</p>\n",
        escaped(&report.command),
        machine.version,
        escaped(&machine.cpu),
        machine.cores,
        escaped(&machine.kernel)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;
    use crate::tally::Counts;

    fn full() -> Report {
        let mut report = report(
            10,
            Counts {
                unique: 9,
                ..Counts::default()
            },
        );
        let mut times = Times::new();
        for ns in 1..10_000 {
            times.record(ns * 100);
        }
        if let Some(received) = &mut report.received {
            received.latency = times.percentiles();
        }
        report.keep("latency", times.clone());
        report.keep("lag", times);
        report.command = "loadgen --x '<&>'".to_owned();
        let point = |at: i32| Point {
            at: f64::from(at) / 10.0,
            rate: Some(1e3),
            p50: Some(5_000),
            p99: Some(9_000),
            max: Some(20_000),
        };
        report.series = (0..20).map(point).collect();
        report
    }

    /// Every tag that is opened is closed, in order.
    fn is_well_formed(page: &str) -> bool {
        let mut open = Vec::new();
        for part in page.split('<').skip(1) {
            let Some((tag, _)) = part.split_once('>') else {
                return false;
            };
            let name = tag.split_whitespace().next().unwrap_or_default();
            if tag.starts_with('!') || tag.ends_with('/') {
                continue;
            }
            match name.strip_prefix('/') {
                Some(name) if open.pop() != Some(name) => return false,
                Some(_) => {}
                None => open.push(name),
            }
        }
        open.is_empty()
    }

    #[test]
    fn the_page_is_well_formed_and_whole() {
        let page = page(&full());
        assert!(is_well_formed(&page), "{page}");
        assert_eq!(page.matches("<svg").count(), 3);
        for part in [
            "99.9 %",
            "Fault: 1 messages lost",
            "'&lt;&amp;&gt;'",
            "p99.9",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!is_well_formed("<p><b></p></b>"), "the check can fail");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page(&full());
        for part in [
            "http:", "https:", "src=", "href=", "url(", "<script", "@import",
        ] {
            assert!(!page.contains(part), "{part}");
        }
    }

    #[test]
    fn the_curve_ends_with_the_slowest() {
        let report = full();
        let points = curve_points(report.histogram("latency").unwrap());
        assert_eq!(points[0].0, 1.0);
        let last = points.last().unwrap();
        assert_eq!(last.0, 9_999.0);
        assert!((last.1 / 999_900.0 - 1.0).abs() < 0.01);
        assert_eq!(say_percentile(1_000.0), "99.9 %");
        assert_eq!(say_percentile(10.0), "90 %");
    }
}
