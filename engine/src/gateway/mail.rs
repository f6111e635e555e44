//! What the control thread has to tell a connection: whole frames, in a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::limits::MAIL_MAX;
use super::wake::Wake;

/// How often, and how far apart, the control thread tries to wake a shard that takes no commands.
const CALLS: u32 = 100;
const CALL_PAUSE: Duration = Duration::from_millis(1);

/// One connection's mailbox.
pub(crate) struct Mailbox {
    queue: ArrayQueue<Vec<u8>>,
    wake: Arc<Wake>,
    closed: AtomicBool,
}

impl Mailbox {
    pub(crate) fn new(wake: Arc<Wake>) -> Self {
        Self {
            queue: ArrayQueue::new(MAIL_MAX),
            wake,
            closed: AtomicBool::new(false),
        }
    }

    /// By the control thread: puts frames in and wakes the connection. Frames for a connection that is gone, or that
    /// asked for more than it reads, are dropped.
    pub(crate) fn push(&self, frames: Vec<u8>) {
        if self.is_closed() || self.queue.push(frames).is_err() {
            return;
        }
        self.wake();
    }

    /// By the control thread: has the connection look at what changed.
    pub(crate) fn wake(&self) {
        for _ in 0..CALLS {
            if self.is_closed() || self.wake.call() {
                return;
            }
            std::thread::sleep(CALL_PAUSE);
        }
    }

    pub(crate) fn pop(&self) -> Option<Vec<u8>> {
        self.queue.pop()
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
