//! Hosts and bad networks on one machine, for black-box tests and by hand (`lab` binary).
//!
//! A host is an anonymous network namespace with one interface, `eth0`, at 10.77.x.y/24 and fd77::y/64. Between the hosts
//! is either a switch in user space, which delays, loses, doubles, reorders, damages and cuts from a seed, per directed link
//! and changeable while traffic runs; or a kernel bridge, which does no harm and keeps GSO batches whole.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidings_tests::lab::{Class, Impairment, Lab};
//!
//! # fn main() -> std::io::Result<()> {
//! let bad = Impairment::default().delay(Duration::from_millis(5)).loss(0.02);
//! let lab = Lab::builder().hosts(3).seed(7).impairment(bad).build()?;
//! let mut daemon = lab.host(1).command("/path/to/tidings");
//! daemon.args(["run", "--listen", &format!("{}:4200", lab.host(1).ip4())]);
//! let daemon = lab.host(1).spawn("daemon-1", daemon)?;
//! daemon.wait_for("listening", Duration::from_secs(5))?;
//! lab.link(1, 2).cut(Class::Pair);
//! println!("{:?}", lab.link(1, 2).counts().class(Class::Fan));
//! # Ok(()) }
//! ```
//!
//! Nothing has a name in the system, so nothing stays behind: when the lab is dropped, or its process is killed, its
//! processes, namespaces and interfaces go. It needs `/dev/net/tun`, `/bin/sh` and either root or a user namespace
//! (`unshare -Ur cargo test`); [`available`] says what is missing. It touches nothing outside its namespaces.

mod bridge;
mod builder;
mod capture;
mod class;
mod control;
mod counters;
mod fate;
mod frame;
mod impairment;
mod link;
pub(crate) mod namespace;
pub(crate) mod netlink;
mod pool;
mod report;
mod schedule;
mod search;
mod spec;
mod switch;
pub(crate) mod sys;
mod watchdog;

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bridge::Bridge;
use control::Control;
use netlink::Netlink;
use watchdog::Watchdog;

pub use builder::LabBuilder;
pub use class::{Class, Classes};
pub use counters::{Counts, LinkCounts, Stray};
pub use impairment::{Burst, Corruption, Impairment, Rate};
pub use link::Link;
pub use netlink::InterfaceCounts;
pub use report::Report;
pub use search::Needle;
pub use spec::{parse_burst, parse_bytes, parse_duration, parse_rate, parse_share};
pub use sys::{die_with_thread, set_receive_buffer, set_udp_gro, set_udp_segment};
pub use tidings_skip::skipped;

use crate::host::Host;

/// Most hosts of a lab: what fits into 10.77.x.0/24.
pub const HOSTS_MAX: usize = 254;
/// The name of every host's interface.
pub const INTERFACE: &str = "eth0";
pub(crate) const PREFIX4: u8 = 24;
pub(crate) const PREFIX6: u8 = 64;

/// The IPv4 address of host `number`.
pub(crate) fn ip4(subnet: u8, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, subnet, number as u8)
}

/// The IPv6 address of host `number`.
pub(crate) fn ip6(number: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number as u16)
}

/// Whether a switched lab can run here.
///
/// # Errors
/// Says what is missing.
pub fn available() -> Result<(), String> {
    try_out(Lab::builder())
}

/// Whether a bridged lab can run here.
///
/// # Errors
/// Says what is missing.
pub fn bridge_available() -> Result<(), String> {
    try_out(Lab::builder().bridge())
}

fn try_out(builder: LabBuilder) -> Result<(), String> {
    builder
        .hosts(1)
        .build()
        .map(drop)
        .map_err(|error| error.to_string())
}

/// For the first line of a test: says whether the lab can run, and complains where it cannot.
///
/// # Panics
/// If it cannot run and is required, see [`skipped`].
pub fn ready() -> bool {
    let Err(missing) = available() else {
        return true;
    };
    skipped("lab", &format!("the lab cannot run here: {missing}"));
    false
}

/// Moves the calling thread, and what it starts, into the namespace at `path`, as [`Host::path`] gives it.
///
/// # Errors
/// As the kernel says.
pub fn enter(path: &Path) -> io::Result<()> {
    let namespace =
        File::open(path).map_err(|e| namespace::context(e, &path.display().to_string()))?;
    sys::enter_network(namespace.as_fd())
}

/// What connects the hosts.
#[derive(Debug)]
enum Fabric {
    Switch {
        control: Arc<Control>,
        thread: Option<JoinHandle<()>>,
    },
    Bridge(Bridge),
}

/// A host's interface.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) netlink: Netlink,
    pub(crate) index: u32,
    pub(crate) has_ip6: bool,
}

/// Some hosts and the network between them. Dropping it kills what runs in it and removes its folder.
#[derive(Debug)]
pub struct Lab {
    hosts: Vec<Host>,
    fabric: Fabric,
    folder: PathBuf,
    // Last, because it waits until nothing runs in the namespaces, which the hosts hold open.
    watchdog: Option<Watchdog>,
}

impl Lab {
    /// Begins a lab.
    pub fn builder() -> LabBuilder {
        LabBuilder::new()
    }

    fn new(hosts: Vec<Host>, fabric: Fabric, watchdog: Watchdog, folder: PathBuf) -> Lab {
        Lab {
            hosts,
            fabric,
            folder,
            watchdog: Some(watchdog),
        }
    }

    /// The host with this number, from 1.
    ///
    /// # Panics
    /// If there is none.
    pub fn host(&self, number: usize) -> &Host {
        assert!(
            (1..=self.hosts.len()).contains(&number),
            "hosts are numbered 1 to {}, not {number}",
            self.hosts.len()
        );
        &self.hosts[number - 1]
    }

    /// All hosts, in order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Where output of the hosts' processes lies; goes with the lab unless TIDINGS_LAB_KEEP is set.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether this is a bridge, where links cannot be impaired.
    pub fn is_bridge(&self) -> bool {
        matches!(self.fabric, Fabric::Bridge(_))
    }

    /// The namespace of the bridge, for a look at its ports; `None` for a switch.
    pub fn bridge_path(&self) -> Option<PathBuf> {
        match &self.fabric {
            Fabric::Switch { .. } => None,
            Fabric::Bridge(bridge) => Some(bridge.namespace().path()),
        }
    }

    /// # Panics
    /// In a bridged lab.
    fn control(&self) -> &Control {
        match &self.fabric {
            Fabric::Switch { control, .. } => control,
            Fabric::Bridge(_) => {
                panic!("a bridge neither impairs nor counts: build the lab with the switch")
            }
        }
    }

    /// One direction: from host `from` to host `to`.
    ///
    /// # Panics
    /// If there is no such host, or in a bridged lab.
    pub fn link(&self, from: usize, to: usize) -> Link<'_> {
        let (from, to) = (self.host(from).number(), self.host(to).number());
        assert_ne!(from, to, "a host has no link to itself");
        Link::new(self.control(), from, to, self.hosts.len())
    }

    /// Every directed link.
    ///
    /// # Panics
    /// In a bridged lab.
    pub fn links(&self) -> impl Iterator<Item = Link<'_>> {
        let numbers = 1..=self.hosts.len();
        let pairs = numbers
            .clone()
            .flat_map(move |from| numbers.clone().map(move |to| (from, to)));
        pairs
            .filter(|(from, to)| from != to)
            .map(|(from, to)| self.link(from, to))
    }

    /// Changes all links in one step: `change` gets each with its `from` and `to`.
    ///
    /// # Panics
    /// In a bridged lab.
    pub fn change(&self, mut change: impl FnMut(usize, usize, &mut Impairment)) {
        let hosts = self.hosts.len();
        self.control().change(|wanted| {
            for (at, link) in wanted.links.iter_mut().enumerate() {
                change(at / hosts + 1, at % hosts + 1, link);
            }
        });
    }

    /// Gives every link the same settings.
    pub fn impair(&self, impairment: &Impairment) {
        self.change(|_, _, link| link.clone_from(impairment));
    }

    /// Cuts every link between hosts of different groups, in both directions; a host that is in no group is alone.
    /// Links inside a group are joined again.
    pub fn partition(&self, groups: &[&[usize]]) {
        let group = |host: usize| {
            groups
                .iter()
                .position(|g| g.contains(&host))
                .unwrap_or(groups.len() + host)
        };
        self.change(|from, to, link| {
            link.cut = if group(from) == group(to) {
                Classes::NONE
            } else {
                Classes::ALL
            }
        });
    }

    /// Ends every cut; other settings stay.
    pub fn heal(&self) {
        self.change(|_, _, link| link.cut = Classes::NONE);
    }

    /// Pulls the host's cable: nothing passes, not even ARP.
    pub fn unplug(&self, host: usize) {
        self.set_plugged(host, false);
    }

    /// Puts the cable back in.
    pub fn plug(&self, host: usize) {
        self.set_plugged(host, true);
    }

    fn set_plugged(&self, host: usize, plugged: bool) {
        let at = self.host(host).number() - 1;
        self.control()
            .change(|wanted| wanted.unplugged[at] = !plugged);
    }

    /// Looks for `bytes` in every frame from now on.
    ///
    /// # Panics
    /// In a bridged lab.
    pub fn search(&self, bytes: &[u8]) -> Arc<Needle> {
        let needle = Arc::new(Needle::new(bytes));
        self.control()
            .change(|wanted| wanted.needles.push(needle.clone()));
        needle
    }

    /// The counters of all links together.
    ///
    /// # Panics
    /// In a bridged lab.
    pub fn counts(&self) -> LinkCounts {
        self.links()
            .fold(LinkCounts::default(), |sum, link| sum + link.counts())
    }

    /// Frames that belong to no link.
    pub fn stray(&self) -> Stray {
        self.control().counters.stray()
    }

    /// Packets on their way now.
    pub fn in_flight(&self) -> u64 {
        self.control()
            .counters
            .waiting
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// All counters.
    ///
    /// # Errors
    /// If the kernel does not tell an interface's.
    pub fn report(&self) -> io::Result<Report> {
        Report::of(self)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.watchdog.take();
        if let Fabric::Switch { control, thread } = &mut self.fabric {
            control.stop();
            // A panic of the switch has been printed; it must not become a second one here.
            let _ = thread.take().map(JoinHandle::join);
        }
    }
}
