//! What a run showed, as a table for people and as JSON for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::control::Finished;
use crate::options::Format;
use crate::plan::Plan;
use crate::sent::Sent;
use crate::system::{Class, System};
use crate::tally::{Counts, Tallied};
use crate::times::{Percentiles, Times};
use crate::usage::Usage;

/// One process in the measured time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) name: String,
    /// CPU time in ns, and as a share of one core.
    pub(crate) cpu_ns: u64,
    pub(crate) cores: f64,
    /// Resident memory at the end and at its highest, in bytes.
    pub(crate) rss: u64,
    pub(crate) rss_peak: u64,
}

impl Process {
    /// From a look at the beginning and one at the end of `seconds`.
    pub(crate) fn new(name: &str, begin: Usage, end: Usage, seconds: f64) -> Self {
        let cpu = end.cpu_since(&begin);
        Self {
            name: name.to_owned(),
            cpu_ns: cpu.as_nanos() as u64,
            cores: cpu.as_secs_f64() / seconds.max(1e-9),
            rss: end.rss,
            rss_peak: end.rss_peak,
        }
    }
}

/// What the publishing side counted over the whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Published {
    pub(crate) accepted: u64,
    /// Outcomes owed, and those that came.
    pub(crate) owed: u64,
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    /// Times that a message had to wait for room.
    pub(crate) refused: u64,
    /// From due to accepted, in ns: the generator's own lag.
    pub(crate) lag: Percentiles,
}

impl Published {
    pub(crate) fn new(sent: &Sent, lag: &Times) -> Self {
        let counted = sent.read();
        Self {
            accepted: counted.accepted,
            owed: counted.owed,
            delivered: counted.delivered,
            failed: counted.failed,
            refused: counted.refused,
            lag: lag.percentiles(),
        }
    }
}

/// What one subscriber, or all together, counted over the whole run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Received {
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// From due to arrival, in ns.
    pub(crate) latency: Percentiles,
}

impl Received {
    pub(crate) fn of(tallied: &Tallied) -> Self {
        Self {
            counts: tallied.counts,
            latency: tallied.latency.percentiles(),
        }
    }
}

/// One of several subscribers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) received: Received,
}

/// What was received in the measured time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    /// Messages per second.
    pub(crate) rate: f64,
    /// CPU of all processes for each of them.
    pub(crate) cpu_ns: Option<f64>,
}

impl Window {
    pub(crate) fn new(messages: u64, seconds: f64, processes: &[Process]) -> Self {
        let cpu: u64 = processes.iter().map(|process| process.cpu_ns).sum();
        Self {
            seconds,
            messages,
            rate: messages as f64 / seconds.max(1e-9),
            cpu_ns: (messages > 0 && !processes.is_empty()).then(|| cpu as f64 / messages as f64),
        }
    }
}

/// The whole.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    pub(crate) attach: String,
    #[serde(flatten)]
    pub(crate) class: Class,
    pub(crate) sizes: String,
    /// The mean.
    pub(crate) size: f64,
    pub(crate) publishers: usize,
    pub(crate) topics: usize,
    pub(crate) subscribers: usize,
    pub(crate) ordered: bool,
    pub(crate) rate_wanted: Option<f64>,
    pub(crate) window: Option<Window>,
    pub(crate) published: Option<Published>,
    pub(crate) received: Option<Received>,
    /// Each subscriber, where there are several.
    pub(crate) rows: Vec<Row>,
    /// Accepted and not received.
    pub(crate) lost: Option<u64>,
    pub(crate) processes: Vec<Process>,
    /// By side, those that are not zero.
    pub(crate) counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// What went wrong.
    pub(crate) faults: Vec<String>,
}

impl Report {
    /// A report without figures.
    pub(crate) fn of(system: &dyn System, plan: &Plan) -> Self {
        Self {
            scenario: plan.scenario.name(),
            attach: plan.attach.clone(),
            class: system.class(),
            sizes: plan.sizes.to_string(),
            size: plan.sizes.mean(),
            publishers: plan.publishers,
            topics: plan.topics,
            subscribers: plan.subscribers,
            ordered: plan.ordered,
            rate_wanted: plan.rate,
            window: None,
            published: None,
            received: None,
            rows: Vec::new(),
            lost: None,
            processes: Vec::new(),
            counters: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    pub(crate) fn set_counters(&mut self, side: &str, counters: Vec<(String, u64)>) {
        if !counters.is_empty() {
            self.counters
                .insert(side.to_owned(), counters.into_iter().collect());
        }
    }

    /// Enters what the subscribers say at the end.
    pub(crate) fn enter(&mut self, finished: Vec<(String, Finished)>) {
        let (mut counts, mut latency) = (Counts::default(), Times::new());
        for (name, finished) in finished {
            counts.add(&finished.tallied.counts);
            latency.add(&finished.tallied.latency);
            self.set_counters(&name, finished.counters);
            let received = Received::of(&finished.tallied);
            self.rows.push(Row { name, received });
        }
        let latency = latency.percentiles();
        self.received = Some(Received { counts, latency });
    }

    /// Draws the conclusions.
    pub(crate) fn judge(&mut self) {
        if let (Some(published), Some(received)) = (&self.published, &self.received) {
            let wanted = published.accepted * self.subscribers as u64;
            self.lost = Some(wanted.saturating_sub(received.counts.unique));
        }
        let mut faults = Vec::new();
        let mut must_be_none = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        must_be_none(self.lost.unwrap_or(0), "messages lost");
        if let Some(published) = &self.published {
            must_be_none(published.failed, "messages failed");
            let settled = published.delivered + published.failed;
            must_be_none(published.owed.saturating_sub(settled), "outcomes missing");
        }
        if let Some(received) = &self.received {
            let received = &received.counts;
            must_be_none(received.duplicates, "messages came twice");
            must_be_none(received.gaps, "messages told as gaps");
            must_be_none(received.foreign, "messages that are not of this run");
            must_be_none(received.forgotten, "messages that nothing is known of");
            if self.ordered {
                must_be_none(received.late, "messages out of order");
            }
        }
        self.faults.extend(faults);
    }

    /// Whether everything that was to arrive did.
    pub(crate) fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    pub(crate) fn print(&self, format: Format) {
        match format {
            Format::Json => match serde_json::to_string(self) {
                Ok(text) => println!("{text}"),
                Err(error) => eprintln!("tidings-loadgen: {error}"),
            },
            Format::Text => print!("{}", self.text()),
        }
    }

    fn text(&self) -> String {
        let mut lines = vec![self.title()];
        if let Some(window) = &self.window {
            lines.push(self.rates(window));
        }
        if let Some(published) = &self.published {
            lines.push(format!(
                "  published   accepted {}, delivered {}, failed {}, waited for room {} times",
                grouped(published.accepted),
                grouped(published.delivered),
                grouped(published.failed),
                grouped(published.refused)
            ));
        }
        if let Some(received) = &self.received {
            let counts = &received.counts;
            lines.push(format!(
                "  received    {}, lost {}, twice {}, late {}, gaps {}",
                grouped(counts.unique),
                self.lost.map_or("?".to_owned(), grouped),
                grouped(counts.duplicates),
                grouped(counts.late),
                grouped(counts.gaps)
            ));
            lines.extend(percentiles("latency", &received.latency));
        }
        if let Some(published) = &self.published {
            lines.extend(percentiles("lag", &published.lag));
        }
        for process in &self.processes {
            lines.push(format!(
                "  {:<11} {:.4} cores, RSS {:.1} MiB, at most {:.1} MiB",
                process.name,
                process.cores,
                mib(process.rss),
                mib(process.rss_peak)
            ));
        }
        lines.extend(
            self.faults
                .iter()
                .map(|fault| format!("  FAULT       {fault}")),
        );
        lines.join("\n") + "\n"
    }

    fn title(&self) -> String {
        let rate = self.rate_wanted.map(|rate| format!(", {rate} messages/s"));
        match self.scenario {
            "idle" => format!("idle, {}", self.attach),
            scenario => format!(
                "{scenario}, {}, {} B, {}{}{}",
                self.attach,
                self.sizes,
                self.class.encryption,
                if self.ordered { ", ordered" } else { "" },
                rate.unwrap_or_default()
            ),
        }
    }

    fn rates(&self, window: &Window) -> String {
        let datagrams = self.counters.get("publisher").and_then(|counters| {
            let sent = counters.get("send_datagrams").filter(|sent| **sent > 0)?;
            let accepted = self.published.as_ref()?.accepted;
            Some(format!(
                ", {:.1} messages a datagram",
                accepted as f64 / *sent as f64
            ))
        });
        format!(
            "  rate        {} messages/s, {:.1} MB/s, over {:.2} s{}{}",
            grouped(window.rate as u64),
            window.rate * self.size / 1e6,
            window.seconds,
            window
                .cpu_ns
                .map(|ns| format!(", {ns:.0} ns of CPU each"))
                .unwrap_or_default(),
            datagrams.unwrap_or_default()
        )
    }
}

fn percentiles(name: &str, at: &Percentiles) -> Option<String> {
    let us = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
    (at.count > 0).then(|| {
        format!(
            "  {name:<11} us: p50 {}, p90 {}, p99 {}, p99.9 {}, max {} ({} messages)",
            us(at.p50),
            us(at.p90),
            us(at.p99),
            us(at.p999),
            us(at.max),
            grouped(at.count)
        )
    })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// With a comma after every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
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

    fn report(accepted: u64, counts: Counts) -> Report {
        let mut report = Report::of(crate::tidings()[0], &Plan::default());
        report.published = Some(Published {
            accepted,
            owed: accepted,
            delivered: accepted,
            failed: 0,
            refused: 0,
            lag: Percentiles::default(),
        });
        report.received = Some(Received {
            counts,
            latency: Percentiles::default(),
        });
        report.judge();
        report
    }

    #[test]
    fn what_did_not_arrive_is_a_fault() {
        let all = Counts {
            unique: 10,
            ..Counts::default()
        };
        assert!(report(10, all).is_good());
        let lost = report(11, all);
        assert_eq!(lost.faults, ["1 messages lost"]);
        assert!(lost.text().contains("FAULT"));
    }

    #[test]
    fn what_came_twice_is_a_fault() {
        let twice = Counts {
            unique: 10,
            duplicates: 2,
            ..Counts::default()
        };
        assert!(!report(10, twice).is_good());
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
