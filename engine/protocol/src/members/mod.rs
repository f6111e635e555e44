//! Membership: who is there. SWIM with Lifeguard's corrections, anti-entropy by bucket hashes, seeds tried for ever.
//!
//! The core feeds in digests by kind, link events and time, and drains events. Members decide who is alive; they use
//! links but never open a datagram. See chapter 12 of the wire specification for the rules that all nodes share.

mod evidence;
mod gossip;
mod heal;
mod merge;
mod own;
mod presence;
mod probe;
mod record;
mod seeds;
mod suspicion;
mod sync;
mod table;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;

use tidings_wire::digest::{Head, MemberState, MemberView, Rumour};
use tidings_wire::{Boot, NodeId};
use zerocopy::little_endian::U64;

use self::gossip::{About, Gossip};
use self::own::Own;
pub(crate) use self::own::Portrait;
pub(crate) use self::presence::MemberEvent;
use self::probe::Probing;
use self::seeds::Seeds;
use self::sync::Sync;
use self::table::{Entry, Stand, Table};
use crate::config::Profile;
use crate::latency::Latency;
use crate::links::{LinkEvent, Links};
use crate::peer::{PeerIx, Peers};
use crate::rng::Rng;
use crate::timers::Timers;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// Bytes of gossip that a probe or its answer carries along.
const PIGGYBACK: usize = 600;
/// A node that leaves answers for this long.
const LEAVE_NS: u64 = SECOND;
/// A node that lost its generation and is known nowhere takes 1 after this long on its first link.
const ASSUME_NS: u64 = SECOND;
/// A timer that is looked at this late shows that we were stopped, not that others are silent.
const ASLEEP_NS: u64 = SECOND;
/// How late what happens every few seconds may be, so that a node which is awake for a probe does it then.
const LATE_NS: u64 = 500 * MS;
/// Head flag of RUMOUR: the accuser saw the member's port closed.
const GONE: u8 = 1;

/// What a call may use besides the members.
pub(crate) struct Ctx<'a> {
    pub(crate) now: u64,
    pub(crate) peers: &'a mut Peers,
    pub(crate) links: &'a mut Links,
    pub(crate) rng: &'a mut Rng,
}

/// How a statement reached us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Via {
    /// On PAIR: gossip, or the owner itself.
    Gossip,
    /// On bulk: anti-entropy.
    Sync,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Period,
    Probe(u32),
    Relay(u32),
    Suspicion(PeerIx),
    Gone(PeerIx),
    Gossip,
    Sync,
    Seeds,
    Found,
    Reconnect,
    Tombstones,
    Assume,
}

crate::counters! {
    /// Counts of membership; monotonic.
    MemberCounters {
        probes: "Probes of members",
        probes_late: "Probes that were not answered in time, so that others were asked to try",
        probes_failed: "Probes that nobody answered, directly or through others",
        refutations: "Accusations of this node that it refuted",
        to_alive: "Members that joined, or came back",
        to_suspect: "Members that became suspect",
        to_dead: "Members that became dead",
        to_left: "Members that left",
        flaps: "Members that were suspect or dead and came back",
        put_off: "Deaths put off because this node itself seems to be cut off",
        jumps: "Statements refused because they are too far ahead to be true",
        invalid: "Statements refused because they cannot be true",
        table_full: "Members refused for want of room in the table",
    }
}

/// The membership of one overlay, as this node sees it.
pub(crate) struct Members {
    me: NodeId,
    own: Own,
    table: Table,
    timing: Profile,
    probing: Probing,
    gossip: Gossip,
    sync: Sync,
    seeds: Seeds,
    events: VecDeque<MemberEvent>,
    timers: Timers<Timer>,
    /// Peers to which our record goes directly in the next flush: they held something else.
    owed: Vec<PeerIx>,
    last_gossip: u64,
    // Another life of ours is outbid until then.
    claims_end: u64,
    /// Generations taken because another life of ours was heard of.
    claims: u32,
    leaving_since: Option<u64>,
    /// When we last found that we had not been running for a while.
    woke_at: Option<u64>,
    /// When a death was last put off because we seem to be cut off.
    braked_at: Option<u64>,
    pub(crate) counters: MemberCounters,
    /// How long answers to pings over open links took.
    pub(crate) probe_rtt: Box<Latency>,
    /// How long comparisons of views took, from our hashes to the peer's word that it has sent all.
    pub(crate) comparisons: Box<Latency>,
}

impl Members {
    /// A node that knows nobody yet. It begins with the first `on_timeout`.
    pub(crate) fn new(
        now: u64,
        portrait: Portrait,
        generation: Option<u64>,
        timing: Profile,
        rng: &mut Rng,
    ) -> Self {
        let mut timers = Timers::default();
        timers.arm(Timer::Seeds, now);
        timers.arm(Timer::Period, now + rng.below(timing.period));
        let sync_at = now + sync::wait(rng);
        for (timer, at) in [
            (Timer::Sync, sync_at),
            (Timer::Reconnect, now + heal::wait(rng)),
            (Timer::Tombstones, now + heal::TOMBSTONE_SCAN_NS),
        ] {
            timers.arm_within(timer, at, at + LATE_NS);
        }
        Self {
            me: portrait.id,
            own: Own::new(portrait, generation),
            table: Table::default(),
            timing,
            probing: Probing::default(),
            gossip: Gossip::default(),
            sync: Sync::new(sync_at),
            seeds: Seeds::default(),
            events: VecDeque::new(),
            timers,
            owed: Vec::new(),
            last_gossip: 0,
            claims_end: now + merge::CLAIMS_NS,
            claims: 0,
            leaving_since: None,
            woke_at: None,
            braked_at: None,
            counters: MemberCounters::default(),
            probe_rtt: Box::default(),
            comparisons: Box::default(),
        }
    }

    /// The configured seeds, resolved anew.
    pub(crate) fn set_seeds(&mut self, now: u64, addrs: &[SocketAddr]) {
        self.seeds.set(now, addrs);
        self.timers.arm(Timer::Seeds, now);
    }

    /// Members of an earlier life, tried while no seed answers.
    pub(crate) fn set_cached(&mut self, addrs: &[SocketAddr]) {
        self.seeds.set_cached(addrs);
    }

    /// Changes what our record says; it is issued once, in the next flush.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Portrait)) {
        self.own.change(change);
    }

    /// Other metadata for our record.
    pub(crate) fn set_metadata(&mut self, metadata: &[u8]) {
        self.change(|portrait| portrait.metadata = metadata.to_vec());
    }

    /// Other timing, from now on; who is suspect has until then as if it had become so under it.
    pub(crate) fn set_timing(&mut self, ctx: &mut Ctx<'_>, timing: Profile) {
        if self.timing == timing {
            return;
        }
        self.timing = timing;
        let next = ctx.now + ctx.rng.below(timing.period);
        self.timers.arm(Timer::Period, next);
        let live = self.table.live().len();
        let suspects: Vec<PeerIx> = self.table.live().to_vec();
        for peer in suspects {
            let entry = self.table.get_mut(peer);
            if let Some(suspicion) = entry.and_then(|entry| entry.suspicion_mut()) {
                suspicion.set_timing(live, &timing);
                // Not earlier: a timer that is late says that we were asleep.
                let deadline = suspicion.deadline().max(ctx.now);
                self.timers.arm(Timer::Suspicion(peer), deadline);
            }
        }
    }

    /// Another version of our subscription table.
    pub(crate) fn set_table_version(&mut self, version: u64) {
        if self.own.portrait().table != version {
            self.change(|portrait| portrait.table = version);
        }
    }

    /// Members held alive or suspect, by number; not ourselves.
    pub(crate) fn alive(&self) -> impl Iterator<Item = PeerIx> + '_ {
        self.table
            .iter()
            .filter(|(_, entry)| entry.is_live())
            .map(|(peer, _)| peer)
    }

    /// How many members are alive or suspect, without ourselves.
    pub(crate) fn alive_count(&self) -> usize {
        self.table.live().len()
    }

    /// Every member known, dead ones included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = PeerIx> + '_ {
        self.table.iter().map(|(peer, _)| peer)
    }

    /// What a member is held to be.
    pub(crate) fn state(&self, peer: PeerIx) -> Option<MemberState> {
        self.table.get(peer).map(|entry| entry.state)
    }

    /// A member's record as it last issued it.
    pub(crate) fn record(&self, peer: PeerIx) -> Option<MemberView<'_>> {
        self.table.get(peer)?.view()
    }

    /// The boot that a member's record names.
    pub(crate) fn boot(&self, peer: PeerIx) -> Option<Boot> {
        self.record(peer).map(|view| view.fixed.boot)
    }

    /// The version of its subscription table that a member advertises.
    pub(crate) fn table_version(&self, peer: PeerIx) -> Option<u64> {
        self.record(peer).map(|view| view.fixed.table.get())
    }

    /// Whether a link to the member was ever up.
    pub(crate) fn is_reached(&self, peer: PeerIx) -> bool {
        self.table.get(peer).is_some_and(Entry::is_reached)
    }

    /// Where to reach a member, best first.
    pub(crate) fn addresses(&self, peer: PeerIx) -> Vec<SocketAddr> {
        self.table
            .get(peer)
            .map(|entry| entry.places())
            .unwrap_or_default()
    }

    /// The highest generation known of a node, 0 for none: what a handshake must not fall below.
    pub(crate) fn known_generation(&self, peers: &Peers, id: &NodeId) -> u64 {
        let entry = peers.find(id).and_then(|peer| self.table.get(peer));
        entry.map_or(0, |entry| entry.stand().generation)
    }

    /// Incarnation of our own record.
    pub(crate) fn incarnation(&self) -> u64 {
        self.own.stand().map_or(0, |stand| stand.incarnation)
    }

    /// Whether a peer has told us every member that it knows.
    pub(crate) fn has_joined(&self) -> bool {
        self.sync.is_joined()
    }

    /// As before the first peer: [`Self::has_joined`] holds again when one has told us every member.
    pub(crate) fn forget_joining(&mut self) {
        self.sync.forget_joining();
    }

    /// Our own record as last issued, encoded; empty before the first.
    pub(crate) fn own_record(&self) -> &[u8] {
        self.own.encoded()
    }

    /// Our generation, once known: to be persisted.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.own.generation()
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self) -> Option<MemberEvent> {
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

    /// Sets a timer that may be a little late: a node that nothing else wakes for so long wakes for it.
    fn arm_late(&mut self, timer: Timer, at: u64) {
        self.timers.arm_within(timer, at, at + LATE_NS);
    }

    /// Does what is due.
    pub(crate) fn on_timeout(&mut self, ctx: &mut Ctx<'_>) {
        if self
            .timers
            .next()
            .is_some_and(|due| ctx.now > due + ASLEEP_NS)
        {
            self.woke_at = Some(ctx.now);
        }
        while let Some(timer) = self.timers.pop_due(ctx.now) {
            match timer {
                Timer::Period => self.on_period(ctx),
                Timer::Probe(no) => self.on_probe_timeout(ctx, no),
                Timer::Relay(no) => self.on_relay_timeout(ctx, no),
                Timer::Suspicion(peer) => self.on_suspicion_timeout(ctx, peer),
                Timer::Gone(peer) => self.on_gone_timeout(ctx, peer),
                Timer::Gossip => self.on_gossip(ctx),
                Timer::Sync => self.on_sync(ctx),
                Timer::Seeds => self.on_seeds(ctx),
                Timer::Found => self.on_try_found(ctx),
                Timer::Reconnect => self.on_reconnect(ctx),
                Timer::Tombstones => self.on_tombstones(ctx),
                Timer::Assume => self.on_assume(),
            }
        }
    }

    /// Issues our record if it changed.
    pub(crate) fn issue(&mut self, ctx: &mut Ctx<'_>) {
        if self.leaving_since.is_none() && self.own.issue() {
            ctx.links.local.generation = self.own.generation();
            ctx.links.set_greeting(self.own.encoded());
            self.tell_own(ctx);
        }
    }

    /// Goes on with what is owed to others and with anti-entropy pages. Called before the links are flushed.
    pub(crate) fn flush(&mut self, ctx: &mut Ctx<'_>) {
        self.issue(ctx);
        while let Some(peer) = self.owed.pop() {
            self.send_own(ctx, peer);
        }
        self.send_pages(ctx);
    }

    /// Leaves for good: tells everybody at once and goes on answering until `has_left`.
    pub(crate) fn leave(&mut self, ctx: &mut Ctx<'_>) {
        if self.leaving_since.is_some() {
            return;
        }
        self.leaving_since = Some(ctx.now);
        // Without a record nobody ever heard of us.
        let Some(stand) = self.own.stand() else {
            return;
        };
        let rumour = rumour(self.me, stand, MemberState::Left, self.me, false);
        self.tell(ctx, &rumour);
        for peer in self.table.live().to_vec() {
            if ctx.links.is_up(peer) {
                ctx.links.push(peer, |writer| writer.put(&rumour));
            }
        }
    }

    /// Whether a departure has been told and answered for long enough to stop.
    pub(crate) fn has_left(&self, now: u64) -> bool {
        self.leaving_since
            .is_some_and(|since| self.own.stand().is_none() || now >= since + LEAVE_NS)
    }

    /// Something happened to links.
    pub(crate) fn on_link_event(&mut self, ctx: &mut Ctx<'_>, event: LinkEvent) {
        match event {
            LinkEvent::Up {
                peer, generation, ..
            }
            | LinkEvent::Reborn {
                peer, generation, ..
            } => {
                self.on_link_up(ctx, peer, generation);
            }
            LinkEvent::Down { .. } => {}
            LinkEvent::Met { addr, peer } => self.on_met(ctx, addr, peer),
            LinkEvent::Ourselves { addr } => self.seeds.met_ourselves(addr),
            LinkEvent::Twin {
                boot,
                generation,
                fresh,
            } => self.on_twin(ctx.now, boot, generation, fresh),
            LinkEvent::Adopted { generation } => self.adopt(generation),
            LinkEvent::Outlived { generation } => self.on_outlived(ctx.now, generation),
        }
    }

    // Somebody answered at an address. Over a link that both ends kept while they held each other dead nobody says anything.
    fn on_met(&mut self, ctx: &mut Ctx<'_>, addr: SocketAddr, peer: PeerIx) {
        self.seeds.met(addr, peer);
        let state = self.table.get(peer).map(|entry| entry.state);
        if state == Some(MemberState::Dead) && ctx.links.is_up(peer) {
            self.tell_dead(ctx, peer);
        }
    }

    // We had lost our generation, and a peer knew of one below this, or of none.
    fn adopt(&mut self, generation: u64) {
        if self.own.generation().is_none_or(|ours| ours < generation) {
            self.own.set_generation(generation);
        }
        if generation == 1 {
            self.claims_end = u64::MAX;
        }
    }

    fn on_link_up(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx, generation: u64) {
        let Some(link) = ctx.links.open_link(peer) else {
            return;
        };
        let (addr, initiated) = (link.addr, link.sessions.used_ref().initiated);
        let known = self.table.get_mut(peer).map(|entry| {
            entry.met_at(addr);
            (
                entry.state,
                (generation == 0).then(|| entry.record().to_vec()),
            )
        });
        self.owed.push(peer);
        if self.own.generation().is_none() {
            self.timers.arm(Timer::Assume, ctx.now + ASSUME_NS);
        }
        if let Some((_, Some(record))) = &known {
            // It lost its generation: its own old record tells it.
            ctx.links.push(peer, |writer| writer.put_encoded(record));
        }
        match known.as_ref().map(|(state, _)| *state) {
            Some(MemberState::Dead) => self.tell_dead(ctx, peer),
            Some(MemberState::Suspect) => self.tell_suspect(ctx, peer),
            _ => {}
        }
        self.ask_suspects(ctx, peer);
        self.sync.on_link_up(peer);
        let live = known
            .is_some_and(|(state, _)| matches!(state, MemberState::Alive | MemberState::Suspect));
        let joins =
            !self.sync.is_settled(ctx.now) && self.sync.may_compare(ctx.now, self.alive_count());
        if joins || (!live && initiated) {
            self.sync_with(ctx, peer);
        }
    }

    /// Our record goes to one peer directly.
    fn send_own(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        if !self.own.encoded().is_empty() && self.leaving_since.is_none() {
            ctx.links
                .push(peer, |writer| writer.put_encoded(self.own.encoded()));
        }
    }

    fn on_assume(&mut self) {
        if self.own.generation().is_none() {
            self.adopt(1);
        }
    }
}

/// A RUMOUR about a member where it stands.
fn rumour_of(entry: &Entry, state: MemberState, accuser: NodeId, gone: bool) -> Rumour {
    rumour(entry.id(), entry.stand(), state, accuser, gone)
}

/// A RUMOUR.
fn rumour(
    subject: NodeId,
    stand: Stand,
    state: MemberState,
    accuser: NodeId,
    gone: bool,
) -> Rumour {
    Rumour {
        head: Head::flagged(if gone { GONE } else { 0 }),
        state: state as u8,
        id: subject,
        generation: U64::new(stand.generation),
        incarnation: U64::new(stand.incarnation),
        accuser,
        ..Default::default()
    }
}

/// What orders a rumour.
fn about(rumour: &Rumour) -> About {
    About {
        subject: rumour.id,
        stand: Stand {
            generation: rumour.generation.get(),
            incarnation: rumour.incarnation.get(),
        },
        state: MemberState::from_wire(rumour.state).unwrap_or(MemberState::Alive),
        accuser: rumour.accuser,
    }
}
