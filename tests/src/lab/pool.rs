//! Frames in the hands of the switch: a bounded set of equal buffers, reused, so that steady traffic allocates nothing.

/// Most frames held at once: 65,536 of 1,518 bytes are 100 MB, enough for 1 Gbit/s at 0.5 s of delay with 1,200 B datagrams.
const FRAMES_MAX: usize = 65_536;

/// A buffer of the pool. Whoever holds one gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u32);

#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
}

#[derive(Debug)]
pub(super) struct Pool {
    buffers: Vec<Buffer>,
    free: Vec<Slot>,
    size: usize,
}

impl Pool {
    /// A pool of buffers of `size` bytes, none made yet.
    pub(super) fn new(size: usize) -> Pool {
        Pool {
            buffers: Vec::new(),
            free: Vec::new(),
            size,
        }
    }

    pub(super) fn take(&mut self) -> Option<Slot> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if self.buffers.len() == FRAMES_MAX {
            return None;
        }
        self.buffers.push(Buffer {
            bytes: vec![0; self.size].into(),
            length: 0,
        });
        Some(Slot(self.buffers.len() as u32 - 1))
    }

    pub(super) fn give(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    /// The whole buffer, to read a frame into; `set_length` follows.
    pub(super) fn room(&mut self, slot: Slot) -> &mut [u8] {
        &mut self.buffers[slot.0 as usize].bytes
    }

    pub(super) fn set_length(&mut self, slot: Slot, length: usize) {
        self.buffers[slot.0 as usize].length = length;
    }

    pub(super) fn frame(&self, slot: Slot) -> &[u8] {
        let buffer = &self.buffers[slot.0 as usize];
        &buffer.bytes[..buffer.length]
    }

    pub(super) fn frame_mut(&mut self, slot: Slot) -> &mut [u8] {
        let buffer = &mut self.buffers[slot.0 as usize];
        &mut buffer.bytes[..buffer.length]
    }

    /// A second slot with the same frame.
    pub(super) fn copy(&mut self, slot: Slot) -> Option<Slot> {
        let copy = self.take()?;
        let [from, to] = self
            .buffers
            .get_disjoint_mut([slot.0 as usize, copy.0 as usize])
            .ok()?;
        to.bytes[..from.length].copy_from_slice(&from.bytes[..from.length]);
        to.length = from.length;
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_independent_and_slots_are_reused() {
        let mut pool = Pool::new(8);
        let a = pool.take().unwrap();
        pool.room(a)[..3].copy_from_slice(b"abc");
        pool.set_length(a, 3);
        let b = pool.copy(a).unwrap();
        pool.frame_mut(a)[0] = b'x';
        assert_eq!(pool.frame(b), b"abc");
        pool.give(a);
        assert_eq!(pool.take(), Some(a));
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut pool = Pool::new(1);
        assert_eq!(std::iter::from_fn(|| pool.take()).count(), FRAMES_MAX);
    }
}
