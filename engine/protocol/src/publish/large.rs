//! Large messages of a stream: laid out as datagrams when they are accepted, taken into the stream a few at a time.
//!
//! A datagram gets its counter, and is sealed, when it is taken in: records that were accepted later go between.

use std::collections::{BTreeMap, VecDeque};

use tidings_wire::{FAN_HEADER, TAG};

use super::record::{self, Record};
use super::store::{ChunkIx, Place, Store};
use super::stream::Append;
use crate::limits;

/// Fragments of one message between other records.
pub(crate) const TURN: usize = 16;
/// Messages whose fragments alternate: a short one need not wait for a long one, and receivers have few under way.
const ABREAST: usize = 2;
/// Stands in place of a datagram's counter for a message that lies in datagrams here and there.
const LARGE: u64 = 1 << 63;

/// A datagram of a large message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Laid {
    /// Taken in, with this counter.
    In(u64),
    /// Waits in the store, neither sealed nor numbered.
    Waits(Place),
}

#[derive(Debug, Default)]
struct Large {
    handle: u32,
    // (message, subscription) pairs not settled.
    owed: u32,
    // Datagrams taken in: first counter and one past the last.
    runs: Vec<(u64, u64)>,
    rest: VecDeque<Place>,
}

impl Large {
    fn taken_in(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(|&(from, to)| from..to)
    }
}

/// The large messages of one stream that are not settled.
#[derive(Default)]
pub(crate) struct Larges {
    messages: BTreeMap<u64, Large>,
    // Those not wholly taken in; the first of them is next.
    queue: VecDeque<u64>,
    // Datagrams that wait.
    waiting: u64,
    last: u64,
    // Where the next is laid.
    chunk: Option<(ChunkIx, usize)>,
}

/// Whether `at` stands for a large message.
pub(crate) fn is_large(at: u64) -> bool {
    at & LARGE != 0
}

impl Larges {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Datagrams that are yet to be taken in.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Publishers of messages that are not wholly taken in.
    pub(super) fn publishers(&self) -> impl Iterator<Item = u32> {
        let waiting = self.queue.iter().filter_map(|id| self.messages.get(id));
        waiting.map(|large| large.handle)
    }

    /// Lays a message into datagrams of at most `size` bytes; returns what stands for it.
    pub(super) fn lay(&mut self, store: &mut Store, size: usize, append: &Append<'_>) -> u64 {
        let (cut, total) = (
            record::fragment_max(size),
            append.payload.len() as u32, // at most the cap
        );
        let mut rest = VecDeque::with_capacity(append.payload.len().div_ceil(cut));
        for (n, part) in append.payload.chunks(cut).enumerate() {
            let record = Record::Fragment {
                handle: append.handle,
                seq: append.seq,
                offset: (n * cut) as u32,
                total,
                part,
            };
            let len = record.len();
            let place = self.place(store, FAN_HEADER + len + TAG);
            record.write(&mut store.bytes_mut(place)[FAN_HEADER..FAN_HEADER + len]);
            rest.push_back(place);
        }
        self.last += 1;
        let id = LARGE | self.last;
        self.waiting += rest.len() as u64;
        let large = Large {
            handle: append.handle,
            owed: append.owed,
            runs: Vec::new(),
            rest,
        };
        self.messages.insert(id, large);
        self.queue.push_back(id);
        id
    }

    fn place(&mut self, store: &mut Store, len: usize) -> Place {
        if let Some((chunk, used)) = self.chunk
            && used + len > limits::CHUNK
        {
            store.leave(chunk);
            self.chunk = None;
        }
        let (chunk, used) = self.chunk.get_or_insert_with(|| (store.take(), 0));
        let place = Place {
            chunk: *chunk,
            offset: *used as u16,
            len: len as u16,
        };
        *used += len;
        store.hold(place);
        place
    }

    /// Takes the next few datagrams of one message into the log by `take_in`, which is told the place and the pairs owed and
    /// returns the counter.
    pub(super) fn take_turn(&mut self, mut take_in: impl FnMut(Place, u32) -> u64) {
        let Some(id) = self.queue.pop_front() else {
            return;
        };
        let Some(large) = self.messages.get_mut(&id) else {
            return;
        };
        for place in large.rest.drain(..TURN.min(large.rest.len())) {
            self.waiting -= 1;
            let counter = take_in(place, large.owed);
            match large.runs.last_mut() {
                Some((_, to)) if *to == counter => *to += 1,
                _ => large.runs.push((counter, counter + 1)),
            }
        }
        if !large.rest.is_empty() {
            self.queue.insert(self.queue.len().min(ABREAST - 1), id);
        }
    }

    /// So many pairs of the message are settled: calls `freed` for each datagram that was taken in. What nobody is owed any more is
    /// not taken in.
    pub(super) fn settle(
        &mut self,
        store: &mut Store,
        id: u64,
        pairs: u32,
        mut freed: impl FnMut(&mut Store, u64),
    ) {
        let Some(large) = self.messages.get_mut(&id) else {
            return;
        };
        large.owed -= pairs;
        large.taken_in().for_each(|counter| freed(store, counter));
        if large.owed == 0
            && let Some(large) = self.messages.remove(&id)
        {
            self.waiting -= large.rest.len() as u64;
            self.queue.retain(|waits| *waits != id);
            large.rest.iter().for_each(|place| store.release(*place));
        }
    }

    /// Datagrams that the message lies in.
    pub(super) fn datagrams(&self, id: u64) -> u64 {
        let large = self.messages.get(&id);
        large.map_or(0, |l| {
            let taken_in: u64 = l.runs.iter().map(|(from, to)| to - from).sum();
            taken_in + l.rest.len() as u64
        })
    }

    /// The message's datagram `n`, from 0.
    pub(super) fn datagram(&self, id: u64, n: u64) -> Option<Laid> {
        let large = self.messages.get(&id)?;
        let mut n = n;
        for (from, to) in &large.runs {
            if n < to - from {
                return Some(Laid::In(from + n));
            }
            n -= to - from;
        }
        let place = large.rest.get(usize::try_from(n).ok()?)?;
        Some(Laid::Waits(*place))
    }

    /// The counter of its last datagram; `None` while any waits.
    pub(super) fn last_of(&self, id: u64) -> Option<u64> {
        let large = self.messages.get(&id).filter(|l| l.rest.is_empty())?;
        large.runs.last().map(|(_, to)| to - 1)
    }

    /// Gives back the chunk that the next would be laid in: nothing is outstanding.
    pub(super) fn rest(&mut self, store: &mut Store) {
        if let Some((chunk, _)) = self.chunk.take() {
            store.leave(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1200;

    fn lay(larges: &mut Larges, store: &mut Store, handle: u32, fragments: usize) -> u64 {
        let payload = vec![7; fragments * record::fragment_max(SIZE)];
        let append = Append {
            handle,
            seq: 0,
            define: None,
            payload: &payload,
            owed: 2,
        };
        larges.lay(store, SIZE, &append)
    }

    #[test]
    fn two_messages_take_turns_and_a_third_follows() {
        let (mut larges, mut store) = (Larges::default(), Store::new(0));
        let ids = [40, 20, 17].map(|n| lay(&mut larges, &mut store, n as u32, n));
        let mut head = 0;
        while larges.waiting() > 0 {
            larges.take_turn(|_, owed| {
                assert_eq!(owed, 2);
                head += 1;
                head - 1
            });
        }
        let counters = |id| {
            let all = (0..larges.datagrams(id)).map(|n| larges.datagram(id, n));
            all.map(|laid| match laid {
                Some(Laid::In(counter)) => counter,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<u64>>()
        };
        // 16 of the first, 16 of the second, and so on.
        let runs = |runs: &[(u64, u64)]| -> Vec<u64> {
            runs.iter().flat_map(|&(from, to)| from..to).collect()
        };
        assert_eq!(counters(ids[0]), runs(&[(0, 16), (32, 48), (52, 60)]));
        assert_eq!(counters(ids[1]), runs(&[(16, 32), (48, 52)]));
        assert_eq!(counters(ids[2]), runs(&[(60, 77)]));
        assert_eq!(larges.last_of(ids[0]), Some(59));
    }

    #[test]
    fn what_is_settled_while_it_waits_leaves_the_store() {
        let (mut larges, mut store) = (Larges::default(), Store::new(0));
        let id = lay(&mut larges, &mut store, 1, 40);
        larges.take_turn(|place, _| {
            store.release(place);
            0
        });
        let mut freed = 0;
        larges.settle(&mut store, id, 1, |_, _| freed += 1);
        assert_eq!((freed, larges.waiting()), (16, 24));
        larges.settle(&mut store, id, 1, |_, _| freed += 1);
        assert_eq!((freed, larges.waiting()), (32, 0));
        larges.rest(&mut store);
        assert!(larges.is_empty() && store.used() == 0);
    }
}
