//! A bounded ring of records of any length, one producer thread and one consumer thread, no locks. A record is written
//! once into the ring and read in place: `reserve`, fill, `commit`; `peek`, use, `advance`, `release`.
//!
//! A record lies in one piece: eight bytes of head {length u32, kind u32}, then its bytes padded to eight. What does not
//! fit before the end of the memory starts again at its beginning, behind a padding record. A ring whose reader keeps up
//! starts again early, so that it touches little memory however large it is.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::positions::{Positions, ReadEnd, WriteEnd};

/// Kind of the padding record.
const PAD: u32 = u32::MAX;
/// Bytes of a record's head.
const HEAD: usize = 8;
/// A drained ring starts again at the beginning each time it has grown by at least this much: about the size of an L2 way.
const REWIND_BYTES_MIN: u64 = 64 << 10;
/// And by at least this part of it: until the reader has moved on, what lies behind is all the room there is.
const REWIND_PARTS: u64 = 4;

struct Shared {
    positions: Positions,
    /// Set when either end is dropped.
    closed: AtomicBool,
    memory: Box<[UnsafeCell<u64>]>,
}

// SAFETY: the memory is shared by exactly one `Producer` and one `Consumer`, neither of which can be cloned. The producer
// writes only between the reader's position and that plus the capacity, the consumer reads only between its own position
// and the writer's; `Positions` orders the two with release and acquire, so no byte is accessed by both at once.
unsafe impl Sync for Shared {}
// SAFETY: plain memory and atomics, bound to no thread.
unsafe impl Send for Shared {}

impl Shared {
    fn base(&self) -> *mut u8 {
        self.memory.as_ptr().cast_mut().cast()
    }

    fn capacity(&self) -> u64 {
        (self.memory.len() * 8) as u64
    }
}

/// The writing end.
pub(crate) struct Producer {
    shared: Arc<Shared>,
    end: WriteEnd,
    /// Offset below which no rewind is tried.
    rewind_at: u64,
    rewind_bytes: u64,
}

/// The reading end.
pub(crate) struct Consumer {
    shared: Arc<Shared>,
    end: ReadEnd,
}

/// Makes a ring of at least `bytes`, rounded up to a power of two. The memory is touched only as it is used.
pub(crate) fn ring(bytes: usize) -> (Producer, Consumer) {
    let words = bytes.max(64).next_power_of_two() / 8;
    let zeroed = vec![0u64; words].into_boxed_slice();
    // SAFETY: `UnsafeCell<u64>` has the layout of `u64`, and the box is handed over whole.
    let memory = unsafe { Box::from_raw(Box::into_raw(zeroed) as *mut [UnsafeCell<u64>]) };
    let positions = Positions::new((words * 8) as u64);
    let shared = Arc::new(Shared {
        positions,
        closed: AtomicBool::new(false),
        memory,
    });
    let rewind_bytes = REWIND_BYTES_MIN.max((words * 8) as u64 / REWIND_PARTS);
    let producer = Producer {
        shared: Arc::clone(&shared),
        end: WriteEnd::default(),
        rewind_at: rewind_bytes,
        rewind_bytes,
    };
    (
        producer,
        Consumer {
            shared,
            end: ReadEnd::default(),
        },
    )
}

/// Bytes that a record of `len` takes in a ring.
pub(crate) fn record_bytes(len: usize) -> u64 {
    (HEAD + len.next_multiple_of(8)) as u64
}

impl Producer {
    /// The longest record that is sure to fit a drained ring.
    pub(crate) fn record_bytes_max(&self) -> usize {
        self.shared.capacity() as usize / 2 - HEAD
    }

    /// Says that nothing more will be written, before the producer is dropped.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
    }

    /// Whether the consumer is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Whether at least half of the ring is free.
    pub(crate) fn is_half_free(&mut self) -> bool {
        self.end
            .fits(&self.shared.positions, self.shared.capacity() / 2)
    }

    /// Room for a record of `len` bytes, or `None` while the ring is too full. What it holds is whatever was there.
    pub(crate) fn reserve(&mut self, kind: u32, len: usize) -> Option<Reserved<'_>> {
        debug_assert_ne!(kind, PAD);
        let size = record_bytes(len);
        let mut offset = self.end.offset(&self.shared.positions);
        let to_end = self.shared.capacity() - offset;
        let wraps = size > to_end;
        if wraps || self.may_rewind(offset) {
            if !self.end.fits(&self.shared.positions, to_end + size) {
                return if wraps {
                    None
                } else {
                    self.reserve_at(kind, len, offset, 0)
                };
            }
            self.write_head(offset, (to_end as usize - HEAD) as u32, PAD);
            offset = 0;
            self.rewind_at = self.rewind_bytes;
            return self.reserve_at(kind, len, offset, to_end);
        }
        self.reserve_at(kind, len, offset, 0)
    }

    /// Whether to go back to the beginning although there is room: the reader has everything and we have come far.
    fn may_rewind(&mut self, offset: u64) -> bool {
        if offset < self.rewind_at {
            return false;
        }
        self.rewind_at = offset + self.rewind_bytes;
        self.end.is_drained(&self.shared.positions)
    }

    fn reserve_at(
        &mut self,
        kind: u32,
        len: usize,
        offset: u64,
        skipped: u64,
    ) -> Option<Reserved<'_>> {
        let size = record_bytes(len);
        if !self.end.fits(&self.shared.positions, skipped + size) {
            return None;
        }
        self.write_head(offset, len as u32, kind);
        // SAFETY: `fits` said that the reader is done with these bytes, they lie inside the memory, and the borrow of
        // `self` keeps this the only view of them until it is committed or dropped.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(self.shared.base().add(offset as usize + HEAD), len)
        };
        Some(Reserved {
            bytes,
            end: &mut self.end,
            positions: &self.shared.positions,
            total: skipped + size,
        })
    }

    fn write_head(&mut self, offset: u64, len: u32, kind: u32) {
        let head = u64::from(len) | u64::from(kind) << 32;
        // SAFETY: the offset is a multiple of eight inside the memory, and the reader is not there: the callers asked
        // `fits` for this range first, or write where the writer's position is and publish nothing.
        unsafe {
            self.shared
                .base()
                .add(offset as usize)
                .cast::<u64>()
                .write(head)
        };
    }

    /// Copies one record in. `false`: no room.
    pub(crate) fn push(&mut self, kind: u32, parts: &[&[u8]]) -> bool {
        let len = parts.iter().map(|part| part.len()).sum();
        let Some(mut reserved) = self.reserve(kind, len) else {
            return false;
        };
        let mut rest = reserved.bytes_mut();
        for part in parts {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        reserved.commit();
        true
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

/// A record being written; dropped without `commit` it never was.
pub(crate) struct Reserved<'a> {
    bytes: &'a mut [u8],
    end: &'a mut WriteEnd,
    positions: &'a Positions,
    total: u64,
}

impl Reserved<'_> {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Makes the record readable.
    pub(crate) fn commit(self) {
        self.end.publish(self.positions, self.total);
    }
}

impl Consumer {
    /// Whether the producer is gone; what it wrote before can still be read.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// The record at the front: kind and bytes, which the reader may also change.
    pub(crate) fn peek(&mut self) -> Option<(u32, &mut [u8])> {
        let (mut len, mut kind, mut offset) = self.front()?;
        if kind == PAD {
            self.end.advance(record_bytes(len));
            (len, kind, offset) = self.front()?;
        }
        // SAFETY: the writer published these bytes and will not touch them before they are released, which needs `self`.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(self.shared.base().add(offset + HEAD), len) };
        Some((kind, bytes))
    }

    fn front(&mut self) -> Option<(usize, u32, usize)> {
        if self.end.readable(&self.shared.positions) == 0 {
            return None;
        }
        let offset = self.end.offset(&self.shared.positions) as usize;
        // SAFETY: a published record begins here: eight aligned bytes inside the memory.
        let head = unsafe { self.shared.base().add(offset).cast::<u64>().read() };
        Some((head as u32 as usize, (head >> 32) as u32, offset))
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Whether at least half of the ring is read and given back.
    pub(crate) fn is_half_free(&self) -> bool {
        self.end.left(&self.shared.positions) <= self.shared.capacity() / 2
    }

    /// Capacity in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.capacity()
    }

    /// Goes past the record at the front; its memory is given back by [`Self::release`]. Returns the bytes it took.
    pub(crate) fn advance(&mut self) -> u64 {
        let (len, kind, _) = self
            .front()
            .expect("advance follows a peek that found a record");
        debug_assert_ne!(kind, PAD, "peek went past the padding");
        self.end.advance(record_bytes(len));
        record_bytes(len)
    }

    /// Gives the memory of everything passed back to the producer.
    pub(crate) fn release(&self) {
        self.end.release(&self.shared.positions);
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A tiny generator, so that the walk is the same each time.
    fn next(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn a_ring_behaves_like_a_queue_of_byte_strings_over_a_long_random_walk() {
        for seed in 1..=20u64 {
            let mut state = seed * 0x9e37_79b9;
            let (mut tx, mut rx) = ring(1 << 10);
            let mut oracle: VecDeque<(u32, Vec<u8>)> = VecDeque::new();
            for step in 0..20_000u64 {
                if next(&mut state).is_multiple_of(2) {
                    let record =
                        vec![step as u8; next(&mut state) as usize % (tx.record_bytes_max() + 1)];
                    let fitted = tx.push(
                        step as u32,
                        &[&record[..record.len() / 3], &record[record.len() / 3..]],
                    );
                    if fitted {
                        oracle.push_back((step as u32, record));
                    } else {
                        assert!(
                            !oracle.is_empty(),
                            "a drained ring takes every allowed record"
                        );
                    }
                } else {
                    let front = rx.peek().map(|(kind, bytes)| (kind, bytes.to_vec()));
                    assert_eq!(front.is_some(), !oracle.is_empty());
                    if let Some(front) = front {
                        assert_eq!(Some(front), oracle.pop_front());
                        rx.advance();
                    }
                    if next(&mut state).is_multiple_of(3) || oracle.is_empty() {
                        rx.release();
                    }
                }
            }
        }
    }

    #[test]
    fn two_threads_pass_every_record_in_order_and_whole() {
        const COUNT: u32 = 200_000;
        let (mut tx, mut rx) = ring(4 << 10);
        let writer = std::thread::spawn(move || {
            for i in 0..COUNT {
                let record = [i as u8; 97];
                while !tx.push(i, &[&record[..i as usize % 97]]) {
                    std::thread::yield_now();
                }
            }
        });
        for i in 0..COUNT {
            loop {
                if let Some((kind, bytes)) = rx.peek() {
                    assert_eq!((kind, bytes.len()), (i, i as usize % 97));
                    assert!(bytes.iter().all(|&b| b == i as u8));
                    rx.advance();
                    rx.release();
                    break;
                }
                std::thread::yield_now();
            }
        }
        writer.join().unwrap();
        assert!(rx.is_empty() && rx.is_closed());
    }

    #[test]
    fn a_ring_whose_reader_keeps_up_stays_in_the_front_of_its_memory() {
        let (mut tx, mut rx) = ring(1 << 20);
        for _ in 0..100_000 {
            assert!(tx.push(1, &[&[7; 1_000]]));
            assert!(tx.end.offset(&tx.shared.positions) <= (256 << 10) + 1_008);
            rx.peek().unwrap();
            rx.advance();
            rx.release();
        }
    }

    #[test]
    fn a_ring_that_started_again_has_room_for_a_quarter_of_it_before_its_reader_moves_on() {
        let (mut tx, mut rx) = ring(1 << 20);
        while tx.end.offset(&tx.shared.positions) < 256 << 10 {
            assert!(tx.push(1, &[&[7; 1_000]]));
            rx.peek().unwrap();
            rx.advance();
            rx.release();
        }
        for _ in 0..256 {
            assert!(tx.push(1, &[&[7; 1_000]]));
        }
    }

    #[test]
    fn a_reservation_that_is_dropped_never_was() {
        let (mut tx, mut rx) = ring(256);
        tx.reserve(1, 40).unwrap().bytes_mut().fill(9);
        assert!(rx.is_empty());
        assert!(tx.push(2, &[b"kept"]));
        assert_eq!(
            rx.peek().map(|(kind, bytes)| (kind, bytes.to_vec())),
            Some((2, b"kept".to_vec()))
        );
    }
}
