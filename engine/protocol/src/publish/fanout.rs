//! Sending streams: opening them at their nodes, new datagrams, repairs, heartbeats, acknowledgements.

use tidings_wire::digest::{FanAck, FanAckView, FanBeat, StreamOpen, StreamReady};
use tidings_wire::mutants::{Mutant, mutant};

use super::node::{Node, Progress, Round, Standing};
use super::*;
use crate::encode::encode;
use crate::links::Links;
use crate::links::link::Link;
use crate::tx::Tx;

impl Publish {
    /// The node answered a STREAM_OPEN.
    pub(crate) fn on_stream_ready(
        &mut self,
        peer: PeerIx,
        ready: &StreamReady,
        links: &mut Links,
        now: u64,
    ) {
        let Some(&ix) = self.by_session.get(&ready.session.get()) else {
            return;
        };
        let Some(stream) = self.streams[ix as usize].as_mut() else {
            return;
        };
        let Some(node) = stream
            .node_mut(peer)
            .filter(|n| n.standing == Standing::Opening)
        else {
            return;
        };
        if ready.result.get() == StreamReady::READY {
            node.go_live(now);
        } else {
            self.retire(ix, links, now);
        }
    }

    // Somebody else has a stream of this session at one node: no new message goes there, and what it holds goes by catch-up.
    pub(super) fn retire(&mut self, ix: u32, links: &mut Links, now: u64) {
        self.replace(ix);
        self.by_session.retain(|_, stream| *stream != ix);
        let Some(mut stream) = self.streams[ix as usize].take() else {
            return;
        };
        let head = stream.head();
        for node in &mut stream.nodes {
            self.part(node, head, links, now);
        }
        self.streams[ix as usize] = Some(stream);
    }

    // Takes a node out of a stream: what it lacks goes by catch-up.
    pub(super) fn part(&mut self, node: &mut Node, head: u64, links: &mut Links, now: u64) {
        let in_flight = node.close(head, now);
        if let Some(link) = links.link_mut(node.peer) {
            link.congestion.forget(in_flight);
        }
        if let Some(state) = self.nodes.get_mut(&node.peer)
            && !matches!(state.phase, Phase::Down { .. })
        {
            // Also if it is being told already: that may have passed what this stream still owes.
            state.phase = Phase::backlog(now);
        }
    }

    /// The node says what it has of a stream.
    pub(crate) fn on_fan_ack(
        &mut self,
        peer: PeerIx,
        ack: &FanAckView<'_>,
        link: &mut Link,
        now: u64,
    ) {
        let Self {
            by_session,
            streams,
            store,
            counters,
            ..
        } = self;
        let Some(&ix) = by_session.get(&ack.fixed.session.get()) else {
            return;
        };
        let Some(stream) = streams[ix as usize].as_mut() else {
            return;
        };
        let Some(at) = stream
            .nodes
            .iter()
            .position(|n| n.peer == peer && n.is_live())
        else {
            return;
        };
        let mut nodes = std::mem::take(&mut stream.nodes);
        let node = &mut nodes[at];
        node.credit = node.credit.max(ack.fixed.credit.get());
        let words = ack.bitmap.iter().map(|word| word.get());
        let round = Round {
            len: &|counter| stream.len_of(counter),
            srtt: link.rtt.smoothed(),
            longest: link.rtt.bound(),
            now,
        };
        let progress = node.on_ack(ack.fixed.floor.get(), words, ack.fixed.recent.get(), &round);
        let delay = u64::from(ack.fixed.delay_us.get()) * 1000;
        account(&progress, node, link, delay, now, counters);
        if ack.fixed.head.flags & FanAck::ANSWER != 0 {
            let progress = node.on_beat_answered(&round);
            account(&progress, node, link, 0, now, counters);
        }
        if progress.acked > 0 {
            node.arm_beat(now, round.srtt);
        }
        stream.nodes = nodes;
        stream.trim(store);
    }

    /// Seals what is open, brings nodes up to date, and sends what windows, credit and pacing let go.
    pub(crate) fn flush(&mut self, links: &mut Links, tx: &mut Tx, now: u64) {
        for ix in 0..self.streams.len() {
            if let Some(mut stream) = self.streams[ix].take() {
                self.close_open(&mut stream, links, now);
                self.streams[ix] = Some(stream);
            }
        }
        if !self.spilled.is_empty() {
            self.tell_of_spilled();
        }
        let mut peers = std::mem::take(&mut self.peers);
        peers.clear();
        links.take_changed(&mut peers);
        peers.append(&mut self.unfollowed);
        self.follow_paths(&peers, links, now);
        peers.clear();
        let owed = self.nodes.iter().filter(|(_, node)| node.is_owed());
        peers.extend(owed.map(|(&peer, _)| peer));
        for &peer in &peers {
            self.serve(peer, links, now);
        }
        self.peers = peers;
        for ix in 0..self.streams.len() {
            if let Some(mut stream) = self.streams[ix].take() {
                self.flush_stream(&mut stream, links, tx, now);
                self.streams[ix] = Some(stream);
            }
        }
        self.drop_replaced();
    }

    fn close_open(&mut self, stream: &mut Stream, links: &mut Links, now: u64) {
        if !stream.take_news() {
            return;
        }
        if std::mem::take(&mut stream.is_fresh) && stream.keeps_all() && !stream.is_local() {
            // Everything that was ever appended is still there, with its definitions.
            self.open_nodes(stream, 0, None, links, now);
        }
        stream.close(&mut self.store, false);
        self.counters.sealed += stream.take_sealings();
        stream.skip(now);
        // Nodes that are not in the stream must be told of what was accepted.
        for node in stream.nodes.iter().filter(|n| n.standing == Standing::Out) {
            if let Some(state) = self
                .nodes
                .get_mut(&node.peer)
                .filter(|n| n.phase == Phase::Ready)
            {
                state.phase = Phase::backlog(now);
            }
        }
    }

    // Nodes (or the one named) that are up to date and out of the stream join it at `floor`.
    fn open_nodes(
        &self,
        stream: &mut Stream,
        floor: u64,
        only: Option<PeerIx>,
        links: &mut Links,
        now: u64,
    ) -> bool {
        let (session, size) = (stream.session, stream.size as u32);
        let (slot, suite) = stream.keying();
        let (mut late, mut refused) = (false, false);
        for node in &mut stream.nodes {
            let ready = self
                .nodes
                .get(&node.peer)
                .is_some_and(|n| n.phase == Phase::Ready);
            if node.standing != Standing::Out
                || stream.is_replaced
                || !ready
                || only.is_some_and(|peer| peer != node.peer)
            {
                continue;
            }
            let Some(link) = links.link_mut(node.peer).filter(|link| {
                link.datagram >= stream.size && link.sessions.used_ref().key_slot == slot
            }) else {
                continue;
            };
            let open = StreamOpen {
                size: size.into(),
                session: session.into(),
                floor: floor.into(),
                slot,
                suite,
                lane: LANE,
                ..StreamOpen::default()
            };
            if link.bulk.push(encode::<64>(&open, &[]).bytes()) {
                late |= floor > 0;
                node.open(floor, now);
            } else {
                refused = true;
            }
        }
        if late {
            // Definitions below the floor do not reach the newcomer.
            stream.define_epoch += 1;
        }
        !refused
    }

    /// A node was told everything: it joins every stream that is in use. False if one of them must wait.
    pub(super) fn join_streams(&mut self, peer: PeerIx, link_of: &mut Links, now: u64) -> bool {
        let mut all = true;
        for ix in 0..self.streams.len() {
            if let Some(mut stream) = self.streams[ix].take() {
                if !stream.is_local() {
                    let (head, epoch) = (stream.head(), stream.define_epoch);
                    all &= self.open_nodes(&mut stream, head, Some(peer), link_of, now);
                    if stream.define_epoch != epoch {
                        self.define_waiting(&mut stream);
                    }
                }
                self.streams[ix] = Some(stream);
            }
        }
        all
    }

    // Fragments of large messages that come after a newcomer's floor may be of publishers that nothing else tells it of: its
    // subscriptions are not owed these messages.
    fn define_waiting(&mut self, stream: &mut Stream) {
        let Self { handles, nodes, .. } = self;
        stream.define_again(&mut self.store, |number| {
            let handle = handles.get(number)?;
            let subs = handle.route.as_ref().map_or(&[][..], |(_, r)| &r.subs);
            let lowest = handle.owed_from(number, subs, nodes);
            Some((lowest.unwrap_or(handle.next), &handle.topic))
        });
    }

    fn flush_stream(&mut self, stream: &mut Stream, links: &mut Links, tx: &mut Tx, now: u64) {
        if stream.is_local() {
            stream.trim(&mut self.store);
            return;
        }
        // Before anything is planned: what a node that goes was the last to need is freed at the end of this.
        self.drop_behind(stream, links, now);
        // Here already, so that it leaves in one batch with what is unsent.
        self.take_turns(stream, links, now);
        let mut nodes = std::mem::take(&mut stream.nodes);
        for node in &mut nodes {
            // A link is not stirred for nothing: one over which nothing is said is folded.
            if node.rests(stream.head()) {
                continue;
            }
            if let Some(link) = links.link_mut(node.peer) {
                node.paced_at = 0;
                self.judge(stream, node, link, now);
                self.repair(stream, node, link, tx, now);
                self.send_new(stream, node, link, tx, now);
                self.beat(stream, node, link, now);
                suspect_size(stream, node, link, now);
            }
        }
        stream.nodes = nodes;
        while self.take_turns(stream, links, now) {
            let mut nodes = std::mem::take(&mut stream.nodes);
            for node in nodes.iter_mut().filter(|node| node.is_live()) {
                if let Some(link) = links.link_mut(node.peer) {
                    self.send_new(stream, node, link, tx, now);
                }
            }
            stream.nodes = nodes;
        }
        stream.trim(&mut self.store);
    }

    // Takes in of large messages what the quickest node can be sent now, or one turn if it has nothing else unsent: less than a turn
    // waits before records that come later. False if nothing was taken in.
    fn take_turns(&mut self, stream: &mut Stream, links: &mut Links, now: u64) -> bool {
        if stream.waiting() == 0 {
            return false;
        }
        let turns = if stream.nodes.iter().all(|n| n.is_out()) {
            u64::MAX
        } else {
            self.turns_due(stream, links, now)
        };
        for _ in 0..turns.min(stream.waiting()) {
            stream.take_turn(&mut self.store);
        }
        stream.skip(now);
        self.counters.sealed += stream.take_sealings();
        turns > 0
    }

    fn turns_due(&self, stream: &Stream, links: &mut Links, now: u64) -> u64 {
        let mut live = stream.nodes.iter().filter(|n| n.is_live());
        if live.any(|node| stream.is_backlogged(node)) {
            return 0;
        }
        let due = |node: &Node| {
            let link = links.link_mut(node.peer)?;
            let credit = node.credit.saturating_sub(node.sent_bytes);
            let bytes = link.stream_allowance(now).min(credit);
            let room = (bytes / stream.size as u64).min(node.window());
            let unsent = stream.head() - node.next;
            let turns = room.saturating_sub(unsent).div_ceil(large::TURN as u64);
            Some(turns.max(u64::from(unsent == 0)))
        };
        // Repairs go first.
        let nodes = stream.nodes.iter();
        let sending = nodes.filter(|n| n.is_live() && n.lost.is_empty());
        sending.filter_map(due).max().map_or(0, |t| t.min(TURNS))
    }

    fn judge(&mut self, stream: &Stream, node: &mut Node, link: &mut Link, now: u64) {
        if node.judge_at == 0 || now < node.judge_at {
            return;
        }
        let round = Round {
            len: &|counter| stream.len_of(counter),
            srtt: link.rtt.smoothed(),
            longest: link.rtt.bound(),
            now,
        };
        let mut progress = Progress::default();
        node.judge(&round, &mut progress);
        account(&progress, node, link, 0, now, &mut self.counters);
    }

    fn repair(
        &mut self,
        stream: &mut Stream,
        node: &mut Node,
        link: &mut Link,
        tx: &mut Tx,
        now: u64,
    ) {
        while let Some(&counter) = node.lost.first() {
            if node.has(counter) {
                node.lost.pop_first();
                continue;
            }
            let budget = link.congestion.allowance(now);
            let Some(run) = stream.run(counter, 1, budget) else {
                node.paced_at = link.congestion.paced_until(now).unwrap_or(0);
                return;
            };
            tx.store_run(link.addr, run);
            node.on_repaired(counter, run.bytes as u64, now);
            link.on_stream_sent(run.bytes as u64);
            self.counters.repairs += 1;
            self.counters.repair_bytes += run.bytes as u64;
            link.counters.repairs += 1;
            link.counters.datagrams_out += 1;
            link.counters.bytes_out += run.bytes as u64;
        }
    }

    fn send_new(
        &mut self,
        stream: &mut Stream,
        node: &mut Node,
        link: &mut Link,
        tx: &mut Tx,
        now: u64,
    ) {
        while node.lost.is_empty() && node.next < stream.head() {
            let mut credit = node.credit.saturating_sub(node.sent_bytes);
            if mutant(Mutant::CreditIgnored) {
                credit = u64::MAX;
            }
            let budget = link.stream_allowance(now).min(credit);
            let Some(run) = stream.run(node.next, node.window(), budget) else {
                let len = stream.len_of(node.next);
                if node.window() > 0 && credit >= len {
                    link.note_stream_waits(len);
                }
                // Only pacing ends without a word from the other side.
                node.paced_at = link.congestion.paced_until(now).unwrap_or(0);
                return;
            };
            if node.beat_at == 0 {
                node.arm_beat(now, link.rtt.smoothed());
            }
            tx.store_run(link.addr, run);
            node.on_sent(run.to, run.bytes as u64, now);
            link.on_stream_sent(run.bytes as u64);
            self.counters.sent += run.to - run.from;
            self.counters.sent_bytes += run.bytes as u64;
            link.counters.datagrams_out += run.to - run.from;
            link.counters.bytes_out += run.bytes as u64;
        }
    }

    // While anything is unacknowledged or undelivered, the node is asked for its full state from time to time.
    fn beat(&mut self, stream: &Stream, node: &mut Node, link: &mut Link, now: u64) {
        if node.beat_at == 0 || now < node.beat_at {
            return;
        }
        if node.floor == node.next && stream.is_idle() {
            node.beat_at = 0;
            return;
        }
        let (session, next) = (stream.session.into(), node.next.into());
        let beat = FanBeat {
            session,
            next,
            bytes: node.sent_bytes.into(),
            ..FanBeat::default()
        };
        // Without room it stays due: unanswered is only what was asked.
        if link.queue_state(encode::<64>(&beat, &[]).bytes()) {
            node.on_beat(now);
            self.counters.beats += 1;
        }
    }

    // A node that holds up the others, that stands still, or that answers no heartbeat goes to catch-up.
    fn drop_behind(&mut self, stream: &mut Stream, links: &mut Links, now: u64) {
        let head = stream.head();
        // Nodes for which little waits, and those of them to which nothing is left to send. One for which much waits may be as slow as
        // the slowest.
        let (mut others, mut starved) = (0, 0);
        for node in stream.nodes.iter().filter(|n| n.is_live()) {
            if !lags(stream, node) && !stream.has_backlog(node, 2) {
                others += 1;
                starved += u32::from(node.next == head);
            }
        }
        let mut nodes = std::mem::take(&mut stream.nodes);
        for node in nodes.iter_mut().filter(|n| !n.is_out()) {
            let lags = lags(stream, node);
            // Others wait for it only a little. Of equal ones that are given all they can take one lags, too, but the others do not starve.
            let holds = lags && node.is_live() && others > 0 && starved * 4 >= others * 3;
            let held = node.hold_up(holds, now);
            // Alone, or no slower than others, it waits for itself.
            let is_behind = holds && held >= limits::STREAM_HOLD
                || lags && now >= node.progress + limits::STREAM_STALL;
            if is_behind || node.is_silent() {
                self.part(node, head, links, now);
                self.counters.behind += 1;
            }
        }
        stream.nodes = nodes;
    }

    /// When a heartbeat is due, something is to be judged lost, or pacing lets more go.
    pub(crate) fn fanout_deadline(&self) -> Option<u64> {
        let nodes = self
            .streams
            .iter()
            .flatten()
            .flat_map(|s| &s.nodes)
            .filter(|n| n.is_live());
        nodes
            .flat_map(|n| [n.beat_at, n.judge_at, n.paced_at])
            .chain([self.refit_at])
            .filter(|at| *at > 0)
            .min()
    }
}

/// Turns of large messages that are taken in at a time: some batches of 64 KiB.
const TURNS: u64 = 16;

// The node is heard, but nothing of what is larger than every path carries: its path may have become narrower.
fn suspect_size(stream: &Stream, node: &Node, link: &mut Link, now: u64) {
    // Several repairs have been lost by then.
    let patience = (3 * link.rtt.rto()).clamp(limits::SIZE_STALL, limits::STREAM_STALL);
    let stuck = node.floor < node.next && now >= node.progress + patience;
    if stuck
        && now < link.last_heard + patience / 2
        && stream.len_of(node.floor) > link.path.least() as u64
    {
        link.shrink(now);
    }
}

fn lags(stream: &Stream, node: &Node) -> bool {
    stream.is_backlogged(node) || stream.head() - node.floor >= limits::STREAM_BEHIND
}

// Tells round-trip estimate and congestion controller what an acknowledgement showed.
fn account(
    p: &Progress,
    node: &mut Node,
    link: &mut Link,
    delay: u64,
    now: u64,
    counters: &mut PublishCounters,
) {
    if let Some(sent_at) = p.sent_at {
        link.rtt
            .sample(now.saturating_sub(sent_at).saturating_sub(delay));
    }
    if p.acked > 0 {
        link.congestion
            .on_acked(p.acked, now, p.sent_at.unwrap_or(now), &link.known.rtt);
    }
    if p.lost > 0 {
        link.congestion.on_lost(p.lost, p.lost_sent_at, now);
        counters.lost += p.lost_count;
        link.counters.lost += p.lost_count;
    }
    if let Some(sent_at) = p.spurious {
        counters.spurious += 1;
        link.counters.spurious += 1;
        node.on_spurious(link.rtt.smoothed());
        link.congestion.on_spurious(sent_at);
    }
}
