//! Puts a lab together: namespaces first, then the switch or the bridge between them, then the watchdog.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::bridge::Bridge;
use super::capture::Capture;
use super::control::Control;
use super::frame;
use super::impairment::Impairment;
use super::namespace::{Namespace, context};
use super::netlink::{LinkChange, Netlink};
use super::switch::{QUEUE, Switch};
use super::watchdog::Watchdog;
use super::{Fabric, HOSTS_MAX, INTERFACE, Lab, Port, sys};
use crate::host::Host;

/// How long the kernel gets to bring all interfaces up.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Makes a [`Lab`]. Defaults: two hosts, MTU 1500, seed 1, a switch that does no harm.
#[derive(Clone, Debug)]
pub struct LabBuilder {
    hosts: usize,
    mtu: u32,
    seed: u64,
    subnet: u8,
    impairment: Impairment,
    bridge: bool,
    discovery: bool,
    pcap: Option<PathBuf>,
}

impl LabBuilder {
    pub(super) fn new() -> LabBuilder {
        LabBuilder {
            hosts: 2,
            mtu: 1500,
            seed: 1,
            subnet: 0,
            impairment: Impairment::default(),
            bridge: false,
            discovery: false,
            pcap: None,
        }
    }

    /// How many hosts, at most [`HOSTS_MAX`]. They are numbered from 1.
    pub fn hosts(self, hosts: usize) -> LabBuilder {
        LabBuilder { hosts, ..self }
    }

    /// Largest IP packet.
    pub fn mtu(self, mtu: u32) -> LabBuilder {
        LabBuilder { mtu, ..self }
    }

    /// Decides the fate of every packet.
    pub fn seed(self, seed: u64) -> LabBuilder {
        LabBuilder { seed, ..self }
    }

    /// The third part of 10.77.x.y, 0 unless told.
    pub fn subnet(self, subnet: u8) -> LabBuilder {
        LabBuilder { subnet, ..self }
    }

    /// What every directed link does at first.
    pub fn impairment(self, impairment: Impairment) -> LabBuilder {
        LabBuilder { impairment, ..self }
    }

    /// A bridge instead of the switch: nothing is impaired, counted by class, searched or captured, and GSO batches stay whole.
    pub fn bridge(self) -> LabBuilder {
        LabBuilder {
            bridge: true,
            ..self
        }
    }

    /// Hosts find each other by ARP and neighbour discovery, as on a real network, instead of knowing each other for ever.
    /// The first packets may then overtake each other, and a host that is unplugged becomes unreachable to the kernel of
    /// the others, not just silent.
    pub fn discovery(self) -> LabBuilder {
        LabBuilder {
            discovery: true,
            ..self
        }
    }

    /// Captures every directed link into `folder`: `1-2.sent.pcap` and `1-2.delivered.pcap`.
    pub fn pcap(self, folder: impl Into<PathBuf>) -> LabBuilder {
        LabBuilder {
            pcap: Some(folder.into()),
            ..self
        }
    }

    /// Makes the lab; when this returns, packets flow.
    ///
    /// # Errors
    /// Names what the machine lacks; see [`super::available`].
    pub fn build(self) -> io::Result<Lab> {
        assert!(
            (1..=HOSTS_MAX).contains(&self.hosts),
            "1 to {HOSTS_MAX} hosts"
        );
        if self.bridge && (self.impairment != Impairment::default() || self.pcap.is_some()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a bridge neither impairs nor captures",
            ));
        }
        let folder = tempfile::Builder::new().prefix("tidings-lab-").tempdir()?;
        let keep = std::env::var_os("TIDINGS_LAB_KEEP").is_some();
        let bridge = if self.bridge {
            Some(Bridge::create()?)
        } else {
            None
        };
        let mut taps = Vec::new();
        let mut hosts = Vec::new();
        for number in 1..=self.hosts {
            let (namespace, (tap, port)) =
                Namespace::create(|netlink| self.equip(netlink, number, bridge.as_ref()))?;
            taps.extend(tap);
            hosts.push(Host::new(
                number,
                self.subnet,
                namespace,
                port,
                folder.path(),
            ));
        }
        let namespaces = hosts
            .iter()
            .map(Host::namespace)
            .chain(bridge.as_ref().map(Bridge::namespace));
        let watchdog = Watchdog::start(namespaces, Some(folder.path()).filter(|_| !keep))?;
        let fabric = match bridge {
            Some(bridge) => Fabric::Bridge(bridge),
            None => self.switch(taps)?,
        };
        wait_until_running(&hosts)?;
        Ok(Lab::new(hosts, fabric, watchdog, folder_of(folder, keep)))
    }

    /// Gives the namespace that `netlink` speaks for its interface, addresses and neighbours.
    fn equip(
        &self,
        netlink: &mut Netlink,
        number: usize,
        bridge: Option<&Bridge>,
    ) -> io::Result<(Option<File>, Port)> {
        let tap = match bridge {
            None => {
                let missing = "a TAP from /dev/net/tun (kernel module `tun`, CAP_NET_ADMIN)";
                Some(sys::open_tap(INTERFACE).map_err(|e| context(e, missing))?)
            }
            Some(bridge) => {
                bridge.plug(netlink, INTERFACE, number, self.mtu)?;
                None
            }
        };
        let index = netlink.link(INTERFACE)?.index;
        self.set_up(netlink, index, number)
            .map_err(|e| context(e, "setting up an interface"))?;
        let ip4 = super::ip4(self.subnet, number).into();
        netlink
            .add_address(index, ip4, super::PREFIX4)
            .map_err(|e| context(e, "an IPv4 address"))?;
        // Refused by a kernel whose IPv6 is turned off.
        let has_ip6 = netlink
            .add_address(index, super::ip6(number).into(), super::PREFIX6)
            .is_ok();
        if !self.discovery {
            self.introduce(netlink, index, number, has_ip6)
                .map_err(|e| context(e, "a neighbour"))?;
        }
        Ok((
            tap,
            Port {
                netlink: Netlink::open()?,
                index,
                has_ip6,
            },
        ))
    }

    fn set_up(&self, netlink: &mut Netlink, index: u32, number: usize) -> io::Result<()> {
        let change = LinkChange {
            mac: Some(frame::mac(number)),
            mtu: Some(self.mtu),
            queue: Some(QUEUE),
            up: true,
            ..LinkChange::default()
        };
        netlink.set_link(index, change)
    }

    /// Tells a host the MAC addresses of all others.
    fn introduce(
        &self,
        netlink: &mut Netlink,
        index: u32,
        number: usize,
        has_ip6: bool,
    ) -> io::Result<()> {
        for other in (1..=self.hosts).filter(|&other| other != number) {
            let mac = frame::mac(other);
            netlink.add_neighbour(index, super::ip4(self.subnet, other).into(), mac)?;
            if has_ip6 {
                netlink.add_neighbour(index, super::ip6(other).into(), mac)?;
            }
        }
        Ok(())
    }

    fn switch(&self, taps: Vec<File>) -> io::Result<Fabric> {
        let capture = self
            .pcap
            .clone()
            .map(|folder| Capture::new(folder, self.hosts))
            .transpose()?;
        let (woken, wake) = io::pipe()?;
        let control = Arc::new(Control::new(self.hosts, &self.impairment, wake));
        let switch = Switch::new(control.clone(), taps, woken, self.mtu, self.seed, capture);
        let thread = std::thread::Builder::new()
            .name("lab-switch".into())
            .spawn(move || switch.run())?;
        control.change(|_| {});
        Ok(Fabric::Switch {
            control,
            thread: Some(thread),
        })
    }
}

fn folder_of(folder: TempDir, keep: bool) -> PathBuf {
    if keep {
        eprintln!("lab: keeping {}", folder.path().display());
    }
    folder.keep() // the watchdog removes it
}

/// The kernel announces a carrier from a worker of its own, up to a second later; until then it drops what is sent.
fn wait_until_running(hosts: &[Host]) -> io::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    for host in hosts {
        while !host.is_running()? {
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the interface of host {} does not come up", host.number()),
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(())
}
