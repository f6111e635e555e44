//! Moving overlays between shards while they run: the side of the control threads. What the shards do is in `shard/moving.rs`.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{PoisonError, RwLockReadGuard};

use tidings_wire::OverlayId;

use crate::engine::{Engine, Inner};
use crate::error::EngineError;
use crate::limits::COMMAND_WAIT;
use crate::placement::Place;

impl Engine {
    /// How many shards this node runs.
    pub fn shards(&self) -> usize {
        self.inner.doors.len()
    }

    /// Has an overlay run on another shard from now on: its members, subscriptions, publishers and local clients go with it, nothing that
    /// was accepted is lost, and none of them is told. Datagrams that come within the microseconds of the move may be lost, and are
    /// sent again.
    ///
    /// `shard` is counted from 0, and is to be one of [`Engine::shards`]. An overlay with handlers of [`Engine::on_shard`] stays where it is ([`EngineError::HasHandlers`]). After [`EngineError::Stopped`] it
    /// moves as soon as the shard answers that did not, or ends with it.
    pub fn move_overlay(&self, id: OverlayId, shard: usize) -> Result<(), EngineError> {
        let inner = &self.inner;
        let _alone = inner.moving.write().unwrap_or_else(PoisonError::into_inner);
        if shard >= self.shards() {
            return Err(EngineError::NoShard(self.shards()));
        }
        let was = inner.running(id)?.shared.at.shard();
        if was == shard {
            return Ok(());
        }
        // Errands that come to the old shard after the overlay left are passed on by this.
        let to = inner.shift(id, shard)?;
        let (tx, arrived) = channel();
        let sent = inner.visit(id, move |shard, slot| shard.send_off(slot, to, tx));
        let stays = match sent {
            Ok(Ok(())) => match arrived.recv_timeout(COMMAND_WAIT) {
                Ok(now) if now == shard => return Ok(()),
                // The other shard had no room for a command.
                Ok(_) => EngineError::TooMany,
                // It waits there.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(EngineError::Stopped);
                }
            },
            Ok(Err(refused)) | Err(refused) => refused,
        };
        inner.shift(id, was)?;
        Err(stays)
    }
}

impl Inner {
    /// While this is held, no overlay moves.
    pub(crate) fn stay(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn shift(&self, id: OverlayId, shard: usize) -> Result<Place, EngineError> {
        let placed = self.place(&mut self.overlays(), |placement| placement.shift(id, shard))?;
        placed.ok_or(EngineError::Unknown)
    }
}
