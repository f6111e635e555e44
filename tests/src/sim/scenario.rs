//! Faults that belong together: what each name stands for happens in every seed, and nothing else.

use super::plan::Fault::{self, *};

/// A name for some classes of faults.
pub struct Scenario {
    /// What the command line calls it.
    pub name: &'static str,
    /// The classes that happen.
    pub faults: &'static [Fault],
}

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    // Nodes come back with their disk, an older one or none, and hear what was recorded in their and others' earlier lives.
    Scenario {
        name: "restart-replay",
        faults: &[Crash, Amnesia, DiskError, Attacker],
    },
    // One direction, or one class of datagrams, does not pass, while subscriptions come and go.
    Scenario {
        name: "asymmetric-cut",
        faults: &[Asymmetric, ClassCut, Churn],
    },
    // Handshakes are lost, doubled, late and cut off as a class, and nodes forget each other all the time.
    Scenario {
        name: "lost-handshake",
        faults: &[Loss, Duplicate, Reorder, Delay, ClassCut, Crash],
    },
    // Nodes leave and come back in turn, clients die and come back.
    Scenario {
        name: "rolling-restart",
        faults: &[Leave, Crash, DyingClient, Churn],
    },
    // Everybody is slow and nothing has room.
    Scenario {
        name: "slow-and-full",
        faults: &[Clog, SlowNode, SlowClient, SmallInbox, SmallStore],
    },
    // Nodes stand still, and their clocks drift and jump.
    Scenario {
        name: "clocks",
        faults: &[Pause, Drift, Jump],
    },
    // Somebody with the key says anything, somebody without it changes and repeats what is said.
    Scenario {
        name: "hostile",
        faults: &[Insider, Attacker, Corrupt],
    },
];
