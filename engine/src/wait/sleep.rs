//! The two ways to put a shard's thread to sleep.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use glommio::io::PollableFd;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

use super::Waiting;
use crate::limits::URING_DEPTH;
use crate::sys::affinity;
use crate::sys::epoll::Epoll;

/// Sleeps until the set has something ready, and takes it from the set.
pub(crate) trait Sleep {
    /// Before the first sleep: makes what it takes to wait for the set.
    fn begin(&mut self, set: &Epoll) -> io::Result<()>;

    async fn sleep(&mut self, set: &mut Epoll) -> io::Result<()>;
}

/// The executor parks on its ring, which polls the set's descriptor.
struct RingSleep {
    watched: Option<PollableFd<OwnedFd>>,
}

impl Sleep for RingSleep {
    fn begin(&mut self, set: &Epoll) -> io::Result<()> {
        let fd = set.as_fd().try_clone_to_owned()?;
        self.watched = Some(PollableFd::new(fd).map_err(io::Error::other)?);
        Ok(())
    }

    async fn sleep(&mut self, set: &mut Epoll) -> io::Result<()> {
        if let Some(watched) = &self.watched {
            watched.readable().await.map_err(io::Error::other)?;
        }
        set.wait(0)
    }
}

/// The thread sleeps in `epoll_wait`.
struct ThreadSleep;

impl Sleep for ThreadSleep {
    fn begin(&mut self, _set: &Epoll) -> io::Result<()> {
        Ok(())
    }

    async fn sleep(&mut self, set: &mut Epoll) -> io::Result<()> {
        set.wait(-1)
    }
}

/// What a shard does with its life, whichever way it sleeps.
pub(crate) trait Life {
    async fn live(self, waiting: Waiting, sleep: impl Sleep);
}

/// An executor with a small ring and no registered memory; an error where the system refuses io_uring.
fn executor() -> glommio::Result<LocalExecutor, ()> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(0)
        .ring_depth(URING_DEPTH)
        .make()
}

/// Makes what a shard would sleep on, and lets it go again.
pub(crate) fn try_io_uring() -> Result<(), String> {
    executor().map(drop).map_err(|refused| refused.to_string())
}

/// Runs a life on this thread: on an executor, or without where the system refuses one. `force_epoll`: do not even ask. `refusal_told`: whether a shard of this node said already that it is.
pub(crate) fn run(
    life: impl Life + 'static,
    cpu: Option<usize>,
    force_epoll: bool,
    refusal_told: &AtomicBool,
) {
    if let Some(cpu) = cpu
        && let Err(error) = affinity::pin(cpu)
    {
        tracing::warn!(cpu, %error, "a shard cannot be pinned");
    }
    if !force_epoll {
        match executor() {
            Ok(executor) => {
                return executor.run(life.live(Waiting::IoUring, RingSleep { watched: None }));
            }
            Err(refused) if !refusal_told.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%refused, "io_uring is refused here: shards wait with epoll");
            }
            Err(_) => {}
        }
    }
    let mut alone = pin!(life.live(Waiting::Epoll, ThreadSleep));
    let mut context = Context::from_waker(Waker::noop());
    // Nothing in it waits but `ThreadSleep`, which blocks: one poll runs the whole life.
    while alone.as_mut().poll(&mut context).is_pending() {
        std::thread::yield_now();
    }
}
