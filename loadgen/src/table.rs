//! A report as a table for people.

use crate::plan::Scenario;
use crate::report::{CrowdRow, Report, Window};
use crate::times::Percentiles;
use crate::units::{grouped, trimmed};

/// Columns of times.
const TIMES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "max", "messages"];

impl Report {
    /// The whole, lines of at most 130 characters.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![self.title()];
        if let Some(window) = &self.window {
            lines.push(self.rates(window));
        }
        if let Some(published) = &self.published {
            let mut line = format!("accepted {}", grouped(published.accepted));
            if published.owed > 0 {
                line += &format!(
                    ", delivered {}, failed {}",
                    grouped(published.delivered),
                    grouped(published.failed)
                );
            }
            line += &format!(", waited for room {} times", grouped(published.refused));
            lines.push(row("published", &line));
        }
        if let Some(received) = &self.received {
            let counts = &received.counts;
            let line = format!(
                "{}, lost {}, twice {}, late {}, gaps {}",
                grouped(counts.unique),
                self.lost.map_or("?".to_owned(), grouped),
                grouped(counts.duplicates),
                grouped(counts.late),
                grouped(counts.gaps)
            );
            lines.push(row("received", &line));
        }
        if self.rows.len() > 1 {
            for each in &self.rows {
                let counts = &each.received.counts;
                let line = format!(
                    "{}, twice {}, late {}",
                    grouped(counts.unique),
                    grouped(counts.duplicates),
                    grouped(counts.late)
                );
                lines.push(row(&format!("  {}", each.name), &line));
            }
        }
        lines.extend(self.crowd.as_ref().map(|crowd| self.crowd_line(crowd)));
        lines.extend(self.times());
        lines.extend(self.usage());
        lines.extend(self.faults.iter().map(|fault| row("FAULT", fault)));
        lines.extend(self.expectations.iter().map(|each| {
            let name = if each.holds {
                "as expected"
            } else {
                "NOT EXPECTED"
            };
            row(name, &each.say())
        }));
        lines.join("\n") + "\n"
    }

    pub(crate) fn title(&self) -> String {
        if self.scenario == Scenario::Idle {
            return format!("idle, {}", self.attach);
        }
        let mut title = format!(
            "{}, {}, {} B",
            self.scenario.name(),
            self.attach,
            self.sizes
        );
        for (count, what) in [
            (self.publishers, "publishers"),
            (self.topics, "topics"),
            (self.subscribers, "subscribers"),
        ] {
            if count > 1 {
                title += &format!(", {} {what}", grouped(count as u64));
            }
        }
        title += &format!(", {}", self.class.encryption);
        if self.ordered {
            title += ", ordered";
        }
        match self.rate_wanted {
            Some(rate) => title + &format!(", {rate} messages/s"),
            None if self.scenario == Scenario::PingPong => title + ", one request at a time",
            None => title,
        }
    }

    fn rates(&self, window: &Window) -> String {
        let datagrams = self.counters.get("publisher").and_then(|counters| {
            let sent = counters.get("send_datagrams").filter(|sent| **sent > 0)?;
            let accepted = self.published.as_ref()?.accepted;
            let each = accepted as f64 / *sent as f64;
            Some(format!(", {each:.1} messages a datagram"))
        });
        let line = format!(
            "{} messages/s, {:.1} MB/s, over {:.2} s{}{}",
            grouped(window.rate as u64),
            window.rate * self.size / 1e6,
            window.seconds,
            window
                .cpu_ns
                .map(|ns| format!(", {ns:.0} ns of CPU each"))
                .unwrap_or_default(),
            datagrams.unwrap_or_default()
        );
        row("rate", &line)
    }

    fn crowd_line(&self, crowd: &CrowdRow) -> String {
        let line = format!(
            "{} subscriptions, {} without a message; received {}, twice {}, late {}{}",
            grouped(crowd.joins),
            grouped(crowd.silent),
            grouped(crowd.counts.unique),
            grouped(crowd.counts.duplicates),
            grouped(crowd.counts.late),
            match self.scenario {
                Scenario::Storm => format!(", lost {}", grouped(crowd.lost)),
                _ => String::new(),
            }
        );
        row(self.scenario.name(), &line)
    }

    /// Every histogram with its percentiles, for the table and the page.
    pub(crate) fn percentiles(&self) -> Vec<(String, Percentiles)> {
        let mut all = Vec::new();
        let latency = match self.scenario {
            Scenario::PingPong => "round trip",
            _ => "latency",
        };
        let received = self.received.map(|received| received.latency);
        all.extend(received.map(|times| (latency.to_owned(), times)));
        if self.rows.len() > 1 && self.scenario != Scenario::PingPong {
            let rows = self.rows.iter();
            all.extend(rows.map(|each| (format!("  {}", each.name), each.received.latency)));
        }
        let first = self.crowd.as_ref().map(|crowd| crowd.first);
        all.extend(first.map(|times| ("first message".to_owned(), times)));
        let lag = self.published.as_ref().map(|published| published.lag);
        all.extend(lag.map(|times| ("lag".to_owned(), times)));
        all.retain(|(_, times)| times.count > 0);
        all
    }

    fn times(&self) -> Vec<String> {
        let all = self.percentiles();
        if all.is_empty() {
            return all.into_iter().map(|(name, _)| name).collect();
        }
        let head = TIMES.map(|name| format!("{name:>11}")).concat();
        let mut lines = vec![row("us", &head)];
        for (name, at) in all {
            let times = [at.p50, at.p90, at.p99, at.p999, at.max];
            let times = times.map(|ns| format!("{:>11}", micros(ns))).concat();
            lines.push(row(&name, &format!("{times}{:>11}", grouped(at.count))));
        }
        lines
    }

    fn usage(&self) -> Vec<String> {
        if self.processes.is_empty() {
            return Vec::new();
        }
        let head = ["cores", "RSS MiB", "at most"].map(|name| format!("{name:>11}"));
        let mut lines = vec![row("process", &head.concat())];
        for process in &self.processes {
            let (rss, peak) = (mib(process.rss), mib(process.rss_peak));
            let line = format!("{:>11.4}{rss:>11.1}{peak:>11.1}", process.cores);
            lines.push(row(&process.name, &line));
        }
        lines
    }
}

/// Microseconds with a digit behind the point as long as that says anything.
pub(crate) fn micros(ns: u64) -> String {
    match ns {
        0..10_000_000 => format!("{:.1}", ns as f64 / 1e3),
        _ => grouped(ns / 1_000),
    }
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn row(name: &str, text: &str) -> String {
    format!("  {name:<15} {text}")
}

/// How a share of a size is told; used by the page.
pub(crate) fn sizes(report: &Report) -> String {
    match report.sizes.contains(',') {
        true => format!("{} B, {} B on average", report.sizes, trimmed(report.size)),
        false => format!("{} B", report.sizes),
    }
}
