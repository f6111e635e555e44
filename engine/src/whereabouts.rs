//! Where an overlay is by now: the shard that has it, and its slot there. Written by that shard when it takes the overlay in, read by
//! whoever rings or asks. An overlay may move meanwhile: a command then finds its way from where it was (`shard/moving.rs`), and
//! a bell needs none, since every port is looked at on arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::shard::door::Door;

/// Of one overlay.
pub(crate) struct Whereabouts {
    doors: Arc<[Arc<Door>]>,
    /// Shard << 16 | slot.
    at: AtomicU32,
}

impl Whereabouts {
    /// On its way to a shard, in a slot that is not known yet. `doors`: of all shards.
    pub(crate) fn new(doors: Arc<[Arc<Door>]>, shard: usize) -> Self {
        Self {
            doors,
            at: AtomicU32::new(pack(shard, 0)),
        }
    }

    /// By the shard that has it from now on, which looks at every port after this.
    pub(crate) fn arrive(&self, shard: usize, slot: u16) {
        self.at.store(pack(shard, slot), Ordering::Release);
        // Who added something and saw the old place has added it before that look: `Flag` has the other fence.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn shard(&self) -> usize {
        (self.at.load(Ordering::Acquire) >> 16) as usize
    }

    /// The door of its shard.
    pub(crate) fn door(&self) -> &Arc<Door> {
        &self.doors[self.shard()]
    }

    /// The doors of all shards.
    pub(crate) fn doors(&self) -> &Arc<[Arc<Door>]> {
        &self.doors
    }

    fn ring(&self, port: u32) {
        let at = self.at.load(Ordering::Acquire);
        self.doors[(at >> 16) as usize].ring(at << 16 | port);
    }
}

fn pack(shard: usize, slot: u16) -> u32 {
    (shard as u32) << 16 | u32::from(slot)
}

/// How the owner of a port has its shard look at it.
pub(crate) struct PortBell {
    overlay: Arc<Whereabouts>,
    port: u32,
}

impl PortBell {
    pub(crate) fn new(overlay: &Arc<Whereabouts>, port: u32) -> Self {
        Self {
            overlay: Arc::clone(overlay),
            port,
        }
    }

    pub(crate) fn ring(&self) {
        self.overlay.ring(self.port);
    }
}
