//! The engine's own slow thread: keeps generations and members' addresses on disk, writes log lines and calls the
//! embedder's notice handler. No shard ever waits for it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tidings_wire::OverlayId;

use crate::builder::NoticeHandler;
use crate::engine::Inner;
use crate::limits::KEEP_PEERS;
use crate::queue::notify::block_until;
use crate::shard::notice::Notice;
use crate::supervise::supervise;

pub(crate) fn start(
    inner: Arc<Inner>,
    handler: Option<NoticeHandler>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("tidings-keeper".into())
        .spawn(move || {
            let mut keeper = Keeper::new(Arc::clone(&inner), handler);
            supervise("keeper", &inner.panics, &inner.stopped, || keeper.run());
        })
}

struct Keeper {
    inner: Arc<Inner>,
    handler: Option<NoticeHandler>,
    /// What is on disk.
    kept: HashMap<OverlayId, Vec<SocketAddr>>,
    keep_at: Instant,
}

impl Keeper {
    fn new(inner: Arc<Inner>, handler: Option<NoticeHandler>) -> Self {
        let now = Instant::now();
        Self {
            inner,
            handler,
            kept: HashMap::new(),
            keep_at: now + KEEP_PEERS,
        }
    }

    fn run(&mut self) {
        let inner = Arc::clone(&self.inner);
        let stopped = || inner.stopped.load(Ordering::Acquire);
        while !stopped() {
            let notice = block_until(&inner.notices.notify, Some(self.keep_at), || {
                inner
                    .notices
                    .pop()
                    .map(Some)
                    .or_else(|| stopped().then_some(None))
            });
            if let Some(Some((overlay, notice))) = notice {
                self.on_notice(overlay, &notice);
            }
            self.on_time();
        }
        while let Some((overlay, notice)) = inner.notices.pop() {
            self.on_notice(overlay, &notice);
        }
    }

    fn on_notice(&mut self, id: OverlayId, notice: &Notice) {
        let overlay = self.inner.name_of(id);
        match notice {
            Notice::Generation(generation) => {
                if let Err(error) = self.inner.storage.keep_generation(id, *generation) {
                    tracing::error!(overlay, %error, "the generation cannot be kept");
                }
            }
            Notice::Synced { complete: true } => {
                tracing::info!(overlay, "synced: every member's subscriptions are known");
            }
            Notice::Synced { complete: false } => {
                tracing::warn!(
                    overlay,
                    "not synced in time: some members' subscriptions are not known yet"
                );
            }
            Notice::IdConflict => {
                // Without a farewell, which the others would take for the other's. An overlay that is gone already needs
                // nothing: a shard may have met the other node twice before it heard of this.
                if self.inner.remove_overlay(id, false).is_err() {
                    return;
                }
                tracing::error!(overlay, node = %self.inner.node, "another live node has this node's id; this one is taken out of the overlay. Was its data directory copied?");
            }
            Notice::Foreign {
                reason: "open_slot",
                from,
            } => {
                tracing::warn!(overlay, %from, "somebody speaks to this node under a key of the overlay that it does not have: one of the two missed a rotation. Install the key that is missing, as `tidings keys status` shows");
            }
            Notice::Foreign { reason, from } => {
                tracing::warn!(overlay, %from, reason, "somebody with another key or overlay speaks to this node");
            }
        }
        if let Some(handler) = &self.handler {
            handler(id, notice);
        }
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if now >= self.keep_at {
            self.keep_at = now + KEEP_PEERS;
            self.keep_peers();
        }
    }

    fn keep_peers(&mut self) {
        for running in self.inner.all_running() {
            let id = running.shared.id;
            // The overlay may be gone again.
            let Ok(peers) = self.inner.peers(id) else {
                continue;
            };
            if self.kept.get(&id) != Some(&peers) {
                self.inner.keep_peers(id, &peers);
                self.kept.insert(id, peers);
            }
        }
    }
}
