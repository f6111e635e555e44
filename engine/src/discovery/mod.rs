//! Discovery: the nodes of one network segment find one another without having been told of any address. A node that is
//! to be found sends beacons to a multicast group, and nothing else; SPEC.md 11.4. What a beacon tells is an address at
//! which an ordinary handshake is tried.
//!
//! One thread serves all overlays for which discovery is on. It is started with the first of them and ends with the
//! last, and no shard ever waits for it. Called by the engine; decides nothing about members.

mod hearing;
mod pace;
mod segment;
mod thread;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidings_wire::{Keyring, OverlayId};

use self::hearing::Refused;
use crate::clock;
use crate::engine::Inner;
use crate::limits::{BEACON_EVERY, BEACON_EVERY_MAX, BEACON_EVERY_MIN, BEACON_PORT};
use crate::supervise::supervise;
use crate::sys::eventfd::EventFd;

pub(crate) use self::segment::probe;

/// How nodes of one segment find one another; all of them must have the same port and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// UDP port at the groups.
    pub port: u16,
    /// IPv4 group.
    pub group_v4: Ipv4Addr,
    /// IPv6 group.
    pub group_v6: Ipv6Addr,
    /// Time between two beacons; jittered by 20 %.
    pub every: Duration,
    /// Names of the interfaces to use; empty: all that are up and carry multicast.
    pub interfaces: Vec<String>,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            port: BEACON_PORT,
            // "TD", in the part of 239.255.0.0/16 that RFC 2365 leaves to the site.
            group_v4: Ipv4Addr::new(239, 255, 84, 68),
            // "TIDG", transient, link-local (RFC 4291, 2.7).
            group_v6: Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x5449, 0x4447),
            every: BEACON_EVERY,
            interfaces: Vec::new(),
        }
    }
}

impl DiscoverySettings {
    /// What cannot be, in words.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.port == 0 {
            return Err("discovery needs a port other than 0");
        }
        if !self.group_v4.is_multicast() || !self.group_v6.is_multicast() {
            return Err("discovery needs multicast groups");
        }
        if !(BEACON_EVERY_MIN..=BEACON_EVERY_MAX).contains(&self.every) {
            return Err("beacons are sent every 1 s to 5 min");
        }
        Ok(())
    }
}

/// What discovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryStats {
    /// Overlays for which it is on.
    pub overlays: usize,
    /// Addresses of this host from which beacons go out.
    pub addresses: usize,
    /// Beacons sent.
    pub sent: u64,
    /// Beacons that could not be sent.
    pub send_failed: u64,
    /// Beacons of other nodes that verified.
    pub received: u64,
    /// Datagrams refused, by reason.
    pub refused: [(&'static str, u64); Refused::COUNT],
}

/// What the thread counts.
#[derive(Default)]
struct Counters {
    addresses: AtomicUsize,
    sent: AtomicU64,
    send_failed: AtomicU64,
    received: AtomicU64,
    refused: [AtomicU64; Refused::COUNT],
}

impl Counters {
    fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Discovery of one node, on the side of those who turn it on and off.
#[derive(Default)]
pub(crate) struct Discovery {
    state: Mutex<State>,
    counters: Counters,
}

#[derive(Default)]
struct State {
    on: BTreeMap<OverlayId, On>,
    /// Counts changes of `on`.
    changes: u64,
    running: Option<Running>,
}

/// The thread, until it has said under the lock that it ends.
struct Running {
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

/// An overlay that is to be found.
struct On {
    ring: Keyring,
    since: u64,
}

impl Discovery {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns discovery on for an overlay that has these keys. An error: its thread cannot be started, and it is off.
    pub(crate) fn turn_on(
        &self,
        inner: &Arc<Inner>,
        id: OverlayId,
        ring: Keyring,
    ) -> io::Result<()> {
        let mut state = self.state();
        match &state.running {
            Some(running) => running.wake.signal(),
            // It looks when this lets go of the state.
            None => state.running = Some(start(inner)?),
        }
        let since = clock::now();
        state.on.insert(id, On { ring, since });
        state.changes += 1;
        Ok(())
    }

    /// Turns discovery off for an overlay, if it is on.
    pub(crate) fn turn_off(&self, id: OverlayId) {
        let mut state = self.state();
        if state.on.remove(&id).is_some() {
            state.touch();
        }
    }

    /// The keys of an overlay have changed.
    pub(crate) fn set_keyring(&self, id: OverlayId, ring: Keyring) {
        let mut state = self.state();
        if let Some(on) = state.on.get_mut(&id) {
            on.ring = ring;
            state.touch();
        }
    }

    /// Whether it is on for an overlay.
    pub(crate) fn is_on(&self, id: OverlayId) -> bool {
        self.state().on.contains_key(&id)
    }

    /// Turns all off and waits for the thread.
    pub(crate) fn stop(&self) {
        let thread = {
            let mut state = self.state();
            state.on.clear();
            state.touch();
            let running = state.running.as_mut();
            running.and_then(|running| running.thread.take())
        };
        if let Some(thread) = thread {
            // Its panics have been told.
            let _ = thread.join();
        }
    }

    pub(crate) fn stats(&self) -> DiscoveryStats {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counters = &self.counters;
        DiscoveryStats {
            overlays: self.state().on.len(),
            addresses: counters.addresses.load(Ordering::Relaxed),
            sent: of(&counters.sent),
            send_failed: of(&counters.send_failed),
            received: of(&counters.received),
            refused: std::array::from_fn(|at| (Refused::LABELS[at], of(&counters.refused[at]))),
        }
    }
}

impl State {
    fn touch(&mut self) {
        self.changes += 1;
        if let Some(running) = &self.running {
            running.wake.signal();
        }
    }
}

fn start(inner: &Arc<Inner>) -> io::Result<Running> {
    let wake = Arc::new(EventFd::new()?);
    let (inner, ring) = (Arc::clone(inner), Arc::clone(&wake));
    let thread = std::thread::Builder::new()
        .name("tidings-beacon".into())
        .spawn(move || {
            supervise("beacon", &inner.panics, &inner.stopped, || {
                thread::run(&inner, &ring);
            });
        })?;
    Ok(Running {
        wake,
        thread: Some(thread),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_are_named() {
        let good = DiscoverySettings::default();
        assert_eq!(good.check(), Ok(()));
        let with = |change: fn(&mut DiscoverySettings)| {
            let mut settings = DiscoverySettings::default();
            change(&mut settings);
            settings.check().is_err()
        };
        assert!(with(|settings| settings.port = 0));
        assert!(with(|settings| settings.group_v4 = Ipv4Addr::LOCALHOST));
        assert!(with(|settings| settings.group_v6 = Ipv6Addr::LOCALHOST));
        assert!(with(|settings| settings.every = Duration::from_millis(999)));
        assert!(good.group_v4.octets().starts_with(&[239, 255]));
    }
}
