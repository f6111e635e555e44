//! The engine's own slow thread: keeps generations and members' addresses on disk, writes log lines and calls the
//! embedder's notice handler. No shard ever waits for it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tidings_wire::OverlayId;

use crate::builder::NoticeHandler;
use crate::engine::Inner;
use crate::limits::KEEP_PEERS;
use crate::queue::notify::block_until;
use crate::routes::OverlayShared;
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

/// Members' addresses that are on disk.
struct Kept {
    /// The life of the overlay that they are of: with the one before, what it kept may be gone.
    of: Weak<OverlayShared>,
    peers: Vec<SocketAddr>,
}

struct Keeper {
    inner: Arc<Inner>,
    handler: Option<NoticeHandler>,
    /// What was written of the overlays that run.
    kept: HashMap<OverlayId, Kept>,
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
        let all = self.inner.all_running();
        self.kept
            .retain(|id, _| all.iter().any(|running| running.shared.id == *id));
        for running in all {
            let id = running.shared.id;
            // The overlay may be gone again.
            let Ok(peers) = self.inner.peers(id) else {
                continue;
            };
            let of = Arc::downgrade(&running.shared);
            let kept = self.kept.get(&id);
            if kept.is_some_and(|kept| kept.of.ptr_eq(&of) && kept.peers == peers) {
                continue;
            }
            // What could not be written is tried again.
            if self.inner.keep_peers(id, &peers) {
                self.kept.insert(id, Kept { of, peers });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_wire::{KeyRecord, Keyring, Suite};

    use super::*;
    use crate::engine::Engine;
    use crate::join::Seed;
    use crate::overlay_config::OverlayConfig;

    fn config(join: &[&Engine]) -> OverlayConfig {
        let id = OverlayId::from_name("kept");
        let key = KeyRecord::new(0, Suite::Aes256Gcm, [9; 32]);
        let keyring = Keyring::new(id, vec![key], 0).unwrap();
        let join = join.iter();
        OverlayConfig::new("kept", keyring).join(join.map(|node| Seed::Address(node.local_addr())))
    }

    #[test]
    fn an_overlay_made_anew_has_its_members_kept_anew_and_one_that_is_gone_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let builder = || Engine::builder().bind(bind).shards(1);
        let other = builder().start().unwrap();
        other.add_overlay(config(&[])).unwrap();
        let engine = builder().data_dir(dir.path()).start().unwrap();
        let mut keeper = Keeper::new(Arc::clone(&engine.inner), None);
        for _ in 0..2 {
            let id = engine.add_overlay(config(&[&other])).unwrap();
            let until = Instant::now() + Duration::from_secs(20);
            while engine.inner.peers(id).unwrap() != [other.local_addr()] {
                assert!(Instant::now() < until);
                thread::sleep(Duration::from_millis(5));
            }
            keeper.keep_peers();
            let kept = engine.inner.storage.peers(id).unwrap();
            assert_eq!(kept, [other.local_addr()]);
            engine.remove_overlay(id).unwrap();
            engine.forget_overlay(id).unwrap();
        }
        keeper.keep_peers();
        assert!(keeper.kept.is_empty());
        assert!(engine.kept_overlays().unwrap().is_empty());
    }
}
