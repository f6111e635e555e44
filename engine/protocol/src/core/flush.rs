//! What goes out: one flush plans everything that is due; and what the passing of time does.

use std::net::SocketAddr;

use tidings_wire::digest::{self, OrderMode};
use tidings_wire::{Boot, Class};

use super::*;
use crate::config::SubSpec;
use crate::encode::{encode, with};
use crate::event::{Event, Outcome, PresenceKind};
use crate::links::link::Link;
use crate::links::{LinkEvent, reason};
use crate::members::MemberEvent;
use crate::publish::LocalCopy;
use crate::receive::{Incoming, Notice};
use crate::tables::index::SubRef;
use crate::tables::{Page, Reports};
use crate::{limits, tables};

/// A run of datagrams to send: all `segment` bytes long but for the last, which may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// Which of the node's sockets sends it.
    pub class: Class,
    /// Length of each datagram but the last.
    pub segment: usize,
    /// The datagrams, end to end.
    pub bytes: &'a [u8],
}

/// Bytes of the control channel that reports and fetches leave to answers, which are given once: STREAM_READY for every stream
/// that a peer may have here, and acknowledgements of tables.
const CTL_RESERVE: usize = limits::MAX_STREAMS_PER_PEER * 32 + 4096;

/// Local copies that one flush serves from the own store; more wait for the next.
const LOCAL_COPIES: usize = 4096;

impl Core {
    /// Lets everything happen that is due at `now`.
    pub fn handle_timeout(&mut self, now: u64, out: &mut dyn Outlet) {
        self.links.on_timeout(now);
        let (mut ctx, members) = self.ctx(now);
        members.on_timeout(&mut ctx);
        if self.publish.tick_at().is_some_and(|at| at <= now) {
            for sub in self.publish.on_tick(now, &self.peers, out) {
                self.tables.forget(sub.peer, sub.sub);
                out.event(Event::Routes);
            }
        }
        while let Some(sub) = self.grace.pop_due(now) {
            // Unknown: it ended meanwhile.
            let _ = self.unsubscribe(now, sub, out);
        }
        self.settle_down(now, out);
    }

    /// When [`Core::handle_timeout`] and [`Core::flush`] are next needed, if nothing else happens before.
    pub fn deadline(&self) -> Option<u64> {
        let all = [
            self.links.deadline(),
            self.members.deadline(),
            self.publish.tick_at(),
            self.publish.fanout_deadline(),
            self.streams.deadline(),
            self.tables.deadline(),
            self.receive.has_local_work().then_some(0),
            self.may_report().then_some(0),
            self.sync.deadline(),
            self.grace.deadline(),
            self.farewell_at(),
        ];
        all.into_iter().flatten().min()
    }

    // Whether a link can take reports now that were left in the last flush.
    fn may_report(&self) -> bool {
        self.owing.iter().any(|&peer| {
            self.receive.has_reports(peer) && self.links.open_link(peer).is_some_and(takes_reports)
        })
    }

    /// Plans what is to be sent now: see [`Core::transmits`].
    pub fn flush(&mut self, now: u64, out: &mut dyn Outlet) {
        // The node is awake: what might wait a little for that need not wait longer.
        if self.links.is_due(now) || self.members.is_due(now) {
            self.handle_timeout(now, out);
        }
        self.report_locally(now, out);
        // Before the tables: a record that tells of a version goes ahead of it.
        let (mut ctx, members) = self.ctx(now);
        members.issue(&mut ctx);
        let mut peers = std::mem::take(&mut self.owing);
        peers.clear();
        peers.extend(self.tables.owing());
        peers.extend(self.receive.owing(now));
        // Once each, in an order that does not depend on the reason.
        peers.sort_unstable();
        peers.dedup();
        for &peer in &peers {
            self.feed(peer, now);
        }
        self.owing = peers;
        self.say_farewell(now);
        self.streams.flush(&mut self.links, now);
        self.publish.flush(&mut self.links, &mut self.tx, now);
        let (mut ctx, members) = self.ctx(now);
        members.flush(&mut ctx);
        let Self {
            links,
            keyring,
            rng,
            peers,
            tx,
            ..
        } = self;
        links.flush(&mut Env {
            now,
            ring: keyring,
            rng,
            peers,
            tx,
        });
        if self.publish.take_writable(now) {
            out.event(Event::Writable);
        }
    }

    /// The datagrams of the last flush, in the order of sending; valid until [`Core::sent`].
    pub fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.tx.runs().iter().map(|run| Transmit {
            to: run.to,
            class: run.class,
            segment: run.segment,
            bytes: match &run.source {
                crate::tx::Source::Scratch(range) => self.tx.scratch(range),
                crate::tx::Source::Store(run) => self.publish.run_bytes(run),
            },
        })
    }

    /// The plan was handed to the network, or lost there: what must arrive is repeated.
    pub fn sent(&mut self) {
        self.tx.clear();
        if self.links.take_swept() {
            self.tx.shrink();
        }
    }

    // Queues for one peer what it is to be told: table, acknowledgements, notices, fetches.
    fn feed(&mut self, peer: PeerIx, now: u64) {
        let Self {
            links,
            tables,
            receive,
            members,
            ..
        } = self;
        if !(tables.owes(peer) || receive.has_reports(peer) || receive.may_fetch(peer, now)) {
            return;
        }
        let Some(link) = links.link_mut(peer) else {
            return;
        };
        let mut told = true;
        if receive.has_reports(peer) {
            let takes = takes_reports(link);
            receive.take_notices(peer, |notice, gone| {
                let encoded = encode_notice(notice, gone);
                link.ctl.room() > CTL_RESERVE && link.ctl.push(encoded.bytes())
            });
            told = takes
                && receive.take_reports(peer, |sub, handle, from, to, outcome| {
                    link.ctl.room() > CTL_RESERVE
                        && push_report(link, sub, handle, (from, to), outcome)
                });
        }
        if tables.owes(peer) && !members.own_record().is_empty() {
            // The table takes another channel: it must not tell the end of a subscription before what that acknowledged.
            let end = if receive.is_left(peer) {
                told.then(|| link.ctl.tx.pushed_to())
            } else {
                Some(0)
            };
            let reports = Reports {
                queued: end,
                arrived: link.ctl.tx.arrived_to(),
            };
            // Our record first. Whoever confirms the table then also knows its version, and a node that joins through it
            // waits for that one, not for an older.
            let record = members.own_record();
            tables.feed(peer, reports, |page| {
                let encoded = encode_page(&page);
                link.bulk.push_with(|writer| {
                    let begins = matches!(page, Page::Begin { .. });
                    (!begins || writer.put_encoded(record)) && writer.put_encoded(encoded.bytes())
                })
            });
        }
        while link.ctl.room() > CTL_RESERVE {
            let Some(fetch) = receive.next_fetch(peer, now) else {
                break;
            };
            let fixed = digest::Fetch {
                sub: fetch.sub.into(),
                handle: fetch.handle.into(),
                count: fetch.count.into(),
                from: fetch.from.into(),
                max_bytes: fetch.max_bytes.into(),
                ..Default::default()
            };
            link.ctl.push(encode::<64>(&fixed, &[]).bytes());
        }
    }

    // The local node is its own publisher, too: its acknowledgements and fetches need no network.
    fn report_locally(&mut self, now: u64, out: &mut dyn Outlet) {
        let Self {
            receive,
            publish,
            peers,
            ..
        } = self;
        receive.take_notices(PeerIx::LOCAL, |notice, gone| {
            match notice {
                Notice::Deferred { sub, handle, from } => publish.on_deferred(
                    SubRef {
                        peer: PeerIx::LOCAL,
                        sub,
                    },
                    handle,
                    from,
                    gone,
                    now,
                ),
                Notice::Resumed { sub } => publish.on_resumed(
                    SubRef {
                        peer: PeerIx::LOCAL,
                        sub,
                    },
                    now,
                ),
            }
            true
        });
        settle_locally(receive, publish, peers, now, out);
        for (from, to) in publish.take_local_retired().iter() {
            receive.on_retired(PeerIx::LOCAL, (from, to));
        }
        for gap in publish.take_local_gaps() {
            receive.on_gap(
                PeerIx::LOCAL,
                gap.sub,
                gap.handle,
                (gap.from, gap.to),
                gap.reason,
                out,
            );
        }
        for _ in 0..LOCAL_COPIES {
            let Some(fetch) = receive.next_fetch(PeerIx::LOCAL, now) else {
                break;
            };
            match publish.local_copy(&fetch) {
                Ok(LocalCopy { seq, payload }) => {
                    let message = Incoming {
                        peer: PeerIx::LOCAL,
                        handle: fetch.handle,
                        seq,
                        payload: &payload,
                    };
                    let _ = receive.on_catchup(message, fetch.sub, now, out);
                }
                Err(range) => receive.on_gap(
                    PeerIx::LOCAL,
                    fetch.sub,
                    fetch.handle,
                    range,
                    Outcome::Delivered,
                    out,
                ),
            }
            receive.on_fetched(PeerIx::LOCAL, fetch.sub, fetch.handle, fetch.from);
        }
    }

    // Draws the conclusions of what just happened: sessions, members, waits.
    pub(super) fn settle_down(&mut self, now: u64, out: &mut dyn Outlet) {
        self.settle_links(now);
        while let Some(event) = self.members.poll_event() {
            self.on_member_event(now, event, out);
        }
        if let Some(generation) = self
            .members
            .generation()
            .filter(|g| self.told_generation != Some(*g))
        {
            self.told_generation = Some(generation);
            out.event(Event::Generation(generation));
        }
        for tables::Effective { sub, missing } in self.tables.effective(now) {
            let missing: Vec<_> = missing
                .into_iter()
                .map(|peer| self.peers.id(peer))
                .collect();
            out.event(Event::Subscribed {
                sub,
                missing: &missing,
            });
        }
        if !self.sync.is_synced() {
            let complete = self.members.has_joined() && self.holds_every_table();
            if let Some(synced) = self.sync.check(now, complete) {
                out.event(Event::Synced {
                    complete: synced == sync::Synced::Complete,
                });
                out.event(Event::Writable);
            }
        }
    }

    // Before anything that came over a link is taken: what an earlier link leaves behind ends with it.
    pub(super) fn settle_links(&mut self, now: u64) {
        while let Some(event) = self.links.poll_event() {
            self.on_link_event(now, event);
        }
    }

    fn holds_every_table(&self) -> bool {
        self.members.alive().all(|peer| {
            let (boot, version) = (
                self.members.boot(peer),
                self.members.table_version(peer).unwrap_or(0),
            );
            version == 0 || boot.is_some_and(|boot| self.tables.held(peer, boot) >= version)
        })
    }

    fn on_link_event(&mut self, now: u64, event: LinkEvent) {
        match event {
            LinkEvent::Up { peer, boot, .. } | LinkEvent::Reborn { peer, boot, .. } => {
                self.on_session(now, peer, boot);
            }
            LinkEvent::Down { peer } => {
                self.tables.on_link_down(peer);
                self.streams.on_link_down(peer);
                self.receive.on_link_down(peer);
                self.publish.on_link_down(peer, now);
            }
            // Members'.
            LinkEvent::Adopted { .. }
            | LinkEvent::Twin { .. }
            | LinkEvent::Outlived { .. }
            | LinkEvent::Met { .. }
            | LinkEvent::Ourselves { .. } => {}
        }
        let (mut ctx, members) = self.ctx(now);
        members.on_link_event(&mut ctx, event);
    }

    fn on_session(&mut self, now: u64, peer: PeerIx, boot: Boot) {
        self.sync.on_met(now);
        self.streams.keep_life(peer, boot);
        // A node without subscriptions has nothing to tell and nothing to receive; of thousands of such links nothing is kept.
        if self.tables.own.version() > 0 {
            self.tables.on_link_up(peer);
        }
        if self.tables.own.version() > 0 || self.receive.knows(peer) {
            self.receive.on_session(peer, self.peers.id(peer), boot);
        }
        self.publish.on_link_up(peer, boot, now);
        self.ask_what_is_left(peer);
    }

    /// The first subscription of this boot: all who are linked, and then all others, are to have the table.
    pub(super) fn begin_table(&mut self) {
        let linked: Vec<(PeerIx, Boot)> = self.links.known().map(|l| (l.peer, l.boot)).collect();
        for (peer, boot) in linked {
            self.tables.on_link_up(peer);
            if !self.receive.knows(peer) {
                self.receive.on_session(peer, self.peers.id(peer), boot);
            }
        }
        let alive: Vec<PeerIx> = self.members.alive().collect();
        alive.into_iter().for_each(|peer| self.want(peer));
    }

    // The peer's boot has subscribed to nothing yet, and therefore sends no table of its own accord: what is held of an earlier one
    // ends, or waits for its clients, once it says so.
    fn ask_what_is_left(&mut self, peer: PeerIx) {
        let Some(boot) = self.links.link(peer).map(|link| link.boot) else {
            return;
        };
        let says_nothing =
            self.members.boot(peer) == Some(boot) && self.members.table_version(peer) == Some(0);
        if says_nothing && self.tables.is_left(peer, boot) {
            self.tell_reliably(peer, &digest::TableAsk::default());
        }
    }

    fn on_member_event(&mut self, now: u64, event: MemberEvent, out: &mut dyn Outlet) {
        let (kind, peer) = match event {
            MemberEvent::In { peer } => (PresenceKind::In, peer),
            MemberEvent::Quarantine { peer } => (PresenceKind::Quarantine, peer),
            MemberEvent::Unreachable { peer } => (PresenceKind::Unreachable, peer),
            MemberEvent::Rejoin { peer } => (PresenceKind::Rejoin, peer),
            MemberEvent::Drop { peer } => (PresenceKind::Drop, peer),
            MemberEvent::Out { peer } => (PresenceKind::Out, peer),
            MemberEvent::Changed { peer } => return self.want(peer),
            MemberEvent::Conflict { .. } => return out.event(Event::IdConflict),
        };
        out.event(Event::Presence {
            kind,
            node: self.peers.id(peer),
        });
        self.members.counters.count(kind);
        match kind {
            PresenceKind::In | PresenceKind::Rejoin => self.want(peer),
            PresenceKind::Quarantine => {}
            PresenceKind::Unreachable => self.on_gone(peer),
            PresenceKind::Out => {
                self.on_gone(peer);
                self.forget_subs(peer, now, Outcome::Left, out);
            }
            PresenceKind::Drop => self.drop_peer(peer, now, out),
        }
    }

    // Tables go to every member held alive, so each wants a link, but where there is nothing to tell: neither has subscribed, and
    // of an earlier life of the peer no subscriptions are left that its empty table would end.
    fn want(&mut self, peer: PeerIx) {
        let theirs = self.members.table_version(peer).unwrap_or(0);
        if self.tables.own.version() == 0 && theirs == 0 && self.tables.is_empty(peer) {
            return;
        }
        let addrs = self.members.addresses(peer);
        self.links.want(peer, &addrs, reason::DELIVERY);
        self.ask_what_is_left(peer);
    }

    fn on_gone(&mut self, peer: PeerIx) {
        self.links.unwant(peer, reason::DELIVERY);
        self.tables.on_peer_gone(peer);
    }

    fn drop_peer(&mut self, peer: PeerIx, now: u64, out: &mut dyn Outlet) {
        self.forget_subs(peer, now, Outcome::NodeDead, out);
        self.publish.on_peer_dropped(peer, now);
        self.receive.forget(peer);
        self.streams.forget(peer);
        self.tables.drop_peer(peer);
        self.links.forget_counters(peer);
        self.peers.release(peer);
    }

    // The node left: named clients may come back with it, the others will not.
    fn forget_subs(&mut self, peer: PeerIx, now: u64, outcome: Outcome, out: &mut dyn Outlet) {
        for sub in self.tables.subs_of(peer) {
            let named = self.tables.remote(peer, sub).is_some_and(|s| s.client != 0);
            let sub = SubRef { peer, sub };
            if named && outcome == Outcome::Left {
                self.publish.on_missing(sub, now);
            } else {
                let word = (outcome, now);
                self.publish.on_unsubscribed(sub, word, &self.peers, out);
                self.tables.forget(peer, sub.sub);
            }
        }
        out.event(Event::Routes);
    }
}

// Hands the local publishers the acknowledgements of local subscriptions.
pub(super) fn settle_locally(
    receive: &mut Receive,
    publish: &mut Publish,
    peers: &Peers,
    now: u64,
    out: &mut dyn Outlet,
) {
    receive.take_reports(PeerIx::LOCAL, |sub, handle, from, to, outcome| {
        let sub = SubRef {
            peer: PeerIx::LOCAL,
            sub,
        };
        publish.on_delivered(sub, handle, (from, to), (outcome, now), peers, out);
        true
    });
}

// Reports are not queued behind what waits to be sent: meanwhile those of messages that follow one another become one.
fn takes_reports(link: &Link) -> bool {
    !link.ctl.tx.has_unsent() && link.ctl.room() > CTL_RESERVE
}

fn push_report(
    link: &mut Link,
    sub: u32,
    handle: u32,
    (from, to): (u64, u64),
    outcome: Outcome,
) -> bool {
    let fixed = digest::Delivered {
        sub: sub.into(),
        handle: handle.into(),
        count: u32::try_from(to - from).unwrap_or(u32::MAX).into(),
        from: from.into(),
        result: (outcome as u32).into(),
        ..Default::default()
    };
    link.ctl.push(encode::<64>(&fixed, &[]).bytes())
}

fn encode_notice(notice: Notice, gone: bool) -> crate::encode::Encoded<64> {
    match notice {
        Notice::Deferred { sub, handle, from } => encode(
            &digest::Deferred {
                head: digest::Head::flagged(if gone { digest::Deferred::GONE } else { 0 }),
                sub: sub.into(),
                handle: handle.into(),
                from: from.into(),
                ..Default::default()
            },
            &[],
        ),
        Notice::Resumed { sub } => encode(
            &digest::Resumed {
                sub: sub.into(),
                ..Default::default()
            },
            &[],
        ),
    }
}

fn encode_page(page: &Page<'_>) -> crate::encode::Encoded<320> {
    match *page {
        Page::Begin {
            version,
            base,
            count,
        } => encode(
            &digest::Table {
                version: version.into(),
                base: base.into(),
                count: count.into(),
                ..Default::default()
            },
            &[],
        ),
        Page::Add(sub, spec, redelivery) => {
            with(|writer| writer.put_sub_add(&sub_add(sub, spec, redelivery), &spec.pattern))
        }
        Page::Del(sub) => encode(
            &digest::SubDel {
                sub: sub.into(),
                ..Default::default()
            },
            &[],
        ),
        Page::End(version) => encode(
            &digest::TableEnd {
                version: version.into(),
                ..Default::default()
            },
            &[],
        ),
    }
}

fn sub_add(sub: u32, spec: &SubSpec, redelivery: crate::Redelivery) -> digest::SubAdd {
    let order = if spec.ordered {
        OrderMode::Ordered
    } else {
        OrderMode::Unordered
    };
    digest::SubAdd {
        sub: sub.into(),
        client: if spec.client.is_empty() {
            0
        } else {
            digest::client_hash(&spec.client)
        }
        .into(),
        attempts: redelivery.attempts.into(),
        every_ms: redelivery.every_ms.into(),
        ack: spec.ack as u8,
        order: order as u8,
        policy: spec.policy as u8,
        ..Default::default()
    }
}
