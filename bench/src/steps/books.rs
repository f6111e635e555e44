//! What a program that checks every message does itself: number it, and note its arrival. The load generator does about
//! this; the cost model must not count it as Tidings' part, nor leave it out.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{DATAGRAMS, Step, messages};

/// Messages of one run.
const COUNT: usize = DATAGRAMS * 19;

/// The number into the payload.
pub struct Stamp {
    payload: Vec<u8>,
    number: u64,
}

impl Stamp {
    /// Of a message of 64 B: only its first 16 are written.
    pub fn new() -> Self {
        assert_eq!(
            messages(64) * DATAGRAMS,
            COUNT,
            "as many as other steps have"
        );
        Self {
            payload: vec![7; 64],
            number: 0,
        }
    }
}

impl Default for Stamp {
    fn default() -> Self {
        Self::new()
    }
}

impl Step for Stamp {
    fn units(&self) -> u64 {
        COUNT as u64
    }

    fn prepare(&mut self) {}

    fn run(&mut self) {
        for _ in 0..COUNT {
            let payload = black_box(&mut self.payload);
            payload[..8].copy_from_slice(&self.number.to_le_bytes());
            payload[8..16].fill(0);
            self.number += 1;
        }
    }
}

/// The number of an arrived message against the one that is due, and the count to where other threads read it.
pub struct Tally {
    payload: Vec<u8>,
    next: u64,
    seen: AtomicU64,
}

impl Tally {
    /// Of messages in order.
    pub fn new() -> Self {
        Self {
            payload: vec![0; 64],
            next: 0,
            seen: AtomicU64::new(0),
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Step for Tally {
    fn units(&self) -> u64 {
        COUNT as u64
    }

    fn prepare(&mut self) {
        self.next = 0;
    }

    fn run(&mut self) {
        for _ in 0..COUNT {
            let payload = black_box(&self.payload);
            let number = payload.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
            let due = payload[8..]
                .first_chunk()
                .map_or(0, |n| u64::from_le_bytes(*n));
            if number <= self.next && due == 0 {
                self.next += 1;
            }
            self.seen.store(self.next, Relaxed);
        }
    }
}
