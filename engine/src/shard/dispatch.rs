//! From a datagram to the core that it is for, by the header alone; what belongs to another shard goes to its queue.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tidings_wire::{Class, FAN_HEADER, HELLO_HEADER, OverlayId, PAIR_HEADER, overlay_tag};

use super::door::Door;
use super::overlay::ShardOverlay;
use crate::metrics::ShardCounters;
use crate::number_map::NumberMap;
use crate::placement::Map;
use crate::queue::mesh::{self, MeshEnds};

/// Where a datagram belongs.
enum Target {
    /// An overlay slot of this shard.
    Here(u16),
    Shard(usize),
    /// The datagram is not for this node, or not a datagram of ours at all.
    Nowhere,
}

/// The overlays of one shard, and the ways to the other shards.
pub(crate) struct Yard {
    pub(crate) index: usize,
    boot_tag: u16,
    pub(crate) slots: Vec<Option<Box<ShardOverlay>>>,
    // By the first bytes of the overlay tag; foreign datagrams only look there.
    by_tag: NumberMap<u16>,
    pub(crate) map: Arc<Map>,
    pub(crate) mesh: MeshEnds,
    pub(crate) doors: Arc<[Arc<Door>]>,
    /// Shards that were sent something in this turn.
    pub(crate) called: Vec<usize>,
    /// Where overlays went that were here: what was on its way to one is passed on. Until it comes again; of those that moved and
    /// ended elsewhere some bytes stay.
    pub(super) moved: HashMap<OverlayId, usize>,
    pub(crate) counters: ShardCounters,
}

impl Yard {
    pub(crate) fn new(
        index: usize,
        boot_tag: u16,
        map: Arc<Map>,
        mesh: MeshEnds,
        doors: Arc<[Arc<Door>]>,
    ) -> Self {
        Self {
            index,
            boot_tag,
            slots: Vec::new(),
            by_tag: NumberMap::default(),
            map,
            mesh,
            doors,
            called: Vec::new(),
            moved: HashMap::new(),
            counters: ShardCounters::default(),
        }
    }

    /// Hands a datagram to its core, or on.
    pub(crate) fn dispatch(&mut self, now: u64, from: SocketAddr, datagram: &mut [u8]) {
        match self.target(datagram) {
            Target::Here(slot) => self.hand_in(slot, now, from, datagram),
            Target::Shard(shard) => {
                self.count_crossing(datagram);
                self.forward(shard, from, datagram);
            }
            Target::Nowhere => {}
        }
    }

    /// The same for what another shard sent: it goes no further.
    pub(crate) fn dispatch_here(&mut self, now: u64, from: SocketAddr, datagram: &mut [u8]) {
        match self.target(datagram) {
            Target::Here(slot) => self.hand_in(slot, now, from, datagram),
            Target::Shard(_) => self.counters.drop_moved += 1,
            Target::Nowhere => {}
        }
    }

    fn hand_in(&mut self, slot: u16, now: u64, from: SocketAddr, datagram: &mut [u8]) {
        let Some(Some(overlay)) = self.slots.get_mut(usize::from(slot)) else {
            self.counters.drop_moved += 1;
            return;
        };
        overlay.touched = true;
        overlay
            .core
            .handle_datagram(now, from, datagram, &mut overlay.outlets);
    }

    fn target(&mut self, datagram: &[u8]) -> Target {
        let class = datagram.first().map(|&first| Class::of(first));
        let (Some(Ok(class)), true) = (class, datagram.len() >= shortest(class)) else {
            self.counters.drop_header += 1;
            return Target::Nowhere;
        };
        match class {
            Class::Hello => self.by_tag(datagram, 56),
            Class::Fan => self.by_tag(datagram, 4),
            Class::Pair | Class::Bulk => self.by_index(word(datagram, 4)),
        }
    }

    fn by_tag(&mut self, datagram: &[u8], at: usize) -> Target {
        let head = word(datagram, at);
        if let Some(&slot) = self.by_tag.get(&head) {
            return Target::Here(slot);
        }
        match self
            .map
            .placement
            .read(|placement| placement.shard_of_tag(head.to_le_bytes()))
        {
            Some(shard) if shard != self.index => Target::Shard(shard),
            _ => {
                self.counters.drop_overlay += 1;
                Target::Nowhere
            }
        }
    }

    fn by_index(&mut self, index: u32) -> Target {
        let owner = match index >> 20 == u32::from(self.boot_tag) {
            true => self.map.blocks.owner((index >> 8 & 0xfff) as u16),
            false => None,
        };
        match owner {
            Some((shard, slot)) if shard == self.index => Target::Here(slot),
            Some((shard, _)) => Target::Shard(shard),
            None => {
                self.counters.drop_index += 1;
                Target::Nowhere
            }
        }
    }

    /// Handshakes have one socket for the whole node, so they cross by design; anything else was steered wrongly.
    fn count_crossing(&mut self, datagram: &[u8]) {
        match datagram.first().map(|&first| Class::of(first)) {
            Some(Ok(Class::Hello)) => self.counters.hello_crossed += 1,
            _ => self.counters.wrong_shard += 1,
        }
    }

    fn forward(&mut self, shard: usize, from: SocketAddr, datagram: &[u8]) {
        let passed = match self.mesh.to.get_mut(shard) {
            Some(Some(ring)) => mesh::forward(ring, from, datagram),
            _ => false,
        };
        if !passed {
            self.counters.forward_lost += 1;
        } else if !self.called.contains(&shard) {
            self.called.push(shard);
        }
    }

    /// Wakes the shards that were sent something in this turn.
    pub(crate) fn call_others(&mut self) {
        for shard in self.called.drain(..) {
            self.doors[shard].parker().wake();
        }
    }

    /// Whether a reader got so much in this turn that it is short of room.
    pub(crate) fn is_filling(&mut self) -> bool {
        self.overlays().any(|overlay| overlay.outlets.filling)
    }

    /// A free slot for an overlay.
    pub(crate) fn free_slot(&self) -> u16 {
        self.slots
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.slots.len()) as u16
    }

    pub(crate) fn insert(&mut self, overlay: ShardOverlay) {
        let slot = usize::from(overlay.slot);
        let tag = overlay.place.tag;
        self.moved.remove(&overlay.shared.id);
        overlay.shared.at.arrive(self.index, overlay.slot);
        self.by_tag.insert(word(&tag, 0), overlay.slot);
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(Box::new(overlay));
    }

    pub(crate) fn remove(&mut self, slot: u16) -> Option<Box<ShardOverlay>> {
        self.map.blocks.take_back(self.index, slot);
        self.take_out(slot)
    }

    /// The slot of an overlay that is here.
    pub(crate) fn slot_of(&self, id: OverlayId) -> Option<u16> {
        let slot = *self.by_tag.get(&word(&overlay_tag(id), 0))?;
        let overlay = self.slots.get(usize::from(slot))?.as_ref()?;
        (overlay.shared.id == id).then_some(slot)
    }

    /// Takes an overlay out, whose receiver indices go on leading here.
    pub(crate) fn take_out(&mut self, slot: u16) -> Option<Box<ShardOverlay>> {
        self.by_tag.retain(|_, owner| *owner != slot);
        let overlay = self.slots.get_mut(usize::from(slot))?.take()?;
        // What the shard counts never falls.
        overlay.outlets.counts.add_to(&mut self.counters);
        Some(overlay)
    }

    pub(crate) fn overlays(&mut self) -> impl Iterator<Item = &mut ShardOverlay> {
        self.slots.iter_mut().flatten().map(Box::as_mut)
    }
}

/// Bytes below which a datagram has no whole header.
fn shortest(class: Option<Result<Class, tidings_wire::HeaderError>>) -> usize {
    match class {
        Some(Ok(Class::Hello)) => HELLO_HEADER,
        Some(Ok(Class::Pair | Class::Bulk)) => PAIR_HEADER,
        Some(Ok(Class::Fan)) => FAN_HEADER,
        _ => usize::MAX,
    }
}

/// The little-endian word at `at`; the caller checked the length.
fn word(datagram: &[u8], at: usize) -> u32 {
    datagram[at..at + 4]
        .iter()
        .rev()
        .fold(0, |word, &byte| word << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_on_and_finds_nobody_is_counted() {
        let map = Arc::new(Map::new(2));
        let tag = 0x5a5;
        let mesh = MeshEnds::default();
        let mut yard = Yard::new(0, tag, Arc::clone(&map), mesh, Arc::default());
        let mut pass = |shard: usize, drops: u64| {
            let block = map.blocks.grant(shard, 3).unwrap();
            let index = u32::from(tag) << 20 | u32::from(block) << 8;
            let mut datagram = [0; 64];
            datagram[0] = Class::Pair.first_byte();
            datagram[4..8].copy_from_slice(&index.to_le_bytes());
            yard.dispatch_here(0, ([127, 0, 0, 1], 1).into(), &mut datagram);
            assert_eq!(yard.counters.drop_moved, drops);
        };
        // The block is another shard's by now; its overlay has gone.
        pass(1, 1);
        pass(0, 2);
    }
}
