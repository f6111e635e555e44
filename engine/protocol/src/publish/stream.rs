//! One FAN stream: the sealed datagrams for one set of subscriber nodes, retained until every message in them is settled.
//!
//! The stream without nodes is the local one: same log, nothing sealed, nothing sent.

use std::collections::VecDeque;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::{FAN_HEADER, FanTx, MIN_DATAGRAM_SIZE, TAG};

use super::held::Held;
use super::large::{self, Laid, Larges};
use super::node::Node;
use super::record::{self, Record};
use super::store::{ChunkIx, Place, Store};
use crate::limits;
use crate::peer::PeerIx;

/// A retained datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    /// (message, subscription) pairs not settled.
    pub(crate) owed: u32,
    /// Bytes of all the stream's datagrams before this one; wraps.
    pub(crate) before: u32,
}

// The datagram that messages are being appended to.
#[derive(Clone, Copy, Debug)]
struct Open {
    offset: usize,
    // Bytes used, header included, and how many may be.
    used: usize,
    room: usize,
    owed: u32,
    // Handle of the last record and the number that the next message of it would have.
    last: Option<(u32, u64)>,
}

/// A run of datagrams in the store, all `segment` long but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreRun {
    pub(crate) place: Place,
    pub(crate) bytes: usize,
    pub(crate) segment: usize,
    /// First counter and one past the last.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What a stream is sealed with, fixed at its opening: the overlay's primary key may be another one later.
pub(crate) struct StreamKeys {
    pub(crate) tx: FanTx,
    pub(crate) slot: u8,
    pub(crate) suite: u8,
}

/// One stream.
pub(crate) struct Stream {
    pub(crate) ix: u32,
    pub(crate) session: u64,
    /// Sorted by peer.
    pub(crate) nodes: Vec<Node>,
    /// Largest datagram, fixed at opening.
    pub(crate) size: usize,
    keys: Option<StreamKeys>,
    steer: u8,
    log: VecDeque<Entry>,
    base: u64,
    // Bytes of all datagrams ever logged; wraps.
    logged: u32,
    // Below the log: kept for catch-up only.
    held: Held,
    larges: Larges,
    // A large message was accepted since the last look.
    has_news: bool,
    chunk: Option<(ChunkIx, usize)>,
    open: Option<Open>,
    last_len: u16,
    // Datagrams sealed since the last look.
    sealings: u64,
    /// Raised when a node joins: every topic is then defined again.
    pub(crate) define_epoch: u32,
    /// When a message was last appended.
    pub(crate) used_at: u64,
    /// Never flushed: nothing of it was sent or released.
    pub(crate) is_fresh: bool,
    /// Another stream to the same nodes took its place: it ends when all of it is settled.
    pub(crate) is_replaced: bool,
}

/// One message to append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Append<'a> {
    pub(crate) handle: u32,
    pub(crate) seq: u64,
    /// The topic, if it must be defined first, and the lowest number that a node may be owed which learns of it now.
    pub(crate) define: Option<(&'a str, u64)>,
    pub(crate) payload: &'a [u8],
    /// Subscriptions that are owed it.
    pub(crate) owed: u32,
}

impl Stream {
    /// A stream to `nodes`; `keys` is `None` for the local one.
    pub(crate) fn new(
        ix: u32,
        session: u64,
        nodes: Vec<PeerIx>,
        size: usize,
        keys: Option<StreamKeys>,
        steer: u8,
    ) -> Self {
        Stream {
            ix,
            session,
            nodes: nodes.into_iter().map(Node::new).collect(),
            size,
            keys,
            steer,
            log: VecDeque::new(),
            base: 0,
            logged: 0,
            held: Held::default(),
            larges: Larges::default(),
            has_news: false,
            chunk: None,
            open: None,
            last_len: 0,
            sealings: 0,
            define_epoch: 1,
            used_at: 0,
            is_fresh: true,
            is_replaced: false,
        }
    }

    /// All that appending changes, to compare.
    #[cfg(test)]
    pub(crate) fn state(&self) -> String {
        let at = (self.base, self.chunk, self.open, self.last_len);
        let (log, sealings, used_at) = (&self.log, self.sealings, self.used_at);
        format!("{at:?} {log:?} {sealings} {used_at} {}", self.define_epoch)
    }

    pub(crate) fn is_local(&self) -> bool {
        self.keys.is_none()
    }

    pub(crate) fn node(&self, peer: PeerIx) -> Option<&Node> {
        self.nodes.iter().find(|n| n.peer == peer)
    }

    pub(crate) fn node_mut(&mut self, peer: PeerIx) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|n| n.peer == peer)
    }

    /// Counter of the next datagram to close: all below are sealed.
    pub(crate) fn head(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    /// Whether more is sealed that the node was not yet sent than shall wait for it.
    pub(crate) fn is_backlogged(&self, node: &Node) -> bool {
        self.has_backlog(node, 1)
    }

    /// Whether as much waits for the node as may, divided by `by`.
    pub(crate) fn has_backlog(&self, node: &Node, by: u32) -> bool {
        let bytes = match self.entry(node.next) {
            Some(first) => self.logged.wrapping_sub(first.before),
            None => 0,
        };
        self.head() - node.next >= limits::STREAM_BACKLOG / u64::from(by)
            || bytes >= limits::STREAM_BACKLOG_BYTES / by
    }

    /// Whether too many datagrams of large messages wait.
    pub(crate) fn is_crowded(&self) -> bool {
        self.waiting() * self.size as u64 >= limits::STREAM_WAITING * MIN_DATAGRAM_SIZE as u64
    }

    /// Whether the log still begins with the first datagram.
    pub(crate) fn keeps_all(&self) -> bool {
        self.base == 0
    }

    pub(crate) fn has_open(&self) -> bool {
        self.open.is_some()
    }

    /// Nothing retained, nothing open: may be dropped.
    pub(crate) fn is_idle(&self) -> bool {
        self.log.is_empty() && self.held.is_empty() && self.open.is_none() && self.larges.is_empty()
    }

    /// Datagrams of large messages that are yet to be taken in.
    pub(crate) fn waiting(&self) -> u64 {
        self.larges.waiting()
    }

    /// Whether something was accepted since this was last asked.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news) || self.has_open()
    }

    /// Whether a message of so many bytes is taken in by turns with others.
    pub(crate) fn takes_turns(&self, payload: usize) -> bool {
        !self.is_local() && payload > large::TURN * record::fragment_max(self.size)
    }

    /// Chunks that appending so many bytes of payload may take at most.
    pub(crate) fn chunks_for(&self, payload: usize) -> usize {
        let per_chunk = limits::CHUNK / self.size;
        let datagrams = payload.div_ceil(record::fragment_max(self.size)) + 1;
        datagrams.div_ceil(per_chunk) + 1
    }

    /// Appends a message; returns its first datagram and how many it lies in, or what stands for a large message and 1. Room is
    /// the caller's to ask about.
    pub(crate) fn append(
        &mut self,
        store: &mut Store,
        append: Append<'_>,
        now: u64,
    ) -> Option<(u64, u32)> {
        self.used_at = now;
        if let Some((topic, from)) = append.define {
            let record = Record::Define {
                handle: append.handle,
                seq: from,
                topic,
            };
            let with = record.len() + record::message_len(append.payload.len(), true);
            if self.open.is_some_and(|o| o.used + with > o.room) {
                // The definition and what it defines stay together.
                self.close(store, true);
            }
            self.put(store, &record, (append.handle, from), 0)?;
        }
        if append.payload.len() <= record::whole_max(self.size) {
            let at = self.put_message(store, append)?;
            return Some((at, 1));
        }
        if self.takes_turns(append.payload.len()) {
            self.has_news = true;
            return Some((self.larges.lay(store, self.size, &append), 1));
        }
        self.put_fragments(store, append)
    }

    /// Where the open datagram goes on and how many bytes are left there, if message `seq` of the publisher is what follows.
    #[inline]
    pub(crate) fn after(&self, (handle, seq): (u32, u64)) -> Option<(Place, usize)> {
        let open = self
            .open
            .as_ref()
            .filter(|o| o.last == Some((handle, seq)))?;
        let next = Place {
            chunk: self.chunk?.0,
            offset: (open.offset + open.used) as u16,
            len: 0,
        };
        Some((next, open.room - open.used))
    }

    /// Messages were put there, up to `end`: of `last` publisher, whose next number that is.
    pub(crate) fn extend(&mut self, end: usize, last: (u32, u64), owed: u32, now: u64) {
        if let Some(open) = &mut self.open {
            open.used = end - open.offset;
            open.owed += owed;
            open.last = Some(last);
            self.used_at = now;
        }
    }

    /// Defines topics of messages whose fragments are yet to come, in a datagram of their own.
    pub(crate) fn define_again<'a>(
        &mut self,
        store: &mut Store,
        mut topic: impl FnMut(u32) -> Option<(u64, &'a str)>,
    ) {
        let mut publishers: Vec<u32> = self.larges.publishers().collect();
        publishers.sort_unstable();
        publishers.dedup();
        for handle in publishers {
            if let Some((seq, topic)) = topic(handle) {
                let record = Record::Define { handle, seq, topic };
                self.put(store, &record, (handle, seq), 0);
            }
        }
        self.close(store, false);
    }

    fn put_message(&mut self, store: &mut Store, append: Append<'_>) -> Option<u64> {
        let Append {
            handle,
            seq,
            payload,
            owed,
            ..
        } = append;
        let next = (handle, seq + 1);
        if self.open.is_some_and(|o| {
            o.last == Some((handle, seq))
                && o.used + record::message_len(payload.len(), false) <= o.room
        }) {
            return self.put(
                store,
                &Record::Message {
                    handle,
                    seq: None,
                    payload,
                },
                next,
                owed,
            );
        }
        self.put(
            store,
            &Record::Message {
                handle,
                seq: Some(seq),
                payload,
            },
            next,
            owed,
        )
    }

    fn put_fragments(&mut self, store: &mut Store, append: Append<'_>) -> Option<(u64, u32)> {
        let Append {
            handle,
            seq,
            payload,
            owed,
            ..
        } = append;
        let (cut, total) = (record::fragment_max(self.size), payload.len() as u32);
        // Its own datagrams from the first on, so that they are consecutive.
        self.close(store, true);
        let first = self.head();
        for (n, part) in payload.chunks(cut).enumerate() {
            let offset = (n * cut) as u32;
            self.put(
                store,
                &Record::Fragment {
                    handle,
                    seq,
                    offset,
                    total,
                    part,
                },
                (handle, u64::MAX),
                owed,
            )?;
        }
        let datagrams = self.head() + 1 - first;
        Some((first, datagrams as u32))
    }

    fn put(
        &mut self,
        store: &mut Store,
        record: &Record<'_>,
        next: (u32, u64),
        owed: u32,
    ) -> Option<u64> {
        let len = record.len();
        if self.open.is_some_and(|o| o.used + len > o.room) {
            self.close(store, true);
        }
        if self.open.is_none() {
            self.begin(store, FAN_HEADER + len + TAG);
        }
        let (chunk, _) = self.chunk?;
        let open = self.open.as_mut()?;
        if open.used + len > open.room {
            return None;
        }
        let place = Place {
            chunk,
            offset: (open.offset + open.used) as u16,
            len: len as u16,
        };
        record.write(store.bytes_mut(place));
        open.used += len;
        open.owed += owed;
        open.last = Some(next);
        Some(self.head())
    }

    // Begins a datagram that will have `least` bytes at least. A large one need not begin a chunk: most are sent before they are full.
    fn begin(&mut self, store: &mut Store, least: usize) {
        let least = least.max(self.size.min(WORTH));
        if let Some((chunk, used)) = self.chunk
            && used + least > limits::CHUNK
        {
            store.leave(chunk);
            self.chunk = None;
        }
        let (_, used) = *self.chunk.get_or_insert_with(|| (store.take(), 0));
        self.open = Some(Open {
            offset: used,
            used: FAN_HEADER,
            room: self.size.min(limits::CHUNK - used) - TAG,
            owed: 0,
            last: None,
        });
    }

    /// Seals the open datagram. A full one is padded to the stream's size unless it is as long as its predecessor: runs of
    /// equal length are one send. Of large ones no two fit into a send.
    pub(crate) fn close(&mut self, store: &mut Store, full: bool) {
        let (Some(open), Some((chunk, used))) = (self.open.take(), self.chunk.as_mut()) else {
            return;
        };
        let mut len = open.used + TAG;
        if full && len != usize::from(self.last_len) && self.size <= WORTH {
            let pad = Place {
                chunk: *chunk,
                offset: (open.offset + open.used) as u16,
                len: (self.size - len) as u16,
            };
            store.bytes_mut(pad).fill(0);
            len = self.size;
        }
        let place = Place {
            chunk: *chunk,
            offset: open.offset as u16,
            len: len as u16,
        };
        *used += len;
        store.hold(place);
        self.log(store, place, open.owed);
    }

    // Seals a datagram and gives it the next counter, which is returned.
    fn log(&mut self, store: &mut Store, place: Place, owed: u32) -> u64 {
        let counter = self.head();
        if let Some(keys) = &mut self.keys {
            let sealed = keys.tx.seal(self.steer, store.bytes_mut(place));
            assert_eq!(sealed, Ok(counter), "a stream's counters are its log's");
            self.sealings += 1;
        }
        self.last_len = place.len;
        self.log.push_back(Entry {
            place,
            owed,
            before: self.logged,
        });
        self.logged = self.logged.wrapping_add(u32::from(place.len));
        counter
    }

    /// Takes in the next few datagrams of a large message. Nothing may be open: its counter was told.
    pub(crate) fn take_turn(&mut self, store: &mut Store) {
        assert!(self.open.is_none(), "an open datagram has its counter");
        let mut larges = std::mem::take(&mut self.larges);
        larges.take_turn(|place, owed| self.log(store, place, owed));
        self.larges = larges;
    }

    /// Nodes that are not live are not sent what is in the log, or not yet.
    pub(crate) fn skip(&mut self, now: u64) {
        let head = self.head();
        for node in self.nodes.iter_mut().filter(|n| !n.is_live()) {
            node.skip(head, now);
        }
    }

    /// Key slot and suite of its datagrams.
    pub(crate) fn keying(&self) -> (u8, u8) {
        self.keys
            .as_ref()
            .map_or((0, 0), |keys| (keys.slot, keys.suite))
    }

    /// The bit of its key slot.
    pub(crate) fn key_bit(&self) -> u8 {
        1 << (self.keying().0 & 7)
    }

    /// Datagrams sealed since this was last asked, full ones and those that a flush closed.
    pub(crate) fn take_sealings(&mut self) -> u64 {
        std::mem::take(&mut self.sealings)
    }

    pub(crate) fn entry(&self, counter: u64) -> Option<&Entry> {
        match counter.checked_sub(self.base) {
            Some(ix) => self.log.get(usize::try_from(ix).ok()?),
            None => self.held.get(counter),
        }
    }

    fn entry_mut(&mut self, counter: u64) -> Option<&mut Entry> {
        match counter.checked_sub(self.base) {
            Some(ix) => self.log.get_mut(usize::try_from(ix).ok()?),
            None => self.held.get_mut(counter),
        }
    }

    /// Length of a datagram in the log.
    pub(crate) fn len_of(&self, counter: u64) -> u64 {
        self.entry(counter).map_or(0, |e| u64::from(e.place.len))
    }

    /// So many pairs of the datagram are settled.
    pub(crate) fn settle(&mut self, store: &mut Store, counter: u64, pairs: u32) {
        if large::is_large(counter) {
            let mut larges = std::mem::take(&mut self.larges);
            larges.settle(store, counter, pairs, |store, counter| {
                self.settle(store, counter, pairs);
            });
            self.larges = larges;
            return;
        }
        let head = self.head();
        if counter == head {
            // Settled before it was closed: a local acknowledgement within the same turn.
            if let Some(open) = &mut self.open {
                open.owed -= pairs;
            }
            return;
        }
        let (base, Some(entry)) = (self.base, self.entry_mut(counter)) else {
            return;
        };
        entry.owed -= pairs;
        if entry.owed == 0 && counter < base {
            let place = entry.place;
            self.held.remove(counter);
            store.release(place);
        }
    }

    /// Releases what is settled and received by every live node; what is only settled later moves out of the log.
    pub(crate) fn trim(&mut self, store: &mut Store) {
        let live = self
            .nodes
            .iter()
            .filter(|n| n.standing != super::node::Standing::Out);
        let floor = live
            .map(|n| n.floor)
            .min()
            .unwrap_or(u64::MAX)
            .min(self.head());
        while self.base < floor {
            let Some(entry) = self.log.pop_front() else {
                break;
            };
            if entry.owed == 0 || mutant(Mutant::FreedEarly) {
                store.release(entry.place);
            } else {
                self.held.push(self.base, entry);
            }
            self.base += 1;
        }
        let needed = self.held.first().unwrap_or(self.base);
        self.nodes
            .iter_mut()
            .for_each(|node| node.forget_sendings(needed));
        if self.is_idle() {
            self.larges.rest(store);
            if let Some((chunk, _)) = self.chunk.take() {
                store.leave(chunk);
            }
        }
    }

    /// Moves held datagrams out of thinly used chunks into a fresh one; returns whether any chunk may have become free.
    pub(crate) fn compact(&mut self, store: &mut Store) -> bool {
        let mut target: Option<(ChunkIx, usize)> = None;
        let mut moved = false;
        for entry in self.held.values_mut() {
            let len = usize::from(entry.place.len);
            if store.held(entry.place.chunk) > THIN
                || target.is_some_and(|(chunk, _)| chunk == entry.place.chunk)
            {
                continue;
            }
            if target.is_some_and(|(_, used)| used + len > limits::CHUNK) {
                break;
            }
            let (chunk, used) = target.get_or_insert_with(|| (store.take(), 0));
            let place = Place {
                chunk: *chunk,
                offset: *used as u16,
                len: entry.place.len,
            };
            store.copy(entry.place, place);
            store.hold(place);
            store.release(entry.place);
            *used += len;
            entry.place = place;
            moved = true;
        }
        if let Some((chunk, _)) = target {
            store.leave(chunk);
        }
        moved
    }

    /// Datagrams that a message lies in, of which its span knows `known`.
    pub(crate) fn datagrams(&self, at: u64, known: u32) -> u64 {
        if large::is_large(at) {
            return self.larges.datagrams(at);
        }
        known.into()
    }

    /// The counter of the last datagram to be sent of a message whose span names `at` and `datagrams`; `None` while it waits.
    pub(crate) fn last_of(&self, at: u64, datagrams: u32) -> Option<u64> {
        if large::is_large(at) {
            return self.larges.last_of(at);
        }
        Some(at + u64::from(datagrams) - 1)
    }

    /// Datagram `n` of the message at `at` in plain, be it closed, still open, or waiting; sealed ones are opened in `scratch`.
    pub(crate) fn read_any<'a>(
        &mut self,
        store: &'a Store,
        at: u64,
        n: u64,
        scratch: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let mut counter = at.wrapping_add(n);
        if large::is_large(at) {
            match self.larges.datagram(at, n)? {
                Laid::In(taken) => counter = taken,
                Laid::Waits(place) => return Some(body(store.bytes(place))),
            }
        }
        if counter == self.head() {
            let (open, (chunk, _)) = (self.open?, self.chunk?);
            let place = Place {
                chunk,
                offset: open.offset as u16,
                len: open.used as u16,
            };
            return Some(&store.bytes(place)[FAN_HEADER..]);
        }
        self.read(store, counter, scratch)
    }

    fn read<'a>(&self, store: &'a Store, counter: u64, scratch: &'a mut [u8]) -> Option<&'a [u8]> {
        let bytes = store.bytes(self.entry(counter)?.place);
        match &self.keys {
            Some(keys) => keys.tx.open_copy(bytes, scratch).ok(),
            None => Some(body(bytes)),
        }
    }

    /// The next run of sealed datagrams from `from` on: at most `datagrams` and `bytes`, lying end to end.
    pub(crate) fn run(&self, from: u64, datagrams: u64, bytes: u64) -> Option<StoreRun> {
        let first = self.entry(from).filter(|_| from >= self.base)?.place;
        let segment = usize::from(first.len);
        if bytes < segment as u64 || datagrams == 0 {
            return None;
        }
        let mut run = StoreRun {
            place: first,
            bytes: segment,
            segment,
            from,
            to: from + 1,
        };
        let mut last = first;
        while run.to - from < datagrams.min(limits::GSO_SEGMENTS_MAX as u64) {
            let Some(next) = self.entry(run.to).map(|e| e.place) else {
                break;
            };
            let len = usize::from(next.len);
            let total = run.bytes + len;
            if !last.adjoins(next)
                || len > segment
                || total > limits::GSO_BYTES_MAX
                || total as u64 > bytes
            {
                break;
            }
            (run.bytes, run.to, last) = (total, run.to + 1, next);
            if len < segment {
                break;
            }
        }
        Some(run)
    }
}

// The body of a datagram in plain.
fn body(datagram: &[u8]) -> &[u8] {
    &datagram[FAN_HEADER..datagram.len() - TAG]
}

/// A chunk with at most so many bytes held is worth emptying.
const THIN: usize = limits::CHUNK / 6;
/// A chunk with at least so much left is worth beginning a datagram in that may become larger.
const WORTH: usize = 16 << 10;
