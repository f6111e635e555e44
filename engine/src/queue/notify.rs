//! How a shard tells a thread of the embedder that its ring has something: one waker, whatever runtime it comes from.
//! A blocking wait is a waker that unparks the thread.

use std::sync::PoisonError;
use std::task::Waker;

use super::bell::Flag;
use super::sync::Mutex;

#[cfg(not(loom))]
pub(crate) use blocking::block_until;

/// Shared by the ring's two ends.
pub(crate) struct Notify {
    wanted: Flag,
    waker: Mutex<Option<Waker>>,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self {
            wanted: Flag::new(false),
            waker: Mutex::new(None),
        }
    }

    /// By the reader: wake me. It looks at its ring once more after this.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|old| !old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
        drop(slot);
        self.wanted.raise();
    }

    /// By the writer, after it wrote. Costs a fence and a load while nobody waits.
    pub(crate) fn notify(&self) {
        if self.wanted.take() {
            let waker = self
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Waits without a runtime.
#[cfg(not(loom))]
mod blocking {
    use std::sync::Arc;
    use std::task::{Wake, Waker};
    use std::thread::Thread;
    use std::time::Instant;

    use super::Notify;

    /// Wakes one thread.
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    thread_local! {
        /// One for each thread, not for each wait.
        static UNPARK: Waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    }

    /// Calls `ready` until it answers, sleeping in between until notified. `None`: the deadline passed.
    pub(crate) fn block_until<T>(
        notify: &Notify,
        deadline: Option<Instant>,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        if let Some(found) = ready() {
            return Some(found);
        }
        loop {
            UNPARK.with(|waker| notify.register(waker));
            if let Some(found) = ready() {
                return Some(found);
            }
            match deadline {
                None => std::thread::park(),
                Some(deadline) => {
                    let left = deadline
                        .checked_duration_since(Instant::now())
                        .filter(|left| !left.is_zero())?;
                    std::thread::park_timeout(left);
                }
            }
        }
    }
}
