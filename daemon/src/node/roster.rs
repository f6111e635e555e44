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
#[derive(Clone)]
pub struct Telling {
    signs: Arc<Signs>,
    /// None if it could not be started.
    thread: Option<Thread>,
}

#[derive(Default)]
struct Signs {
    stopping: AtomicBool,
    /// Overlays came or went.
    stale: AtomicBool,
}

impl Telling {
    /// What happens from now on is not told.
    pub fn stop(&self) {
        self.signs.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// To be called when overlays came or went.
    pub fn refresh(&self) {
        self.signs.stale.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
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
    let signs = Arc::new(Signs::default());
    let mut watches = Vec::new();
    watch(engine, &mut watches);
    let (engine, seen) = (Arc::downgrade(engine), Arc::clone(&signs));
    let told = thread::Builder::new()
        .name("tidings-roster".to_owned())
        .spawn(move || {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            while !seen.stopping.load(Ordering::Acquire) {
                let Some(engine) = engine.upgrade() else {
                    return;
                };
                if seen.stale.swap(false, Ordering::AcqRel) {
                    watch(&engine, &mut watches);
                }
                for (entry, presence) in &mut watches {
                    changes(&engine, entry, take(presence, &waker));
                }
                drop(engine);
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
    Telling { signs, thread }
}

/// Watches the overlays that run: those that were watched go on where they were.
fn watch(engine: &Engine, watches: &mut Vec<(OverlayEntry, Presence)>) {
    let entries = engine.overlays();
    watches.retain(|(watched, _)| entries.contains(watched));
    for entry in entries {
        if watches.iter().all(|(watched, _)| *watched != entry)
            && let Ok(presence) = engine.presence(entry.id)
        {
            watches.push((entry, presence));
        }
    }
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
