//! Reloads that a signal asks for, on a thread of their own: names that do not resolve and farewells may take long, and whoever
//! obeys signals is free for a stop meanwhile. The service manager is told of each, when it begins and when it is over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::notify::Notify;

/// What makes one.
type Reload = Box<dyn Fn() + Send + Sync>;

/// Makes reloads, one at a time.
pub struct Reloading {
    reload: Reload,
    notify: Arc<Notify>,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    /// A thread makes one.
    runs: bool,
    /// One was asked for since that one began: the file may have changed after it was read.
    again: bool,
    /// The node stops.
    is_over: bool,
}

impl Reloading {
    /// With `reload` as what to do.
    pub fn new(notify: Arc<Notify>, reload: Reload) -> Arc<Self> {
        Arc::new(Self {
            reload,
            notify,
            now: Mutex::default(),
        })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one, or has the thread that makes one make another.
    pub fn begin(self: &Arc<Self>) {
        {
            let mut now = self.now();
            now.again = now.runs;
            if now.runs || now.is_over {
                return;
            }
            now.runs = true;
        }
        let reloading = Arc::clone(self);
        let started = thread::Builder::new()
            .name("tidings-reload".to_owned())
            .spawn(move || reloading.run());
        if let Err(error) = started {
            self.now().runs = false;
            tracing::error!(%error, "the configuration cannot be read again: no thread can be started");
        }
    }

    /// From now on none is begun, and the service manager hears nothing more of one that is under way.
    pub fn end(&self) {
        self.now().is_over = true;
    }

    fn run(&self) {
        loop {
            {
                // Held while the manager is told, so that it hears nothing of this after it heard that the node stops.
                let now = self.now();
                if now.is_over {
                    return;
                }
                self.notify.reloading();
            }
            if catch_unwind(AssertUnwindSafe(&self.reload)).is_err() {
                // What was said is in the log already, by the panic hook.
                tracing::error!("the reload panicked: it may hold in part");
            }
            let mut now = self.now();
            if now.is_over {
                return;
            }
            self.notify.reloaded();
            now.runs = std::mem::take(&mut now.again);
            if !now.runs {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn whoever_asks_is_not_kept_and_what_is_asked_for_meanwhile_is_made_once_after_it() {
        let (begun, begins) = channel();
        let (finish, finishes) = sync_channel::<()>(0);
        let finishes = Mutex::new(finishes);
        let reload = Box::new(move || {
            begun.send(()).unwrap();
            finishes.lock().unwrap().recv_timeout(SOON).unwrap();
        });
        let reloading = Reloading::new(Arc::default(), reload);
        reloading.begin();
        begins.recv_timeout(SOON).unwrap();
        for _ in 0..3 {
            reloading.begin();
        }
        finish.send(()).unwrap();
        begins.recv_timeout(SOON).unwrap();
        reloading.end();
        reloading.begin();
        finish.send(()).unwrap();
        // The thread ends without another one, and lets go of what it had.
        let until = std::time::Instant::now() + SOON;
        while Arc::strong_count(&reloading) > 1 {
            assert!(std::time::Instant::now() < until);
            thread::yield_now();
        }
        assert!(begins.try_recv().is_err());
    }

    #[test]
    fn a_panic_ends_one_reload_and_not_those_that_come() {
        let (begun, begins) = channel();
        let reload = Box::new(move || {
            begun.send(()).unwrap();
            panic!("as a test");
        });
        let reloading = Reloading::new(Arc::default(), reload);
        for _ in 0..2 {
            reloading.begin();
            begins.recv_timeout(SOON).unwrap();
        }
    }
}
