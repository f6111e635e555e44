//! Receive slots: the 20 bits of an index that name a session here. A shard grants blocks of 256 to the cores it runs;
//! a slot that was given back rests before it is used again, so that late datagrams of its old session find nothing.

use std::collections::VecDeque;

/// Slots of one block; the block's number is the upper 12 of a slot's 20 bits.
const BLOCK_SLOTS: u32 = 256;
/// How long a slot rests. Longer than any datagram lives in a network that we can still call working.
const REST_NS: u64 = 10_000_000_000;
/// Below this many free slots the core asks for another block.
const FREE_MIN: usize = 32;

/// The slots of one core; `T` is what a slot stands for.
pub(crate) struct Slots<T: Copy> {
    /// One entry per granted block, by block number.
    blocks: Vec<(u16, Vec<Option<T>>)>,
    /// Where a block lies in `blocks`, plus one; 0 for not ours.
    places: Vec<u16>,
    free: VecDeque<u32>,
    resting: VecDeque<(u64, u32)>,
}

impl<T: Copy> Default for Slots<T> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            places: Vec::new(),
            free: VecDeque::new(),
            resting: VecDeque::new(),
        }
    }
}

impl<T: Copy> Slots<T> {
    /// Adds the 256 slots of a block. Granting one twice changes nothing.
    pub(crate) fn grant(&mut self, block: u16) {
        let at = usize::from(block & 0xfff);
        if self.places.len() <= at {
            self.places.resize(at + 1, 0);
        }
        if self.places[at] != 0 {
            return;
        }
        self.blocks
            .push((block & 0xfff, vec![None; BLOCK_SLOTS as usize]));
        self.places[at] = self.blocks.len() as u16;
        let first = u32::from(block & 0xfff) * BLOCK_SLOTS;
        self.free.extend(first..first + BLOCK_SLOTS);
    }

    /// Whether another block should be granted.
    pub(crate) fn wants_block(&self) -> bool {
        self.free.len() < FREE_MIN
    }

    /// Takes a free slot for `owner`; None while all are taken or rest.
    pub(crate) fn take(&mut self, now: u64, owner: T) -> Option<u32> {
        while let Some(&(until, slot)) = self.resting.front()
            && until <= now
        {
            self.resting.pop_front();
            self.free.push_back(slot);
        }
        let slot = self.free.pop_front()?;
        self.set(slot, Some(owner));
        Some(slot)
    }

    /// Names another owner of a taken slot.
    pub(crate) fn hand_over(&mut self, slot: u32, owner: T) {
        self.set(slot, Some(owner));
    }

    /// Gives a slot back; it rests first.
    pub(crate) fn put_back(&mut self, now: u64, slot: u32) {
        if self.owner(slot).is_some() {
            self.set(slot, None);
            self.resting.push_back((now + REST_NS, slot));
        }
    }

    /// Who has the slot.
    pub(crate) fn owner(&self, slot: u32) -> Option<T> {
        let place = *self.places.get((slot / BLOCK_SLOTS) as usize)?;
        let (_, owners) = self.blocks.get(usize::from(place).checked_sub(1)?)?;
        owners[(slot % BLOCK_SLOTS) as usize]
    }

    fn set(&mut self, slot: u32, owner: Option<T>) {
        let place = self.places[(slot / BLOCK_SLOTS) as usize];
        let (_, owners) = &mut self.blocks[usize::from(place) - 1];
        owners[(slot % BLOCK_SLOTS) as usize] = owner;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_rests_before_it_is_used_again() {
        let mut slots = Slots::default();
        assert!(slots.wants_block());
        assert_eq!(slots.take(0, 'a'), None);
        slots.grant(3);
        slots.grant(3);
        assert!(!slots.wants_block());
        let taken: Vec<u32> = std::iter::from_fn(|| slots.take(0, 'a')).collect();
        assert_eq!(taken, (768..1024).collect::<Vec<_>>());
        slots.put_back(5, 800);
        slots.put_back(5, 800);
        assert_eq!(slots.owner(800), None);
        assert_eq!(slots.owner(801), Some('a'));
        assert_eq!(slots.take(5 + REST_NS - 1, 'b'), None);
        assert_eq!(slots.take(5 + REST_NS, 'b'), Some(800));
        assert_eq!(slots.take(5 + REST_NS, 'b'), None);
    }

    #[test]
    fn a_slot_of_a_block_never_granted_has_no_owner() {
        let mut slots = Slots::default();
        slots.grant(1);
        slots.take(0, 'a');
        assert_eq!(slots.owner(256), Some('a'));
        for slot in [0, 255, 257, 512, 0xf_ffff, u32::MAX] {
            assert_eq!(slots.owner(slot), None);
        }
    }
}
