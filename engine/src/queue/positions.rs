//! The two positions of a ring with one producer and one consumer: how far it is written and how far it is read. They
//! only ever grow; the place in memory is the position modulo the capacity. The memory itself is the ring's business,
//! so that this part runs under loom.

use crossbeam::utils::CachePadded;

use super::sync::{AtomicU64, Ordering};

/// Shared by both ends; each position on a cache line of its own.
pub(crate) struct Positions {
    /// Everything below is read and may be written again. Stored by the consumer.
    head: CachePadded<AtomicU64>,
    /// Everything below is written and may be read. Stored by the producer.
    tail: CachePadded<AtomicU64>,
    capacity: u64,
}

impl Positions {
    /// `capacity` in whatever unit the memory is counted in; a power of two.
    pub(crate) fn new(capacity: u64) -> Self {
        assert!(capacity.is_power_of_two());
        Self {
            head: CachePadded::new(AtomicU64::new(0)),
            tail: CachePadded::new(AtomicU64::new(0)),
            capacity,
        }
    }
}

/// The producer's view: its own position and the last reader's position that it saw.
#[derive(Default)]
pub(crate) struct WriteEnd {
    tail: u64,
    head_seen: u64,
}

impl WriteEnd {
    /// The place in memory of the next write.
    pub(crate) fn offset(&self, shared: &Positions) -> u64 {
        self.tail & (shared.capacity - 1)
    }

    /// Whether `len` more fit; looks at the reader's position only when the last one seen does not suffice.
    pub(crate) fn fits(&mut self, shared: &Positions, len: u64) -> bool {
        if self.tail + len - self.head_seen <= shared.capacity {
            return true;
        }
        // Acquire: what the reader did with that memory happened before we write it again.
        self.head_seen = shared.head.load(Ordering::Acquire);
        self.tail + len - self.head_seen <= shared.capacity
    }

    /// Whether the reader has read everything.
    pub(crate) fn is_drained(&mut self, shared: &Positions) -> bool {
        self.head_seen = shared.head.load(Ordering::Acquire);
        self.head_seen == self.tail
    }

    /// Makes `len` more readable.
    pub(crate) fn publish(&mut self, shared: &Positions, len: u64) {
        self.tail += len;
        // Release: the bytes are written before the position says so.
        shared.tail.store(self.tail, Ordering::Release);
    }
}

/// The consumer's view: its own position and the last writer's position that it saw.
#[derive(Default)]
pub(crate) struct ReadEnd {
    head: u64,
    tail_seen: u64,
}

impl ReadEnd {
    /// The place in memory of the next read.
    pub(crate) fn offset(&self, shared: &Positions) -> u64 {
        self.head & (shared.capacity - 1)
    }

    /// How much is readable; looks at the writer's position only when nothing known is left.
    pub(crate) fn readable(&mut self, shared: &Positions) -> u64 {
        if self.head == self.tail_seen {
            // Acquire: the bytes below this position are written.
            self.tail_seen = shared.tail.load(Ordering::Acquire);
        }
        self.tail_seen - self.head
    }

    /// How much is written and not read, as of now.
    pub(crate) fn left(&self, shared: &Positions) -> u64 {
        shared.tail.load(Ordering::Acquire) - self.head
    }

    /// Goes past `len` without giving the memory back yet.
    pub(crate) fn advance(&mut self, len: u64) {
        self.head += len;
        debug_assert!(self.head <= self.tail_seen);
    }

    /// Gives everything read so far back to the producer.
    pub(crate) fn release(&self, shared: &Positions) {
        // Release: our reads are done before the producer may write there.
        shared.head.store(self.head, Ordering::Release);
    }
}
