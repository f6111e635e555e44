//! A line in the log for each member that comes, goes or is missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tidings_engine::{Engine, Presence, PresenceEvent, PresenceKind};

/// How often changes are looked for. A line in the log may be that late.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Tells the changes of every overlay until `stopping`.
pub fn tell(engine: &Arc<Engine>, stopping: &Arc<AtomicBool>) {
    let (engine, stopping) = (Arc::downgrade(engine), Arc::clone(stopping));
    let Some(strong) = engine.upgrade() else {
        return;
    };
    let mut watches: Vec<_> = strong
        .overlays()
        .into_iter()
        .filter_map(|entry| {
            strong
                .presence(entry.id)
                .ok()
                .map(|presence| (entry, presence))
        })
        .collect();
    drop(strong);
    let told = thread::Builder::new()
        .name("tidings-roster".to_owned())
        .spawn(move || {
            while !stopping.load(Ordering::Acquire) {
                thread::sleep(LOOK_EVERY);
                let Some(engine) = engine.upgrade() else {
                    return;
                };
                for (entry, presence) in &mut watches {
                    changes(&engine, entry, presence);
                }
            }
        });
    if let Err(error) = told {
        tracing::warn!(%error, "changes of members will not be told here");
    }
}

fn changes(engine: &Engine, entry: &tidings_engine::OverlayEntry, presence: &mut Presence) {
    let mut events: Vec<PresenceEvent> = std::iter::from_fn(|| presence.try_next()).collect();
    if events.is_empty() {
        return;
    }
    events.retain(|event| event.node != engine.node());
    let members = engine.members(entry.id).unwrap_or_default();
    for event in events {
        let member = members.iter().find(|member| member.node == event.node);
        let name = member.map_or_else(|| event.node.to_string(), |member| member.name.clone());
        let address = member
            .and_then(|member| member.addresses.first())
            .map(ToString::to_string)
            .unwrap_or_default();
        let overlay = &entry.name;
        match event.kind {
            PresenceKind::In => tracing::info!(%overlay, %name, %address, "member joined"),
            PresenceKind::Rejoin => tracing::info!(%overlay, %name, %address, "member is back"),
            PresenceKind::Quarantine => {
                tracing::info!(%overlay, %name, %address, "member is suspect")
            }
            PresenceKind::Unreachable => {
                tracing::warn!(%overlay, %name, %address, "member is dead")
            }
            PresenceKind::Out => tracing::info!(%overlay, %name, %address, "member left"),
            PresenceKind::Drop => tracing::info!(%overlay, %name, "member is forgotten"),
        }
    }
}
