//! The thread of discovery: sends each overlay's beacons when they are due, reads what others send, and tells the cores
//! what is new. It ends when no overlay is left for which discovery is on.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tidings_protocol::Bucket;
use tidings_wire::{Keyring, NodeId, OverlayId};

use super::hearing::{self, BEACON_BYTES_MAX, Heard, Refused};
use super::pace::wait;
use super::segment::Segment;
use super::{Counters, State};
use crate::engine::Inner;
use crate::limits::{
    BEACON_LOOK_EVERY, BEACONS_OPENED, BEACONS_PER_TURN, BEACONS_READ, BEACONS_TOLD,
    BEACONS_TOLD_AGAIN, BEACONS_TOLD_MAX, SECOND_NS,
};
use crate::sys::eventfd::EventFd;
use crate::{clock, entropy};

/// While more is sent than is read, the sockets are left alone for so long: what does not fit their buffers is dropped
/// there.
const REST_NS: u64 = SECOND_NS / 20;

/// Somebody with another key is logged once in this time.
const FOREIGN_TOLD_NS: u64 = 600 * SECOND_NS;

/// Runs until no overlay is on or the node stops.
pub(super) fn run(inner: &Arc<Inner>, wake: &EventFd) {
    let mut beacons = Beacons::new(inner);
    while !inner.stopped.load(Ordering::Acquire) {
        wake.clear();
        if !beacons.take_changes(&mut inner.discovery.state()) {
            break;
        }
        let now = clock::now();
        beacons.look(now);
        beacons.send(now);
        beacons.sleep(now, wake);
        beacons.read();
    }
}

/// An overlay, as the thread sees it.
struct Speaker {
    ring: Keyring,
    since: u64,
    due: u64,
    /// What the core was told: address, node, when.
    told: Vec<(SocketAddr, NodeId, u64)>,
}

struct Beacons<'a> {
    inner: &'a Arc<Inner>,
    segment: Segment,
    /// The count of changes that `speakers` is of.
    changes: u64,
    speakers: BTreeMap<OverlayId, Speaker>,
    look_at: u64,
    /// Nothing is read before.
    rest_until: u64,
    reads: Bucket,
    opens: Bucket,
    tells: Bucket,
    /// When it was last logged that somebody speaks under another key.
    key_told_at: Option<u64>,
}

impl<'a> Beacons<'a> {
    fn new(inner: &'a Arc<Inner>) -> Self {
        let bucket = |(rate, depth): (u64, u64)| Bucket::new(rate, depth);
        Self {
            inner,
            segment: Segment::new(inner.discovery_settings().clone(), inner.local()),
            changes: 0,
            speakers: BTreeMap::new(),
            look_at: 0,
            rest_until: 0,
            reads: bucket(BEACONS_READ),
            opens: bucket(BEACONS_OPENED),
            tells: bucket(BEACONS_TOLD),
            key_told_at: None,
        }
    }

    fn counters(&self) -> &'a Counters {
        &self.inner.discovery.counters
    }

    /// Takes over which overlays are on. `false`: none is, and the thread is no more.
    fn take_changes(&mut self, state: &mut State) -> bool {
        if state.on.is_empty() {
            state.running = None;
            self.counters().addresses.store(0, Ordering::Relaxed);
            return false;
        }
        if state.changes == self.changes {
            return true;
        }
        self.changes = state.changes;
        let mut before = std::mem::take(&mut self.speakers);
        for (id, on) in &state.on {
            let old = before.remove(id).filter(|old| old.since == on.since);
            let (due, told) = old.map_or((0, Vec::new()), |old| (old.due, old.told));
            let speaker = Speaker {
                ring: on.ring.share(),
                since: on.since,
                due,
                told,
            };
            self.speakers.insert(*id, speaker);
        }
        true
    }

    /// Looks over the interfaces now and then. Whoever is on a new one learns of us at once.
    fn look(&mut self, now: u64) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + BEACON_LOOK_EVERY.as_nanos() as u64;
        if self.segment.refresh() {
            for speaker in self.speakers.values_mut() {
                speaker.due = 0;
            }
        }
        let addresses = self.segment.addresses();
        self.counters()
            .addresses
            .store(addresses, Ordering::Relaxed);
    }

    fn send(&mut self, now: u64) {
        let every = self.inner.discovery_settings().every.as_nanos() as u64;
        let who = (self.inner.node, self.inner.boot);
        let counters = self.counters();
        for speaker in self.speakers.values_mut() {
            if now < speaker.due {
                continue;
            }
            let random = u16::from_le_bytes(entropy::bytes());
            speaker.due = now + wait(now, speaker.since, every, random);
            let ring = &speaker.ring;
            let (sent, failed) = self
                .segment
                .send(|addr| hearing::beacon(ring, who, addr, entropy::bytes()).ok());
            counters.sent.fetch_add(sent, Ordering::Relaxed);
            counters.send_failed.fetch_add(failed, Ordering::Relaxed);
        }
    }

    /// Waits until something is due, said or changed.
    fn sleep(&mut self, now: u64, wake: &EventFd) {
        let due = self.speakers.values().map(|speaker| speaker.due);
        let mut until = due.fold(self.look_at, u64::min);
        let is_resting = now < self.rest_until;
        if is_resting {
            until = until.min(self.rest_until);
        }
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        if !is_resting {
            let ears = self.segment.ears();
            fds.extend(ears.map(|ear| PollFd::from_borrowed_fd(ear.as_fd(), PollFlags::IN)));
        }
        let left = until.saturating_sub(now);
        let timeout = Timespec {
            tv_sec: (left / SECOND_NS) as i64,
            tv_nsec: (left % SECOND_NS) as _,
        };
        // Interrupted by a signal: the loop looks again.
        let _ = poll(&mut fds, Some(&timeout));
        // An error that reading does not take away must not keep a core busy.
        let faults = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        if fds.iter().any(|fd| fd.revents().intersects(faults)) {
            self.rest_until = now + REST_NS;
        }
    }

    /// Reads what came, within the budget.
    fn read(&mut self) {
        let now = clock::now();
        if now < self.rest_until {
            return;
        }
        let (mut heard, mut is_foreign) = (Vec::new(), None);
        let mut room = [0; BEACON_BYTES_MAX + 1];
        for ear in self.segment.ears() {
            for _ in 0..BEACONS_PER_TURN {
                if !self.reads.take(now) {
                    self.rest_until = now + REST_NS;
                    break;
                }
                let Some((len, from)) = receive(ear, &mut room) else {
                    break;
                };
                let rings = self.speakers.values().map(|speaker| &speaker.ring);
                let datagram = &mut room[..len];
                let (me, ip) = (&self.inner.node, from.ip());
                let opened = match len > BEACON_BYTES_MAX {
                    true => Err(Refused::Header),
                    false => hearing::hear(rings, me, ip, datagram, now, &mut self.opens),
                };
                match opened {
                    Ok(found) => heard.extend(found),
                    Err(why) => {
                        self.inner.discovery.counters.refuse(why);
                        is_foreign = is_foreign.or((why == Refused::Key).then_some(from.ip()));
                    }
                }
            }
        }
        for found in heard {
            self.on_heard(now, found);
        }
        if let Some(from) = is_foreign {
            self.on_foreign(now, from);
        }
    }

    /// The commonest mistake: two nodes of one overlay that were not given one key. Whoever floods fills no log.
    fn on_foreign(&mut self, now: u64, from: IpAddr) {
        let lately = |at: u64| now < at + FOREIGN_TOLD_NS;
        if !self.key_told_at.is_some_and(lately) {
            self.key_told_at = Some(now);
            tracing::warn!(%from, "discovery: somebody on the network segment runs an overlay of the same name under another key; members need the same key file");
        }
    }

    /// Tells the core, unless it was told lately.
    fn on_heard(&mut self, now: u64, heard: Heard) {
        self.counters().received.fetch_add(1, Ordering::Relaxed);
        let Some(speaker) = self.speakers.get_mut(&heard.overlay) else {
            return;
        };
        let told = &mut speaker.told;
        let known = told
            .iter()
            .position(|(addr, node, _)| (*addr, *node) == (heard.addr, heard.node));
        let again = BEACONS_TOLD_AGAIN.as_nanos() as u64;
        if known.is_some_and(|at| now < told[at].2 + again) {
            return;
        }
        if !self.tells.take(now) {
            self.inner.discovery.counters.refuse(Refused::Rate);
            return;
        }
        if !self.inner.found(heard.overlay, heard.node, heard.addr) {
            return;
        }
        let gone = match known {
            None if told.len() >= BEACONS_TOLD_MAX => (0..told.len()).min_by_key(|at| told[*at].2),
            known => known,
        };
        if let Some(at) = gone {
            told.swap_remove(at);
        }
        told.push((heard.addr, heard.node, now));
        if known.is_none() {
            let overlay = self.inner.name_of(heard.overlay);
            tracing::debug!(overlay, addr = %heard.addr, node = %heard.node, "discovery: a node was heard");
        }
    }
}

/// The next datagram, if there is one: its length, which is more than is read of one that is too long, and where it
/// came from.
fn receive(ear: &UdpSocket, room: &mut [u8]) -> Option<(usize, SocketAddr)> {
    // An error of the socket is told once, and another datagram is read in the next turn.
    ear.recv_from(room).ok()
}
