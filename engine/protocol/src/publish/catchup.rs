//! Bringing nodes up to date: sessions, backlogs, fetches. Everything here goes over the link's reliable bulk channel.

use std::ops::Bound;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::digest::{Backlog, Catchup, Fetch, Fetched, Gap, Head, Retired, StreamClose};
use tidings_wire::{MIN_DATAGRAM_SIZE, PAIR_HEADER, TAG};

use super::outstanding::{Owed, Span};
use super::subscriber::{Job, Offer};
use super::*;
use crate::encode::encode;
use crate::fan::{Item, Items};
use crate::links::Links;
use crate::links::link::Link;
use crate::receive;

/// Room that the bulk channel must have before another part is cut: one datagram's worth.
const ROOM: usize = 1200;
/// BACKLOG flag: messages of the run may have been delivered before.
const AGAIN: u8 = 1;

/// Bytes of a message that one CATCHUP carries: BULK datagrams fit every path.
const PART_MAX: usize = MIN_DATAGRAM_SIZE
    - PAIR_HEADER
    - TAG
    - size_of::<tidings_wire::digest::Bulk>()
    - size_of::<Catchup>();

/// A message of the own store for a local subscription.
pub(crate) struct LocalCopy {
    pub(crate) seq: u64,
    pub(crate) payload: Vec<u8>,
}

impl Publish {
    /// A session with the node began.
    pub(crate) fn on_link_up(&mut self, peer: PeerIx, boot: Boot, now: u64) {
        self.leave_streams(peer, now);
        // Who never subscribed is nobody to publish to.
        let Some(node) = self.nodes.get_mut(&peer) else {
            return;
        };
        node.take_back_gaps();
        node.phase = Phase::backlog(now);
        if mutant(Mutant::BacklogUntold) {
            node.phase = Phase::Ready;
        }
        node.probing_until = now + limits::PROBING;
        let reborn = node.boot.is_some_and(|known| known != boot);
        node.reborn |= reborn;
        node.awaits_table |= reborn;
        // A boot that is new knows nobody.
        node.retired = RangeSet::default();
        if node.boot == Some(boot) {
            node.retired.clone_from(&self.retired);
        } else {
            node.closed.clear();
        }
        node.boot = Some(boot);
        node.jobs.clear();
        node.offers.clear();
        // What still has no room says so again; the word that there is room may have been lost with the earlier link.
        self.subs_of(peer)
            .for_each(|subscriber| subscriber.resume(now));
        if reborn {
            self.on_reborn(peer);
        }
    }

    /// The node's table was taken over.
    pub(crate) fn on_table(&mut self, peer: PeerIx) {
        if let Some(node) = self.nodes.get_mut(&peer) {
            node.awaits_table = false;
        }
    }

    // The node's subscriptions.
    fn subs_of(&mut self, peer: PeerIx) -> impl Iterator<Item = &mut Subscriber> {
        let all = SubRef { peer, sub: 0 }..=SubRef {
            peer,
            sub: u32::MAX,
        };
        self.subs.range_mut(all).map(|(_, subscriber)| subscriber)
    }

    fn on_reborn(&mut self, peer: PeerIx) {
        self.subs_of(peer)
            .for_each(|subscriber| subscriber.unconfirmed = true);
        for stream in self.streams.iter_mut().flatten() {
            if let Some(node) = stream.node_mut(peer) {
                node.on_reborn();
            }
        }
        for number in &self.active {
            if let Some(handle) = self.handles.get_mut(*number)
                && let Some(outstanding) = &mut handle.out
            {
                outstanding.on_reborn(peer);
            }
        }
    }

    /// A named client's subscription is back after its node's restart: what the node was told before, it could not place.
    pub(super) fn offer_anew(&mut self, sub: SubRef) {
        let numbers: Vec<u32> = self.active.iter().copied().collect();
        let owes = |number: &u32| {
            let out = self.handle(*number).and_then(|h| h.out.as_ref());
            out.is_some_and(|o| o.unsettled(sub).is_some())
        };
        let numbers: Vec<u32> = numbers.into_iter().filter(owes).collect();
        if let Some(node) = self.nodes.get_mut(&sub.peer) {
            node.offers.extend(numbers.iter().map(|n| Offer {
                sub: sub.sub,
                number: *n,
                overdue: false,
            }));
        }
    }

    /// The session ended.
    pub(crate) fn on_link_down(&mut self, peer: PeerIx, now: u64) {
        self.leave_streams(peer, now);
        if let Some(node) = self.nodes.get_mut(&peer) {
            if !matches!(node.phase, Phase::Down { .. }) {
                node.phase = Phase::Down { since: now };
            }
            node.take_back_gaps();
            node.jobs.clear();
        }
    }

    // The link is gone or new, and with it what its congestion controller knew of bytes in flight.
    fn leave_streams(&mut self, peer: PeerIx, now: u64) {
        let ends = self.nodes.get(&peer).is_some_and(Subscribing::is_linked);
        for stream in self.streams.iter_mut().flatten() {
            let head = stream.head();
            if let Some(node) = stream.node_mut(peer) {
                if ends {
                    node.on_link_end(head);
                }
                node.close(head, now);
                stream.trim(&mut self.store);
            }
        }
    }

    /// The node is forgotten: it will not come back.
    pub(crate) fn on_peer_dropped(&mut self, peer: PeerIx, now: u64) {
        self.leave_streams(peer, now);
        self.nodes.remove(&peer);
        let gone: Vec<u32> = self
            .streams
            .iter()
            .flatten()
            .filter(|s| s.is_idle() && s.node(peer).is_some())
            .map(|s| s.ix)
            .collect();
        gone.into_iter().for_each(|ix| self.drop_stream(ix));
    }

    /// The node asks for messages.
    pub(crate) fn on_fetch(&mut self, peer: PeerIx, fetch: &Fetch) {
        let Some(node) = self.nodes.get_mut(&peer) else {
            return;
        };
        if node.jobs.len() < limits::FETCH_JOBS {
            let from = fetch.from.get();
            node.jobs.push_back(Job {
                sub: fetch.sub.get(),
                handle: fetch.handle.get(),
                from,
                next: from,
                to: from.saturating_add(fetch.count.get().into()),
                offset: 0,
                bytes_left: fetch.max_bytes.get().max(1),
            });
        }
    }

    // Tells a node that is owed something all that there is room for: gaps first, then what it is owed, then what it asked for.
    pub(super) fn serve(&mut self, peer: PeerIx, links: &mut Links, now: u64) {
        let Some(link) = links.link_mut(peer) else {
            return;
        };
        self.close_streams(peer, link);
        if !self.tell_gaps(peer, link)
            || !self.offer(peer, link, now)
            || !self.tell_retired(peer, link)
        {
            return;
        }
        let awaits_table = self.nodes.get(&peer).is_some_and(|n| n.awaits_table);
        if !awaits_table
            && self.tell_backlog(peer, link, now)
            && !self.join_streams(peer, links, now)
        {
            // The channel had no room for a STREAM_OPEN: what is accepted until it has must be told, too.
            if let Some(node) = self.nodes.get_mut(&peer) {
                node.phase = Phase::Backlog {
                    cursor: 0,
                    since: now,
                    began: now,
                    paused: false,
                };
            }
        }
        if let Some(link) = links.link_mut(peer) {
            while self.serve_job(peer, link) {}
        }
    }

    fn close_streams(&mut self, peer: PeerIx, link: &mut Link) {
        let Some(node) = self.nodes.get_mut(&peer) else {
            return;
        };
        while let Some(&session) = node.closed.front() {
            let close = StreamClose {
                session: session.into(),
                ..StreamClose::default()
            };
            if !link.bulk.push(encode::<64>(&close, &[]).bytes()) {
                return;
            }
            node.closed.pop_front();
        }
    }

    // Tells the node which publishers are gone; false if the channel is full.
    fn tell_retired(&mut self, peer: PeerIx, link: &mut Link) -> bool {
        let Some(node) = self.nodes.get_mut(&peer) else {
            return true;
        };
        while let Some((from, to)) = node.retired.first() {
            let retired = Retired {
                handle: (from as u32).into(),
                count: ((to - from) as u32).into(),
                ..Retired::default()
            };
            if !link.bulk.push(encode::<64>(&retired, &[]).bytes()) {
                return false;
            }
            node.retired.remove(from, to);
        }
        true
    }

    // Tells the node what its subscriptions will not get; false if the channel is full.
    fn tell_gaps(&mut self, peer: PeerIx, link: &mut Link) -> bool {
        if let Some(node) = self.nodes.get_mut(&peer) {
            node.arrived(link.bulk.tx.arrived_to());
        }
        let mut after = None;
        while let Some(gap) = self.next_gap(peer, after) {
            let key = (gap.sub, gap.handle, gap.from);
            after = Some(key);
            let sub = SubRef { peer, sub: gap.sub };
            if self.subs.get(&sub).is_some_and(|s| !s.is_there()) {
                // The node could not place any of its gaps; they are told when the subscription is there again.
                after = Some((gap.sub, u32::MAX, u64::MAX));
                continue;
            }
            let count = u32::try_from(gap.to - gap.from).unwrap_or(u32::MAX);
            if !self.define_gap(sub, &gap, link)
                || !push_gap(link, gap.sub, gap.handle, gap.from, count, gap.reason)
            {
                return false;
            }
            let Some(node) = self.nodes.get_mut(&peer) else {
                return false;
            };
            node.untold.remove(&key);
            let to = gap.from + u64::from(count);
            node.queued(Untold { to, ..gap }, link.bulk.tx.pushed_to());
            if gap.to > to {
                let from = to;
                node.untold
                    .insert((gap.sub, gap.handle, from), Untold { from, ..gap });
            }
        }
        true
    }

    fn next_gap(&self, peer: PeerIx, after: Option<(u32, u32, u64)>) -> Option<Untold> {
        let untold = &self.nodes.get(&peer)?.untold;
        let mut rest = match after {
            Some(key) => untold.range((Bound::Excluded(key), Bound::Unbounded)),
            None => untold.range(..),
        };
        rest.next().map(|(_, gap)| *gap)
    }

    // A node that was reborn may not know the publisher, and a gap does not name the topic: a BACKLOG does. It begins with
    // the first that the subscription is owed, since what lies below the first BACKLOG never comes, and spans the gap: what lies between
    // a BACKLOG and what was known before is taken as not owed.
    fn define_gap(&self, sub: SubRef, gap: &Untold, link: &mut Link) -> bool {
        let Some(handle) = self.handle(gap.handle) else {
            return true;
        };
        let owed = handle.out.as_ref().and_then(|out| out.unsettled(sub));
        let from = owed.map_or(gap.from, |(oldest, _)| oldest.min(gap.from));
        let run = (from, gap.to, false);
        push_run(link, sub.sub, gap.handle, run, &handle.topic)
    }

    fn offer(&mut self, peer: PeerIx, link: &mut Link, now: u64) -> bool {
        while let Some(&offer) = self.nodes.get(&peer).and_then(|n| n.offers.front()) {
            let sub = SubRef {
                peer,
                sub: offer.sub,
            };
            let period = self.subs.get(&sub).map_or(0, Subscriber::period);
            let asked = |span: &Span| !offer.overdue || self.is_overdue(sub, span, period, now);
            if !self.push_backlog(sub, offer.number, asked, link) {
                return false;
            }
            if let Some(node) = self.nodes.get_mut(&peer) {
                node.offers.pop_front();
            }
        }
        true
    }

    // Goes on with the node's backlog; true when it is up to date.
    fn tell_backlog(&mut self, peer: PeerIx, link: &mut Link, now: u64) -> bool {
        loop {
            let Some(node) = self.nodes.get(&peer) else {
                return false;
            };
            let Phase::Backlog {
                cursor,
                since,
                began,
                paused,
            } = node.phase
            else {
                return false;
            };
            let next = self.active.range(cursor..).next().copied();
            let Some(number) = next else {
                return self.end_backlog(peer, began, paused, now);
            };
            let owed = self.handle(number).and_then(|h| h.out.as_ref());
            let subs: Vec<SubRef> = owed.map_or_else(Vec::new, |o| {
                o.subs()
                    .map(|owed| owed.sub)
                    .filter(|s| s.peer == peer)
                    .collect()
            });
            // A subscription is told again if the channel fills up between two of one publisher: the node takes it once.
            let told = subs
                .iter()
                .all(|sub| self.push_backlog(*sub, number, |s| s.accepted >= since, link));
            let Some(node) = self.nodes.get_mut(&peer) else {
                return false;
            };
            if !told {
                node.phase = Phase::Backlog {
                    cursor,
                    since,
                    began,
                    paused: true,
                };
                return false;
            }
            node.phase = Phase::Backlog {
                cursor: number + 1,
                since,
                began,
                paused,
            };
        }
    }

    // A pass is over: if it had to pause, messages accepted meanwhile need another.
    fn end_backlog(&mut self, peer: PeerIx, began: u64, paused: bool, now: u64) -> bool {
        let Some(node) = self.nodes.get_mut(&peer) else {
            return false;
        };
        if paused {
            node.phase = Phase::Backlog {
                cursor: 0,
                since: began,
                began: now,
                paused: false,
            };
            return false;
        }
        node.phase = Phase::Ready;
        true
    }

    // Tells what one subscription is owed by one publisher of the messages that are asked for. In flight on a live stream it may be,
    // too: the node takes each once.
    fn push_backlog(
        &self,
        sub: SubRef,
        number: u32,
        mut asked: impl FnMut(&Span) -> bool,
        link: &mut Link,
    ) -> bool {
        let Some(handle) = self.handle(number) else {
            return true;
        };
        let Some(outstanding) = &handle.out else {
            return true;
        };
        let (Some((from, to)), Some(owed)) = (outstanding.unsettled(sub), outstanding.owed(sub))
        else {
            return true;
        };
        if self.subs.get(&sub).is_some_and(|s| !s.is_there()) {
            // The node could not place it; it is offered anew when the subscription is there again.
            return true;
        }
        let mut runs: Vec<(u64, u64, bool)> = Vec::new();
        for span in outstanding.spans(from, to).filter(|s| asked(s)) {
            let again = self.had_earlier(owed, span);
            owed.settled
                .holes(
                    span.first.max(from),
                    span.end().min(to),
                    |a, b| match runs.last_mut() {
                        Some(last) if last.1 == a && last.2 == again => last.1 = b,
                        _ => runs.push((a, b, again)),
                    },
                );
            // What is unsettled is told in few runs: the node fetches around what it has.
            if runs.len() > RUNS {
                merge(&mut runs);
            }
        }
        runs.into_iter()
            .all(|run| push_run(link, sub.sub, number, run, &handle.topic))
    }

    // Whether an earlier boot of the subscription's node may have had messages of the span.
    fn had_earlier(&self, owed: &Owed, span: &Span) -> bool {
        let stream = self.streams[span.at.stream as usize].as_ref();
        let had_live = stream.is_some_and(|s| {
            let last = s.last_of(span.at.counter, span.datagrams);
            let node = s.node(owed.sub.peer);
            node.zip(last).is_some_and(|(n, last)| n.had_earlier(last))
        });
        had_live || owed.earlier > span.first
    }

    // A node may ask before it was told what it is owed: the live stream named the publisher. What an earlier boot may have had
    // of what it asks for, it hears first.
    fn tell_earlier(&self, sub: SubRef, job: &Job, link: &mut Link) -> bool {
        let reborn = self.nodes.get(&sub.peer).is_some_and(|n| n.reborn);
        let Some(handle) = self.handle(job.handle).filter(|_| reborn) else {
            return true;
        };
        let Some((outstanding, owed)) = handle.out.as_ref().and_then(|o| Some((o, o.owed(sub)?)))
        else {
            return true;
        };
        let mut earlier: Option<(u64, u64)> = None;
        for span in outstanding.spans(job.from, job.to) {
            if self.had_earlier(owed, span) {
                let (from, to) = (span.first.max(job.from), span.end().min(job.to));
                earlier = Some((earlier.map_or(from, |(first, _)| first), to));
            }
        }
        earlier.is_none_or(|(from, to)| {
            push_run(link, sub.sub, job.handle, (from, to, true), &handle.topic)
        })
    }

    // Works on the node's oldest FETCH; true if it is done.
    fn serve_job(&mut self, peer: PeerIx, link: &mut Link) -> bool {
        let Some(mut job) = self.nodes.get_mut(&peer).and_then(|n| n.jobs.pop_front()) else {
            return false;
        };
        if self.work(peer, &mut job, link) {
            return true;
        }
        if let Some(node) = self.nodes.get_mut(&peer) {
            node.jobs.push_front(job);
        }
        false
    }

    fn work(&mut self, peer: PeerIx, job: &mut Job, link: &mut Link) -> bool {
        let sub = SubRef { peer, sub: job.sub };
        if (job.next, job.offset) == (job.from, 0) && !self.tell_earlier(sub, job, link) {
            return false;
        }
        // A message that was begun is sent whole: its rest alone would never come.
        while job.next < job.to && (job.bytes_left > 0 || job.offset > 0) {
            let (from, to) = self.unsettled(sub, job.handle, job.next, job.to);
            if from > job.next {
                // Settled in an earlier life of the node, or never owed: nothing is missing.
                let count = u32::try_from(from - job.next).unwrap_or(u32::MAX);
                if !push_gap(
                    link,
                    job.sub,
                    job.handle,
                    job.next,
                    count,
                    Outcome::Delivered,
                ) {
                    return false;
                }
                (job.next, job.offset) = (job.next + u64::from(count), 0);
                continue;
            }
            if !self.send_copies(sub, job, to, link) {
                return false;
            }
        }
        let count = (job.next - job.from) as u32;
        let fixed = Fetched {
            sub: job.sub.into(),
            handle: job.handle.into(),
            count: count.into(),
            from: job.from.into(),
            ..Fetched::default()
        };
        link.bulk.push(encode::<64>(&fixed, &[]).bytes())
    }

    // The first run of numbers from `from` on that are not settled, below `to`; it is empty, at `to`, if all are.
    fn unsettled(&self, sub: SubRef, number: u32, from: u64, to: u64) -> (u64, u64) {
        let out = self.handle(number).and_then(|h| h.out.as_ref());
        let Some(owed) = out.and_then(|o| o.owed(sub)) else {
            return (to, to);
        };
        let end = out
            .and_then(|o| o.unsettled(sub))
            .map_or(from, |(_, end)| end);
        let unsettled = owed.settled.first_hole(from, to.min(end.max(from)));
        unsettled.unwrap_or((to, to))
    }

    // Sends (the rest of) message `job.next`, and of those that follow it below `to` what lies in the same datagram, which is
    // opened for all of them; false if the channel is full.
    fn send_copies(&mut self, sub: SubRef, job: &mut Job, to: u64, link: &mut Link) -> bool {
        let Some(outstanding) = self.handle(job.handle).and_then(|h| h.out.as_ref()) else {
            return true;
        };
        let Some(span) = outstanding.spans(job.next, job.next + 1).next().copied() else {
            job.next += 1;
            return true;
        };
        if link.bulk.room() < ROOM {
            return false;
        }
        // Where the rest begins: opening what is sent already, each time that there is room, would be quadratic.
        let Some(stream) = &self.streams[span.at.stream as usize] else {
            return true;
        };
        let (from, to) = (job.next, to.min(span.end()));
        let first = u64::from(job.offset) / record::fragment_max(stream.size) as u64;
        let mut full = false;
        for n in first..stream.datagrams(span.at.counter, span.datagrams) {
            self.read(span.at, n, |item| {
                let wants = job.next < to && (job.bytes_left > 0 || job.offset > 0);
                full = wants && !send_item(item, job, link);
                wants && !full
            });
            if full {
                break;
            }
        }
        if !full && job.next == from {
            (job.next, job.offset) = (from + 1, 0);
        }
        self.counters.catchup += job.next - from;
        let next = job.next;
        if next > from
            && let Some(owed) = self
                .handle_mut(job.handle)
                .and_then(|h| h.out.as_mut())
                .and_then(|o| o.owed_mut(sub))
        {
            owed.served = owed.served.max(next);
        }
        !full
    }

    // Opens retained datagram `n` of a message and shows its records to `f` until it says false.
    fn read(
        &mut self,
        at: DatagramId,
        n: u64,
        mut f: impl FnMut(&Item<'_>) -> bool,
    ) -> Option<bool> {
        let stream = self.streams[at.stream as usize].as_mut()?;
        if self.scratch.is_empty() {
            self.scratch = vec![0; limits::CHUNK].into();
        }
        let body = stream.read_any(&self.store, at.counter, n, &mut self.scratch)?;
        Some(Items::new(body).flatten().all(|item| f(&item)))
    }

    /// A message for a local subscription that had no room for it: found in the own store, or known settled.
    pub(crate) fn local_copy(&mut self, fetch: &receive::Fetch) -> Result<LocalCopy, (u64, u64)> {
        let sub = SubRef {
            peer: PeerIx::LOCAL,
            sub: fetch.sub,
        };
        let to = fetch.from + u64::from(fetch.count);
        let (from, _) = self.unsettled(sub, fetch.handle, fetch.from, to);
        if from > fetch.from {
            return Err((fetch.from, from));
        }
        let out = self.handle(fetch.handle).and_then(|h| h.out.as_ref());
        let Some(span) = out.and_then(|o| o.spans(fetch.from, fetch.from + 1).next().copied())
        else {
            return Err((fetch.from, fetch.from + 1));
        };
        let mut copy = LocalCopy {
            seq: fetch.from,
            payload: Vec::new(),
        };
        let stream = self.streams[span.at.stream as usize].as_ref();
        let datagrams = stream.map_or(0, |s| s.datagrams(span.at.counter, span.datagrams));
        for n in 0..datagrams {
            self.read(span.at, n, |item| {
                match *item {
                    Item::Message {
                        handle,
                        seq,
                        payload,
                    }
                    | Item::Part {
                        handle,
                        seq,
                        payload,
                        ..
                    } if (handle, seq) == (fetch.handle, fetch.from) => {
                        copy.payload.extend_from_slice(payload);
                    }
                    _ => {}
                }
                true
            });
        }
        Ok(copy)
    }
}

/// Runs of one BACKLOG before neighbours are joined over settled ones.
const RUNS: usize = 64;

// Joins neighbours that are alike, over the settled ones between them.
fn merge(runs: &mut Vec<(u64, u64, bool)>) {
    runs.dedup_by(|next, last| {
        let alike = next.2 == last.2;
        if alike {
            last.1 = next.1;
        }
        alike
    });
}

// A run of messages that a subscription is owed: from, to, and whether they may have been delivered before.
fn push_run(
    link: &mut Link,
    sub: u32,
    handle: u32,
    (from, to, again): (u64, u64, bool),
    topic: &str,
) -> bool {
    let fixed = Backlog {
        head: Head::flagged(if again { AGAIN } else { 0 }),
        sub: sub.into(),
        handle: handle.into(),
        count: u32::try_from(to - from).unwrap_or(u32::MAX).into(),
        from: from.into(),
    };
    link.bulk
        .push(encode::<320>(&fixed, &[topic.as_bytes()]).bytes())
}

fn push_gap(
    link: &mut Link,
    sub: u32,
    handle: u32,
    from: u64,
    count: u32,
    reason: Outcome,
) -> bool {
    let fixed = Gap {
        sub: sub.into(),
        handle: handle.into(),
        count: count.into(),
        from: from.into(),
        reason: (reason as u32).into(),
        ..Gap::default()
    };
    link.bulk.push(encode::<64>(&fixed, &[]).bytes())
}

// Sends a record if it is (part of) the message that the job is at, which goes on to the next one behind a whole message. False if
// the channel is full.
fn send_item(item: &Item<'_>, job: &mut Job, link: &mut Link) -> bool {
    let (handle, seq, start, total, payload) = match *item {
        Item::Message {
            handle,
            seq,
            payload,
        } => (handle, seq, 0, payload.len() as u32, payload),
        Item::Part {
            handle,
            seq,
            offset,
            total,
            payload,
        } => (handle, seq, offset, total, payload),
        Item::Define(_) => return true,
    };
    if (handle, seq) != (job.handle, job.next) {
        return true;
    }
    let end = start + payload.len() as u32;
    let mut empty = total == 0;
    while empty || (job.offset >= start && job.offset < end) {
        let rest = &payload[(job.offset - start) as usize..];
        let part = &rest[..rest.len().min(PART_MAX)];
        if link.bulk.room() < ROOM || !push_part(link, job, total, part) {
            return false;
        }
        job.offset += part.len() as u32;
        job.bytes_left = job.bytes_left.saturating_sub(part.len() as u32 + 32);
        empty = false;
    }
    if matches!(item, Item::Message { .. }) {
        (job.next, job.offset) = (job.next + 1, 0);
    }
    true
}

fn push_part(link: &mut Link, job: &Job, total: u32, part: &[u8]) -> bool {
    let fixed = Catchup {
        sub: job.sub.into(),
        handle: job.handle.into(),
        offset: job.offset.into(),
        seq: job.next.into(),
        total: total.into(),
        ..Catchup::default()
    };
    link.bulk.push(encode::<1280>(&fixed, &[part]).bytes())
}
