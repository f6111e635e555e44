//! What is done to the nodes and links of a storm, and when: a list that its seed decides before anything begins.

use std::time::Duration;

use super::dice::Dice;
use crate::lab::{Class, Classes};

/// One thing that is done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Act {
    /// When, after the storm began.
    pub(super) at: Duration,
    /// What.
    pub(super) deed: Deed,
}

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deed {
    /// Something is wrong with some links for some time. Several such faults add up.
    Weather(Weather, Duration),
    /// kill -9, and a new start after this time.
    Kill(usize, Duration),
    /// SIGSTOP, and SIGCONT after this time.
    Freeze(usize, Duration),
    /// SIGTERM and a new start of each node, one after the other.
    Roll,
    /// The disk of the node that has a small one is full for this time.
    FillDisk(Duration),
    /// A client that subscribes goes without a word and comes back: the how-manyth.
    Crash(usize),
}

impl Deed {
    /// Its kind, for the count of what happened.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Deed::Weather(weather, _) => weather.kind(),
            Deed::Kill(..) => "kill -9",
            Deed::Freeze(..) => "SIGSTOP",
            Deed::Roll => "rolling restart",
            Deed::FillDisk(_) => "full disk",
            Deed::Crash(_) => "client crash",
        }
    }
}

/// What is wrong with links.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Weather {
    /// These classes do not pass from the first to the second; 0 is everybody.
    Cut(usize, usize, Classes),
    /// These nodes and the others do not hear each other.
    Split(Vec<usize>),
    /// Packets from this node, or of all if 0, are lost, doubled, sent ahead and damaged, in percent each; and late by ms.
    Rough(usize, [u64; 4], u64),
}

impl Weather {
    fn kind(&self) -> &'static str {
        match self {
            Weather::Cut(_, _, classes) if *classes == Classes::ALL => "one-way cut",
            Weather::Cut(..) => "cut by class",
            Weather::Split(_) => "partition",
            Weather::Rough(..) => "rough links",
        }
    }
}

/// The plan of a storm over `nodes` nodes with `listeners` subscribing clients that lasts `lasts`, in order of time.
pub(super) fn plan(seed: u64, nodes: usize, listeners: usize, lasts: Duration) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut strand = |purpose: &str, every: (u64, u64), make: &mut dyn FnMut(&mut Dice) -> Deed| {
        let mut dice = Dice::new(seed, purpose);
        let mut at = Duration::from_millis(dice.between(every.0 / 2, every.1));
        while at < lasts {
            let deed = make(&mut dice);
            acts.push(Act { at, deed });
            at += Duration::from_millis(dice.between(every.0, every.1));
        }
    };
    let node = |dice: &mut Dice| dice.between(1, nodes as u64 + 1) as usize;
    strand("cuts", (1_000, 3_000), &mut |dice| {
        let (from, to) = (node(dice), dice.between(0, nodes as u64 + 1) as usize);
        let (from, to) = if dice.happens(50) {
            (from, to)
        } else {
            (to, from)
        };
        let classes = if dice.happens(30) {
            Classes::ALL
        } else {
            let classes = [Class::Hello, Class::Pair, Class::Bulk, Class::Fan];
            Class::Icmp | dice.one(&classes) | dice.one(&classes)
        };
        Deed::Weather(Weather::Cut(from, to, classes), millis(dice, 300, 8_000))
    });
    strand("splits", (12_000, 30_000), &mut |dice| {
        let side = (1..=nodes).filter(|_| dice.happens(40)).collect();
        Deed::Weather(Weather::Split(side), millis(dice, 500, 10_000))
    });
    strand("rough", (2_000, 6_000), &mut |dice| {
        let from = dice.between(0, nodes as u64 + 1) as usize;
        let shares = [30, 20, 30, 5].map(|most| dice.between(0, most));
        Deed::Weather(
            Weather::Rough(from, shares, dice.between(0, 30)),
            millis(dice, 1_000, 10_000),
        )
    });
    strand("kills", (4_000, 9_000), &mut |dice| {
        Deed::Kill(node(dice), millis(dice, 0, 4_000))
    });
    strand("freezes", (3_000, 8_000), &mut |dice| {
        Deed::Freeze(node(dice), millis(dice, 50, 5_000))
    });
    strand("crashes", (1_500, 4_000), &mut |dice| {
        Deed::Crash(dice.between(0, listeners as u64) as usize)
    });
    strand("disks", (10_000, 20_000), &mut |dice| {
        Deed::FillDisk(millis(dice, 2_000, 10_000))
    });
    // Early, so that sessions of publishers live through the rest, and then once a minute.
    let mut roll = lasts / 5;
    while roll < lasts {
        let deed = Deed::Roll;
        acts.push(Act { at: roll, deed });
        roll += Duration::from_secs(60);
    }
    acts.sort_by_key(|act| act.at);
    acts
}

fn millis(dice: &mut Dice, low: u64, high: u64) -> Duration {
    Duration::from_millis(dice.between(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_plan_and_a_minute_has_everything_in_it() {
        let minute = Duration::from_secs(60);
        for seed in 0..20 {
            let acts = plan(seed, 9, 6, minute);
            assert_eq!(acts, plan(seed, 9, 6, minute));
            let kinds: std::collections::BTreeSet<_> =
                acts.iter().map(|act| act.deed.kind()).collect();
            assert_eq!(kinds.len(), 9, "{kinds:?}");
        }
        assert_ne!(plan(1, 9, 6, minute), plan(2, 9, 6, minute));
    }
}
