//! A value that one thread replaces whole while any thread reads it without a lock. Old values are freed when no reader
//! can still hold them (epoch reclamation).

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::epoch::{self, Atomic, Owned};

/// The cell. Writers must take turns (there is one owner); readers need nothing.
pub(crate) struct Rcu<T> {
    value: Atomic<T>,
    /// Grows with each replacement, so that a reader with a cached answer knows whether to look again.
    version: AtomicU64,
}

impl<T: Send + Sync + 'static> Rcu<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Atomic::new(value),
            version: AtomicU64::new(0),
        }
    }

    /// The version of the present value: one load.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Lets `read` look at the present value.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let guard = epoch::pin();
        let shared = self.value.load(Ordering::Acquire, &guard);
        // SAFETY: the pointer is never null, and what it leads to is freed only after every guard that was pinned when it
        // was replaced is gone.
        read(unsafe { shared.deref() })
    }

    /// Puts a new value in the place of the old one.
    pub(crate) fn replace(&self, value: T) {
        let guard = epoch::pin();
        let old = self.value.swap(Owned::new(value), Ordering::AcqRel, &guard);
        self.version.fetch_add(1, Ordering::Release);
        // SAFETY: `old` is unreachable for new readers, and no other writer got the same pointer from its swap.
        unsafe { guard.defer_destroy(old) };
    }
}

impl<T> Drop for Rcu<T> {
    fn drop(&mut self) {
        let value = std::mem::replace(&mut self.value, Atomic::null());
        // SAFETY: `&mut self` says that there are no readers, and the pointer is never null.
        drop(unsafe { value.into_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn readers_see_whole_values_only_and_the_version_tells_of_a_new_one() {
        let cell = Arc::new(Rcu::new(vec![0u64; 64]));
        let stop = Arc::new(AtomicU64::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (cell, stop) = (Arc::clone(&cell), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut last = 0;
                    while stop.load(Ordering::Relaxed) == 0 {
                        let seen = cell.read(|value| {
                            assert!(value.iter().all(|&v| v == value[0]));
                            value[0]
                        });
                        assert!(seen >= last);
                        last = seen;
                    }
                })
            })
            .collect();
        for i in 1..=20_000u64 {
            cell.replace(vec![i; 64]);
            assert_eq!(cell.version(), i);
        }
        stop.store(1, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    }
}
