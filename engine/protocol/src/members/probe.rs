//! Probing: every period one member is pinged, through others if it does not answer itself; and our own health, which
//! slows us down when it is rather we who are slow.

use std::collections::BTreeMap;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::digest::{Ack, MemberState, Nack, Ping, PingReq};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
use zerocopy::little_endian::U32;

use super::{Ctx, Members, PIGGYBACK, Timer, rumour_of};
use crate::peer::PeerIx;

/// Members asked to probe in our place.
const INDIRECT: usize = 3;
/// The health score runs from 0 to this; the period is stretched by it.
const HEALTH_MAX: u32 = 7;
/// Probes that we run for others at once.
const RELAYS_MAX: usize = 256;
/// Members that a node probes, tells things and compares its view with: each is probed by about as many others, so that a death is
/// seen as soon as if everybody probed everybody, and a node in a cluster of thousands needs links to twice as many, not to all. One of
/// them is the next by id, so that nobody is probed by none. See docs/decisions/0010.
pub(super) const PARTNERS: usize = 16;
/// A relay reports after this share of its own timeout, so that its answer is there in time.
const RELAY_TENTHS: u64 = 8;

/// A probe of ours that is not answered yet.
struct Probe {
    peer: PeerIx,
    sent_at: u64,
    /// The ping left over an open link, so that the answer measures the path.
    measures: bool,
    until: u64,
    asked: usize,
    nacks: usize,
    indirect: bool,
}

/// A probe that we run for another.
struct Relay {
    requester: PeerIx,
    no: u32,
}

/// Probes under way and the order of the next ones.
#[derive(Default)]
pub(crate) struct Probing {
    order: Vec<PeerIx>,
    next: usize,
    /// Of a view larger than `PARTNERS`: those that it was when they were chosen from so many.
    partners: Vec<PeerIx>,
    chosen_from: usize,
    /// The changes of the view until then.
    chosen_at: Option<u64>,
    last_no: u32,
    probes: BTreeMap<u32, Probe>,
    relays: BTreeMap<u32, Relay>,
    health: u32,
}

impl Probing {
    /// Something suggests that we are slow.
    pub(super) fn worsen(&mut self, by: u32) {
        self.health = self.health.saturating_add(by).min(HEALTH_MAX);
    }

    fn number(&mut self) -> u32 {
        self.last_no = self.last_no.wrapping_add(1);
        self.last_no
    }
}

impl Members {
    /// How slow we hold ourselves to be: 0 is healthy, [`HEALTH_MAX`] the worst.
    pub(crate) fn health_score(&self) -> u32 {
        self.probing.health
    }

    /// A period is over, give or take a quarter: the next member is probed.
    pub(super) fn on_period(&mut self, ctx: &mut Ctx<'_>) {
        let period = self.timing.period * u64::from(self.probing.health + 1);
        // Others' probes and answers wake a node seven times a second: most of its own leave together with one of those.
        let (from, until) = (ctx.now + period * 3 / 4, ctx.now + period * 5 / 4);
        self.timers.arm_within(Timer::Period, from, until);
        if self.leaving_since.is_none()
            && let Some(peer) = self.next_target(ctx)
        {
            self.probe(ctx, peer);
        }
    }

    /// The members to deal with: all that are live, or some of very many; those may have died meanwhile.
    pub(super) fn partners(&self) -> &[PeerIx] {
        let live = self.table.live();
        if live.len() > PARTNERS && !self.probing.partners.is_empty() {
            &self.probing.partners
        } else {
            live
        }
    }

    /// Of the live members the next by id, and those that rank first by a hash that no other node shares: it chooses others, and
    /// whoever joins or dies changes little.
    fn choose_partners(&mut self) {
        // Most of a round's members are heard anyway, and a round may take a second: a view of thousands is looked through if it changed.
        let changes = Some(self.table.changes());
        if self.probing.chosen_at == changes {
            return;
        }
        self.probing.chosen_at = changes;
        let partners = &mut self.probing.partners;
        partners.clear();
        partners.extend_from_slice(self.table.live());
        self.probing.chosen_from = partners.len();
        if partners.len() > PARTNERS {
            let id = |peer: &PeerIx| self.table.get(*peer).map(|entry| entry.id());
            let me = Some(self.me);
            // Behind the last comes the first.
            let next = partners
                .iter()
                .copied()
                .min_by_key(|peer| (id(peer) < me, id(peer)));
            let seed = xxh3_64(&self.own.portrait().boot.0);
            let rank = |peer: &PeerIx| {
                let hash = id(peer).map(|id| xxh3_64_with_seed(&id.0, seed));
                (Some(*peer) != next, hash)
            };
            partners.select_nth_unstable_by_key(PARTNERS - 1, rank);
            partners.truncate(PARTNERS);
            partners.shrink_to_fit();
            partners.sort_unstable();
        }
    }

    /// The next of a shuffled round over the partners that was not heard within the last period anyway.
    fn next_target(&mut self, ctx: &mut Ctx<'_>) -> Option<PeerIx> {
        let live = self.table.live().len();
        let other = live.abs_diff(self.probing.chosen_from) > self.probing.chosen_from / 4;
        if live > PARTNERS && other {
            // A round over those of another view would take too long.
            self.probing.next = self.probing.order.len();
        }
        for _ in 0..=live.min(PARTNERS) {
            if self.probing.next >= self.probing.order.len() {
                self.choose_partners();
                self.probing.order.clear();
                self.probing.order.extend_from_slice(&self.probing.partners);
                ctx.rng.shuffle(&mut self.probing.order);
                self.probing.next = 0;
            }
            let peer = *self.probing.order.get(self.probing.next)?;
            self.probing.next += 1;
            if self.needs_probe(ctx, peer) {
                return Some(peer);
            }
        }
        None
    }

    fn needs_probe(&self, ctx: &Ctx<'_>, peer: PeerIx) -> bool {
        let Some(entry) = self.table.get(peer).filter(|entry| entry.is_live()) else {
            return false;
        };
        let probed = self.probing.probes.values().any(|probe| probe.peer == peer);
        let heard = ctx
            .links
            .link(peer)
            .is_some_and(|link| ctx.now < link.last_heard + self.timing.period);
        !probed && (entry.state == MemberState::Suspect || !heard)
    }

    fn probe(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        let no = self.probing.number();
        let timeout = self.probe_timeout(ctx, peer);
        let stretch = u64::from(self.probing.health + 1);
        let measures = ctx.links.is_up(peer);
        self.ping(ctx, peer, no);
        self.counters.probes += 1;
        let probe = Probe {
            peer,
            sent_at: ctx.now,
            measures,
            until: ctx.now + (3 * timeout).max(self.timing.period) * stretch,
            asked: 0,
            nacks: 0,
            indirect: false,
        };
        self.probing.probes.insert(no, probe);
        self.timers.arm(Timer::Probe(no), ctx.now + timeout);
    }

    /// A closed port was seen: others are asked at once.
    pub(super) fn ask_others(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        let no = self.probing.number();
        let until = ctx.now + 2 * self.timing.probe_timeout.1;
        let probe = Probe {
            peer,
            sent_at: ctx.now,
            measures: false,
            until,
            asked: 0,
            nacks: 0,
            indirect: false,
        };
        self.probing.probes.insert(no, probe);
        self.go_indirect(ctx, no);
    }

    /// clamp(srtt + 4 rttvar), or the longest where the path is unknown or a handshake comes first.
    fn probe_timeout(&self, ctx: &Ctx<'_>, peer: PeerIx) -> u64 {
        let (shortest, longest) = self.timing.probe_timeout;
        match ctx.links.link(peer) {
            Some(link) if link.rtt.is_known() => link.rtt.bound().clamp(shortest, longest),
            _ => longest,
        }
    }

    /// PING with gossip; to a suspect with the rumour about it, so that it can refute.
    fn ping(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx, no: u32) {
        let Some(entry) = self.table.get(peer) else {
            return;
        };
        let ping = Ping {
            no: U32::new(no),
            target: entry.id(),
            ..Default::default()
        };
        let suspect = entry.state == MemberState::Suspect;
        let said = rumour_of(entry, MemberState::Suspect, self.me, false);
        let is_up = ctx.links.is_up(peer);
        self.reach(ctx, peer);
        ctx.links.push(peer, |writer| {
            writer.put(&ping) && (!suspect || writer.put(&said))
        });
        // Where nobody may be listening nothing counts as told.
        if is_up {
            self.piggyback(ctx, peer, PIGGYBACK);
        }
    }

    pub(super) fn on_probe_timeout(&mut self, ctx: &mut Ctx<'_>, no: u32) {
        let Some(probe) = self.probing.probes.get(&no) else {
            return;
        };
        let (peer, sent_at) = (probe.peer, probe.sent_at);
        if ctx
            .links
            .link(peer)
            .is_some_and(|link| link.last_heard > sent_at)
        {
            self.succeed(no);
        } else if self.woke_at == Some(ctx.now) {
            // We were asleep, not the peer: what lies in our sockets may be its answer.
            self.probing.probes.remove(&no);
            self.probing.worsen(1);
        } else if ctx.now >= probe.until {
            self.fail(ctx, no);
        } else if probe.indirect {
            self.timers.arm(Timer::Probe(no), probe.until);
        } else {
            self.counters.probes_late += 1;
            if ctx.links.is_up(peer) {
                ctx.links.redial(peer, false);
            }
            self.go_indirect(ctx, no);
        }
    }

    fn go_indirect(&mut self, ctx: &mut Ctx<'_>, no: u32) {
        let Some(probe) = self.probing.probes.get(&no) else {
            return;
        };
        let (target, until) = (probe.peer, probe.until);
        let Some(id) = self.table.get(target).map(|entry| entry.id()) else {
            self.probing.probes.remove(&no);
            return;
        };
        let request = PingReq {
            no: U32::new(no),
            target: id,
            ..Default::default()
        };
        let links = &*ctx.links;
        let fits = |peer: PeerIx, state| {
            peer != target
                && state == MemberState::Alive
                && links.is_up(peer)
                && !mutant(Mutant::NobodyAsked)
        };
        let helpers = self.pick(ctx.rng, INDIRECT, |peer, entry| fits(peer, entry.state));
        for peer in &helpers {
            ctx.links.push(*peer, |writer| writer.put(&request));
        }
        if let Some(probe) = self.probing.probes.get_mut(&no) {
            probe.indirect = true;
            probe.asked = helpers.len();
        }
        self.timers.arm(Timer::Probe(no), until);
    }

    fn succeed(&mut self, no: u32) {
        self.timers.disarm(Timer::Probe(no));
        if self.probing.probes.remove(&no).is_some() {
            self.probing.health = self.probing.health.saturating_sub(1);
        }
    }

    fn fail(&mut self, ctx: &mut Ctx<'_>, no: u32) {
        let Some(probe) = self.probing.probes.remove(&no) else {
            return;
        };
        self.counters.probes_failed += 1;
        // Helpers that heard us and say so clear us; those that do not even answer make us doubt ourselves.
        self.probing.worsen((probe.asked - probe.nacks) as u32);
        if let Some(entry) = self.table.get(probe.peer).filter(|entry| entry.is_live()) {
            let stand = entry.stand();
            self.suspect(ctx, probe.peer, stand, self.me, false);
        }
    }

    /// PING.
    pub(crate) fn on_ping(&mut self, ctx: &mut Ctx<'_>, from: PeerIx, ping: &Ping) {
        if ping.target != self.me {
            return;
        }
        let ack = Ack {
            no: ping.no,
            ..Default::default()
        };
        ctx.links.push(from, |writer| writer.put(&ack));
        match self.table.get(from).map(|entry| entry.state) {
            Some(MemberState::Dead) => self.tell_dead(ctx, from),
            // It has no place in our view yet: its record was lost, or ours was.
            None => self.owed.push(from),
            Some(_) => {}
        }
        self.piggyback(ctx, from, PIGGYBACK);
    }

    /// ACK: from the target itself, or from a helper that reached it.
    pub(crate) fn on_ack(&mut self, ctx: &mut Ctx<'_>, from: PeerIx, ack: &Ack) {
        let no = ack.no.get();
        if let Some(relay) = self.probing.relays.remove(&no) {
            self.timers.disarm(Timer::Relay(no));
            let ack = Ack {
                no: U32::new(relay.no),
                ..Default::default()
            };
            ctx.links.push(relay.requester, |writer| writer.put(&ack));
            return;
        }
        let Some(probe) = self.probing.probes.get(&no) else {
            return;
        };
        if probe.measures && from == probe.peer {
            let elapsed = ctx.now - probe.sent_at;
            self.probe_rtt.record(elapsed, 1);
            if let Some(link) = ctx.links.link_mut(from) {
                link.rtt.sample(elapsed);
            }
        }
        self.succeed(no);
    }

    /// PING_REQ: somebody wants us to probe a member.
    pub(crate) fn on_ping_req(&mut self, ctx: &mut Ctx<'_>, from: PeerIx, request: &PingReq) {
        let target = ctx
            .peers
            .find(&request.target)
            .filter(|peer| self.table.get(*peer).is_some());
        let Some(target) = target.filter(|_| self.probing.relays.len() < RELAYS_MAX) else {
            self.send_nack(ctx, from, request.no.get());
            return;
        };
        let no = self.probing.number();
        let relay = Relay {
            requester: from,
            no: request.no.get(),
        };
        self.probing.relays.insert(no, relay);
        let timeout = self.probe_timeout(ctx, target) * RELAY_TENTHS / 10;
        self.timers.arm(Timer::Relay(no), ctx.now + timeout);
        self.ping(ctx, target, no);
    }

    /// NACK: a helper heard us but not the target.
    pub(crate) fn on_nack(&mut self, nack: &Nack) {
        if let Some(probe) = self.probing.probes.get_mut(&nack.no.get())
            && probe.nacks < probe.asked
        {
            probe.nacks += 1;
        }
    }

    pub(super) fn on_relay_timeout(&mut self, ctx: &mut Ctx<'_>, no: u32) {
        if let Some(relay) = self.probing.relays.remove(&no) {
            self.send_nack(ctx, relay.requester, relay.no);
        }
    }

    fn send_nack(&self, ctx: &mut Ctx<'_>, to: PeerIx, no: u32) {
        let nack = Nack {
            no: U32::new(no),
            ..Default::default()
        };
        ctx.links.push(to, |writer| writer.put(&nack));
    }
}
