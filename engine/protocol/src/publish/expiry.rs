//! Giving up: attempts used up, nodes dead for too long, clients that do not come back, a full store.

use super::outstanding::Span;
use super::subscriber::Offer;
use super::*;
use crate::config::SlowPolicy;
use tidings_wire::mutants::{Mutant, mutant};

/// How often attempts and waits are looked at, in ns.
const TICK: u64 = 100_000_000;
/// A pause between searches for messages to give up, in ns.
const EVICT_PAUSE: u64 = 10_000_000;

impl Publish {
    /// When [`Publish::on_tick`] is due.
    pub(crate) fn tick_at(&self) -> Option<u64> {
        let waits = !self.active.is_empty()
            || !self.resting.is_empty()
            || !self.store.is_relaxed()
            || !self.missing.is_empty();
        waits.then_some(self.next_tick)
    }

    /// Looks at every wait. Returns subscriptions that are forgotten for good.
    pub(crate) fn on_tick(&mut self, now: u64, peers: &Peers, out: &mut dyn Outlet) -> Vec<SubRef> {
        self.next_tick = now + TICK;
        self.end_rest();
        self.end_spill();
        self.store.relax(now);
        self.expire_attempts(now, peers, out);
        self.offer_again(now);
        self.expire_parked(now, peers, out);
        let is_over = |sub: &&SubRef| {
            let until = self.subs.get(sub).and_then(|s| s.until);
            until.is_none_or(|until| now >= until)
        };
        let gone: Vec<SubRef> = self.missing.iter().filter(is_over).copied().collect();
        for &sub in &gone {
            self.on_unsubscribed(sub, (Outcome::Unsubscribed, now), peers, out);
        }
        gone
    }

    // Subscriptions with a number of attempts: their messages fail by time.
    fn expire_attempts(&mut self, now: u64, peers: &Peers, out: &mut dyn Outlet) {
        if !self.subs.values().any(|s| s.redelivery.attempts > 0) {
            return;
        }
        let mut failed = Vec::new();
        for &number in &self.active {
            let Some(outstanding) = self.handle(number).and_then(|h| h.out.as_ref()) else {
                continue;
            };
            for owed in outstanding.subs() {
                let Some(subscriber) = self.subs.get(&owed.sub) else {
                    continue;
                };
                if let Some(to) = self.expired(outstanding, owed.sub, subscriber, now) {
                    failed.push((number, owed.sub, to));
                }
            }
        }
        let mut outcome = Outcome::MaxAttempts;
        if mutant(Mutant::FailedIsDelivered) {
            outcome = Outcome::Delivered;
        }
        for (number, sub, to) in failed {
            self.settle(number, sub, (0, to), (outcome, now), peers, out);
        }
    }

    // One past the last number whose attempts are used up. Spans are in the order of time.
    fn expired(
        &self,
        outstanding: &Outstanding,
        sub: SubRef,
        subscriber: &Subscriber,
        now: u64,
    ) -> Option<u64> {
        let attempts = u64::from(subscriber.redelivery.attempts);
        if attempts == 0 {
            return None;
        }
        let attempts = attempts + u64::from(mutant(Mutant::OneAttemptMore));
        let every = u64::from(subscriber.redelivery.every_ms) * 1_000_000;
        let period = attempts.saturating_mul(every);
        let (from, to) = outstanding.unsettled(sub)?;
        let mut expired = None;
        for span in outstanding.spans(from, to) {
            let queued = mutant(Mutant::QueueCounts).then_some(span.accepted);
            let sent = queued.or_else(|| self.sent_at(sub, span));
            let since = sent.and_then(|sent| subscriber.counts_from(sent));
            if since.is_none_or(|since| now < since.saturating_add(period)) {
                break;
            }
            expired = Some(span.end());
        }
        expired
    }

    // A period without acknowledgement: the node is asked whether it has them, and fetches what it lacks.
    fn offer_again(&mut self, now: u64) {
        let mut stale = Vec::new();
        for &number in &self.active {
            if let Some(outstanding) = self.handle(number).and_then(|h| h.out.as_ref()) {
                let subs = outstanding.subs();
                let told = subs.filter(|owed| self.is_ready(owed.sub.peer));
                let over = told.filter(|owed| self.is_stale(outstanding, owed, now));
                stale.extend(over.map(|owed| (number, owed.sub)));
            }
        }
        for (number, sub) in stale {
            let Some(node) = self.nodes.get_mut(&sub.peer) else {
                continue;
            };
            node.offers.push_back(Offer {
                sub: sub.sub,
                number,
                overdue: true,
            });
            self.counters.redeliveries += 1;
            let outstanding = self.handle_mut(number).and_then(|h| h.out.as_mut());
            if let Some(owed) = outstanding.and_then(|out| out.owed_mut(sub)) {
                owed.offered = now;
            }
        }
    }

    fn is_ready(&self, peer: PeerIx) -> bool {
        let node = self.nodes.get(&peer);
        node.is_some_and(|node| node.phase == Phase::Ready)
    }

    // Whether the subscription's oldest unsettled message was sent a period ago, and was not offered again within one.
    fn is_stale(&self, outstanding: &Outstanding, owed: &outstanding::Owed, now: u64) -> bool {
        let subscriber = self.subs.get(&owed.sub).filter(|s| s.deferred.is_none());
        let Some(period) = subscriber.map(Subscriber::period) else {
            return false;
        };
        if owed.sub.peer == PeerIx::LOCAL || now < owed.offered + period {
            return false;
        }
        let Some((from, to)) = outstanding.unsettled(owed.sub) else {
            return false;
        };
        let oldest = outstanding.spans(from, to).next();
        oldest.is_some_and(|span| self.is_overdue(owed.sub, span, period, now))
    }

    /// Whether messages were sent to the subscription's node a period ago. What waits to be sent there shall not come another way, too.
    pub(super) fn is_overdue(&self, sub: SubRef, span: &Span, period: u64, now: u64) -> bool {
        let sent = self.sent_at(sub, span);
        sent.is_some_and(|sent| now >= sent + period)
    }

    // Nodes that stayed away longer than messages are parked.
    fn expire_parked(&mut self, now: u64, peers: &Peers, out: &mut dyn Outlet) {
        let limit = self.park_max;
        let over =
            |n: &Subscribing| matches!(n.phase, Phase::Down { since } if now >= since + limit);
        let over: BTreeSet<PeerIx> = self
            .nodes
            .iter()
            .filter(|(_, n)| over(n))
            .map(|(peer, _)| *peer)
            .collect();
        if over.is_empty() || mutant(Mutant::ParkedForEver) {
            return;
        }
        let active: Vec<u32> = self.active.iter().copied().collect();
        for number in active {
            let owed = self.handle(number).and_then(|h| h.out.as_ref());
            let Some(owed) = owed else { continue };
            let late: Vec<SubRef> = owed
                .subs()
                .map(|o| o.sub)
                .filter(|s| over.contains(&s.peer))
                .collect();
            let before = now - limit;
            for sub in late {
                let out_ = self.handle(number).and_then(|h| h.out.as_ref());
                let to = out_.and_then(|o| {
                    o.spans(0, u64::MAX)
                        .take_while(|s| s.accepted <= before)
                        .last()
                        .map(|s| s.end())
                });
                if let Some(to) = to {
                    self.settle(number, sub, (0, to), (Outcome::NodeDead, now), peers, out);
                }
            }
        }
    }

    /// Makes room in a full store at the cost of subscriptions that do not keep up: the oldest messages that only they need
    /// fail. False if there is not enough of them.
    pub(super) fn give_up_slow(
        &mut self,
        chunks: usize,
        peers: &Peers,
        now: u64,
        out: &mut dyn Outlet,
    ) -> bool {
        if now < self.evict_at {
            return false;
        }
        self.evict_at = now + EVICT_PAUSE;
        self.compact();
        if self.store.has_room(chunks) {
            return true;
        }
        let mut given: Vec<(u64, u32, u64, u64)> = Vec::new();
        for &number in &self.active {
            if let Some(outstanding) = self.handle(number).and_then(|h| h.out.as_ref()) {
                self.slow_only(number, outstanding, now, &mut given);
            }
        }
        given.sort_unstable();
        for (_, number, from, to) in given {
            let subs: Vec<SubRef> = self
                .handle(number)
                .and_then(|h| h.out.as_ref())
                .map_or_else(Vec::new, |o| o.subs().map(|owed| owed.sub).collect());
            for sub in subs {
                if self.is_catching_up(sub, now) {
                    self.settle(
                        number,
                        sub,
                        (from, to),
                        (Outcome::Overflow, now),
                        peers,
                        out,
                    );
                }
            }
            if self.store.has_room(chunks + self.store.share(EVICT_SHARE)) {
                break;
            }
        }
        self.streams
            .iter_mut()
            .flatten()
            .for_each(|s| s.trim(&mut self.store));
        self.compact();
        let room = self.store.has_room(chunks);
        if room {
            self.evict_at = 0;
        }
        room
    }

    fn is_catching_up(&self, sub: SubRef, now: u64) -> bool {
        let Some(subscriber) = self.subs.get(&sub) else {
            return true;
        };
        if mutant(Mutant::LiveGivenUp) {
            return true;
        }
        let away = self
            .nodes
            .get(&sub.peer)
            .is_some_and(|n| matches!(n.phase, Phase::Down { .. }));
        subscriber.policy != SlowPolicy::Block && (away || subscriber.is_slow(now))
    }

    // Collects the spans of one publisher that only subscriptions in catch-up wait for.
    fn slow_only(
        &self,
        number: u32,
        outstanding: &Outstanding,
        now: u64,
        given: &mut Vec<(u64, u32, u64, u64)>,
    ) {
        let live: Vec<&outstanding::Owed> = outstanding
            .subs()
            .filter(|o| !self.is_catching_up(o.sub, now))
            .collect();
        for span in outstanding.spans(0, u64::MAX) {
            let mut needed = false;
            for owed in &live {
                owed.settled
                    .holes(span.first, span.end(), |_, _| needed = true);
            }
            if !needed {
                given.push((span.accepted, number, span.first, span.end()));
            }
        }
    }

    fn compact(&mut self) {
        for stream in self.streams.iter_mut().flatten() {
            stream.compact(&mut self.store);
        }
    }
}

/// This part of the store is freed beyond the need when messages are given up, so that it is not done for every message.
const EVICT_SHARE: usize = 16;
