//! Links: the authenticated relations to peers. Handshakes open them, channels run over them, silence ends them.
//!
//! The core feeds in datagrams by class, digests of the link layer and time, and drains events; `flush` plans what is to
//! be sent. Whoever needs a peer asks with `want`. Nothing here decides whether a peer is alive: that is `members`.

pub(crate) mod budget;
pub(crate) mod channel;
pub(crate) mod congestion;
mod dial;
mod dialling;
mod handshake;
mod installed;
pub(crate) mod link;
mod loose;
mod pack;
mod path;
mod refusal;
mod rekey;
mod respond;
pub(crate) mod rtt;
mod session;
mod slots;
#[cfg(test)]
mod tests;
pub(crate) mod traffic;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::digest::{Digest, Digests, Writer};
use tidings_wire::{Boot, Class, Header, Keyring, NodeId, OpenError, index_boot_tag, index_slot};

use self::budget::Budget;
use self::dial::Dial;
pub(crate) use self::handshake::Local;
use self::handshake::Secrets;
use self::installed::Installed;
use self::link::{Folded, Known, Link, PROBE_REST_NS, REST_NS, Terms};
use self::path::Path;
pub(crate) use self::refusal::Refusal;
use self::session::{Parts, Session};
use self::slots::Slots;
use self::traffic::{Past, PeerCounters};
use crate::peer::{PeerIx, Peers, reach};
use crate::rng::Rng;
use crate::timers::Timers;
use crate::tx::Tx;

/// Reasons to want a link, as bits.
pub(crate) mod reason {
    /// Failure detection and gossip.
    pub(crate) const MEMBERS: u8 = 1;
    /// Subscription tables, streams and their acknowledgements.
    pub(crate) const DELIVERY: u8 = 2;
}

/// What a call may use besides the links: passed in, never kept.
pub(crate) struct Env<'a> {
    pub(crate) now: u64,
    pub(crate) ring: &'a Keyring,
    pub(crate) rng: &'a mut Rng,
    pub(crate) peers: &'a mut Peers,
    pub(crate) tx: &'a mut Tx,
}

/// What happened to links. Drained by the core after every call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LinkEvent {
    /// A link is up with empty channels; nothing said to the peer before counts.
    Up {
        peer: PeerIx,
        boot: Boot,
        generation: u64,
    },
    /// The peer restarted: its old link is gone, the one to the new boot is up.
    Reborn {
        peer: PeerIx,
        boot: Boot,
        generation: u64,
    },
    /// The link and what waited in its channels are gone.
    Down { peer: PeerIx },
    /// Somebody answered at an address that was dialled as such.
    Met { addr: SocketAddr, peer: PeerIx },
    /// We answered at an address that was dialled as such.
    Ourselves { addr: SocketAddr },
    /// Another boot of our own node id spoke; if that is fresh, it did so in this life of ours.
    Twin {
        boot: Boot,
        generation: u64,
        fresh: bool,
    },
    /// A peer told the generation that we had lost; ours is one above.
    Adopted { generation: u64 },
    /// A peer knows our node id in a later generation than ours.
    Outlived { generation: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Link(PeerIx),
    Dial(u32),
    /// Folded links are looked through for those that go.
    Folded,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Link(PeerIx),
    Dial(u32),
}

/// How often folded links are looked through for those that nobody needs any more.
const SWEEP_NS: u64 = 60_000_000_000;
/// How late a link is folded, so that a node which wakes up for something else does it then.
const LATE_NS: u64 = 500_000_000;

/// The link to one peer.
enum Kept {
    None,
    Open(Box<Link>),
    /// Nothing was said for a while: see [`Link::fold`].
    Folded(Box<Folded>),
}

/// Who wants a peer, and where it may be found.
#[derive(Default)]
struct Want {
    reasons: u8,
    addrs: Vec<SocketAddr>,
}

/// All links of one core.
pub(crate) struct Links {
    pub(crate) local: Local,
    /// The latest time that was told.
    now: u64,
    /// Digests that travel with every H3: our member record.
    greeting: Vec<u8>,
    links: Vec<Kept>,
    dirty: Vec<PeerIx>,
    /// Those that somebody may have changed since [`Links::take_changed`].
    changed: Vec<PeerIx>,
    /// By peer: whether it is in `dirty`, and in `changed`.
    marked: Vec<(bool, bool)>,
    slots: Slots<Owner>,
    dials: BTreeMap<u32, Dial>,
    due_dials: Vec<u32>,
    next_dial: u32,
    /// A dial was not made because there were too many.
    crowded: bool,
    wants: BTreeMap<PeerIx, Want>,
    timers: Timers<Timer>,
    /// [`Timer::Folded`] is armed.
    sweeps: bool,
    /// Folded links were looked through.
    swept: bool,
    events: VecDeque<LinkEvent>,
    secrets: Secrets,
    budget: Budget,
    installed: Installed,
    hs: u64,
    next_link: u32,
    past: Past,
    /// The key slot that seals, and since when.
    primary: u8,
    primary_since: u64,
}

impl Links {
    /// No links yet. Slots must be granted before anything can be opened. `primary` is the key slot that seals.
    pub(crate) fn new(now: u64, local: Local, primary: u8, rng: &mut Rng) -> Self {
        Self {
            local,
            now,
            greeting: Vec::new(),
            links: Vec::new(),
            dirty: Vec::new(),
            changed: Vec::new(),
            marked: Vec::new(),
            slots: Slots::default(),
            dials: BTreeMap::new(),
            due_dials: Vec::new(),
            next_dial: 0,
            crowded: false,
            wants: BTreeMap::new(),
            timers: Timers::default(),
            sweeps: false,
            swept: false,
            events: VecDeque::new(),
            secrets: Secrets::new(now, rng),
            budget: Budget::new(rng.next_u64()),
            installed: Installed::default(),
            hs: 0,
            next_link: 0,
            past: Past::default(),
            primary,
            primary_since: now,
        }
    }

    /// All that went to and came from the peer.
    pub(crate) fn counters(&self, peer: PeerIx) -> PeerCounters {
        let mut all = self.past.of(peer);
        if let Some(link) = self.link(peer) {
            all.add(&link.counters);
        }
        all
    }

    /// The peer is forgotten, and its number will be another's.
    pub(crate) fn forget_counters(&mut self, peer: PeerIx) {
        self.past.forget(peer);
    }

    /// Adds a block of 256 receive slots.
    pub(crate) fn grant_slots(&mut self, block: u16) {
        self.slots.grant(block);
    }

    /// Whether another block should be granted.
    pub(crate) fn wants_slots(&self) -> bool {
        self.slots.wants_block()
    }

    /// The one encoded digest that every H3 carries from now on.
    pub(crate) fn set_greeting(&mut self, digest: &[u8]) {
        self.greeting.clear();
        self.greeting.extend_from_slice(digest);
    }

    /// What is known of the link to a peer.
    pub(crate) fn link(&self, peer: PeerIx) -> Option<&Known> {
        match self.links.get(peer.at())? {
            Kept::None => None,
            Kept::Open(link) => Some(&link.known),
            Kept::Folded(folded) => Some(&folded.known),
        }
    }

    /// The link to a peer if it is not folded, to look at.
    pub(crate) fn open_link(&self, peer: PeerIx) -> Option<&Link> {
        match self.links.get(peer.at())? {
            Kept::Open(link) => Some(link),
            _ => None,
        }
    }

    /// The link to a peer, to be flushed afterwards.
    pub(crate) fn link_mut(&mut self, peer: PeerIx) -> Option<&mut Link> {
        // The number of this node itself is beyond all.
        self.links.get(peer.at())?;
        self.mark(peer);
        self.unfolded(peer)
    }

    fn unfolded(&mut self, peer: PeerIx) -> Option<&mut Link> {
        let kept = self.links.get_mut(peer.at())?;
        if let Kept::Folded(_) = kept
            && let Kept::Folded(folded) = std::mem::replace(kept, Kept::None)
        {
            *kept = Kept::Open(Box::new(folded.unfold(self.now, &self.local)));
        }
        match kept {
            Kept::Open(link) => Some(link),
            _ => None,
        }
    }

    /// Whether there is a link to a peer.
    pub(crate) fn is_up(&self, peer: PeerIx) -> bool {
        self.link(peer).is_some()
    }

    /// What is known of every link, by peer.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Known> {
        self.links.iter().filter_map(|kept| match kept {
            Kept::None => None,
            Kept::Open(link) => Some(&link.known),
            Kept::Folded(folded) => Some(&folded.known),
        })
    }

    /// Every link that is not folded, by peer.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().filter_map(|kept| match kept {
            Kept::Open(link) => Some(&**link),
            _ => None,
        })
    }

    /// Queues digests to go out once: with this turn's PAIR datagram, or with the handshake that is under way.
    /// False if there is neither, or no room.
    pub(crate) fn push(
        &mut self,
        peer: PeerIx,
        write: impl FnOnce(&mut Writer<'_>) -> bool,
    ) -> bool {
        if self.is_up(peer) {
            return self.link_mut(peer).is_some_and(|link| link.push(write));
        }
        let dial = self.dials.values_mut().find(|dial| dial.peer == Some(peer));
        dial.is_some_and(|dial| dial.pending.push_with(write))
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// When `on_timeout` has something to do.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.timers.next()
    }

    /// Whether it has something to do that could wait.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.timers.is_due(now)
    }

    /// Notes what is due; `flush` does it.
    pub(crate) fn on_timeout(&mut self, now: u64) {
        self.now = now;
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Link(peer) => self.mark(peer),
                Timer::Dial(no) => self.due_dials.push(no),
                Timer::Folded => self.sweep(now),
            }
        }
    }

    /// Opens a PAIR or BULK datagram: which peer it is from and its digests. Every error changed nothing but counters.
    pub(crate) fn open<'a>(
        &mut self,
        now: u64,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Result<(PeerIx, &'a [u8]), Refusal> {
        self.now = now;
        let (class, index) = match Header::parse(datagram).map_err(Refusal::Header)? {
            Header::Pair(header) => (Class::Pair, header.index.get()),
            Header::Bulk(header) => (Class::Bulk, header.index.get()),
            Header::Hello(_) | Header::Fan(_) => return Err(Refusal::Open(OpenError::Session)),
        };
        if index_boot_tag(index) != self.local.boot_tag & 0xfff {
            return Err(Refusal::BootTag);
        }
        let slot = index_slot(index);
        match self.slots.owner(slot).ok_or(Refusal::Slot)? {
            Owner::Link(peer) => self.open_on_link(now, from, (peer, slot, class), datagram),
            Owner::Dial(no) => self.open_on_dial(now, no, class, datagram),
        }
    }

    fn open_on_link<'a>(
        &mut self,
        now: u64,
        from: SocketAddr,
        (peer, slot, class): (PeerIx, u32, Class),
        datagram: &'a mut [u8],
    ) -> Result<(PeerIx, &'a [u8]), Refusal> {
        let link = self.unfolded(peer).ok_or(Refusal::Slot)?;
        let session = link.sessions.by_slot(slot).ok_or(Refusal::Slot)?;
        let rx = if class == Class::Pair {
            &mut session.keys.pair_rx
        } else {
            &mut session.keys.bulk_rx
        };
        let len = datagram.len();
        let opened = match rx.open(datagram) {
            Ok(opened) => opened,
            Err(error) => {
                link.counters.open_failed += 1;
                let rest = self.rests_after(peer);
                self.fold(now, peer, rest);
                return Err(error.into());
            }
        };
        if opened.duplicate {
            link.counters.duplicates += 1;
            if mutant(Mutant::DuplicateUnheard) {
                return Err(Refusal::Duplicate);
            }
            // Its acknowledgement may be what was lost.
            for digest in Digests::new(opened.body).flatten() {
                match digest {
                    Digest::Ctl(_) => link.ctl.rx.repeat_ack(now),
                    Digest::Bulk(_) => link.bulk.rx.repeat_ack(now),
                    _ => {}
                }
            }
            self.mark(peer);
            return Err(Refusal::Duplicate);
        }
        rx.mark(opened.counter);
        link.counters.datagrams_in += 1;
        link.counters.bytes_in += len as u64;
        let body = opened.body;
        link.heard(now, slot, from, len);
        let dialled = link.dialled;
        self.mark(peer);
        if dialled {
            self.heard_while_dialled(now, peer);
        }
        Ok((peer, body))
    }

    /// Whether an ICMP port-unreachable from `addr` quotes a PAIR datagram that we sent there in the last seconds.
    pub(crate) fn unreachable(&self, now: u64, addr: SocketAddr, quoted: &[u8]) -> Option<PeerIx> {
        let (head, _) = quoted.split_first_chunk::<16>()?;
        if head[0] != Class::Pair.first_byte() {
            return None;
        }
        let index = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let (_, counter) = head.split_last_chunk::<8>()?;
        let counter = u64::from_le_bytes(*counter);
        let link = self
            .iter()
            .find(|link| link.addr == addr && link.sent_lately(now, index, counter))?;
        Some(link.peer)
    }

    /// Paths are probed for another size at most; those that carry more are used for so much.
    pub(crate) fn set_datagram_max(&mut self, now: u64, limit: usize) {
        self.local.datagram_max = limit;
        let mut others = Vec::new();
        for kept in &mut self.links {
            match kept {
                Kept::Open(link) => {
                    link.set_datagram_max(now, limit);
                    others.push(link.peer);
                }
                Kept::Folded(folded) => {
                    let carried = folded.known.datagram;
                    folded.known.datagram =
                        self.local.datagram_min.max(path::at_most(carried, limit));
                    others.push(folded.known.peer);
                }
                Kept::None => {}
            }
        }
        others.into_iter().for_each(|peer| self.mark(peer));
    }

    /// The host's interface refused a datagram of so many bytes to `to`: of what the path was known to carry, or a probe.
    pub(crate) fn on_too_big(&mut self, now: u64, to: SocketAddr, bytes: usize) {
        let mut narrower = Vec::new();
        for kept in &mut self.links {
            let known = match kept {
                Kept::Open(link) if link.addr == to => {
                    if bytes <= link.datagram {
                        link.shrink(now);
                    } else {
                        link.path.on_refused(now, bytes);
                    }
                    &link.known
                }
                Kept::Folded(folded)
                    if folded.known.addr == to && bytes <= folded.known.datagram =>
                {
                    folded.known.datagram = self.local.datagram_min;
                    &folded.known
                }
                _ => continue,
            };
            narrower.push(known.peer);
        }
        narrower.into_iter().for_each(|peer| self.mark(peer));
    }

    /// Plans everything that is due: handshakes, then the links that changed.
    pub(crate) fn flush(&mut self, env: &mut Env<'_>) {
        self.now = env.now;
        self.dial_waiting();
        while let Some(no) = self.due_dials.pop() {
            self.run_dial(env, no);
        }
        while let Some(peer) = self.dirty.pop() {
            self.marked[peer.at()].0 = false;
            self.flush_link(env.now, peer, env.tx);
        }
        while let Some(no) = self.due_dials.pop() {
            self.run_dial(env, no);
        }
    }

    fn flush_link(&mut self, now: u64, peer: PeerIx, tx: &mut Tx) {
        let Some(Kept::Open(link)) = self.links.get_mut(peer.at()) else {
            return;
        };
        while let Some(slot) = link.sessions.expire(now) {
            self.slots.put_back(now, slot);
        }
        if link.is_idle(now) && !self.wants.contains_key(&peer) {
            self.drop_idle(now, peer);
            return;
        }
        let rest = self.rests_after(peer);
        if self.fold(now, peer, rest) {
            return;
        }
        let Some(Kept::Open(link)) = self.links.get_mut(peer.at()) else {
            return;
        };
        let before = tx.written();
        link.flush(now, &self.local, tx);
        let after = tx.written();
        link.counters.datagrams_out += after.datagrams - before.datagrams;
        link.counters.bytes_out += after.bytes - before.bytes;
        let due = link.deadline(now).map(|at| at.max(now + 1));
        let rest = link.looked_at(now, rest);
        let redials = link.redials(now);
        let renews = !link.dialled && link.wants_session(now, self.primary, self.primary_since);
        let until = due.unwrap_or(u64::MAX).min(rest + LATE_NS);
        self.timers
            .arm_within(Timer::Link(peer), rest.min(until), until);
        if redials || renews {
            self.redial(peer, renews);
        }
    }

    /// Forgets a peer's link, dials and wants: it is dead, or left.
    pub(crate) fn forget(&mut self, now: u64, peer: PeerIx) {
        self.wants.remove(&peer);
        self.cancel_dials(now, peer);
        self.drop_link(now, peer);
    }

    // How long nothing must be said over a link before it is folded.
    fn rests_after(&self, peer: PeerIx) -> u64 {
        if self.wants.contains_key(&peer) {
            return REST_NS;
        }
        let rtt = self.link(peer).map_or(0, |link| link.rtt.smoothed());
        PROBE_REST_NS.max(2 * rtt).min(REST_NS)
    }

    /// Folds a link over which nothing was said for `rest`; false if something may be to be said.
    fn fold(&mut self, now: u64, peer: PeerIx, rest: u64) -> bool {
        let Some(kept) = self.links.get_mut(peer.at()) else {
            return false;
        };
        if !matches!(kept, Kept::Open(link) if link.rests(now, rest)) {
            return false;
        }
        if let Kept::Open(link) = std::mem::replace(kept, Kept::None) {
            *kept = match link.fold() {
                Ok(folded) => Kept::Folded(Box::new(folded)),
                Err(link) => Kept::Open(link),
            };
        }
        self.timers.disarm(Timer::Link(peer));
        self.budget.rest(now);
        if !self.sweeps {
            self.sweeps = true;
            self.sweep_late(now);
        }
        true
    }

    fn sweep_late(&mut self, now: u64) {
        let at = now + SWEEP_NS;
        self.timers.arm_within(Timer::Folded, at, at + LATE_NS);
    }

    fn sweep(&mut self, now: u64) {
        let mut gone = Vec::new();
        (self.sweeps, self.swept) = (false, true);
        for kept in &self.links {
            if let Kept::Folded(folded) = kept {
                let known = &folded.known;
                self.sweeps = true;
                if known.is_idle(now) && !self.wants.contains_key(&known.peer) {
                    gone.push(known.peer);
                }
            }
        }
        if self.sweeps {
            self.sweep_late(now);
        }
        gone.into_iter().for_each(|peer| self.drop_idle(now, peer));
    }

    // Nobody deals with the peer: in time that would be so with thousands, and nothing of them is kept.
    fn drop_idle(&mut self, now: u64, peer: PeerIx) {
        self.drop_link(now, peer);
        self.past.forget(peer);
    }

    /// Whether folded links were looked through since this was last asked: a minute in which something rested is over.
    pub(crate) fn take_swept(&mut self) -> bool {
        std::mem::take(&mut self.swept)
    }

    fn drop_link(&mut self, now: u64, peer: PeerIx) {
        if self.take_link(now, peer).is_some() {
            self.timers.disarm(Timer::Link(peer));
            self.events.push_back(LinkEvent::Down { peer });
        }
    }

    /// Removes a link and lets its slots rest; returns the boot that it was to.
    fn take_link(&mut self, now: u64, peer: PeerIx) -> Option<Boot> {
        let kept = std::mem::replace(self.links.get_mut(peer.at())?, Kept::None);
        let known = match &kept {
            Kept::None => return None,
            Kept::Open(link) => {
                for slot in link.sessions.slots() {
                    self.slots.put_back(now, slot);
                }
                &link.known
            }
            Kept::Folded(folded) => {
                self.slots.put_back(now, folded.slot());
                &folded.known
            }
        };
        self.past.add(peer, &known.counters);
        let (boot, number) = (known.boot, known.our_link);
        self.mark(peer);
        self.end_dials_of(now, peer, number);
        Some(boot)
    }

    /// Files a session that a handshake opened: with the link that it continues, or as a new one.
    /// `our_link` is the link number that the handshake stated for us, None if it stated none yet (we responded).
    fn attach(
        &mut self,
        now: u64,
        who: (PeerIx, NodeId, SocketAddr),
        terms: &Terms,
        parts: Parts,
        our_link: Option<u32>,
    ) {
        let (peer, _, addr) = who;
        self.slots.hand_over(parts.slot, Owner::Link(peer));
        let initiated = parts.initiated;
        let session = Session::new(parts, now);
        let greeting = match initiated {
            true => self.greeting.clone(),
            false => Vec::new(),
        };
        let continued = self
            .link_mut(peer)
            .filter(|link| link.continues(terms, our_link));
        if let Some(link) = continued {
            link.renew(terms);
            link.addr = addr;
            link.owes_sign |= initiated;
            if initiated && !greeting.is_empty() {
                // Its acknowledgement comes over the new session, also from a peer that has nothing to say: then the old one can go.
                // Where there is no room for it there is more to say.
                let _ = link.ctl.push(&greeting);
            }
            if let Some(slot) = link.sessions.install(session, now) {
                self.slots.put_back(now, slot);
            }
            return;
        }
        let our_link = our_link.unwrap_or_else(|| self.link_number(peer));
        let path = Path::new(now, self.local.datagram_min, self.local.datagram_max);
        let mut link = Box::new(Link::new(now, who, our_link, terms, session, path));
        link.owes_sign = initiated;
        if let Some(old) = self.link(peer) {
            let is_same = old.boot == terms.boot;
            link.known.boot_before = if is_same { old.boot_before } else { old.boot };
        }
        let old = self.take_link(now, peer);
        self.announce(peer, terms, old);
        reach(&mut self.links, peer, || Kept::None);
        self.links[peer.at()] = Kept::Open(link);
        self.mark(peer);
    }

    fn announce(&mut self, peer: PeerIx, terms: &Terms, old: Option<Boot>) {
        let (boot, generation) = (terms.boot, terms.generation);
        match old {
            Some(old) if old != boot => {
                self.events.push_back(LinkEvent::Reborn {
                    peer,
                    boot,
                    generation,
                });
                return;
            }
            Some(_) => self.events.push_back(LinkEvent::Down { peer }),
            None => {}
        }
        self.events.push_back(LinkEvent::Up {
            peer,
            boot,
            generation,
        });
    }

    /// The number for a link about to be made: that of the dial which is under way to the peer, or a new one.
    fn link_number(&mut self, peer: PeerIx) -> u32 {
        let stated = self
            .dials
            .values()
            .find(|dial| dial.peer == Some(peer))
            .map(|dial| dial.link);
        let known = self.link(peer).map(|link| link.our_link);
        match stated.filter(|stated| Some(*stated) != known) {
            Some(stated) => stated,
            None => self.fresh_link_number(),
        }
    }

    fn fresh_link_number(&mut self) -> u32 {
        self.next_link = self.next_link.wrapping_add(1);
        self.next_link
    }

    fn mark(&mut self, peer: PeerIx) {
        if self.marked.len() <= peer.at() {
            self.marked.resize(peer.at() + 1, (false, false));
        }
        let (dirty, changed) = &mut self.marked[peer.at()];
        if !std::mem::replace(dirty, true) {
            self.dirty.push(peer);
        }
        if !std::mem::replace(changed, true) {
            self.changed.push(peer);
        }
    }

    /// Moves the peers to `peers` whose links came, went or may have changed since the last call.
    pub(crate) fn take_changed(&mut self, peers: &mut Vec<PeerIx>) {
        for &peer in &self.changed {
            self.marked[peer.at()].1 = false;
        }
        peers.append(&mut self.changed);
    }

    /// Whether the session opened by us is the one that the smaller node id opened.
    fn is_preferred(&self, peer: &NodeId, initiated: bool) -> bool {
        (self.local.id < *peer) == initiated
    }
}
