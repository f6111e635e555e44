//! Merging what is said of members: the order of statements, refutation, and other lives of ourselves.

use tidings_wire::digest::{MemberState, MemberView, Rumour, YouAreDead};
use tidings_wire::mutants::{Mutant, mutant};
use tidings_wire::{Boot, NodeId};
use zerocopy::little_endian::U64;

use super::table::{Entry, Stand, stand_of};
use super::{Ctx, GONE, MemberEvent, Members, SECOND, Timer, Via, about};
use crate::peer::PeerIx;

/// No generation reaches this: one above it would be none.
const GENERATION_END: u64 = 1 << 63;
/// Another life of ours is outbid this often; after that we are a copy.
const CLAIMS_MAX: u32 = 2;
/// So long after the start. Only if we lost our generation and nobody knew of one it may be our last life that we hear of later.
pub(super) const CLAIMS_NS: u64 = 60 * SECOND;
/// A member held dead is told so at most this often.
const TELL_DEAD_NS: u64 = SECOND;

impl Members {
    /// A MEMBER digest.
    pub(crate) fn on_member(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: PeerIx,
        view: &MemberView<'_>,
        via: Via,
    ) {
        let (id, stand) = (view.fixed.id, stand_of(view.fixed));
        if stand.generation == 0 || stand.generation >= GENERATION_END {
            self.counters.invalid += 1;
        } else if id == self.me {
            self.on_own_member(ctx, from, stand, view.fixed.boot);
        } else {
            match view.state() {
                MemberState::Alive => {
                    self.answer_outdated(ctx, from, view);
                    self.on_alive(ctx, from, view, via);
                }
                MemberState::Left => self.on_left(ctx, id, stand),
                MemberState::Suspect | MemberState::Dead => self.counters.invalid += 1,
            }
        }
    }

    // A member tells of itself what is not above the record of an earlier life of it: its disk is behind. It hears of that
    // record, and rises above it.
    fn answer_outdated(&self, ctx: &mut Ctx<'_>, from: PeerIx, view: &MemberView<'_>) {
        if ctx.peers.id(from) != view.fixed.id {
            return;
        }
        let Some(held) = self.record(from) else {
            return;
        };
        if held.fixed.boot != view.fixed.boot && stand_of(view.fixed) <= stand_of(held.fixed) {
            ctx.links
                .push(from, |writer| writer.put_encoded(held.encoded));
        }
    }

    /// A RUMOUR digest.
    pub(crate) fn on_rumour(&mut self, ctx: &mut Ctx<'_>, from: PeerIx, rumour: &Rumour, via: Via) {
        let said = about(rumour);
        if said.stand.generation == 0 || said.stand.generation >= GENERATION_END {
            self.counters.invalid += 1;
            return;
        }
        if said.subject == self.me {
            if said.state != MemberState::Alive {
                self.on_accused(ctx.now, from, said.stand);
            }
            return;
        }
        let Some(peer) = ctx
            .peers
            .find(&said.subject)
            .filter(|peer| self.table.get(*peer).is_some())
        else {
            return;
        };
        let gone = rumour.head.flags & GONE != 0;
        match said.state {
            // Alive is told by the record alone.
            MemberState::Alive => {}
            MemberState::Suspect => self.suspect(ctx, peer, said.stand, said.accuser, gone),
            MemberState::Dead if via == Via::Sync && !mutant(Mutant::DeadMerged) => {
                self.suspect(ctx, peer, said.stand, said.accuser, false)
            }
            MemberState::Dead => self.on_dead(ctx, peer, said.stand, said.accuser),
            MemberState::Left if said.accuser == said.subject || mutant(Mutant::LeftByOthers) => {
                self.on_left(ctx, said.subject, said.stand)
            }
            MemberState::Left => self.counters.invalid += 1,
        }
    }

    /// A peer holds us dead.
    pub(crate) fn on_you_are_dead(&mut self, ctx: &mut Ctx<'_>, from: PeerIx, digest: &YouAreDead) {
        let stand = Stand {
            generation: digest.generation.get(),
            incarnation: digest.incarnation.get(),
        };
        self.on_accused(ctx.now, from, stand);
    }

    /// Whether a statement about a known member is about something newer than what is held, and may be true: one that is not
    /// could never be refuted.
    pub(super) fn is_news(&mut self, peer: PeerIx, stand: Stand) -> bool {
        let Some(entry) = self.table.get(peer) else {
            return false;
        };
        if stand <= entry.stand() {
            return mutant(Mutant::OlderIsNews);
        }
        let jumps = stand.jumps(entry.stand());
        self.counters.jumps += u64::from(jumps);
        !jumps || mutant(Mutant::AnyIncarnation)
    }

    fn on_alive(&mut self, ctx: &mut Ctx<'_>, from: PeerIx, view: &MemberView<'_>, via: Via) {
        let stand = stand_of(view.fixed);
        let known = ctx
            .peers
            .find(&view.fixed.id)
            .filter(|peer| self.table.get(*peer).is_some());
        let Some(peer) = known else {
            self.on_newcomer(ctx, view, via);
            return;
        };
        let lags = |entry: &Entry| stand == entry.stand() && stand > entry.record_stand();
        if self.table.get(peer).is_some_and(lags) {
            self.take_record(peer, view);
            return;
        }
        let own = from == peer && self.table.get(peer).is_some_and(|e| stand > e.stand());
        if !own && !self.is_news(peer, stand) {
            return;
        }
        let before = self.table.shift(ctx.now, peer, stand, MemberState::Alive);
        self.take_record(peer, view);
        self.timers.disarm(Timer::Suspicion(peer));
        self.timers.disarm(Timer::Gone(peer));
        match before {
            Some(MemberState::Suspect | MemberState::Dead) => {
                self.events.push_back(MemberEvent::Rejoin { peer })
            }
            Some(MemberState::Left) => self.events.push_back(MemberEvent::In { peer }),
            Some(MemberState::Alive) | None => {}
        }
        if via == Via::Gossip || self.sync.is_settled(ctx.now) {
            self.tell_record(ctx, peer);
        }
    }

    fn on_newcomer(&mut self, ctx: &mut Ctx<'_>, view: &MemberView<'_>, via: Via) {
        let was_interned = ctx.peers.find(&view.fixed.id).is_some();
        let peer = ctx.peers.intern(view.fixed.id);
        if !self.table.insert(ctx.now, peer, view) {
            self.counters.table_full += 1;
            if !was_interned {
                ctx.peers.release(peer);
            }
            return;
        }
        if let (Some(link), Some(entry)) = (ctx.links.link(peer), self.table.get_mut(peer)) {
            entry.met_at(link.addr);
        }
        self.events.push_back(MemberEvent::In { peer });
        // What a joiner learns by anti-entropy everybody else knows already.
        if via == Via::Gossip || self.sync.is_settled(ctx.now) {
            self.tell_record(ctx, peer);
        }
    }

    fn take_record(&mut self, peer: PeerIx, view: &MemberView<'_>) {
        if let Some(entry) = self.table.get_mut(peer) {
            entry.take_record(view.encoded);
            self.events.push_back(MemberEvent::Changed { peer });
        }
    }

    fn on_left(&mut self, ctx: &mut Ctx<'_>, id: NodeId, stand: Stand) {
        let Some(peer) = ctx.peers.find(&id) else {
            return;
        };
        let same = self
            .table
            .get(peer)
            .is_some_and(|entry| entry.stand() == stand && entry.state != MemberState::Left);
        if !same && !self.is_news(peer, stand) {
            return;
        }
        let before = self.table.shift(ctx.now, peer, stand, MemberState::Left);
        self.timers.disarm(Timer::Suspicion(peer));
        self.timers.disarm(Timer::Gone(peer));
        let rumour = super::rumour(id, stand, MemberState::Left, id, false);
        self.tell(ctx, &rumour);
        ctx.links.forget(ctx.now, peer);
        if before != Some(MemberState::Left) {
            self.events.push_back(MemberEvent::Out { peer });
        }
    }

    /// Somebody calls us suspect, dead or gone at a stand.
    fn on_accused(&mut self, now: u64, from: PeerIx, stand: Stand) {
        let Some(own) = self.own.stand() else {
            self.on_outlived(now, stand.generation);
            return;
        };
        if stand.jumps(own) {
            self.counters.jumps += 1;
        } else if stand.generation > own.generation {
            self.on_outlived(now, stand.generation);
        } else if stand >= own {
            self.refute(from, stand.incarnation);
        } else {
            // It speaks of what is long refuted: it has not heard.
            self.owed.push(from);
        }
    }

    fn refute(&mut self, from: PeerIx, incarnation: u64) {
        self.own.rise_above(incarnation);
        self.counters.refutations += 1;
        self.probing.worsen(1);
        self.owed.push(from);
    }

    /// Our own record came back, or that of another life or copy of ours.
    fn on_own_member(&mut self, ctx: &Ctx<'_>, from: PeerIx, stand: Stand, boot: Boot) {
        if boot == self.own.portrait().boot {
            return;
        }
        match self.own.generation() {
            Some(ours) if stand.generation < ours => self.owed.push(from),
            // Another copy of us runs, or our disk is behind and this is of our last life.
            Some(ours) if stand.generation == ours && boot < self.own.portrait().boot => {
                // One statement must not use up all incarnations that are left.
                if stand.jumps(self.own.stand().unwrap_or_default()) {
                    self.counters.jumps += 1;
                } else {
                    self.own.rise_above(stand.incarnation);
                }
            }
            _ => self.on_outlived(ctx.now, stand.generation),
        }
    }

    /// Another boot of our id spoke. If it is fresh that lives, and one of the two goes.
    pub(super) fn on_twin(&mut self, now: u64, boot: Boot, generation: u64, fresh: bool) {
        let ours = (self.own.generation().unwrap_or(0), self.own.portrait().boot);
        if (generation, boot) <= ours {
            return;
        }
        // What is not fresh may be of an earlier life of ours: that stops nobody.
        if self.own.generation().is_none() && generation > 0 {
            self.on_outlived(now, generation);
        } else if fresh {
            self.lose(generation);
        }
    }

    /// Whether another life of ours may be outbid.
    fn may_claim(&self, now: u64) -> bool {
        let lost = self.own.generation().is_none();
        lost || (self.claims < CLAIMS_MAX && now < self.claims_end)
    }

    /// Our id is known in a later generation: our disk is behind, or we are a copy.
    pub(super) fn on_outlived(&mut self, now: u64, generation: u64) {
        let Some(next) = generation
            .checked_add(1)
            .filter(|next| *next < GENERATION_END)
        else {
            self.counters.invalid += 1;
            return;
        };
        if self.own.generation().is_some_and(|ours| ours > generation) {
            return;
        }
        if self.may_claim(now) {
            self.claims += u32::from(self.own.generation().is_some());
            self.own.set_generation(next);
        } else {
            self.lose(generation);
        }
    }

    fn lose(&mut self, generation: u64) {
        let event = MemberEvent::Conflict { generation };
        if !self.events.contains(&event) {
            self.events.push_back(event);
        }
    }

    /// A member that we hold dead speaks: it learns so.
    pub(super) fn tell_dead(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        let Some(entry) = self.table.get_mut(peer) else {
            return;
        };
        if entry
            .told_at()
            .is_some_and(|at| ctx.now < at + TELL_DEAD_NS)
        {
            return;
        }
        entry.told(ctx.now);
        let digest = YouAreDead {
            generation: U64::new(entry.stand().generation),
            incarnation: U64::new(entry.stand().incarnation),
            ..Default::default()
        };
        ctx.links.push(peer, |writer| writer.put(&digest));
    }
}
