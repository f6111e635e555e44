//! Who is there. For the time being: whoever a link is up to, found through seeds.
use crate::event::PresenceKind;
use crate::links::{Env, LinkEvent, Links};
use crate::peer::PeerIx;
use std::collections::{BTreeMap, VecDeque};
use tidings_wire::Boot;
use tidings_wire::digest::*;
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberEvent {
    pub(crate) kind: PresenceKind,
    pub(crate) peer: PeerIx,
}
pub(crate) struct Members {
    seeds: Vec<std::net::SocketAddr>,
    at: u64,
    alive: BTreeMap<PeerIx, bool>,
    ev: VecDeque<MemberEvent>,
}
#[allow(unused_variables)]
impl Members {
    pub(crate) fn new(config: &crate::CoreConfig, now: u64) -> Self {
        Members {
            seeds: config.seeds.clone(),
            at: now,
            alive: Default::default(),
            ev: Default::default(),
        }
    }
    pub(crate) fn alive(&self) -> impl Iterator<Item = PeerIx> + '_ {
        self.alive.iter().filter(|x| *x.1).map(|x| *x.0)
    }
    pub(crate) fn set_table_version(&mut self, v: u64) {}
    pub(crate) fn leave(&mut self, now: u64) {}
    pub(crate) fn has_left(&self, now: u64) -> bool {
        true
    }
    pub(crate) fn set_metadata(&mut self, m: &[u8]) {}
    pub(crate) fn set_seeds(&mut self, now: u64, s: &[std::net::SocketAddr]) {}
    pub(crate) fn on_timeout(&mut self, env: &mut Env<'_>, links: &mut Links) {
        if self.at <= env.now {
            self.at = env.now + 500_000_000;
            for s in &self.seeds {
                links.want_addr(*s);
            }
        }
    }
    pub(crate) fn deadline(&self) -> Option<u64> {
        Some(self.at)
    }
    pub(crate) fn flush(&mut self, env: &mut Env<'_>, links: &mut Links) {}
    pub(crate) fn poll_event(&mut self) -> Option<MemberEvent> {
        self.ev.pop_front()
    }
    pub(crate) fn known_generation(&self, n: &tidings_wire::NodeId) -> u64 {
        0
    }
    pub(crate) fn has_joined(&self) -> bool {
        !self.alive.is_empty()
    }
    pub(crate) fn table_version(&self, p: PeerIx) -> (Boot, u64) {
        (Boot([0; 16]), 0)
    }
    pub(crate) fn on_digest(
        &mut self,
        env: &mut Env<'_>,
        links: &mut Links,
        peer: PeerIx,
        d: &Digest<'_>,
        reliable: bool,
    ) {
    }
    pub(crate) fn on_link_event(&mut self, env: &mut Env<'_>, links: &mut Links, e: &LinkEvent) {
        match e {
            LinkEvent::Up { peer, .. } | LinkEvent::Reborn { peer, .. } => {
                self.alive.insert(*peer, true);
                links.want(*peer, &[], 1);
                self.ev.push_back(MemberEvent {
                    kind: PresenceKind::In,
                    peer: *peer,
                });
            }
            LinkEvent::Down { peer } => {
                self.alive.insert(*peer, false);
            }
            LinkEvent::Met { addr, peer } => links.want(*peer, &[*addr], 1),
            _ => {}
        }
    }
    pub(crate) fn on_unreachable(&mut self, env: &mut Env<'_>, links: &mut Links, peer: PeerIx) {}
}
