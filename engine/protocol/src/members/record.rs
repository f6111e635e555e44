//! The records of members, and other statements, as they are kept: bytes as they came.

use std::ops::Deref;

/// What is kept of each. With thousands of members these are most of what a node remembers.
#[cfg(not(feature = "shared-records"))]
type Kept = Box<[u8]>;

/// One copy for all nodes that a process simulates.
#[cfg(feature = "shared-records")]
type Kept = &'static [u8];

/// A record or another statement, encoded.
#[derive(Debug)]
pub(crate) struct Record(Kept);

impl Deref for Record {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Self(kept) = self;
        kept
    }
}

impl Record {
    /// Keeps what came.
    #[cfg(not(feature = "shared-records"))]
    pub(crate) fn new(encoded: &[u8]) -> Self {
        Self(encoded.into())
    }

    /// Finds the copy of what came. It is never dropped: a simulation ends with its process.
    #[cfg(feature = "shared-records")]
    pub(crate) fn new(encoded: &[u8]) -> Self {
        use std::collections::HashSet;
        use std::sync::{LazyLock, Mutex, PoisonError};

        static RECORDS: LazyLock<Mutex<HashSet<Kept>>> = LazyLock::new(Mutex::default);
        let mut records = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = records.get(encoded) {
            return Self(record);
        }
        let record: Kept = Box::leak(encoded.into());
        records.insert(record);
        Self(record)
    }
}
