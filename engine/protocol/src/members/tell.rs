//! Telling others: to whom, when, and along with what.

use tidings_wire::digest::{MemberState, Rumour, Writer};

use super::gossip::About;
use super::{Ctx, Members, Timer, about, table};
use crate::links::reason;
use crate::peer::PeerIx;
use crate::rng::Rng;

/// Members told something in one round of gossip.
const GOSSIP_FANOUT: usize = 3;
/// Bytes of gossip in a datagram of its own.
const GOSSIP_BYTES: usize = 1100;

impl Members {
    pub(super) fn tell_own(&mut self, ctx: &Ctx<'_>) {
        if let Some(stand) = self.own.stand() {
            let about = About {
                subject: self.me,
                stand,
                state: MemberState::Alive,
                accuser: self.me,
            };
            self.gossip.tell(about, self.own.encoded());
            self.wake_gossip(ctx.now);
        }
    }

    /// Tells a rumour on.
    pub(super) fn tell(&mut self, ctx: &Ctx<'_>, rumour: &Rumour) {
        let mut bytes = [0; size_of::<Rumour>()];
        let mut writer = Writer::new(&mut bytes);
        if writer.put(rumour) {
            self.gossip.tell(about(rumour), &bytes);
            self.wake_gossip(ctx.now);
        }
    }

    /// Tells a member's record on, exactly as it came.
    pub(super) fn tell_record(&mut self, ctx: &Ctx<'_>, peer: PeerIx) {
        if let Some(entry) = self.table.get(peer) {
            let about = About {
                subject: entry.id(),
                stand: entry.stand(),
                state: MemberState::Alive,
                accuser: entry.id(),
            };
            self.gossip.tell(about, entry.record());
            self.wake_gossip(ctx.now);
        }
    }

    fn wake_gossip(&mut self, now: u64) {
        let at = now.max(self.last_gossip + self.gossip_period());
        self.timers.arm(Timer::Gossip, at);
    }

    fn gossip_period(&self) -> u64 {
        self.timing.period / 3
    }

    pub(super) fn on_gossip(&mut self, ctx: &mut Ctx<'_>) {
        self.last_gossip = ctx.now;
        for peer in self.pick(ctx.rng, GOSSIP_FANOUT, |_, _| true) {
            self.reach(ctx, peer);
            self.piggyback(ctx, peer, GOSSIP_BYTES);
        }
        if !self.gossip.is_empty() && self.alive_count() > 0 {
            self.timers
                .arm(Timer::Gossip, ctx.now + self.gossip_period());
        }
    }

    /// Puts what is to be told into the datagram for a peer.
    pub(super) fn piggyback(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx, room: usize) {
        let live = self.table.live().len() + 1;
        self.gossip.draw(room, live, |bytes| {
            ctx.links.push(peer, |writer| writer.put_encoded(bytes))
        });
    }

    /// Makes sure that a handshake with a member is under way, for one round over its addresses.
    pub(super) fn reach(&self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        if ctx.links.is_up(peer) || ctx.links.is_dialling(peer) {
            return;
        }
        if let Some(entry) = self.table.get(peer) {
            ctx.links.want(peer, &entry.places(), reason::MEMBERS);
            ctx.links.unwant(peer, reason::MEMBERS);
        }
    }

    /// Up to `count` random live partners that fit.
    pub(super) fn pick(
        &self,
        rng: &mut Rng,
        count: usize,
        fits: impl Fn(PeerIx, &table::Entry) -> bool,
    ) -> Vec<PeerIx> {
        let live = self.partners();
        let fits = |peer: PeerIx| {
            let entry = self.table.get(peer).filter(|entry| entry.is_live());
            entry.is_some_and(|entry| fits(peer, entry))
        };
        let mut out = Vec::with_capacity(count);
        // Random tries first; a sweep over a small or mostly unfit view then.
        for _ in 0..4 * count {
            if live.is_empty() || out.len() == count {
                return out;
            }
            let peer = live[rng.below(live.len() as u64) as usize];
            if fits(peer) && !out.contains(&peer) {
                out.push(peer);
            }
        }
        for peer in live {
            if out.len() < count && !out.contains(peer) && fits(*peer) {
                out.push(*peer);
            }
        }
        out
    }
}
