//! All counters of a lab at one moment, as text or JSON.

use std::fmt;
use std::io;

use serde::Serialize;

use super::class::Class;
use super::counters::{Counts, Stray};
use super::netlink::InterfaceCounts;
use super::{Fabric, Lab};

/// All counters of a lab. `Display` prints a table.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every directed link and class on which something was sent; empty for a bridge.
    pub links: Vec<LinkRow>,
    /// Every host's interface.
    pub interfaces: Vec<InterfaceRow>,
    /// Every search.
    pub searches: Vec<SearchRow>,
    /// Frames that belong to no link; none for a bridge.
    pub stray: Option<Stray>,
}

/// One class on one directed link.
#[derive(Clone, Debug, Serialize)]
pub struct LinkRow {
    /// Number of the sender.
    pub from: usize,
    /// Number of the receiver.
    pub to: usize,
    /// The class.
    pub class: Class,
    /// What happened.
    #[serde(flatten)]
    pub counts: Counts,
}

/// One host's interface.
#[derive(Clone, Debug, Serialize)]
pub struct InterfaceRow {
    /// Number of the host.
    pub host: usize,
    /// The kernel's counters.
    #[serde(flatten)]
    pub counts: InterfaceCounts,
}

/// One search.
#[derive(Clone, Debug, Serialize)]
pub struct SearchRow {
    /// What was looked for; bytes that are not text are escaped.
    pub bytes: String,
    /// Frames that contained it.
    pub frames: u64,
}

impl Report {
    pub(super) fn of(lab: &Lab) -> io::Result<Report> {
        let interfaces: io::Result<Vec<_>> = lab
            .hosts()
            .iter()
            .map(|host| {
                Ok(InterfaceRow {
                    host: host.number(),
                    counts: host.interface()?,
                })
            })
            .collect();
        let mut report = Report {
            links: Vec::new(),
            interfaces: interfaces?,
            searches: Vec::new(),
            stray: None,
        };
        if let Fabric::Switch { control, .. } = &lab.fabric {
            for link in lab.links() {
                let counts = link.counts();
                let rows = Class::ALL.map(|class| LinkRow {
                    from: link.from(),
                    to: link.to(),
                    class,
                    counts: counts.class(class),
                });
                report
                    .links
                    .extend(rows.into_iter().filter(|row| row.counts.sent > 0));
            }
            let needles = &control.wanted().needles;
            let row = |n: &super::Needle| SearchRow {
                bytes: n.bytes().escape_ascii().to_string(),
                frames: n.frames(),
            };
            report.searches = needles.iter().map(|n| row(n)).collect();
            report.stray = Some(lab.stray());
        }
        Ok(report)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stray.is_some() {
            write!(f, "{:>9} {:>6}", "link", "class")?;
            for name in [
                "sent",
                "bytes",
                "delivered",
                "lost",
                "cut",
                "overflow",
                "refused",
                "double",
                "ahead",
                "corrupt",
            ] {
                write!(f, " {name:>10}")?;
            }
            writeln!(f)?;
        }
        for LinkRow {
            from,
            to,
            class,
            counts,
        } in &self.links
        {
            write!(f, "{:>9} {class:>6}", format!("{from}->{to}"))?;
            let c = counts;
            for n in [
                c.sent,
                c.sent_bytes,
                c.delivered,
                c.lost,
                c.cut,
                c.overflowed,
                c.refused,
                c.duplicated,
                c.ahead,
                c.corrupted,
            ] {
                write!(f, " {n:>10}")?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "{:>9} {:>10} {:>12} {:>10} {:>12} {:>10}",
            "host", "tx", "bytes", "rx", "bytes", "tx dropped"
        )?;
        for InterfaceRow { host, counts: c } in &self.interfaces {
            writeln!(
                f,
                "{host:>9} {:>10} {:>12} {:>10} {:>12} {:>10}",
                c.tx_packets, c.tx_bytes, c.rx_packets, c.rx_bytes, c.tx_dropped
            )?;
        }
        for SearchRow { bytes, frames } in &self.searches {
            writeln!(f, "{frames} frames contain \"{bytes}\"")?;
        }
        Ok(())
    }
}
