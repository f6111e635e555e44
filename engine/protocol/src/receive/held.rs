//! How much all ordered subscriptions of an overlay hold back together.

use crate::limits;

/// Bytes held back, each message with what keeping it costs.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: usize,
}

/// What a held message takes besides its payload: its place in a map, and the allocator's share.
const EACH: usize = 64;

impl Held {
    /// What holding a message of `len` bytes back costs.
    pub(crate) fn cost(len: usize) -> usize {
        len + EACH
    }

    /// Whether the overlay has room for so much more.
    pub(crate) fn has_room(&self, cost: usize) -> bool {
        self.bytes + cost <= limits::HELD
    }

    pub(crate) fn add(&mut self, cost: usize) {
        self.bytes += cost;
    }

    pub(crate) fn give_back(&mut self, cost: usize) {
        self.bytes -= cost;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
