//! Threads that must go on after a panic. A shard's panic takes the process with it; those beside the shards hold nothing
//! that a message depends on, so that the node is better served by starting them again.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::{PANIC_BACK_OFF_MAX, PANIC_BACK_OFF_MIN, PANIC_FORGOTTEN};

/// How often the end is looked for during a pause.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Calls `work` until it returns. After a panic, which is logged and counted in `panics`, it is called again, each time
/// after a longer pause. What `work` changed before it panicked stays as it is: its owner answers for that being usable.
/// Once `stopping`, it is called one last time, so that it may do what is to be done at the end.
pub(crate) fn supervise(
    name: &str,
    panics: &AtomicU64,
    stopping: &AtomicBool,
    mut work: impl FnMut(),
) {
    let mut pause = PANIC_BACK_OFF_MIN;
    loop {
        let is_last = stopping.load(Ordering::Acquire);
        let since = Instant::now();
        let Err(panic) = catch_unwind(AssertUnwindSafe(&mut work)) else {
            return;
        };
        panics.fetch_add(1, Ordering::Relaxed);
        if since.elapsed() >= PANIC_FORGOTTEN {
            pause = PANIC_BACK_OFF_MIN;
        }
        let panic = text(&*panic);
        tracing::error!(thread = name, panic, again_in = ?pause, "a thread panicked and is started again");
        if is_last {
            return;
        }
        wait(pause, stopping);
        pause = (pause * 2).min(PANIC_BACK_OFF_MAX);
    }
}

fn wait(pause: Duration, stopping: &AtomicBool) {
    let until = Instant::now() + pause;
    while !stopping.load(Ordering::Acquire) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(LOOK_EVERY));
    }
}

/// What was said at the panic.
fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_after_panics_and_each_is_counted() {
        let (panics, stopping, mut calls) = (AtomicU64::new(0), AtomicBool::new(false), 0);
        supervise("test", &panics, &stopping, || {
            calls += 1;
            assert!(calls > 2, "on purpose");
        });
        assert_eq!((calls, panics.into_inner()), (3, 2));
    }

    #[test]
    fn the_end_cuts_a_pause_short_and_ends_work_that_always_panics() {
        let (panics, stopping) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut calls = 0;
        supervise("test", &panics, &stopping, || {
            calls += 1;
            stopping.store(calls == 2, Ordering::Release);
            panic!("on purpose");
        });
        // After the one that saw no end yet there is a last one.
        assert_eq!(calls, 3);
    }
}
