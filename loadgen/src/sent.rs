//! What a source says of itself while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Mutex, PoisonError};

/// What other threads see of a source. Publishers tell it once for each batch, not for each message.
#[derive(Default)]
pub struct Sent {
    accepted: AtomicU64,
    owed: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    /// Publishers whose last message is accepted, and all.
    over: AtomicU64,
    publishers: u64,
    fault: Mutex<Option<String>>,
}

/// The same, read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) accepted: u64,
    pub(crate) owed: u64,
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
}

impl Sent {
    /// For a source with so many publishers.
    pub fn new(publishers: usize) -> Self {
        Self {
            publishers: publishers as u64,
            ..Self::default()
        }
    }

    /// So many messages more are accepted, and so many outcomes owed for them; a system without outcomes owes none.
    pub fn accept(&self, messages: u64, outcomes: u64) {
        self.owed.fetch_add(outcomes, Relaxed);
        self.accepted.fetch_add(messages, Relaxed);
    }

    /// So many outcomes more came: delivered, or anything else.
    pub fn outcome(&self, delivered: bool, messages: u64) {
        let counter = if delivered {
            &self.delivered
        } else {
            &self.failed
        };
        counter.fetch_add(messages, Relaxed);
    }

    /// A message was refused for want of room.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// The last message of one publisher is accepted. To be told once by each, after [`Sent::accept`].
    pub fn end(&self) {
        self.over.fetch_add(1, Release);
    }

    /// The source cannot go on.
    pub fn fail(&self, why: String) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.get_or_insert(why);
    }

    /// Why the source cannot go on, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.clone()
    }

    pub(crate) fn read(&self) -> Counted {
        Counted {
            accepted: self.accepted.load(Relaxed),
            owed: self.owed.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    /// Whether the last message of each publisher is accepted.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Acquire) >= self.publishers
    }

    /// Whether every outcome is there, too.
    pub(crate) fn is_settled(&self) -> bool {
        // What was owed is counted before it is said to be all.
        let is_over = self.is_over();
        let counted = self.read();
        is_over && counted.delivered + counted.failed >= counted.owed
    }
}
