//! What comes in: datagrams by class, digests by kind.

use std::net::SocketAddr;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::digest::{self, Digest, Digests};
use tidings_wire::limits::SEQ_END;
use tidings_wire::{Class, Header};

use super::*;
use crate::config::Redelivery;
use crate::event::{Event, Outcome};
use crate::links::channel::Arrival;
use crate::links::{Env, Refusal};
use crate::members::Via;
use crate::receive::Incoming;
use crate::receive::body::Stop;
use crate::receive::stream::StreamRx;
use crate::tables::index::SubRef;
use crate::tables::remote::RemoteSub;
use streams::ready;

/// Foreigners of one kind are told again after this, in ns.
const FOREIGN_NS: u64 = 600_000_000_000;

impl Core {
    /// Takes one datagram; its bytes are overwritten. Whatever is wrong with it is counted and changes nothing else.
    pub fn handle_datagram(
        &mut self,
        now: u64,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut dyn Outlet,
    ) {
        let class = match Header::parse(datagram) {
            Ok(header) => header.class(),
            Err(error) => return self.refusals.count(error.label()),
        };
        match class {
            Class::Hello => self.on_hello(now, from, datagram, out),
            Class::Pair => self.on_pair(now, from, datagram, out),
            Class::Bulk => self.on_bulk(now, from, datagram, out),
            Class::Fan => self.on_fan(now, datagram, out),
        }
    }

    /// An ICMP error quoted the first bytes of a datagram of ours to `to`: nobody listens there.
    pub fn handle_unreachable(
        &mut self,
        now: u64,
        to: SocketAddr,
        quoted: &[u8],
        out: &mut dyn Outlet,
    ) {
        if let Some(peer) = self.links.unreachable(now, to, quoted) {
            let (mut ctx, members) = self.ctx(now);
            members.on_unreachable(&mut ctx, peer);
        }
        self.settle_down(now, out);
    }

    fn on_hello(&mut self, now: u64, from: SocketAddr, datagram: &mut [u8], out: &mut dyn Outlet) {
        match self.take_hello(now, from, datagram) {
            Ok(first) => {
                self.settle_down(now, out);
                if let Some((peer, body)) = first {
                    self.on_pair_body(now, from, peer, &body, out);
                }
            }
            Err(refusal) => self.on_refused_hello(now, refusal, from, out),
        }
        self.settle_down(now, out);
    }

    fn take_hello(
        &mut self,
        now: u64,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<Option<(PeerIx, Vec<u8>)>, Refusal> {
        let Self {
            links,
            members,
            keyring,
            rng,
            peers,
            tx,
            ..
        } = self;
        let mut env = Env {
            now,
            ring: keyring,
            rng,
            peers,
            tx,
        };
        links.hello(&mut env, from, datagram, &|peers, node| {
            members.known_generation(peers, node)
        })
    }

    fn on_refused_hello(
        &mut self,
        now: u64,
        refusal: Refusal,
        from: SocketAddr,
        out: &mut dyn Outlet,
    ) {
        let reason = refusal.label();
        self.refusals.count(reason);
        if !matches!(refusal, Refusal::Open(_)) {
            return;
        }
        let told = self.foreign_told.get(reason);
        if told.is_none_or(|at| now >= at + FOREIGN_NS) {
            self.foreign_told.insert(reason, now);
            out.event(Event::Foreign { reason, from });
        }
    }

    fn on_pair(&mut self, now: u64, from: SocketAddr, datagram: &mut [u8], out: &mut dyn Outlet) {
        match self.links.open(now, from, datagram) {
            Ok((peer, body)) => {
                self.settle_links(now);
                self.on_pair_body(now, from, peer, body, out);
            }
            Err(refusal) => self.refusals.count(refusal.label()),
        }
        self.settle_down(now, out);
    }

    fn on_bulk(&mut self, now: u64, from: SocketAddr, datagram: &mut [u8], out: &mut dyn Outlet) {
        match self.links.open(now, from, datagram) {
            Ok((peer, body)) => self.on_bulk_body(now, peer, body, out),
            Err(refusal) => self.refusals.count(refusal.label()),
        }
        self.settle_down(now, out);
    }

    fn on_pair_body(
        &mut self,
        now: u64,
        from: SocketAddr,
        peer: PeerIx,
        body: &[u8],
        out: &mut dyn Outlet,
    ) {
        for digest in Digests::new(body) {
            match digest {
                Ok(Digest::Ctl(chunk)) => self.on_ctl_chunk(now, peer, &chunk, out),
                Ok(digest) => self.on_pair_digest(now, from, peer, &digest),
                Err(error) => return self.refusals.count(error.label()),
            }
        }
    }

    fn on_bulk_body(&mut self, now: u64, peer: PeerIx, body: &[u8], out: &mut dyn Outlet) {
        for digest in Digests::new(body) {
            match digest {
                Ok(Digest::Bulk(chunk)) => self.on_bulk_chunk(now, peer, &chunk, out),
                Ok(Digest::Unknown(_)) => self.refusals.count("digest_unknown"),
                Ok(_) => self.refusals.count("digest_misplaced"),
                Err(error) => return self.refusals.count(error.label()),
            }
        }
    }

    fn on_ctl_chunk(
        &mut self,
        now: u64,
        peer: PeerIx,
        chunk: &digest::CtlView<'_>,
        out: &mut dyn Outlet,
    ) {
        let Some(link) = self.links.link_mut(peer) else {
            return;
        };
        match link.on_ctl(now, chunk) {
            Arrival::Next => {}
            Arrival::Early | Arrival::Duplicate => return,
            Arrival::Beyond | Arrival::TooLong => return self.refusals.count("chunk_limit"),
        }
        self.on_reliable(now, peer, chunk.content, out);
        while let Some(early) = self.links.link_mut(peer).and_then(|l| l.ctl.rx.pop()) {
            self.on_reliable(now, peer, &early, out);
            if let Some(link) = self.links.link_mut(peer) {
                link.ctl.rx.recycle(early);
            }
        }
    }

    fn on_bulk_chunk(
        &mut self,
        now: u64,
        peer: PeerIx,
        chunk: &digest::BulkView<'_>,
        out: &mut dyn Outlet,
    ) {
        let Some(link) = self.links.link_mut(peer) else {
            return;
        };
        match link.on_bulk(now, chunk) {
            Arrival::Next => {}
            Arrival::Early | Arrival::Duplicate => return,
            Arrival::Beyond | Arrival::TooLong => return self.refusals.count("chunk_limit"),
        }
        self.on_reliable(now, peer, chunk.content, out);
        while let Some(early) = self.links.link_mut(peer).and_then(|l| l.bulk.rx.pop()) {
            self.on_reliable(now, peer, &early, out);
            if let Some(link) = self.links.link_mut(peer) {
                link.bulk.rx.recycle(early);
            }
        }
    }

    // Digests that stand in PAIR datagrams by themselves: newest state, repeated by their senders as needed.
    fn on_pair_digest(&mut self, now: u64, from: SocketAddr, peer: PeerIx, digest: &Digest<'_>) {
        let Some(link) = self.links.link_mut(peer) else {
            return;
        };
        match digest {
            // Links read it themselves when a session opens.
            Digest::Opened(_) => {}
            Digest::PathProbe(probe) => link.on_path_probe(from, probe),
            Digest::PathAck(echo) => link.on_path_ack(now, from, echo.no.get()),
            Digest::CtlAck(ack) => link.on_ctl_ack(now, ack),
            Digest::BulkAck(ack) => link.on_bulk_ack(now, ack),
            Digest::FanAck(ack) => self.publish.on_fan_ack(peer, ack, link, now),
            Digest::FanBeat(beat) => self.streams.on_beat(peer, beat),
            Digest::Ping(_)
            | Digest::Ack(_)
            | Digest::PingReq(_)
            | Digest::Nack(_)
            | Digest::Member(_)
            | Digest::Rumour(_)
            | Digest::YouAreDead(_) => self.tell_members(now, peer, digest, Via::Gossip),
            Digest::Unknown(_) => self.refusals.count("digest_unknown"),
            _ => self.refusals.count("digest_misplaced"),
        }
    }

    // Membership's digests, by gossip or by anti-entropy.
    fn tell_members(&mut self, now: u64, peer: PeerIx, digest: &Digest<'_>, via: Via) {
        let (mut ctx, members) = self.ctx(now);
        match digest {
            Digest::Ping(ping) => members.on_ping(&mut ctx, peer, ping),
            Digest::Ack(ack) => members.on_ack(&mut ctx, peer, ack),
            Digest::PingReq(request) => members.on_ping_req(&mut ctx, peer, request),
            Digest::Nack(nack) => members.on_nack(nack),
            Digest::Member(member) => members.on_member(&mut ctx, peer, member, via),
            Digest::Rumour(rumour) => members.on_rumour(&mut ctx, peer, rumour, via),
            Digest::YouAreDead(dead) => members.on_you_are_dead(&mut ctx, peer, dead),
            Digest::Buckets(buckets) => members.on_buckets(&mut ctx, peer, buckets),
            Digest::BucketAsk(ask) => members.on_bucket_ask(&mut ctx, peer, ask),
            _ => {}
        }
    }

    // Digests of the reliable channels: each comes once and in order.
    fn on_reliable(&mut self, now: u64, peer: PeerIx, content: &[u8], out: &mut dyn Outlet) {
        for digest in Digests::new(content) {
            match digest {
                Ok(digest) => self.on_reliable_digest(now, peer, &digest, out),
                Err(error) => return self.refusals.count(error.label()),
            }
        }
    }

    fn on_reliable_digest(
        &mut self,
        now: u64,
        peer: PeerIx,
        digest: &Digest<'_>,
        out: &mut dyn Outlet,
    ) {
        match digest {
            Digest::Table(_) | Digest::SubAdd(_) | Digest::SubDel(_) | Digest::TableEnd(_) => {
                self.on_table(now, peer, digest, out)
            }
            Digest::TableAck(ack) => {
                self.tables.on_ack(peer, ack.version.get());
                self.receive.on_table_ack(peer, ack.version.get());
            }
            Digest::TableAsk(ask) => self.tables.on_ask(peer, ask.have.get()),
            Digest::StreamOpen(open) => self.on_stream_open(peer, open),
            Digest::StreamReady(answer) => {
                self.publish
                    .on_stream_ready(peer, answer, &mut self.links, now)
            }
            Digest::StreamClose(close) => self.streams.on_close(peer, close),
            Digest::Delivered(_) | Digest::Deferred(_) | Digest::Resumed(_) => {
                self.on_subscriber_word(now, peer, digest, out)
            }
            Digest::Fetch(fetch) => self.publish.on_fetch(peer, fetch),
            Digest::Fetched(_) | Digest::Gap(_) | Digest::Backlog(_) | Digest::Catchup(_) => {
                self.on_catchup(now, peer, digest, out)
            }
            Digest::Retired(run) => {
                let from = u64::from(run.handle.get());
                let to = from + u64::from(run.count.get());
                self.receive.on_retired(peer, (from, to));
            }
            Digest::Buckets(_) | Digest::BucketAsk(_) | Digest::Member(_) | Digest::Rumour(_) => {
                self.tell_members(now, peer, digest, Via::Sync);
            }
            Digest::Unknown(_) => self.refusals.count("digest_unknown"),
            _ => self.refusals.count("digest_misplaced"),
        }
    }

    fn on_stream_open(&mut self, peer: PeerIx, open: &digest::StreamOpen) {
        let Some(boot) = self.links.link(peer).map(|link| link.boot) else {
            return;
        };
        if !self.receive.knows(peer) {
            self.receive.on_session(peer, self.peers.id(peer), boot);
        }
        let Some(link) = self.links.link_mut(peer) else {
            return;
        };
        let result = self
            .streams
            .on_open(peer, self.peers.id(peer), boot, open, &self.keyring);
        self.receive.on_stream_open(peer);
        if !link.ctl.push(ready(open.session.get(), result).bytes()) {
            self.refusals.count("ctl_full");
        }
    }

    fn on_subscriber_word(
        &mut self,
        now: u64,
        peer: PeerIx,
        digest: &Digest<'_>,
        out: &mut dyn Outlet,
    ) {
        match digest {
            Digest::Delivered(word) => {
                let from = word.from.get();
                let range = (from, from.saturating_add(word.count.get().into()));
                let outcome = Outcome::from_code(word.result.get());
                let sub = SubRef {
                    peer,
                    sub: word.sub.get(),
                };
                self.publish.on_delivered(
                    sub,
                    word.handle.get(),
                    range,
                    (outcome, now),
                    &self.peers,
                    out,
                );
            }
            Digest::Deferred(word) => self.publish.on_deferred(
                SubRef {
                    peer,
                    sub: word.sub.get(),
                },
                word.handle.get(),
                word.from.get().min(SEQ_END),
                word.head.flags & digest::Deferred::GONE != 0,
                now,
            ),
            Digest::Resumed(word) => self.publish.on_resumed(
                SubRef {
                    peer,
                    sub: word.sub.get(),
                },
                now,
            ),
            _ => {}
        }
    }

    fn on_catchup(&mut self, now: u64, peer: PeerIx, digest: &Digest<'_>, out: &mut dyn Outlet) {
        let receive = &mut self.receive;
        match digest {
            Digest::Fetched(word) => {
                receive.on_fetched(peer, word.sub.get(), word.handle.get(), word.from.get())
            }
            Digest::Gap(gap) => {
                let from = gap.from.get();
                let range = (from, from.saturating_add(gap.count.get().into()));
                let reason = Outcome::from_code(gap.reason.get());
                receive.on_gap(peer, gap.sub.get(), gap.handle.get(), range, reason, out);
            }
            Digest::Backlog(word) => {
                let from = word.fixed.from.get();
                let range = (from, from.saturating_add(word.fixed.count.get().into()));
                let again = word.fixed.head.flags & digest::Backlog::AGAIN != 0;
                receive.on_backlog(
                    peer,
                    word.fixed.sub.get(),
                    word.fixed.handle.get(),
                    range,
                    again,
                    word.topic,
                );
            }
            Digest::Catchup(part) => {
                let fixed = part.fixed;
                let (sub, handle, seq) = (fixed.sub.get(), fixed.handle.get(), fixed.seq.get());
                let incoming = Incoming {
                    peer,
                    handle,
                    seq,
                    payload: part.payload,
                };
                let (offset, total) = (fixed.offset.get(), fixed.total.get());
                let taken = if part.payload.len() == total as usize {
                    receive.on_catchup(incoming, sub, now, out).map(|_| ())
                } else {
                    receive.on_part(incoming, (offset, total), Some(sub), now, out)
                };
                if taken.is_err() {
                    self.refusals.count("catchup_undefined");
                }
            }
            _ => {}
        }
    }

    fn on_table(&mut self, now: u64, peer: PeerIx, digest: &Digest<'_>, out: &mut dyn Outlet) {
        let Some(boot) = self.links.link_mut(peer).map(|l| l.boot) else {
            return;
        };
        let taken = match digest {
            Digest::Table(table) => {
                if mutant(Mutant::TableAckedEarly) {
                    self.tell_reliably(peer, &table_ack(table.version.get()));
                }
                self.tables
                    .begin(peer, boot, table.version.get(), table.base.get())
            }
            Digest::SubAdd(sub) => {
                self.tables
                    .change(peer, sub.fixed.sub.get(), Some(remote_sub(sub)))
            }
            Digest::SubDel(sub) => self.tables.change(peer, sub.sub.get(), None),
            Digest::TableEnd(end) => {
                self.on_table_end(now, peer, boot, end.version.get(), out);
                true
            }
            _ => true,
        };
        if !taken && matches!(digest, Digest::Table(_)) {
            let have = self.tables.held(peer, boot);
            let ask = digest::TableAsk {
                have: have.into(),
                ..Default::default()
            };
            self.tell_reliably(peer, &ask);
        }
    }

    fn on_table_end(
        &mut self,
        now: u64,
        peer: PeerIx,
        boot: tidings_wire::Boot,
        version: u64,
        out: &mut dyn Outlet,
    ) {
        let Some(applied) = self.tables.end(peer, boot, version) else {
            return self.refusals.count("table_refused");
        };
        for (sub, _) in &applied.removed {
            let sub = SubRef { peer, sub: *sub };
            self.publish
                .on_unsubscribed(sub, (Outcome::Unsubscribed, now), &self.peers, out);
        }
        for &sub in &applied.added {
            if let Some(entry) = self.tables.remote(peer, sub) {
                self.publish.on_remote_sub((peer, boot), sub, entry, now);
            }
        }
        for &sub in &applied.missing {
            self.publish.on_missing(SubRef { peer, sub }, now);
        }
        self.publish.on_table(peer);
        self.tell_reliably(peer, &table_ack(version));
        out.event(Event::Routes);
    }

    pub(super) fn tell_reliably(&mut self, peer: PeerIx, digest: &impl digest::Layout) {
        let told = self
            .links
            .link_mut(peer)
            .is_some_and(|l| l.ctl.push(crate::encode::encode::<64>(digest, &[]).bytes()));
        if !told {
            self.refusals.count("ctl_full");
        }
    }

    fn on_fan(&mut self, now: u64, datagram: &mut [u8], out: &mut dyn Outlet) {
        let Ok(Header::Fan(header)) = Header::parse(datagram) else {
            return;
        };
        let (session, len) = (header.session.get(), datagram.len());
        let Some(stream) = self.streams.get_mut(session) else {
            return self.refusals.count("fan_session");
        };
        let opened = match stream.keys.open(datagram) {
            Ok(opened) => opened,
            Err(error) => {
                if let Some(link) = self.links.link_mut(stream.peer) {
                    link.counters.open_failed += 1;
                }
                return self.refusals.count(error.label());
            }
        };
        let (counter, peer) = (opened.counter, stream.peer);
        let srtt = self.links.link_mut(peer).map_or(0, |link| {
            if opened.duplicate {
                link.counters.duplicates += 1;
            } else {
                link.counters.datagrams_in += 1;
                link.counters.bytes_in += len as u64;
            }
            link.rtt.smoothed()
        });
        if opened.duplicate {
            if !mutant(Mutant::StreamDuplicateUnheard) {
                stream.on_duplicate();
            }
            return self.refusals.count("fan_duplicate");
        }
        let taken = self.receive.on_body(peer, opened.body, now, out);
        match taken {
            Err(Stop::Undefined) if !mutant(Mutant::AckedUntaken) => {
                // It is not marked: it waits for the definition, or is repaired after it.
                stream.keep_early(counter, len, opened.body);
                stream.on_duplicate();
                return self.refusals.count("fan_undefined");
            }
            taken => {
                stream.keys.mark(counter);
                stream.on_datagram(counter, len, srtt, now);
                if taken.is_err() {
                    self.refusals.count("fan_malformed");
                }
            }
        }
        if stream.has_early() {
            take_early(&mut self.receive, stream, srtt, now, out);
        }
    }
}

// Datagrams that overtook the definitions of what is in them are tried again.
fn take_early(
    receive: &mut Receive,
    stream: &mut StreamRx,
    srtt: u64,
    now: u64,
    out: &mut dyn Outlet,
) {
    for early in stream.take_early() {
        if stream.keys.contains(early.counter) {
            continue;
        }
        match receive.on_body(stream.peer, &early.body, now, out) {
            Err(Stop::Undefined) => stream.keep_early(early.counter, early.len, &early.body),
            _ => {
                stream.keys.mark(early.counter);
                stream.on_datagram(early.counter, early.len, srtt, now);
            }
        }
    }
}

fn table_ack(version: u64) -> digest::TableAck {
    digest::TableAck {
        version: version.into(),
        ..Default::default()
    }
}

fn remote_sub(sub: &digest::SubAddView<'_>) -> RemoteSub {
    RemoteSub {
        pattern: sub.pattern.into(),
        client: sub.fixed.client.get(),
        ack: sub.ack(),
        ordered: sub.order() == digest::OrderMode::Ordered,
        policy: sub.policy(),
        redelivery: Redelivery {
            attempts: sub.fixed.attempts.get(),
            every_ms: sub.fixed.every_ms.get(),
        },
    }
}
