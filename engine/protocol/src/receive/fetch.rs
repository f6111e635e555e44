//! FETCHes: which goes next to a publisher node, and the end of each.

use super::*;

impl Receive {
    /// A FETCH was answered.
    pub(crate) fn on_fetched(&mut self, peer: PeerIx, sub: u32, number: u32, from: u64) {
        let Some(origin) = self.origins.get_mut(&peer) else {
            return;
        };
        if !origin.asking.end((sub, number), from) {
            return;
        }
        let handle = origin.handles.get_mut(&number);
        let mut intakes = handle.map(|h| h.intakes.iter_mut()).into_iter().flatten();
        if let Some(intake) = intakes.find(|i| i.sub == sub) {
            intake.take_room();
            if intake.has_missed() {
                origin.asking.want((sub, number));
            }
        }
        if let Some(local) = self.subs.get_mut(&sub) {
            local.portion.end_fetch();
        }
        origin.look_again(number);
    }

    /// Whether asking for a FETCH may yield one.
    pub(crate) fn may_fetch(&self, peer: PeerIx, now: u64) -> bool {
        let crowded = self.crowd.front().is_some_and(|c| c.peer == peer);
        self.origins
            .get(&peer)
            .is_some_and(|o| crowded || o.asking.is_due(now))
    }

    /// Whether messages of this node itself may be handed over that one flush left to the next.
    pub(crate) fn has_local_work(&self) -> bool {
        let local = self.origins.get(&PeerIx::LOCAL);
        local.is_some_and(|o| o.asking.has_due())
    }

    /// The next FETCH for a publisher node, if any is due.
    pub(crate) fn next_fetch(&mut self, peer: PeerIx, now: u64) -> Option<Fetch> {
        if let Some(fetch) = self.next_crowded(peer, now) {
            return Some(fetch);
        }
        loop {
            let pair = self.origins.get_mut(&peer)?.asking.next_due(now)?;
            if let Some(fetch) = self.fetch(peer, pair, now) {
                return Some(fetch);
            }
        }
    }

    // Begins a FETCH for a pair, unless there is nothing to fetch or nobody to take it: then it is wanted again when there is.
    fn fetch(&mut self, peer: PeerIx, pair: Pair, now: u64) -> Option<Fetch> {
        let (sub, number) = pair;
        let local = self.subs.get(&sub).filter(|l| l.attached && !l.full)?;
        let origin = self.origins.get_mut(&peer)?;
        let handle = origin.handles.get(&number)?;
        let intake = handle.intakes.iter().find(|i| i.sub == sub)?;
        let (from, to) = intake.next_missed()?;
        let count = local.portion.of(to - from);
        let max_bytes = origin.asking.begin(pair, from, count, now);
        self.counters.fetches += 1;
        Some(Fetch {
            sub,
            handle: number,
            from,
            count,
            max_bytes,
        })
    }

    // The FETCH of the first who waits for room, once there is room for its message and no other fetches alone.
    fn next_crowded(&mut self, peer: PeerIx, now: u64) -> Option<Fetch> {
        let under_way = |(peer, pair)| self.is_fetching(peer, pair);
        if self.alone.is_some_and(under_way) {
            return None;
        }
        loop {
            let first = *self.crowd.front()?;
            let origin = self.origins.get(&first.peer);
            let waits = origin.is_some_and(|o| o.asking.crowded.contains(&first.pair));
            if waits {
                let is_next = first.peer == peer && !self.is_fetching(peer, first.pair);
                if !is_next || !self.has_room(first.total, now) {
                    return None;
                }
            }
            self.crowd.pop_front();
            if !waits {
                continue;
            }
            if let Some(origin) = self.origins.get_mut(&peer) {
                origin.asking.crowded.remove(&first.pair);
            }
            if let Some(fetch) = self.fetch(peer, first.pair, now) {
                self.alone = Some((peer, first.pair));
                return Some(fetch);
            }
        }
    }

    fn is_fetching(&self, peer: PeerIx, pair: Pair) -> bool {
        let origin = self.origins.get(&peer);
        origin.is_some_and(|o| o.asking.is_fetching(pair))
    }

    // Whether there is room to fetch a message of `total` bytes.
    fn has_room(&mut self, total: usize, now: u64) -> bool {
        let fits = |r: &Reassembly| r.has_room(total, true);
        fits(&self.reassembly) || (self.drop_stale(now) && fits(&self.reassembly))
    }
}
