//! From evidence to verdict: suspicion, death by silence, death by a closed port, and the brake on mass death.

use tidings_wire::NodeId;
use tidings_wire::digest::MemberState;
use tidings_wire::mutants::{Mutant, mutant};

use super::suspicion::{self, Suspicion};
use super::table::{Entry, Stand};
use super::{Ctx, MS, MemberEvent, Members, SECOND, Timer, rumour, rumour_of};
use crate::peer::PeerIx;

/// Two distinct observers of a closed port and this much silence are death.
const GONE_SILENCE_NS: u64 = 500 * MS;
const GONE_OBSERVERS: usize = 2;
/// A verdict that is held back is looked at again after this.
const AGAIN_NS: u64 = SECOND;
/// A member heard within this time is not taken for dead on another's word.
const HEARD_NS: u64 = SECOND;
/// Suspects tried at once when a link comes up.
const SUSPECTS_ASKED: usize = 16;
/// The brake needs a view of this many, ourselves included, and more than 3 in 10 of it suspect or freshly dead.
const BRAKE_VIEW_MIN: usize = 8;
const BRAKE_TENTHS: usize = 3;

impl Members {
    /// An ICMP port-unreachable quoted a fresh datagram of ours to this peer.
    pub(crate) fn on_unreachable(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        let Some(entry) = self.table.get(peer).filter(|entry| entry.is_live()) else {
            return;
        };
        if entry.observers().contains(&self.me) {
            return;
        }
        let stand = entry.stand();
        self.suspect(ctx, peer, stand, self.me, true);
        self.ask_others(ctx, peer);
    }

    /// Somebody accuses a member. Confirmations count; what is known or outdated changes nothing.
    pub(super) fn suspect(
        &mut self,
        ctx: &mut Ctx<'_>,
        peer: PeerIx,
        stand: Stand,
        accuser: NodeId,
        gone: bool,
    ) {
        let Some(entry) = self.table.get(peer) else {
            return;
        };
        let same = stand == entry.stand();
        let news = match entry.state {
            MemberState::Suspect if same => self.confirm(peer, accuser, gone),
            MemberState::Alive if same => self.begin_suspicion(ctx, peer, stand, accuser, gone),
            _ => self.is_news(peer, stand) && self.begin_suspicion(ctx, peer, stand, accuser, gone),
        };
        if news {
            self.spread_suspicion(ctx, peer, accuser, gone);
        }
    }

    fn confirm(&mut self, peer: PeerIx, accuser: NodeId, gone: bool) -> bool {
        let Some(entry) = self.table.get_mut(peer) else {
            return false;
        };
        let closed = gone && entry.observe(accuser);
        let confirmed = entry
            .suspicion_mut()
            .is_some_and(|suspicion| suspicion.confirm(accuser));
        closed || confirmed
    }

    fn begin_suspicion(
        &mut self,
        ctx: &Ctx<'_>,
        peer: PeerIx,
        stand: Stand,
        accuser: NodeId,
        gone: bool,
    ) -> bool {
        let live = self.table.live().len();
        let suspicion = Suspicion::new(ctx.now, accuser, live, &self.timing);
        let suspect = MemberState::Suspect;
        let Some(before) = self.table.shift(ctx.now, peer, stand, suspect) else {
            return false;
        };
        if let Some(entry) = self.table.get_mut(peer) {
            entry.suspect(suspicion);
            if gone {
                entry.observe(accuser);
            }
        }
        // That it was back, and at which stand it was suspect before, may not have come through to us.
        match before {
            MemberState::Alive | MemberState::Suspect => {}
            MemberState::Dead => self.events.push_back(MemberEvent::Rejoin { peer }),
            MemberState::Left => self.events.push_back(MemberEvent::In { peer }),
        }
        if before != MemberState::Suspect {
            self.events.push_back(MemberEvent::Quarantine { peer });
        }
        true
    }

    /// Others hear of it, and so does the suspect, which can refute within a round trip.
    fn spread_suspicion(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx, accuser: NodeId, gone: bool) {
        let Some(entry) = self.table.get(peer) else {
            return;
        };
        let said = rumour_of(entry, MemberState::Suspect, accuser, gone);
        let closed = entry.observers().len() >= GONE_OBSERVERS;
        if let Some(suspicion) = entry.suspicion() {
            self.timers
                .arm(Timer::Suspicion(peer), suspicion.deadline());
        }
        if closed {
            self.timers.arm(Timer::Gone(peer), ctx.now);
        }
        if ctx.links.is_up(peer) {
            ctx.links.push(peer, |writer| writer.put(&said));
        }
        self.tell(ctx, &said);
    }

    /// A suspect hears that it is one.
    pub(super) fn tell_suspect(&self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        if let Some(entry) = self.table.get(peer) {
            let said = rumour_of(entry, MemberState::Suspect, self.me, false);
            ctx.links.push(peer, |writer| writer.put(&said));
        }
    }

    /// A link came up while others are suspect: perhaps it was we who were away. Some of them are tried at once.
    pub(super) fn ask_suspects(&self, ctx: &mut Ctx<'_>, but: PeerIx) {
        let suspects = self.table.live().iter().copied().filter(|peer| {
            *peer != but
                && self
                    .table
                    .get(*peer)
                    .is_some_and(|entry| entry.state == MemberState::Suspect)
        });
        for peer in suspects.take(SUSPECTS_ASKED) {
            if ctx.links.is_up(peer) {
                ctx.links.redial(peer, false);
            } else {
                self.reach(ctx, peer);
            }
        }
    }

    /// Somebody passes on a verdict.
    pub(super) fn on_dead(
        &mut self,
        ctx: &mut Ctx<'_>,
        peer: PeerIx,
        stand: Stand,
        accuser: NodeId,
    ) {
        let Some(entry) = self.table.get(peer) else {
            return;
        };
        let since = entry
            .suspicion()
            .map_or(ctx.now, |suspicion| suspicion.since);
        let same = stand == entry.stand() && entry.is_live();
        if self.is_cut_off(ctx, since) {
            self.suspect(ctx, peer, stand, accuser, false);
        } else if self.is_heard(ctx, peer, HEARD_NS) {
            self.suspect(ctx, peer, stand, accuser, false);
            self.condemn(ctx, peer);
        } else if same || self.is_news(peer, stand) {
            self.die(ctx, peer, stand, accuser);
        }
    }

    /// Others hold dead whom we just heard: a second of silence proves them right.
    fn condemn(&mut self, ctx: &Ctx<'_>, peer: PeerIx) {
        if let Some(suspicion) = self
            .table
            .get_mut(peer)
            .and_then(|entry| entry.suspicion_mut())
        {
            suspicion.condemned = true;
            self.timers.arm(Timer::Suspicion(peer), ctx.now + HEARD_NS);
        }
    }

    pub(super) fn on_suspicion_timeout(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        let Some(entry) = self
            .table
            .get(peer)
            .filter(|entry| entry.state == MemberState::Suspect)
        else {
            return;
        };
        let Some(suspicion) = entry.suspicion() else {
            return;
        };
        let condemned = suspicion.condemned;
        // Where others have waited already, a shorter silence is enough.
        let heard = self.is_heard(
            ctx,
            peer,
            if condemned {
                HEARD_NS
            } else {
                self.timing.suspicion_min / 2
            },
        );
        if ctx.now < suspicion.deadline() && (heard || !condemned) {
            let again = if condemned {
                ctx.now + AGAIN_NS
            } else {
                u64::MAX
            };
            self.timers
                .arm(Timer::Suspicion(peer), suspicion.deadline().min(again));
            return;
        }
        let (stand, since) = (entry.stand(), suspicion.since);
        let awake_at = self
            .woke_at
            .map_or(0, |at| at + self.timing.suspicion_min / 2);
        if ctx.now < awake_at {
            // We were asleep: the refutation may lie in our sockets.
            self.timers.arm(Timer::Suspicion(peer), awake_at);
            return;
        }
        // The brake is no pardon: after twice the longest suspicion it yields.
        let braked = ctx.now < since + 2 * suspicion.longest() && self.is_cut_off(ctx, since);
        if heard {
            self.tell_suspect(ctx, peer);
        } else if braked {
            self.counters.put_off += 1;
            self.braked_at = Some(ctx.now);
            self.probing.worsen(u32::MAX);
        } else {
            self.die(ctx, peer, stand, self.me);
            return;
        }
        self.timers.arm(Timer::Suspicion(peer), ctx.now + AGAIN_NS);
    }

    pub(super) fn on_gone_timeout(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        let closed = |entry: &&Entry| {
            entry.state == MemberState::Suspect && entry.observers().len() >= GONE_OBSERVERS
        };
        let Some(entry) = self.table.get(peer).filter(closed) else {
            return;
        };
        let stand = entry.stand();
        let heard = ctx.links.link(peer).map_or(0, |link| link.last_heard);
        if ctx.now >= heard + GONE_SILENCE_NS {
            self.die(ctx, peer, stand, self.me);
        } else {
            self.timers.arm(Timer::Gone(peer), heard + GONE_SILENCE_NS);
        }
    }

    /// Whether a death is being put off because it is rather we who are cut off. Such a one is looked at again after [`AGAIN_NS`], and
    /// the look may come somewhat late.
    pub(crate) fn suspects_partition(&self, now: u64) -> bool {
        self.braked_at.is_some_and(|at| now < at + 2 * AGAIN_NS)
    }

    fn die(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx, stand: Stand, accuser: NodeId) {
        let Some(id) = self.table.get(peer).map(|entry| entry.id()) else {
            return;
        };
        let before = self.table.shift(ctx.now, peer, stand, MemberState::Dead);
        self.timers.disarm(Timer::Suspicion(peer));
        self.timers.disarm(Timer::Gone(peer));
        self.tell(ctx, &rumour(id, stand, MemberState::Dead, accuser, false));
        ctx.links.forget(ctx.now, peer);
        if before == Some(MemberState::Left) {
            self.events.push_back(MemberEvent::In { peer });
        }
        if before != Some(MemberState::Dead) {
            self.events.push_back(MemberEvent::Unreachable { peer });
        }
    }

    fn is_heard(&self, ctx: &Ctx<'_>, peer: PeerIx, within: u64) -> bool {
        ctx.links
            .link(peer)
            .is_some_and(|link| ctx.now < link.last_heard + within)
    }

    /// Whether it is rather we who are cut off: more than 3 in 10 of the view fell silent together, and no seed (or,
    /// without seeds, nobody at all) was heard since.
    fn is_cut_off(&self, ctx: &Ctx<'_>, since: u64) -> bool {
        let live = self.table.live().len();
        let brakes = |dead: usize| {
            let (view, silent) = (1 + live + dead, self.table.suspects() + dead);
            view >= BRAKE_VIEW_MIN && silent * 10 > view * BRAKE_TENTHS && !mutant(Mutant::NoBrake)
        };
        // The more, the sooner: nobody looks through thousands of members, for each that dies, for too few who are not alive at all.
        if !brakes(self.table.len() - live) {
            return false;
        }
        let window = 2 * suspicion::shortest(live, &self.timing);
        let fresh =
            |entry: &Entry| entry.state == MemberState::Dead && ctx.now < entry.since + window;
        let dead = self.table.iter().filter(|(_, entry)| fresh(entry)).count();
        if !brakes(dead) {
            return false;
        }
        let heard = |peer: PeerIx| {
            ctx.links
                .link(peer)
                .is_some_and(|link| link.last_heard > since)
        };
        let mut seeds = self.seeds.peers().peekable();
        if seeds.peek().is_some() {
            !seeds.any(heard)
        } else {
            !self.table.live().iter().any(|peer| heard(*peer))
        }
    }
}
