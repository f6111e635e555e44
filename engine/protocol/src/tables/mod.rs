//! Who subscribes to what: this node's table and its way to every member, the members' tables, and when a subscription is
//! effective. Design section 7.2.

pub(crate) mod index;
pub(crate) mod own;
pub(crate) mod remote;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use tidings_wire::Boot;

use crate::config::{Redelivery, SubSpec};
use crate::limits;
use crate::peer::PeerIx;
use index::{SubRef, TopicIndex};
use own::{Change, OwnTable};
use remote::{Applied, RemoteSub, RemoteTable};

/// One digest of a table's transfer, in the order in which it goes out.
#[derive(Debug)]
pub(crate) enum Page<'a> {
    Begin { version: u64, base: u64, count: u32 },
    Add(u32, &'a SubSpec, Redelivery),
    Del(u32),
    End(u64),
}

/// A transfer under way to one peer.
struct Outgoing {
    version: u64,
    base: u64,
    begun: bool,
    // Begins when the reports of so much of the reliable channel arrived.
    after: u64,
    changes: VecDeque<Change>,
}

/// How far the reports to a peer are that must be there before its table changes: acknowledgements of subscriptions that ended.
/// Positions of the channel that carries them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reports {
    /// All of them are queued below this; `None` = some are not queued yet.
    pub(crate) queued: Option<u64>,
    pub(crate) arrived: u64,
}

#[derive(Default)]
struct Peer {
    table: RemoteTable,
    // Of the link's present life: what was queued for it, what it confirmed.
    linked: bool,
    // Nothing yet is not the empty table: the peer may hold one of an earlier boot.
    sent: Option<u64>,
    acked: u64,
    outgoing: Option<Outgoing>,
}

/// A local subscription that waits for the members to confirm it.
struct Waiting {
    sub: u32,
    version: u64,
    until: u64,
    peers: BTreeSet<PeerIx>,
}

/// A local subscription whose wait is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) sub: u32,
    pub(crate) missing: Vec<PeerIx>,
}

/// Where a listing goes on behind an entry.
fn beyond(after: Option<u32>) -> Bound<u32> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

/// All tables of one overlay.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) own: OwnTable,
    peers: BTreeMap<PeerIx, Peer>,
    // Those of them that may miss something of the own table.
    due: BTreeSet<PeerIx>,
    /// Effective subscriptions of every node, the local one included.
    pub(crate) index: TopicIndex,
    waiting: Vec<Waiting>,
    // Raised by every change of the index: routes derived from an older one are stale.
    epoch: u64,
}

impl Tables {
    /// No subscriptions; those that come without a redelivery of their own have this one.
    pub(crate) fn new(redelivery: Redelivery) -> Self {
        Tables {
            own: OwnTable::new(redelivery),
            ..Tables::default()
        }
    }

    /// When publishers give up on a subscription of this node.
    pub(crate) fn redelivery(&self, spec: &SubSpec) -> Redelivery {
        self.own.redelivery(spec)
    }

    /// Another redelivery for the subscriptions of this node that have none of their own. Returns those.
    pub(crate) fn set_redelivery(&mut self, redelivery: Redelivery) -> Vec<u32> {
        let changed = self.own.set_redelivery(redelivery);
        if !changed.is_empty() {
            self.on_change();
        }
        changed
    }

    /// Raised by every change of effective subscriptions.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds a local subscription; it is effective here at once, elsewhere when [`Tables::effective`] tells.
    pub(crate) fn subscribe(
        &mut self,
        now: u64,
        spec: SubSpec,
        salt: u64,
        alive: impl Iterator<Item = PeerIx>,
    ) -> Result<(u32, bool), crate::CommandError> {
        let pattern = spec.pattern.clone();
        let (sub, new) = self.own.add(spec, salt)?;
        if new {
            self.index.insert(
                &pattern,
                SubRef {
                    peer: PeerIx::LOCAL,
                    sub,
                },
            );
            self.epoch += 1;
        }
        self.on_change();
        let version = self.own.version();
        let peers = alive
            .filter(|p| self.peers.get(p).is_none_or(|p| p.acked < version))
            .collect();
        self.waiting.push(Waiting {
            sub,
            version,
            until: now + limits::SUBSCRIBE_WAIT,
            peers,
        });
        Ok((sub, new))
    }

    pub(crate) fn unsubscribe(&mut self, sub: u32) -> bool {
        let Some(spec) = self.own.remove(sub) else {
            return false;
        };
        self.index.remove(
            &spec.pattern,
            SubRef {
                peer: PeerIx::LOCAL,
                sub,
            },
        );
        self.epoch += 1;
        self.waiting.retain(|w| w.sub != sub);
        self.on_change();
        true
    }

    fn on_change(&mut self) {
        let linked = self.peers.iter().filter(|(_, peer)| peer.linked);
        self.due.extend(linked.map(|(ix, _)| *ix));
    }

    /// A new session with the peer: it gets the whole table again.
    pub(crate) fn on_link_up(&mut self, ix: PeerIx) {
        let peer = self.peers.entry(ix).or_default();
        (peer.linked, peer.sent, peer.acked, peer.outgoing) = (true, None, 0, None);
        self.due.insert(ix);
    }

    pub(crate) fn on_link_down(&mut self, peer: PeerIx) {
        self.due.remove(&peer);
        if let Some(peer) = self.peers.get_mut(&peer) {
            (peer.linked, peer.outgoing) = (false, None);
        }
    }

    /// The peer does not count for pending subscriptions any more.
    pub(crate) fn on_peer_gone(&mut self, peer: PeerIx) {
        for waiting in &mut self.waiting {
            waiting.peers.remove(&peer);
        }
    }

    /// The peer is forgotten; its subscriptions are gone already.
    pub(crate) fn drop_peer(&mut self, peer: PeerIx) {
        self.on_peer_gone(peer);
        self.peers.remove(&peer);
        self.due.remove(&peer);
    }

    /// The peer confirms that it applied `version` of this node's table.
    pub(crate) fn on_ack(&mut self, peer: PeerIx, version: u64) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        if version > self.own.version() {
            return;
        }
        state.acked = state.acked.max(version);
        for waiting in self.waiting.iter_mut().filter(|w| w.version <= version) {
            waiting.peers.remove(&peer);
        }
    }

    /// The linked peer asks for the table after `have`: an increment did not fit, or it holds what an earlier boot subscribed to.
    pub(crate) fn on_ask(&mut self, ix: PeerIx, have: u64) {
        let peer = self.peers.entry(ix).or_default();
        // Who has nothing gets the whole table, be it empty.
        let sent = (have > 0).then_some(have.min(self.own.version()));
        (peer.linked, peer.sent, peer.outgoing) = (true, sent, None);
        self.due.insert(ix);
    }

    /// Every peer that misses anything of the own table, and perhaps some that do not.
    pub(crate) fn owing(&self) -> impl Iterator<Item = PeerIx> {
        self.due.iter().copied()
    }

    /// Whether the peer misses anything of the own table.
    pub(crate) fn owes(&self, peer: PeerIx) -> bool {
        self.peers.get(&peer).is_some_and(|p| {
            p.linked && (p.outgoing.is_some() || p.sent < Some(self.own.version()))
        })
    }

    /// Queues what the peer misses, as long as `emit` takes it.
    pub(crate) fn feed(
        &mut self,
        peer: PeerIx,
        reports: Reports,
        mut emit: impl FnMut(Page<'_>) -> bool,
    ) {
        let Some(state) = self.peers.get_mut(&peer).filter(|p| p.linked) else {
            return;
        };
        loop {
            if state.outgoing.is_none() {
                if state.sent >= Some(self.own.version()) {
                    self.due.remove(&peer);
                    return;
                }
                let Some(after) = reports.queued else {
                    return;
                };
                state.outgoing = Some(start(&self.own, state.sent.unwrap_or(0), after));
            }
            let Some(outgoing) = &mut state.outgoing else {
                return;
            };
            if reports.arrived < outgoing.after || !send(&self.own, outgoing, &mut emit) {
                return;
            }
            state.sent = Some(outgoing.version);
            state.outgoing = None;
        }
    }

    /// Begins to take a peer's table; false = ask it for the whole.
    pub(crate) fn begin(&mut self, peer: PeerIx, boot: Boot, version: u64, base: u64) -> bool {
        self.peers
            .entry(peer)
            .or_default()
            .table
            .begin(boot, version, base)
    }

    pub(crate) fn change(&mut self, peer: PeerIx, sub: u32, entry: Option<RemoteSub>) -> bool {
        self.peers
            .get_mut(&peer)
            .is_some_and(|p| p.table.change(sub, entry))
    }

    /// Ends a transfer and brings the index up to date.
    pub(crate) fn end(&mut self, peer: PeerIx, boot: Boot, version: u64) -> Option<Applied> {
        let state = self.peers.get_mut(&peer)?;
        let applied = state.table.end(boot, version)?;
        for (sub, pattern) in &applied.removed {
            self.index.remove(pattern, SubRef { peer, sub: *sub });
        }
        for &sub in &applied.added {
            if let Some(entry) = state.table.sub(sub) {
                self.index.insert(&entry.pattern, SubRef { peer, sub });
            }
        }
        self.epoch += 1;
        Some(applied)
    }

    /// Forgets one subscription of a peer.
    pub(crate) fn forget(&mut self, peer: PeerIx, sub: u32) {
        let Some(entry) = self.peers.get_mut(&peer).and_then(|p| p.table.forget(sub)) else {
            return;
        };
        self.index.remove(&entry.pattern, SubRef { peer, sub });
        self.epoch += 1;
    }

    /// Whether no subscription of a peer is known.
    pub(crate) fn is_empty(&self, peer: PeerIx) -> bool {
        let peer = self.peers.get(&peer);
        peer.is_none_or(|peer| peer.table.subs().next().is_none())
    }

    /// Whether subscriptions are known of an earlier boot of a peer than this.
    pub(crate) fn is_left(&self, peer: PeerIx, boot: Boot) -> bool {
        let other = self.peers.get(&peer).is_some_and(|p| !p.table.is_of(boot));
        other && !self.is_empty(peer)
    }

    /// Ids of a peer's subscriptions.
    pub(crate) fn subs_of(&self, peer: PeerIx) -> Vec<u32> {
        self.peers
            .get(&peer)
            .map_or_else(Vec::new, |p| p.table.subs().map(|(sub, _)| sub).collect())
    }

    /// The tables of the others that have subscribed.
    pub(crate) fn others(&self) -> impl Iterator<Item = (PeerIx, &RemoteTable)> {
        let tables = self.peers.iter().map(|(ix, peer)| (*ix, &peer.table));
        tables.filter(|(_, table)| table.behind(None).next().is_some())
    }

    pub(crate) fn remote(&self, peer: PeerIx, sub: u32) -> Option<&RemoteSub> {
        self.peers.get(&peer)?.table.sub(sub)
    }

    /// Version held of the table of this boot of the peer.
    pub(crate) fn held(&self, peer: PeerIx, boot: Boot) -> u64 {
        self.peers.get(&peer).map_or(0, |p| p.table.version(boot))
    }

    /// Subscriptions whose wait is over: confirmed by all, or by time.
    pub(crate) fn effective(&mut self, now: u64) -> Vec<Effective> {
        let mut done = Vec::new();
        self.waiting.retain(|w| {
            if !w.peers.is_empty() && now < w.until {
                return true;
            }
            done.push(Effective {
                sub: w.sub,
                missing: w.peers.iter().copied().collect(),
            });
            false
        });
        done
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        self.waiting
            .iter()
            .map(|w| if w.peers.is_empty() { 0 } else { w.until })
            .min()
    }
}

fn start(own: &OwnTable, sent: u64, after: u64) -> Outgoing {
    let increment: Option<VecDeque<Change>> = own.since(sent).map(Iterator::collect);
    let (base, changes) = match increment {
        Some(changes) => (sent, changes),
        None => (0, own.iter().map(|(sub, _)| Change::Added(sub)).collect()),
    };
    Outgoing {
        version: own.version(),
        base,
        begun: false,
        after,
        changes,
    }
}

// True when the whole transfer is queued.
fn send(own: &OwnTable, out: &mut Outgoing, emit: &mut impl FnMut(Page<'_>) -> bool) -> bool {
    if !out.begun {
        if !emit(Page::Begin {
            version: out.version,
            base: out.base,
            count: out.changes.len() as u32,
        }) {
            return false;
        }
        out.begun = true;
    }
    while let Some(change) = out.changes.front() {
        let sent = match *change {
            // Removed since: the next increment says so, too.
            Change::Added(sub) => own
                .spec(sub)
                .is_none_or(|spec| emit(Page::Add(sub, spec, own.redelivery(spec)))),
            Change::Removed(sub) => emit(Page::Del(sub)),
        };
        if !sent {
            return false;
        }
        out.changes.pop_front();
    }
    emit(Page::End(out.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AckMode, Redelivery, SlowPolicy};

    const P: PeerIx = PeerIx(1);
    const A: Boot = Boot([1; 16]);

    // Moves what `from` owes into `to`, `step` digests at a time.
    fn transfer(from: &mut Tables, to: &mut Tables, step: usize) -> Option<Applied> {
        let mut applied = None;
        while from.owes(P) {
            let mut left = step;
            let reports = Reports {
                queued: Some(0),
                arrived: 0,
            };
            from.feed(P, reports, |page| {
                if left == 0 {
                    return false;
                }
                left -= 1;
                match page {
                    Page::Begin { version, base, .. } => assert!(to.begin(P, A, version, base)),
                    Page::Add(sub, spec, _) => {
                        let entry = RemoteSub {
                            pattern: spec.pattern.as_str().into(),
                            client: 0,
                            ack: AckMode::Client,
                            ordered: spec.ordered,
                            policy: SlowPolicy::Detach,
                            redelivery: Redelivery::default(),
                        };
                        assert!(to.change(P, sub, Some(entry)));
                    }
                    Page::Del(sub) => assert!(to.change(P, sub, None)),
                    Page::End(version) => applied = to.end(P, A, version),
                }
                true
            });
        }
        applied
    }

    #[test]
    fn a_peer_is_brought_up_to_date_in_any_portions() {
        for step in [1, 2, 100] {
            let (mut from, mut to) = (Tables::default(), Tables::default());
            from.on_link_up(P);
            for n in 0..5 {
                from.subscribe(0, SubSpec::new(&format!("t.{n}")), 1, std::iter::empty())
                    .unwrap();
            }
            transfer(&mut from, &mut to, step).expect("a table arrives");
            let (sub, _) = from
                .subscribe(0, SubSpec::new("t.9"), 1, std::iter::empty())
                .unwrap();
            transfer(&mut from, &mut to, step).expect("an increment arrives");
            assert_eq!(to.index.matches("t.9"), [SubRef { peer: P, sub }]);
            assert!(from.unsubscribe(sub));
            transfer(&mut from, &mut to, step).expect("an increment arrives");
            assert!(to.index.matches("t.9").is_empty());
            assert_eq!(to.held(P, A), from.own.version());
        }
    }

    #[test]
    fn a_subscription_is_effective_when_every_alive_member_has_confirmed_it() {
        let mut tables = Tables::default();
        tables.on_link_up(P);
        let (sub, _) = tables
            .subscribe(0, SubSpec::new("a"), 1, [P, PeerIx(2)].into_iter())
            .unwrap();
        tables.on_ack(P, 1);
        assert_eq!(tables.effective(1), []);
        tables.on_peer_gone(PeerIx(2));
        assert_eq!(
            tables.effective(2),
            [Effective {
                sub,
                missing: vec![]
            }]
        );
    }

    #[test]
    fn after_two_seconds_the_missing_members_are_named() {
        let mut tables = Tables::default();
        let (sub, _) = tables
            .subscribe(0, SubSpec::new("a"), 1, [P].into_iter())
            .unwrap();
        assert_eq!(tables.deadline(), Some(limits::SUBSCRIBE_WAIT));
        assert_eq!(
            tables.effective(limits::SUBSCRIBE_WAIT),
            [Effective {
                sub,
                missing: vec![P]
            }]
        );
    }
}
