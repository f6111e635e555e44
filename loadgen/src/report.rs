//! What a run showed, as a table for people and as JSON for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::options::Format;
use crate::plan::Plan;
use crate::source::Sent;
use crate::tally::{Percentiles, Tallied};
use crate::usage::Usage;

use std::sync::atomic::Ordering::Relaxed;

/// One process in the measured time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    /// CPU time in ns, and as a share of one core.
    pub(crate) cpu_ns: u64,
    pub(crate) cores: f64,
    /// Resident memory at the end and at its highest, in bytes.
    pub(crate) rss: u64,
    pub(crate) rss_peak: u64,
}

impl Process {
    /// From a look at the beginning and one at the end of `seconds`.
    pub(crate) fn new(name: &'static str, begin: Usage, end: Usage, seconds: f64) -> Self {
        let cpu = end.cpu_since(&begin);
        Self {
            name,
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
    pub(crate) fn new(sent: &Sent, lag: Percentiles) -> Self {
        Self {
            accepted: sent.accepted.load(Relaxed),
            owed: sent.owed.load(Relaxed),
            delivered: sent.delivered.load(Relaxed),
            failed: sent.failed.load(Relaxed),
            refused: sent.refused.load(Relaxed),
            lag,
        }
    }
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
    pub(crate) attach: &'static str,
    pub(crate) suite: &'static str,
    pub(crate) size: usize,
    pub(crate) ordered: bool,
    pub(crate) rate_wanted: Option<f64>,
    pub(crate) window: Option<Window>,
    pub(crate) published: Option<Published>,
    pub(crate) received: Option<Tallied>,
    /// Accepted and not received.
    pub(crate) lost: Option<u64>,
    pub(crate) processes: Vec<Process>,
    /// By side, those that are not zero.
    pub(crate) counters: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// What went wrong.
    pub(crate) faults: Vec<String>,
}

impl Report {
    /// A report without figures.
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            scenario: plan.scenario(),
            attach: plan.attach.label(),
            suite: "aes-256-gcm",
            size: plan.size,
            ordered: plan.ordered,
            rate_wanted: plan.rate,
            window: None,
            published: None,
            received: None,
            lost: None,
            processes: Vec::new(),
            counters: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    pub(crate) fn set_counters(&mut self, side: &'static str, counters: Vec<(String, u64)>) {
        if !counters.is_empty() {
            self.counters.insert(side, counters.into_iter().collect());
        }
    }

    /// Draws the conclusions.
    pub(crate) fn judge(&mut self) {
        if let (Some(published), Some(received)) = (&self.published, &self.received) {
            self.lost = Some(published.accepted.saturating_sub(received.unique));
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
            must_be_none(received.duplicates, "messages came twice");
            must_be_none(received.gaps, "messages told as gaps");
            must_be_none(received.foreign, "messages of another run");
            if self.ordered {
                must_be_none(received.early, "messages out of order");
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
            lines.push(format!(
                "  received    {}, lost {}, twice {}, early {}, gaps {}",
                grouped(received.unique),
                self.lost.map_or("?".to_owned(), grouped),
                grouped(received.duplicates),
                grouped(received.early),
                grouped(received.gaps)
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
                self.size,
                self.suite,
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
            window.rate * self.size as f64 / 1e6,
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
    use crate::plan::Attach;

    fn report(accepted: u64, received: Tallied) -> Report {
        let plan = Plan {
            attach: Attach::OnShard,
            size: 64,
            rate: None,
            seconds: 1.0,
            warmup: 0.0,
            drain: 1.0,
            ordered: false,
            pin: Vec::new(),
            poll: None,
        };
        let mut report = Report::of(&plan);
        report.published = Some(Published {
            accepted,
            owed: accepted,
            delivered: accepted,
            failed: 0,
            refused: 0,
            lag: Percentiles::default(),
        });
        report.received = Some(received);
        report.judge();
        report
    }

    #[test]
    fn what_did_not_arrive_is_a_fault() {
        let all = Tallied {
            unique: 10,
            ..Tallied::default()
        };
        assert!(report(10, all).is_good());
        let lost = report(11, all);
        assert_eq!(lost.faults, ["1 messages lost"]);
        assert!(lost.text().contains("FAULT"));
    }

    #[test]
    fn what_came_twice_is_a_fault() {
        let twice = Tallied {
            unique: 10,
            duplicates: 2,
            ..Tallied::default()
        };
        assert!(!report(10, twice).is_good());
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
