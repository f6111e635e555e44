//! What happened in a run, and whether enough did: a seed in which nothing happens finds nothing.

use std::collections::BTreeMap;
use std::fmt;

use tidings_protocol::{Outcome, PresenceKind};

use super::network::Passed;
use super::plan::{Fault, Plan};

/// Counts of one run.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    on: Vec<Fault>,
    fired: BTreeMap<Fault, u64>,
    /// Starts of nodes.
    pub starts: u64,
    /// Messages accepted, and (message, subscription) pairs owed.
    pub published: u64,
    /// See `published`.
    pub owed: u64,
    /// Messages refused: `WouldBlock`.
    pub refused: u64,
    /// Messages handed to clients, and those of them that were flagged.
    pub handed: u64,
    /// See `handed`.
    pub again: u64,
    /// Messages told as gaps.
    pub gaps: u64,
    /// Subscriptions made.
    pub subscribed: u64,
    /// Datagrams replayed, and those of them that nobody may take.
    pub replayed: u64,
    /// See `replayed`.
    pub replayed_old: u64,
    /// Datagrams of the insider.
    pub nonsense: u64,
    /// Outcomes told.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Presence events told.
    pub presence: BTreeMap<&'static str, u64>,
    /// Milliseconds that it took to heal.
    pub healed: u64,
    pub(crate) passed: Passed,
}

impl Coverage {
    pub(crate) fn new(plan: &Plan) -> Coverage {
        Coverage {
            on: plan.faults().collect(),
            ..Coverage::default()
        }
    }

    pub(crate) fn fired(&mut self, fault: Fault) {
        *self.fired.entry(fault).or_default() += 1;
    }

    pub(crate) fn outcome(&mut self, outcome: Outcome, count: u64) {
        *self.outcomes.entry(outcome).or_default() += count;
    }

    pub(crate) fn presence(&mut self, kind: PresenceKind) {
        *self.presence.entry(kind.label()).or_default() += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Coverage) {
        for (fault, count) in &other.fired {
            *self.fired.entry(*fault).or_default() += count;
        }
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += count;
        }
        for (kind, count) in &other.presence {
            *self.presence.entry(kind).or_default() += count;
        }
        self.starts += other.starts;
        self.published += other.published;
        self.owed += other.owed;
        self.refused += other.refused;
        self.handed += other.handed;
        self.again += other.again;
        self.gaps += other.gaps;
        self.subscribed += other.subscribed;
        self.replayed += other.replayed;
        self.replayed_old += other.replayed_old;
        self.nonsense += other.nonsense;
        self.healed = self.healed.max(other.healed);
        self.passed.sent += other.passed.sent;
        self.passed.sealed += other.passed.sealed;
    }

    // Every fault that is on happened, and messages went through.
    pub(crate) fn suffices(&mut self, passed: Passed) {
        self.passed = passed;
        for (fault, count) in [
            (Fault::Loss, passed.lost),
            (Fault::Duplicate, passed.doubled),
            (Fault::Reorder, passed.late),
            (Fault::Corrupt, passed.corrupted),
        ] {
            *self.fired.entry(fault).or_default() += count;
        }
        // They are there by being configured.
        for fault in [
            Fault::Delay,
            Fault::Drift,
            Fault::SmallInbox,
            Fault::SmallStore,
        ] {
            self.fired(fault);
        }
        let idle = self
            .on
            .iter()
            .find(|fault| self.fired.get(fault).is_none_or(|n| *n == 0));
        assert!(idle.is_none(), "{idle:?} is on and never happened");
        assert!(
            self.published > 0 && self.handed > 0,
            "nothing was delivered"
        );
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} datagrams, {} sealed anew, {} starts, {} published ({} owed, {} refused), {} handed ({} again), {} in gaps",
            self.passed.sent,
            self.passed.sealed,
            self.starts,
            self.published,
            self.owed,
            self.refused,
            self.handed,
            self.again,
            self.gaps
        )?;
        let outcomes = self.outcomes.iter();
        let outcomes: Vec<_> = outcomes
            .map(|(o, n)| format!("{} {n}", o.label()))
            .collect();
        let presence = self.presence.iter();
        let presence: Vec<_> = presence.map(|(kind, n)| format!("{kind} {n}")).collect();
        let fired = self.fired.iter();
        let fired: Vec<_> = fired
            .map(|(fault, n)| format!("{} {n}", fault.name()))
            .collect();
        writeln!(f, "outcomes: {}", outcomes.join(", "))?;
        writeln!(f, "presence: {}", presence.join(", "))?;
        writeln!(f, "faults: {}", fired.join(", "))?;
        write!(
            f,
            "{} replays, {} of them of another life or for another node; {} datagrams of the insider; healed in {} ms",
            self.replayed, self.replayed_old, self.nonsense, self.healed
        )
    }
}
