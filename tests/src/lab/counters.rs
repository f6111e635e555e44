//! Counters of every directed link and class, written by the switch thread alone and read by anybody. The list of counters
//! is declared once, below.

use std::ops::{Add, AddAssign, Sub};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::class::{Class, Classes};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// What happened to the packets of one directed link. A copy made by duplication counts in `duplicated` and, when
        /// it arrives, in `delivered`; so `sent + duplicated` = `delivered` + [`Counts::dropped`] + those on their way.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Counts {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The cells behind [`Counts`].
        #[derive(Debug, Default)]
        pub(super) struct Cells {
            $(pub(super) $name: Cell,)+
        }

        impl Cells {
            fn read(&self) -> Counts {
                Counts { $($name: self.$name.0.load(Relaxed),)+ }
            }
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Counts) {
                $(self.$name += other.$name;)+
            }
        }

        /// What happened since an earlier reading.
        impl Sub for Counts {
            type Output = Counts;
            fn sub(self, earlier: Counts) -> Counts {
                Counts { $($name: self.$name - earlier.$name,)+ }
            }
        }
    };
}

counters! {
    /// Packets that came from the sender.
    sent,
    /// Bytes of their Ethernet frames.
    sent_bytes,
    /// Bytes of their payload: what the application gave to UDP.
    sent_payload,
    /// Packets handed to the receiver's kernel.
    delivered,
    /// Bytes of their Ethernet frames.
    delivered_bytes,
    /// Bytes of their payload.
    delivered_payload,
    /// Dropped by `loss` or `burst`.
    lost,
    /// Dropped by a cut or an unplugged host.
    cut,
    /// Dropped because the queue of `rate` was full.
    overflowed,
    /// Dropped because the switch held too many frames, or the receiver's interface was down.
    refused,
    /// Copies made.
    duplicated,
    /// Sent ahead without delay.
    ahead,
    /// With a flipped bit.
    corrupted,
}

impl Counts {
    /// All that was dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.lost + self.cut + self.overflowed + self.refused
    }
}

impl Add for Counts {
    type Output = Counts;
    fn add(mut self, other: Counts) -> Counts {
        self += other;
        self
    }
}

/// One counter with one writer, which therefore needs no locked addition.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    /// Undoes an `add`.
    pub(super) fn take_back(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) - n, Relaxed);
    }
}

/// The counters of one directed link, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts([Counts; Class::ALL.len()]);

impl LinkCounts {
    /// The counters of one class.
    pub fn class(&self, class: Class) -> Counts {
        self.0[class as usize]
    }

    /// The sum over some classes, `Class::Pair | Class::Fan`.
    pub fn of(&self, classes: impl Into<Classes>) -> Counts {
        let classes = classes.into();
        Class::ALL
            .into_iter()
            .filter(|&c| classes.has(c))
            .fold(Counts::default(), |sum, c| sum + self.class(c))
    }

    /// The sum over all classes.
    pub fn total(&self) -> Counts {
        self.of(Classes::ALL)
    }
}

impl Add for LinkCounts {
    type Output = LinkCounts;
    fn add(mut self, other: LinkCounts) -> LinkCounts {
        for (sum, counts) in self.0.iter_mut().zip(other.0) {
            *sum += counts;
        }
        self
    }
}

/// What happened since an earlier reading.
impl Sub for LinkCounts {
    type Output = LinkCounts;
    fn sub(self, earlier: LinkCounts) -> LinkCounts {
        LinkCounts(std::array::from_fn(|class| {
            self.0[class] - earlier.0[class]
        }))
    }
}

/// All counters of a switch.
#[derive(Debug)]
pub(super) struct Counters {
    links: Vec<[Cells; Class::ALL.len()]>,
    /// ARP and neighbour discovery passed on.
    pub(super) neighbour: Cell,
    /// Frames for an address that no host has.
    pub(super) unknown: Cell,
    /// Packets scheduled for later.
    pub(super) waiting: AtomicU64,
}

impl Counters {
    pub(super) fn new(links: usize) -> Counters {
        let links = (0..links).map(|_| Default::default()).collect();
        Counters {
            links,
            neighbour: Cell::default(),
            unknown: Cell::default(),
            waiting: AtomicU64::new(0),
        }
    }

    pub(super) fn cells(&self, link: usize, class: Class) -> &Cells {
        &self.links[link][class as usize]
    }

    pub(super) fn read(&self, link: usize) -> LinkCounts {
        LinkCounts(std::array::from_fn(|class| self.links[link][class].read()))
    }

    pub(super) fn stray(&self) -> Stray {
        Stray {
            neighbour: self.neighbour.0.load(Relaxed),
            unknown: self.unknown.0.load(Relaxed),
        }
    }
}

/// Frames that belong to no link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stray {
    /// ARP and neighbour discovery, passed on unimpaired.
    pub neighbour: u64,
    /// Frames to an address that no host has.
    pub unknown: u64,
}
