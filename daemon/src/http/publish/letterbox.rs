//! The way from the management service to those who publish for it on the shards: one bounded queue for each overlay, opened
//! with its first message. Outlives a panic of the service. Nothing here waits for a shard but the opening, on a thread for that.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use tidings_engine::{Engine, EngineError, OverlayId};

use super::clerk::{Clerk, Order};
use crate::http::error::{ApiError, ApiResult};
use crate::http::limits::PUBLISHES;
use crate::http::shared::Shared;

/// One for each overlay that was published to.
#[derive(Default)]
pub struct Letterboxes(Mutex<HashMap<String, Arc<Letterbox>>>);

/// The queue of one overlay.
struct Letterbox {
    /// None only while it is dropped.
    orders: Option<SyncSender<Order>>,
    bell: Arc<OwnedFd>,
}

impl Letterbox {
    /// Puts an order in. Gives it back if nobody takes orders here any more.
    fn put(&self, order: Order) -> Result<(), Order> {
        use std::sync::mpsc::TrySendError::{Disconnected, Full};
        let Some(orders) = &self.orders else {
            return Err(order);
        };
        match orders.try_send(order) {
            Ok(()) => {
                self.ring();
                Ok(())
            }
            // There are no more requests than places; if there were, this one were told that its order is gone.
            Err(Full(_)) => Ok(()),
            Err(Disconnected(order)) => Err(order),
        }
    }

    /// Whether there still is somebody at the other end, who has the bell, too.
    fn is_read(&self) -> bool {
        Arc::strong_count(&self.bell) > 1
    }

    fn ring(&self) {
        // A counter that is full was rung already.
        let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
    }
}

impl Drop for Letterbox {
    fn drop(&mut self) {
        // First the end, then the bell: whoever looks sees it.
        self.orders = None;
        self.ring();
    }
}

impl Letterboxes {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Letterbox>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a new letterbox in place of the one that was `known`, and forgets those whose overlays are gone. If another request
    /// was faster, its letterbox is the one.
    fn keep(
        &self,
        overlay: &str,
        new: Letterbox,
        known: Option<&Arc<Letterbox>>,
    ) -> Arc<Letterbox> {
        let mut all = self.all();
        all.retain(|_, letterbox| letterbox.is_read());
        if let Some(there) = all.get(overlay)
            && known.is_none_or(|known| !Arc::ptr_eq(known, there))
        {
            return Arc::clone(there);
        }
        let letterbox = Arc::new(new);
        all.insert(overlay.to_owned(), Arc::clone(&letterbox));
        letterbox
    }
}

/// Passes an order on to whoever publishes in `overlay`, who is put there if need be.
pub async fn post(shared: &Shared, overlay: &str, order: Order) -> ApiResult<()> {
    let known = shared.letterboxes.all().get(overlay).cloned();
    let order = match &known {
        None => order,
        Some(letterbox) => match letterbox.put(order) {
            Ok(()) => return Ok(()),
            // The overlay was removed since; there may be another of its name.
            Err(order) => order,
        },
    };
    let opened = shared.ask_overlay(overlay.to_owned(), open).await?;
    let letterbox = shared.letterboxes.keep(overlay, opened, known.as_ref());
    letterbox.put(order).map_err(|_| gone())
}

/// The overlay went while a request was about it.
pub fn gone() -> ApiError {
    ApiError::unavailable(
        "closed",
        "the overlay was removed meanwhile, or the node is stopping",
        "look whether the overlay runs: GET /v1/overlays",
    )
}

fn open(engine: &Engine, id: OverlayId) -> Result<Letterbox, EngineError> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    // Descriptors are what a node runs out of.
    let bell = Arc::new(eventfd(0, flags).map_err(|_| EngineError::TooMany)?);
    let (orders, taken) = sync_channel(PUBLISHES);
    let of_clerk = Arc::clone(&bell);
    engine.attach_session(id, move || Box::new(Clerk::new(taken, of_clerk)))?;
    Ok(Letterbox {
        orders: Some(orders),
        bell,
    })
}
