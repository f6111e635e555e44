//! What brings a parted or forgetful cluster together again: seeds tried for ever, dead members tried anew, tombstones.

use std::net::SocketAddr;

use tidings_wire::NodeId;
use tidings_wire::digest::{BucketAsk, MemberState, bucket_of};

use super::seeds::FOUND_GAP_NS;
use super::table::Entry;
use super::{Ctx, MemberEvent, Members, SECOND, Timer};
use crate::peer::PeerIx;
use crate::rng::Rng;

/// Between two tries to reach a dead member, +- 50 %.
const RECONNECT_NS: u64 = 5 * SECOND;
/// All nodes together try each dead member about this often per period.
const TRIES_PER_DEAD: u64 = 2;
/// Dead members that one node tries at once: one cut off from thousands does not flood.
const TRIES_AT_ONCE: usize = 16;
/// Addresses of a dead member tried at once.
const ADDRS_PER_TRY: usize = 2;
/// Dead and departed members are remembered for this long.
const TOMBSTONE_NS: u64 = 72 * 3600 * SECOND;
/// Tombstones are looked over this often.
pub(super) const TOMBSTONE_SCAN_NS: u64 = 600 * SECOND;

/// How long until the next try.
pub(super) fn wait(rng: &mut Rng) -> u64 {
    rng.jitter(RECONNECT_NS)
}

impl Members {
    /// Tries the seeds that are not alive members.
    pub(super) fn on_seeds(&mut self, ctx: &mut Ctx<'_>) {
        let at = ctx.now + self.seeds.wait(ctx.now, ctx.rng);
        if self.table.live().is_empty() {
            self.timers.arm(Timer::Seeds, at);
        } else {
            self.arm_late(Timer::Seeds, at);
        }
        self.seeds.forget_silent(ctx.now);
        if self.leaving_since.is_none() {
            for addr in self.seeds.round(&self.table) {
                ctx.links.want_addr(addr);
            }
        }
    }

    /// A beacon told where a node is reached: at most one more to shake hands with.
    pub(crate) fn on_found(&mut self, ctx: &Ctx<'_>, id: &NodeId, addr: SocketAddr) {
        if *id == self.me {
            return;
        }
        let member = ctx.peers.find(id);
        let member = member.filter(|peer| self.table.get(*peer).is_some());
        if let Some(at) = self.seeds.hear(ctx.now, addr, member, &self.table) {
            self.timers.arm(Timer::Found, at);
        }
    }

    /// Tries what was just found.
    pub(super) fn on_try_found(&mut self, ctx: &mut Ctx<'_>) {
        if self.leaving_since.is_some() {
            return;
        }
        let (found, more) = self.seeds.new_found(ctx.now, &self.table);
        if more {
            self.timers.arm(Timer::Found, ctx.now + FOUND_GAP_NS);
        }
        for addr in found {
            ctx.links.want_addr(addr);
        }
    }

    /// Addresses that beacons told of lately.
    pub(crate) fn found_len(&self) -> usize {
        self.seeds.found_len()
    }

    /// Tries some dead members: so many that each gets about two tries per period from all nodes together.
    pub(super) fn on_reconnect(&mut self, ctx: &mut Ctx<'_>) {
        self.arm_late(Timer::Reconnect, ctx.now + wait(ctx.rng));
        if self.leaving_since.is_some() {
            return;
        }
        let is_dead = |entry: &Entry| entry.state == MemberState::Dead;
        let mut dead: Vec<PeerIx> = self
            .table
            .iter()
            .filter(|(_, entry)| is_dead(entry))
            .map(|(peer, _)| peer)
            .collect();
        let nodes = self.table.live().len() as u64 + 1;
        // The division is rounded up or down by chance, so that the sum over all nodes is right.
        let tries = (TRIES_PER_DEAD * dead.len() as u64 + ctx.rng.below(nodes)) / nodes;
        ctx.rng.shuffle(&mut dead);
        dead.truncate(TRIES_AT_ONCE.min(tries as usize));
        for peer in &dead {
            if let Some(entry) = self.table.get(*peer) {
                for addr in entry.places().into_iter().take(ADDRS_PER_TRY) {
                    ctx.links.want_addr(addr);
                }
            }
        }
        self.ask_after(ctx, &dead);
    }

    /// Asks somebody what became of them: one may have left where we could not hear it, and no hash tells.
    fn ask_after(&mut self, ctx: &mut Ctx<'_>, dead: &[PeerIx]) {
        let mut ask = BucketAsk::default();
        for entry in dead.iter().filter_map(|peer| self.table.get(*peer)) {
            let bucket = bucket_of(&entry.id());
            ask.bitmap[usize::from(bucket / 8)] |= 1 << (bucket % 8);
        }
        let links = &*ctx.links;
        let linked = self.pick(ctx.rng, 1, |peer, _| links.is_up(peer));
        let link = linked.first().and_then(|peer| ctx.links.link_mut(*peer));
        if let Some(link) = link.filter(|_| !dead.is_empty()) {
            link.ctl.push_with(|writer| writer.put(&ask));
        }
    }

    /// Forgets who has been dead or gone for three days.
    pub(super) fn on_tombstones(&mut self, ctx: &mut Ctx<'_>) {
        self.arm_late(Timer::Tombstones, ctx.now + TOMBSTONE_SCAN_NS);
        let expired: Vec<PeerIx> = self
            .table
            .iter()
            .filter(|(_, entry)| !entry.is_live() && ctx.now >= entry.since + TOMBSTONE_NS)
            .map(|(peer, _)| peer)
            .collect();
        for peer in expired {
            ctx.links.forget(ctx.now, peer);
            self.table.remove(peer);
            self.seeds.forget(peer);
            self.events.push_back(MemberEvent::Drop { peer });
        }
    }
}
