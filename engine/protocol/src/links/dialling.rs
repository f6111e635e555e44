//! Which dials there are: who is wanted, when a dial begins, rests and ends, and what its answers lead to.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tidings_wire::digest::{Digest, Digests, H2};
use tidings_wire::{Class, NodeId};

use super::dial::{Dial, Goal, Next, Pen, opened_terms};
use super::link::{SILENCE_NS, Terms};
use super::session::Parts;
use super::{Env, Kept, LinkEvent, Links, Owner, Refusal, Timer};
use crate::peer::PeerIx;

/// Dials at once. Beyond this a new one waits, if its peer is wanted, until half of them are done; any other is not made.
const DIALS_MAX: usize = 1024;
/// While no receive slot is free a dial looks again this often.
const SLOT_WAIT_NS: u64 = 100_000_000;
/// An existing link is renewed in this many rounds, or not at all.
const RENEW_ROUNDS: u32 = 3;

impl Links {
    /// Somebody needs a link to `peer`, who may be found at `addrs` (best first; empty keeps what is known).
    /// It is dialled until it is up, and anew after a loss, until nobody wants it any more.
    pub(crate) fn want(&mut self, peer: PeerIx, addrs: &[SocketAddr], reason: u8) {
        let want = self.wants.entry(peer).or_default();
        want.reasons |= reason;
        if !addrs.is_empty() && want.addrs != addrs {
            want.addrs = addrs.to_vec();
        }
        if !self.is_up(peer) && self.dial_of(peer).is_none() {
            self.redial(peer, false);
        }
    }

    /// A reason is gone; without any left the link is dropped when it has been idle, and not dialled again.
    pub(crate) fn unwant(&mut self, peer: PeerIx, reason: u8) {
        if let Some(want) = self.wants.get_mut(&peer) {
            want.reasons &= !reason;
            if want.reasons == 0 {
                self.wants.remove(&peer);
            }
        }
    }

    /// Tries once to reach whoever is at an address. Ends in `Met`, `Ourselves`, or silence.
    pub(crate) fn want_addr(&mut self, addr: SocketAddr) {
        let goal = Goal::Address(addr);
        if !self.dials.values().any(|dial| dial.goal == goal) {
            let link = self.fresh_link_number();
            self.add_dial(Dial::new(goal, vec![addr], link, None));
        }
    }

    /// Whether a handshake with the peer is under way.
    pub(crate) fn is_dialling(&self, peer: PeerIx) -> bool {
        self.dial_of(peer).is_some()
    }

    /// Opens another session to a peer: because it is silent, or (`renews`) because its keys are to change.
    pub(crate) fn redial(&mut self, peer: PeerIx, renews: bool) {
        if let Some(dial) = self.dial_of(peer).and_then(|no| self.dials.get_mut(&no)) {
            dial.renews |= renews;
            return;
        }
        let link = self
            .link(peer)
            .map(|link| (link.addr, link.our_link, link.rtt));
        let mut addrs: Vec<SocketAddr> = link.map(|(addr, ..)| addr).into_iter().collect();
        if let Some(want) = self.wants.get(&peer) {
            addrs.extend(
                want.addrs
                    .iter()
                    .filter(|addr| Some(**addr) != link.map(|(addr, ..)| addr)),
            );
        }
        if addrs.is_empty() {
            return;
        }
        let rtt = link.and_then(|(.., rtt)| rtt.is_known().then(|| rtt.rto()));
        let number = link.map_or_else(|| self.fresh_link_number(), |(_, number, _)| number);
        let mut dial = Dial::new(Goal::Peer(peer), addrs, number, rtt);
        dial.renews = renews;
        self.add_dial(dial);
        if let Some(link) = self.link_mut(peer) {
            link.dialled = true;
        }
    }

    fn add_dial(&mut self, dial: Dial) {
        if self.dials.len() >= DIALS_MAX {
            self.crowded = true;
            return;
        }
        let no = self.next_dial;
        self.next_dial = self.next_dial.wrapping_add(1);
        self.dials.insert(no, dial);
        self.due_dials.push(no);
    }

    /// Dials those who are wanted and had to wait.
    pub(super) fn dial_waiting(&mut self) {
        if !self.crowded || self.dials.len() > DIALS_MAX / 2 {
            return;
        }
        self.crowded = false;
        let dialled: BTreeSet<PeerIx> = self.dials.values().filter_map(|dial| dial.peer).collect();
        let waits = |peer: &PeerIx| !self.is_up(*peer) && !dialled.contains(peer);
        let waiting: Vec<PeerIx> = self.wants.keys().copied().filter(waits).collect();
        for peer in waiting {
            if self.crowded {
                return;
            }
            self.redial(peer, false);
        }
    }

    fn dial_of(&self, peer: PeerIx) -> Option<u32> {
        self.dials
            .iter()
            .find(|(_, dial)| dial.peer == Some(peer))
            .map(|(no, _)| *no)
    }

    /// Ends a dial and lets its slot rest, unless the slot belongs to a session now.
    pub(super) fn end_dial(&mut self, now: u64, no: u32) -> Option<Dial> {
        self.timers.disarm(Timer::Dial(no));
        let dial = self.dials.remove(&no)?;
        if let Some(slot) = dial.slot {
            self.slots.put_back(now, slot);
        }
        if let Some(peer) = dial.peer
            && self.dial_of(peer).is_none()
            && let Some(Kept::Open(link)) = self.links.get_mut(peer.at())
        {
            link.dialled = false;
        }
        Some(dial)
    }

    pub(super) fn cancel_dials(&mut self, now: u64, peer: PeerIx) {
        while let Some(no) = self.dial_of(peer) {
            self.end_dial(now, no);
        }
    }

    /// The link state of this number is gone: the peer would take whoever states it for one that still has it.
    pub(super) fn end_dials_of(&mut self, now: u64, peer: PeerIx, number: u32) {
        let states = |dial: &Dial| dial.peer == Some(peer) && dial.link == number;
        let dials = self.dials.iter().filter(|(_, dial)| states(dial));
        let dials: Vec<u32> = dials.map(|(no, _)| *no).collect();
        for no in dials {
            self.end_dial(now, no);
        }
    }

    /// Whether a handshake with these terms would end the link state that a dial of ours states, of which the peer may hold the
    /// session already: it would go on with a state that is gone.
    pub(super) fn would_end_dial(&self, peer: PeerIx, terms: &Terms) -> bool {
        let Some(held) = self.link(peer) else {
            return false;
        };
        let mut dials = self.dials.values().filter(|d| d.peer == Some(peer));
        !held.continues(terms, None)
            && dials.any(|d| d.link == held.our_link && d.is_confirming_with(terms.boot))
    }

    /// The peer opened a link to us while we dialled it: our dial goes on only if the peer may hold its session already.
    pub(super) fn yield_dial(&mut self, now: u64, peer: PeerIx) {
        let Some(no) = self.dial_of(peer) else {
            return;
        };
        let Some(dial) = self.dials.get_mut(&no) else {
            return;
        };
        let pending = std::mem::take(&mut dial.pending);
        if !dial.is_confirming() {
            self.end_dial(now, no);
        }
        if let Some(link) = self.link_mut(peer) {
            link.loose.append(pending);
        }
    }

    /// A link that was dialled again because it was silent speaks.
    pub(super) fn heard_while_dialled(&mut self, now: u64, peer: PeerIx) {
        let Some(no) = self.dial_of(peer) else {
            return;
        };
        let ends = self
            .dials
            .get(&no)
            .is_some_and(|dial| !dial.renews && !dial.is_confirming());
        if ends {
            self.end_dial(now, no);
        }
    }

    /// A dial's time has come: send, rest, or end.
    pub(super) fn run_dial(&mut self, env: &mut Env<'_>, no: u32) {
        let Some(dial) = self.dials.get_mut(&no) else {
            return;
        };
        if dial.slot.is_none() {
            dial.slot = self.slots.take(env.now, Owner::Dial(no));
            if dial.slot.is_none() {
                self.timers.arm(Timer::Dial(no), env.now + SLOT_WAIT_NS);
                return;
            }
        }
        match dial.on_timeout() {
            Next::Go => self.go(env, no),
            Next::RoundOver if self.is_worth_it(no) => self.rest(env, no),
            Next::RoundOver => {
                self.end_dial(env.now, no);
            }
        }
    }

    fn rest(&mut self, env: &mut Env<'_>, no: u32) {
        if let Some(dial) = self.dials.get(&no) {
            self.timers
                .arm(Timer::Dial(no), env.now + dial.rest(env.rng));
        }
    }

    /// Whether a dial whose round over all addresses failed should go on.
    fn is_worth_it(&self, no: u32) -> bool {
        let Some(dial) = self.dials.get(&no) else {
            return false;
        };
        match dial.goal {
            Goal::Address(_) => false,
            Goal::Peer(peer) if self.is_up(peer) => dial.rounds < RENEW_ROUNDS,
            Goal::Peer(peer) => self.wants.contains_key(&peer),
        }
    }

    fn go(&mut self, env: &mut Env<'_>, no: u32) {
        let Some(dial) = self.dials.get_mut(&no) else {
            return;
        };
        let target = match dial.goal {
            Goal::Peer(peer) => env.peers.id(peer),
            Goal::Address(_) => NodeId::ZERO,
        };
        let mut pen = Pen {
            now: env.now,
            local: &self.local,
            ring: env.ring,
            rng: env.rng,
            tx: env.tx,
            greeting: &self.greeting,
        };
        match dial.go(&mut pen, target, &mut self.hs) {
            Some(at) => self.timers.arm(Timer::Dial(no), at),
            None => {
                self.end_dial(env.now, no);
            }
        }
    }

    /// Our own H1 came back to us.
    pub(super) fn on_own_h1(&mut self, now: u64, nonce: &[u8; 16]) {
        let found = self
            .dials
            .iter()
            .find(|(_, dial)| dial.nonce() == nonce)
            .map(|(no, _)| *no);
        if let Some(dial) = found.and_then(|no| self.end_dial(now, no))
            && let Goal::Address(addr) = dial.goal
        {
            self.events.push_back(LinkEvent::Ourselves { addr });
        }
    }

    pub(super) fn on_cookie(
        &mut self,
        env: &mut Env<'_>,
        from: SocketAddr,
        nonce: &[u8; 16],
        cookie: u64,
    ) -> Result<(), Refusal> {
        let (no, dial) = self
            .dials
            .iter_mut()
            .find(|(_, dial)| dial.nonce() == nonce && dial.addr() == Some(from))
            .ok_or(Refusal::Unasked)?;
        if dial.on_cookie(env.now, cookie) {
            let no = *no;
            self.go(env, no);
        }
        Ok(())
    }

    pub(super) fn on_h2(
        &mut self,
        env: &mut Env<'_>,
        from: SocketAddr,
        key_slot: u8,
        h2: &H2,
    ) -> Result<(), Refusal> {
        let (no, dial) = self
            .dials
            .iter_mut()
            .find(|(_, dial)| dial.asked_for(h2, key_slot, from))
            .ok_or(Refusal::Unasked)?;
        let (no, goal) = (*no, dial.goal);
        dial.measure(env.now);
        let known = h2.known_generation.get();
        if h2.id == self.local.id {
            self.events.push_back(LinkEvent::Twin {
                boot: h2.boot,
                generation: known,
                fresh: true,
            });
            let ours = (self.local.generation.unwrap_or(0), self.local.boot);
            if ours > (known, h2.boot) {
                // It hears that we are: our H1 may have been anybody's, an H3 is ours.
                self.confirm(env, no, None, h2);
            } else {
                self.end_dial(env.now, no);
            }
            return Ok(());
        }
        let peer = match goal {
            Goal::Peer(peer) if env.peers.id(peer) == h2.id => peer,
            Goal::Peer(_) => return Err(Refusal::NotForUs),
            Goal::Address(_) => env.peers.intern(h2.id),
        };
        if let Goal::Address(addr) = goal {
            self.events.push_back(LinkEvent::Met { addr, peer });
            if let Some(link) = self.link(peer).filter(|link| link.boot == h2.boot) {
                // Handshakes that crossed and were given up leave each end with a session that the other does not hold.
                let silent = env.now >= link.last_heard + SILENCE_NS;
                self.end_dial(env.now, no);
                if silent {
                    self.redial(peer, false);
                }
                return Ok(());
            }
        }
        if self.learn_generation(known) {
            self.confirm(env, no, Some(peer), h2);
        }
        Ok(())
    }

    /// What a peer knows of our generation. False if our introduction would be refused.
    fn learn_generation(&mut self, known: u64) -> bool {
        match self.local.generation {
            None => {
                let generation = known.saturating_add(1);
                self.local.generation = Some(generation);
                self.events.push_back(LinkEvent::Adopted { generation });
                true
            }
            Some(ours) if known > ours => {
                self.events
                    .push_back(LinkEvent::Outlived { generation: known });
                false
            }
            Some(_) => true,
        }
    }

    fn confirm(&mut self, env: &mut Env<'_>, no: u32, peer: Option<PeerIx>, h2: &H2) {
        let Some(dial) = self.dials.get_mut(&no) else {
            return;
        };
        dial.peer = peer;
        let mut pen = Pen {
            now: env.now,
            local: &self.local,
            ring: env.ring,
            rng: env.rng,
            tx: env.tx,
            greeting: &self.greeting,
        };
        match dial.confirm(&mut pen, h2.id, h2) {
            Some(()) => self.go(env, no),
            None => {
                self.end_dial(env.now, no);
            }
        }
    }

    /// A datagram on a slot that waits for OPENED: the responder leads every datagram with it until it hears us.
    pub(super) fn open_on_dial<'a>(
        &mut self,
        now: u64,
        no: u32,
        class: Class,
        datagram: &'a mut [u8],
    ) -> Result<(PeerIx, &'a [u8]), Refusal> {
        let dial = self.dials.get_mut(&no).ok_or(Refusal::Slot)?;
        let (peer, addr, slot) = (dial.peer, dial.addr(), dial.slot);
        let answer = dial
            .answer_mut()
            .filter(|_| class == Class::Pair)
            .ok_or(Refusal::Unopened)?;
        let opened = answer.keys.pair_rx.open(datagram)?;
        let (counter, body) = (opened.counter, opened.body);
        let Some(Ok(Digest::Opened(opened))) = Digests::new(body).next() else {
            return Err(Refusal::Unopened);
        };
        answer.keys.pair_rx.mark(counter);
        let (Some(peer), Some(addr), Some(slot)) = (peer, addr, slot) else {
            return Err(Refusal::Unopened);
        };
        dial.measure(now);
        let (ours, answer) = (dial.link, dial.take_answer().ok_or(Refusal::Unopened)?);
        let terms = opened_terms(opened, answer.boot);
        let preferred = self.is_preferred(&answer.peer_id, true);
        let held = self.open_link(peer);
        if held.is_some_and(|link| link.is_crossed(now, &terms, Some(ours), preferred)) {
            self.end_dial(now, no);
            return Err(Refusal::Crossed);
        }
        if let Some(dial) = self.dials.get_mut(&no) {
            dial.slot = None;
        }
        let Some(dial) = self.end_dial(now, no) else {
            return Err(Refusal::Unopened);
        };
        let parts = Parts {
            preferred,
            keys: answer.keys,
            key_slot: answer.key_slot,
            slot,
            tx_index: opened.rx_index.get(),
            tx_steer: opened.steer,
            id: answer.id,
            initiated: true,
        };
        self.attach(now, (peer, answer.peer_id, addr), &terms, parts, Some(ours));
        if let Some(link) = self.link_mut(peer) {
            link.loose.append(dial.pending);
            if let Some(rtt) = dial.rtt.filter(|_| !link.rtt.is_known()) {
                link.rtt.sample(rtt);
            }
        }
        Ok((peer, body))
    }
}
