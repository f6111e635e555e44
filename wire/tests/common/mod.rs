//! What several tests share: golden samples, vector files, an independent key schedule and cipher, a small generator.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod again;
pub mod gcm;
pub mod goldens;
pub mod samples;
pub mod schedule;
pub mod vectors;

/// xorshift64*: fast, and the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (((self.next() >> 32) * end as u64) >> 32) as usize
    }
}
