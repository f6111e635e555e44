//! The records of members, and other statements, as they are kept: bytes as they came.

/// A record, encoded. With thousands of members these are most of what a node remembers.
#[cfg(not(feature = "shared-records"))]
pub(crate) type Record = Box<[u8]>;

/// Keeps a record.
#[cfg(not(feature = "shared-records"))]
pub(crate) fn keep(encoded: &[u8]) -> Record {
    encoded.into()
}

/// A record, encoded, of which a process keeps one copy for all nodes that it simulates.
#[cfg(feature = "shared-records")]
pub(crate) type Record = &'static [u8];

/// Finds the copy of a record. It is never dropped: a simulation ends with its process.
#[cfg(feature = "shared-records")]
pub(crate) fn keep(encoded: &[u8]) -> Record {
    use std::collections::HashSet;
    use std::sync::{LazyLock, Mutex, PoisonError};

    static RECORDS: LazyLock<Mutex<HashSet<Record>>> = LazyLock::new(Mutex::default);
    let mut records = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(record) = records.get(encoded) {
        return record;
    }
    let record: Record = Box::leak(encoded.into());
    records.insert(record);
    record
}
