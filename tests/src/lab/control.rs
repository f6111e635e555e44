//! What the switch thread and the rest of the lab share: the settings, a version that grows with every change, and the
//! counters. A change returns when the switch has taken it over.

use std::io::{PipeWriter, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::counters::Counters;
use super::impairment::Impairment;
use super::search::Needle;

/// The settings, as last asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// By directed link: `from * hosts + to`, from 0.
    pub(super) links: Vec<Impairment>,
    pub(super) unplugged: Vec<bool>,
    pub(super) needles: Vec<Arc<Needle>>,
}

#[derive(Debug)]
pub(super) struct Control {
    pub(super) counters: Counters,
    wanted: Mutex<Wanted>,
    version: AtomicU64,
    stopping: AtomicBool,
    applied: Mutex<u64>,
    took: Condvar,
    wake: PipeWriter,
}

impl Control {
    pub(super) fn new(hosts: usize, impairment: &Impairment, wake: PipeWriter) -> Control {
        let wanted = Wanted {
            links: vec![impairment.clone(); hosts * hosts],
            unplugged: vec![false; hosts],
            needles: Vec::new(),
        };
        Control {
            counters: Counters::new(hosts * hosts),
            wanted: Mutex::new(wanted),
            version: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            applied: Mutex::new(0),
            took: Condvar::new(),
            wake,
        }
    }

    /// Changes the settings and waits until the switch works by them.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Wanted) -> T) -> T {
        let mut wanted = lock(&self.wanted);
        let result = change(&mut wanted);
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        drop(wanted);
        self.ring();
        let mut applied = lock(&self.applied);
        while *applied < version {
            applied = self
                .took
                .wait(applied)
                .unwrap_or_else(PoisonError::into_inner);
        }
        result
    }

    pub(super) fn wanted(&self) -> MutexGuard<'_, Wanted> {
        lock(&self.wanted)
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The switch works by this version; `u64::MAX` when it has ended.
    pub(super) fn took(&self, version: u64) {
        let mut applied = lock(&self.applied);
        *applied = version.max(*applied);
        self.took.notify_all();
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn ring(&self) {
        // A refusal means that the switch is gone, and then there is nobody to wake.
        let _ = (&self.wake).write(&[1]);
    }
}

/// Nothing that holds these locks can leave its contents half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
