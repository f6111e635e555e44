//! What a run showed: figures, conclusions, and what became of the expectations.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::company::Ended;
use crate::crowd::Attended;
use crate::expect::{Expectations, Verdict};
use crate::machine::Machine;
use crate::plan::{Plan, Scenario, Task};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::series::{Point, Samples, SliceSum};
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
#[derive(Clone, Debug, Default, Serialize)]
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

/// One of several subscribers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) received: Received,
}

/// Those that came and went, or came at once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CrowdRow {
    pub(crate) joins: u64,
    /// Those that got no message.
    pub(crate) silent: u64,
    pub(crate) lost: u64,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// From the wish to subscribe to the first message, in ns.
    pub(crate) first: Percentiles,
}

/// What was received in the measured time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    /// At all subscribers together.
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
    pub(crate) scenario: Scenario,
    pub(crate) attach: String,
    #[serde(flatten)]
    pub(crate) class: Class,
    pub(crate) sizes: String,
    /// The mean.
    pub(crate) size: f64,
    pub(crate) ordered: bool,
    pub(crate) publishers: usize,
    pub(crate) topics: usize,
    pub(crate) subscribers: usize,
    pub(crate) rate_wanted: Option<f64>,
    pub(crate) window: Option<Window>,
    pub(crate) published: Option<Published>,
    pub(crate) received: Option<Received>,
    /// Each subscriber.
    pub(crate) rows: Vec<Row>,
    pub(crate) crowd: Option<CrowdRow>,
    /// Accepted and not received.
    pub(crate) lost: Option<u64>,
    /// The same as a share of what was to arrive.
    pub(crate) loss: Option<f64>,
    /// Resident memory of all processes at their highest, in bytes.
    pub(crate) rss: u64,
    pub(crate) processes: Vec<Process>,
    /// By side, those that are not zero.
    pub(crate) counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// What went wrong.
    pub(crate) faults: Vec<String>,
    /// What was expected, and what became of it.
    pub(crate) expectations: Vec<Verdict>,
    pub(crate) series: Vec<Point>,
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// Every histogram, by name.
    #[serde(skip)]
    pub(crate) histograms: Vec<(String, Times)>,
    #[serde(skip)]
    slices: SliceSum,
}

impl Report {
    /// A report without figures.
    pub(crate) fn of(system: &dyn System, plan: &Plan) -> Self {
        Self {
            scenario: plan.scenario,
            attach: plan.attach.clone(),
            class: system.class(),
            sizes: plan.sizes.to_string(),
            size: plan.sizes.mean(),
            ordered: plan.ordered,
            publishers: plan.publishers,
            topics: plan.topics,
            subscribers: plan.subscribers,
            rate_wanted: plan.rate,
            window: None,
            published: None,
            received: None,
            rows: Vec::new(),
            crowd: None,
            lost: None,
            loss: None,
            rss: 0,
            processes: Vec::new(),
            counters: BTreeMap::new(),
            faults: Vec::new(),
            expectations: Vec::new(),
            series: Vec::new(),
            command: crate::machine::command(),
            machine: Machine::this(),
            histograms: Vec::new(),
            slices: SliceSum::default(),
        }
    }

    pub(crate) fn set_counters(&mut self, side: &str, counters: Vec<(String, u64)>) {
        if !counters.is_empty() {
            self.counters
                .insert(side.to_owned(), counters.into_iter().collect());
        }
    }

    /// Keeps a histogram for the files, unless it is empty.
    pub(crate) fn keep(&mut self, name: &str, times: Times) {
        if !times.is_empty() {
            self.histograms.push((name.to_owned(), times));
        }
    }

    /// The histogram of that name.
    pub(crate) fn histogram(&self, name: &str) -> Option<&Times> {
        let mut all = self.histograms.iter();
        all.find(|(each, _)| each == name).map(|(_, times)| times)
    }

    /// Enters what the subscribers say at the end, and the answers of ping-pong.
    pub(crate) fn enter(&mut self, ended: Vec<Ended>, answers: Option<Tallied>) {
        let (mut counts, mut latency, mut crowd) = (Counts::default(), Times::new(), None);
        for Ended {
            name,
            task,
            finished,
        } in ended
        {
            self.set_counters(&name, finished.counters);
            if let Some(attended) = finished.crowd {
                crowd.get_or_insert_with(Attended::default).add(&attended);
                continue;
            }
            let told = finished.tallied;
            self.row(&name, &told);
            if answers.is_none() {
                counts.add(&told.counts);
                // What is slow on purpose says nothing of the others.
                if task != Task::Slow {
                    latency.add(&told.latency);
                    self.slices.add(&told.slices);
                }
            }
            if task == Task::Slow || self.subscribers > 1 {
                self.keep(&name, told.latency);
            }
        }
        if let Some(answers) = answers {
            self.row("caller", &answers);
            counts = answers.counts;
            self.slices.add(&answers.slices);
            latency = answers.latency;
        }
        self.received = Some(Received {
            counts,
            latency: latency.percentiles(),
        });
        self.histograms.insert(0, ("latency".to_owned(), latency));
        self.histograms.retain(|(_, times)| !times.is_empty());
        if let Some(crowd) = crowd {
            self.enter_crowd(crowd);
        }
    }

    fn row(&mut self, name: &str, told: &Tallied) {
        self.rows.push(Row {
            name: name.to_owned(),
            received: Received {
                counts: told.counts,
                latency: told.latency.percentiles(),
            },
        });
    }

    pub(crate) fn enter_crowd(&mut self, crowd: Attended) {
        self.crowd = Some(CrowdRow {
            joins: crowd.joins,
            silent: crowd.silent,
            lost: crowd.lost,
            counts: crowd.counts,
            first: crowd.first.percentiles(),
        });
        self.keep("first message", crowd.first);
    }

    /// Puts together what is known over time.
    pub(crate) fn set_series(&mut self, samples: &Samples, schedule: &Schedule, width: u64) {
        self.series = self.slices.points(schedule, width);
        if self.series.is_empty() {
            self.series = samples.points(schedule);
        }
    }

    /// Draws the conclusions.
    pub(crate) fn judge(&mut self) {
        // Each message is wanted by every subscriber; of ping-pong by the caller, as an answer.
        let wanted = match self.scenario {
            Scenario::PingPong => 1,
            _ => self.subscribers as u64,
        };
        if let (Some(published), Some(received)) = (&self.published, &self.received) {
            let wanted = published.accepted * wanted;
            self.lost = Some(wanted.saturating_sub(received.counts.unique));
        }
        if let (Some(lost), Some(received)) = (self.lost, &self.received) {
            let wanted = lost + received.counts.unique;
            self.loss = Some(lost as f64 / wanted.max(1) as f64);
        }
        self.rss = self.processes.iter().map(|process| process.rss_peak).sum();
        let mut faults = Vec::new();
        let mut must_be_none = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        must_be_none(self.lost.unwrap_or(0), "messages lost");
        if let Some(published) = &self.published {
            // Those that go are owed nothing any more, which is told as a failure.
            if self.scenario != Scenario::Churn {
                must_be_none(published.failed, "messages failed");
            }
            let settled = published.delivered + published.failed;
            must_be_none(published.owed.saturating_sub(settled), "outcomes missing");
        }
        let crowd = self.crowd.as_ref();
        let all = self.received.iter().map(|received| &received.counts);
        for counts in all.chain(crowd.map(|crowd| &crowd.counts)) {
            must_be_none(counts.duplicates, "messages came twice");
            must_be_none(counts.gaps, "messages told as gaps");
            let foreign = "messages that are not of this run: do both sides have the same --publishers and --topics?";
            must_be_none(counts.foreign, foreign);
            let forgotten =
                "messages that nothing is known of, because there were too many holes to remember";
            must_be_none(counts.forgotten, forgotten);
            if self.ordered {
                must_be_none(counts.late, "messages out of order");
            }
        }
        if let Some(crowd) = crowd {
            must_be_none(crowd.lost, "messages lost by those that came at once");
            if self.scenario == Scenario::Storm {
                must_be_none(crowd.silent, "subscribers got no message");
            }
        }
        self.faults.extend(faults);
    }

    /// Compares with what is expected. What an expectation allows is no fault any more.
    pub(crate) fn weigh(&mut self, expected: &Expectations) {
        self.expectations = expected.weigh(self);
        for (name, fault) in [
            ("loss", "messages lost"),
            ("duplicates", "messages came twice"),
        ] {
            if expected.names(name) {
                self.faults.retain(|each| !each.ends_with(fault));
            }
        }
    }

    /// Whether everything that was to arrive did, and everything was as expected.
    pub(crate) fn is_good(&self) -> bool {
        self.faults.is_empty() && self.expectations.iter().all(|each| each.holds)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn report(accepted: u64, counts: Counts) -> Report {
        let mut report = Report::of(crate::tidings()[0], &Plan::default());
        report.published = Some(Published {
            accepted,
            owed: accepted,
            delivered: accepted,
            ..Published::default()
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
    fn what_came_twice_is_a_fault_unless_it_is_expected() {
        let twice = Counts {
            unique: 10,
            duplicates: 2,
            ..Counts::default()
        };
        let mut report = report(10, twice);
        assert!(!report.is_good());
        report.weigh(&Expectations::parse(&["duplicates=2".to_owned()]).unwrap());
        assert!(report.is_good(), "{:?}", report.faults);
        report.weigh(&Expectations::parse(&["duplicates=1".to_owned()]).unwrap());
        assert!(!report.is_good());
    }
}
