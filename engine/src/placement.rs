//! Which shard owns what: overlays by their tag, steer values, and the blocks of receiver indices. Written by the control
//! thread, read by every shard without a lock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tidings_wire::{OverlayId, overlay_tag, steer};

use crate::limits::{BLOCKS, STEERS};
use crate::queue::rcu::Rcu;
use crate::sys::bpf::SteerTable;

/// The lane that everything uses as long as overlays are not spread.
pub(crate) const LANE: u8 = 0;

/// One overlay's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) overlay: OverlayId,
    pub(crate) tag: [u8; 8],
    pub(crate) shard: usize,
    /// The steer byte that peers shall put on PAIR and BULK: one that leads to `shard`.
    pub(crate) steer: u8,
}

/// All places at one moment.
#[derive(Clone)]
pub(crate) struct Placement {
    shards: usize,
    table: SteerTable,
    places: Vec<Place>,
}

impl Placement {
    pub(crate) fn new(shards: usize) -> Self {
        let mut placement = Self {
            shards,
            table: [0; STEERS],
            places: Vec::new(),
        };
        placement.rebuild();
        placement
    }

    pub(crate) fn table(&self) -> &SteerTable {
        &self.table
    }

    /// The shard of the overlay whose tag begins with `head`.
    pub(crate) fn shard_of_tag(&self, head: [u8; 4]) -> Option<usize> {
        self.places
            .iter()
            .find(|place| place.tag[..4] == head)
            .map(|place| place.shard)
    }

    /// Places an overlay: on the stated shard, else on the one with the fewest. `None`: it is placed already, or its tag
    /// begins like that of another overlay here (one chance in 2^32).
    pub(crate) fn add(&mut self, overlay: OverlayId, stated: Option<usize>) -> Option<Place> {
        let tag = overlay_tag(overlay);
        if self.places.iter().any(|place| place.tag[..4] == tag[..4]) {
            return None;
        }
        let shard = stated
            .unwrap_or_else(|| self.least_loaded())
            .min(self.shards - 1);
        self.places.push(Place {
            overlay,
            tag,
            shard,
            steer: steer(overlay, LANE),
        });
        self.rebuild();
        self.promise(self.places.len() - 1)
    }

    /// Finds the steer value for a place: that which it has, unless another overlay owns it; then peers shall use any other one that
    /// leads there.
    fn promise(&mut self, at: usize) -> Option<Place> {
        let place = &mut self.places[at];
        let mut reached = (0..=u8::MAX)
            .cycle()
            .skip(usize::from(place.steer))
            .take(STEERS);
        place.steer =
            reached.find(|&value| usize::from(self.table[usize::from(value)]) == place.shard)?;
        Some(*place)
    }

    /// Has an overlay live on another shard from now on. Its steer values follow it; the one that is promised from now on is another if
    /// the old one leads elsewhere. `None`: it is not placed.
    pub(crate) fn shift(&mut self, overlay: OverlayId, shard: usize) -> Option<Place> {
        let at = self.places.iter().position(|it| it.overlay == overlay)?;
        self.places[at].shard = shard.min(self.shards - 1);
        self.rebuild();
        self.promise(at)
    }

    /// The shard of an overlay.
    pub(crate) fn shard_of(&self, overlay: OverlayId) -> Option<usize> {
        let mut places = self.places.iter();
        let found = places.find(|place| place.overlay == overlay);
        found.map(|place| place.shard)
    }

    pub(crate) fn remove(&mut self, overlay: OverlayId) {
        self.places.retain(|place| place.overlay != overlay);
        self.rebuild();
    }

    fn least_loaded(&self) -> usize {
        let load = |shard: usize| {
            self.places
                .iter()
                .filter(|place| place.shard == shard)
                .count()
        };
        (0..self.shards)
            .min_by_key(|&shard| load(shard))
            .unwrap_or(0)
    }

    /// Equal stretches of the steer values for the shards, then each overlay's own value to its shard; of two overlays
    /// with one value the earlier has it, and the other's datagrams cross a queue.
    fn rebuild(&mut self) {
        for value in 0..STEERS {
            self.table[value] = (value * self.shards / STEERS) as u8;
        }
        for place in self.places.iter().rev() {
            self.table[usize::from(steer(place.overlay, LANE))] = place.shard as u8;
        }
        // The value promised to peers must go on leading there, unless it is some overlay's natural one.
        for place in &self.places {
            let natural = self
                .places
                .iter()
                .any(|other| steer(other.overlay, LANE) == place.steer);
            if !natural {
                self.table[usize::from(place.steer)] = place.shard as u8;
            }
        }
    }
}

/// Owners of the blocks of 256 receiver indices: shard and slot of the overlay there.
pub(crate) struct Blocks {
    /// 0: free; else 1 + (shard << 16 | overlay slot).
    owners: Box<[AtomicU32]>,
    /// Where the search for a free block goes on, so that a returned block rests as long as possible.
    next: Mutex<usize>,
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self {
            owners: (0..BLOCKS).map(|_| AtomicU32::new(0)).collect(),
            next: Mutex::new(0),
        }
    }

    /// Grants a free block. `None`: all 4,096 are taken.
    pub(crate) fn grant(&self, shard: usize, slot: u16) -> Option<u16> {
        let mut next = self
            .next
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for step in 0..BLOCKS {
            let block = (*next + step) % BLOCKS;
            if self.owners[block].load(Ordering::Relaxed) == 0 {
                self.owners[block].store(
                    1 + ((shard as u32) << 16 | u32::from(slot)),
                    Ordering::Release,
                );
                *next = block + 1;
                return Some(block as u16);
            }
        }
        None
    }

    /// Takes back every block of an overlay.
    pub(crate) fn take_back(&self, shard: usize, slot: u16) {
        let owner = 1 + ((shard as u32) << 16 | u32::from(slot));
        for block in &self.owners {
            if block.load(Ordering::Relaxed) == owner {
                block.store(0, Ordering::Release);
            }
        }
    }

    /// The blocks of an overlay.
    pub(crate) fn of(&self, shard: usize, slot: u16) -> Vec<u16> {
        let owners = (0..BLOCKS as u16).filter(|&block| self.owner(block) == Some((shard, slot)));
        owners.collect()
    }

    /// Has blocks lead to where their overlay is now.
    pub(crate) fn lead(&self, blocks: &[u16], shard: usize, slot: u16) {
        let owner = 1 + ((shard as u32) << 16 | u32::from(slot));
        for &block in blocks {
            self.owners[usize::from(block)].store(owner, Ordering::Release);
        }
    }

    /// Shard and overlay slot of a block.
    pub(crate) fn owner(&self, block: u16) -> Option<(usize, u16)> {
        let owner = self
            .owners
            .get(usize::from(block))?
            .load(Ordering::Acquire)
            .checked_sub(1)?;
        Some(((owner >> 16) as usize, owner as u16))
    }
}

/// What every shard reads of all others.
pub(crate) struct Map {
    pub(crate) placement: Rcu<Placement>,
    pub(crate) blocks: Blocks,
}

impl Map {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            placement: Rcu::new(Placement::new(shards)),
            blocks: Blocks::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_spread_over_the_shards_and_every_promised_steer_leads_home() {
        let mut placement = Placement::new(3);
        let mut places = Vec::new();
        for i in 0..120 {
            let overlay = OverlayId::from_name(&format!("overlay {i}"));
            places.push(placement.add(overlay, None).unwrap());
            assert!(placement.add(overlay, None).is_none(), "twice");
        }
        for shard in 0..3 {
            assert_eq!(
                places.iter().filter(|place| place.shard == shard).count(),
                40
            );
        }
        let last = places.last().unwrap();
        assert_eq!(
            usize::from(placement.table()[usize::from(last.steer)]),
            last.shard
        );
        assert_eq!(
            placement.shard_of_tag(last.tag[..4].try_into().unwrap()),
            Some(last.shard)
        );
        placement.remove(last.overlay);
        assert_eq!(
            placement.shard_of_tag(last.tag[..4].try_into().unwrap()),
            None
        );
    }

    #[test]
    fn a_stated_shard_is_taken() {
        let mut placement = Placement::new(4);
        assert_eq!(
            placement
                .add(OverlayId::from_name("a"), Some(3))
                .unwrap()
                .shard,
            3
        );
    }

    #[test]
    fn blocks_are_granted_once_and_come_back() {
        let blocks = Blocks::new();
        let first = blocks.grant(2, 7).unwrap();
        assert_eq!(blocks.owner(first), Some((2, 7)));
        for _ in 1..BLOCKS {
            blocks.grant(0, 1).unwrap();
        }
        assert_eq!(blocks.grant(0, 1), None);
        blocks.take_back(2, 7);
        assert_eq!(blocks.owner(first), None);
        assert_eq!(blocks.grant(1, 1), Some(first));
    }
}
