//! Moving overlays between shards while they run: the side of the control threads. What the shards do is in `shard/moving.rs`.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use tidings_wire::OverlayId;

use crate::engine::{Engine, Inner};
use crate::error::EngineError;
use crate::limits::COMMAND_WAIT;
use crate::placement::Place;
use crate::routes::OverlayShared;

impl Engine {
    /// How many shards this node runs.
    pub fn shards(&self) -> usize {
        self.inner.doors.len()
    }

    /// Has an overlay run on another shard from now on: its members, subscriptions, publishers and local clients go with it, nothing
    /// that was accepted is lost, and none of them is told. Datagrams that come within the microseconds of the move may be lost,
    /// and are sent again.
    ///
    /// `shard` is counted from 0, and is to be one of [`Engine::shards`]. An overlay with handlers of [`Engine::on_shard`] stays
    /// where it is ([`EngineError::HasHandlers`]). After [`EngineError::Stopped`] it may move as soon as the shard answers
    /// that did not, or end with it.
    pub fn move_overlay(&self, id: OverlayId, shard: usize) -> Result<(), EngineError> {
        let inner = &self.inner;
        if shard >= self.shards() {
            return Err(EngineError::NoShard(self.shards()));
        }
        let _alone = inner.moving.write().unwrap_or_else(PoisonError::into_inner);
        let shared = inner.running(id)?.shared;
        // It stays with what peers are told of it, unless it is on its way from here.
        let was = inner.placed(id);
        if was == Some(shard) && shared.at.shard() == shard {
            return Ok(());
        }
        let to = inner.shift(&shared, shard)?;
        let (tx, arrived) = channel();
        let of = Arc::clone(&shared);
        let sent = inner.visit(id, move |from, slot| from.send_off(slot, &of, to, tx));
        let stays = match sent {
            Ok(Ok(())) => match arrived.recv_timeout(COMMAND_WAIT) {
                Ok(now) if now == shard => return Ok(()),
                Ok(_) => EngineError::Busy,
                // It waits there.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(EngineError::Stopped);
                }
            },
            Ok(Err(refused)) | Err(refused) => refused,
        };
        if let Some(was) = was
            && let Err(error) = inner.shift(&shared, was)
            && !matches!(error, EngineError::Unknown)
        {
            tracing::error!(overlay = shared.name, %error, "an overlay that stayed is steered to where it was to go");
        }
        Err(stays)
    }
}

impl Inner {
    /// While this is held, no overlay moves.
    pub(crate) fn stay(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steers what comes for an overlay to another shard.
    fn shift(&self, of: &Arc<OverlayShared>, shard: usize) -> Result<Place, EngineError> {
        let mut overlays = self.overlays();
        let running = overlays.running.get(&of.id);
        // Another of its name may run by now.
        if !running.is_some_and(|now| Arc::ptr_eq(&now.shared, of)) {
            return Err(EngineError::Unknown);
        }
        let placed = self.place(&mut overlays, |placement| placement.shift(of.id, shard))?;
        placed.ok_or(EngineError::Unknown)
    }
}
