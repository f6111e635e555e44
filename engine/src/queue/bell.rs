//! Wake-ups that are never lost and cost nothing while the sleeper is awake.
//!
//! A [`Flag`] belongs to whoever may sleep. It raises the flag, looks at its queues once more, and sleeps only if they are
//! still empty; whoever adds to a queue afterwards looks at the flag. Each side does "write mine, fence, read yours", so at
//! least one of them sees the other. [`Parker`] is a flag with a descriptor: how a shard sleeps.

use super::sync::{AtomicBool, Ordering, fence};

/// "Tell me when you add something."
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn new(raised: bool) -> Self {
        Self(AtomicBool::new(raised))
    }

    /// By the sleeper, before it looks at its queues for the last time.
    pub(crate) fn raise(&self) {
        // A swap, not a store: it stands in one order with the swaps of `take`.
        self.0.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// By the sleeper, when it does not sleep after all or has woken.
    pub(crate) fn lower(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }

    /// By the other side, after it added something: whether the sleeper wants to be told, which [`Self::take`] does once.
    pub(crate) fn is_raised(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed)
    }

    /// By the other side, after it added something. `true` once per raise: the sleeper must be told.
    pub(crate) fn take(&self) -> bool {
        self.is_raised() && self.0.swap(false, Ordering::AcqRel)
    }
}

/// What ends a sleep, however often it is signalled before.
pub(crate) trait Signal {
    fn signal(&self);
}

#[cfg(not(loom))]
impl Signal for crate::sys::eventfd::EventFd {
    fn signal(&self) {
        self.signal();
    }
}

/// How a shard sleeps and is woken by any thread.
pub(crate) struct Parker<S> {
    parked: Flag,
    signal: S,
}

impl<S: Signal> Parker<S> {
    pub(crate) fn new(signal: S) -> Self {
        Self {
            parked: Flag::new(false),
            signal,
        }
    }

    /// Announces the sleep. The caller looks at all its queues after this, and only then sleeps on the signal.
    pub(crate) fn prepare(&self) {
        self.parked.raise();
    }

    /// Awake again, or never slept.
    pub(crate) fn awake(&self) {
        self.parked.lower();
    }

    /// Ends a sleep, from any thread, after something was added to a queue. `true`: a signal was needed.
    pub(crate) fn wake(&self) -> bool {
        let asleep = self.parked.take();
        if asleep {
            self.signal.signal();
        }
        asleep
    }

    pub(crate) fn signal(&self) -> &S {
        &self.signal
    }
}
