//! A host of a lab: a network namespace, its addresses, and the processes that run in it.

mod process;
mod spawner;
mod usage;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lab::namespace::Namespace;
use crate::lab::{self, InterfaceCounts, Port, sys};

pub use process::Process;
pub use usage::Usage;

/// A network namespace with one interface.
pub struct Host {
    number: usize,
    subnet: u8,
    namespace: Namespace,
    port: Mutex<Port>,
    folder: PathBuf,
}

impl Host {
    pub(crate) fn new(
        number: usize,
        subnet: u8,
        namespace: Namespace,
        port: Port,
        folder: &Path,
    ) -> Host {
        Host {
            number,
            subnet,
            namespace,
            port: Mutex::new(port),
            folder: folder.into(),
        }
    }

    /// The number, from 1, which is also the last part of its addresses.
    pub fn number(&self) -> usize {
        self.number
    }

    /// 10.77.x.y
    pub fn ip4(&self) -> Ipv4Addr {
        lab::ip4(self.subnet, self.number)
    }

    /// fd77::y
    pub fn ip6(&self) -> Ipv6Addr {
        lab::ip6(self.number)
    }

    /// Whether the kernel gave it the IPv6 address; false where IPv6 is turned off.
    pub fn has_ip6(&self) -> bool {
        self.port().has_ip6
    }

    /// A path to the namespace: `nsenter --net=PATH COMMAND`. Good for as long as this process and the lab live.
    pub fn path(&self) -> PathBuf {
        self.namespace.path()
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn port(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_running(&self) -> io::Result<bool> {
        Ok(self.port().netlink.link(lab::INTERFACE)?.running)
    }

    /// The kernel's counters of `eth0`. `tx_dropped` are packets that were lost before the switch saw them.
    ///
    /// # Errors
    /// If the host's interface is gone.
    pub fn interface(&self) -> io::Result<InterfaceCounts> {
        Ok(self.port().netlink.link(lab::INTERFACE)?.counts)
    }

    /// Gives the host another address in the lab's networks. The others find it by ARP. An address that another host was
    /// born with can only move in a lab built with `discovery`.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn add_address(&self, address: IpAddr) -> io::Result<()> {
        let port = &mut *self.port();
        port.netlink
            .add_address(port.index, address, prefix(address))
    }

    /// Takes an address from the host, also one that it was born with.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove_address(&self, address: IpAddr) -> io::Result<()> {
        let port = &mut *self.port();
        port.netlink
            .remove_address(port.index, address, prefix(address))
    }

    /// A command that will run in this host: without input, in a process group of its own, and killed when the *thread*
    /// that starts it ends. [`Host::spawn`] starts it from a thread that lives as long as the test.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        sys::confine(&mut command, self.namespace.shared());
        command
    }

    /// Starts a command made by [`Host::command`]; its output goes to `NAME.out` and `NAME.err` in the lab's folder.
    /// A second process of the same name appends to them.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, name: &str, command: Command) -> io::Result<Process> {
        Process::start(name, command, &self.folder)
    }

    /// Runs `f` inside the host, in a thread of its own. Sockets and threads made by it stay in the host.
    ///
    /// # Panics
    /// If `f` does, or the kernel refuses the namespace.
    pub fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.namespace
            .run(f)
            .expect("entering a namespace that is held open")
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({}, {})", self.number, self.ip4())
    }
}

fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() {
        lab::PREFIX4
    } else {
        lab::PREFIX6
    }
}
