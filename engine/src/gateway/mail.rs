//! What the control thread has to tell a connection: whole frames, in a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam::queue::ArrayQueue;

use super::limits::{MAIL_BYTES_MAX, MAIL_MAX};
use super::wake::Wake;

/// One connection's mailbox.
pub(crate) struct Mailbox {
    queue: ArrayQueue<Vec<u8>>,
    bytes: AtomicUsize,
    wake: Arc<Wake>,
    closed: AtomicBool,
}

impl Mailbox {
    pub(crate) fn new(wake: Arc<Wake>) -> Self {
        Self {
            queue: ArrayQueue::new(MAIL_MAX),
            bytes: AtomicUsize::new(0),
            wake,
            closed: AtomicBool::new(false),
        }
    }

    /// By the control thread: puts frames in and wakes the connection. Frames for a connection that is gone, or that
    /// asked for more than it reads, are dropped.
    pub(crate) fn push(&self, frames: Vec<u8>) {
        let size = frames.len();
        if self.is_closed() || self.bytes.load(Ordering::Acquire) + size > MAIL_BYTES_MAX {
            return;
        }
        self.bytes.fetch_add(size, Ordering::AcqRel);
        match self.queue.push(frames) {
            Ok(()) => self.wake(),
            Err(_) => drop(self.bytes.fetch_sub(size, Ordering::AcqRel)),
        }
    }

    /// By the control thread: has the connection look at what changed.
    pub(crate) fn wake(&self) {
        if !self.is_closed() {
            self.wake.call();
        }
    }

    pub(crate) fn pop(&self) -> Option<Vec<u8>> {
        let frames = self.queue.pop()?;
        self.bytes.fetch_sub(frames.len(), Ordering::AcqRel);
        Some(frames)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
