//! A line in the log for each member that comes, goes or is missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tidings_engine::{Engine, OverlayEntry, Presence, PresenceEvent, PresenceKind};

/// How late a line in the log may be: changes that come one after the other are looked up together.
const LATE: Duration = Duration::from_millis(100);

/// The thread that tells, asleep until something changes.
pub struct Telling {
    stopping: Arc<AtomicBool>,
    /// None if it could not be started.
    thread: Option<Thread>,
}

impl Telling {
    /// What happens from now on is not told.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread {
            thread.unpark();
        }
    }
}

/// Wakes the thread that it was made on.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Tells the changes of every overlay until stopped.
pub fn tell(engine: &Arc<Engine>) -> Telling {
    let stopping = Arc::new(AtomicBool::new(false));
    let watches = engine.overlays().into_iter().filter_map(|entry| {
        let presence = engine.presence(entry.id).ok()?;
        Some((entry, presence))
    });
    let mut watches: Vec<_> = watches.collect();
    let (engine, over) = (Arc::downgrade(engine), Arc::clone(&stopping));
    let told = thread::Builder::new()
        .name("tidings-roster".to_owned())
        .spawn(move || {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            while !over.load(Ordering::Acquire) {
                for (entry, presence) in &mut watches {
                    let events = take(presence, &waker);
                    let Some(engine) = engine.upgrade() else {
                        return;
                    };
                    changes(&engine, entry, events);
                }
                // Whoever wakes it between the look and this does not wake it for nothing: the next park returns at once.
                thread::park();
                thread::sleep(LATE);
            }
        });
    let thread = match told {
        Ok(handle) => Some(handle.thread().clone()),
        Err(error) => {
            tracing::warn!(%error, "changes of members will not be told here");
            None
        }
    };
    Telling { stopping, thread }
}

/// All changes so far; `waker` is woken by the next.
fn take(presence: &mut Presence, waker: &Waker) -> Vec<PresenceEvent> {
    let mut context = Context::from_waker(waker);
    let mut events = Vec::new();
    while let Poll::Ready(event) = presence.poll_next(&mut context) {
        events.push(event);
    }
    events
}

fn changes(engine: &Engine, entry: &OverlayEntry, mut events: Vec<PresenceEvent>) {
    events.retain(|event| event.node != engine.node());
    if events.is_empty() {
        return;
    }
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
