//! An anonymous network namespace, held by a descriptor: when the last descriptor and the last process in it are gone,
//! the kernel removes it with everything inside. Nothing is mounted, nothing has a name.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::netlink::{LinkChange, Netlink};
use super::sys;

/// A network namespace.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    file: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes a namespace with `lo` up, and runs `setup` in it.
    pub(crate) fn create<T: Send>(
        setup: impl FnOnce(&mut Netlink) -> io::Result<T> + Send,
    ) -> io::Result<(Namespace, T)> {
        in_thread(|| {
            sys::unshare_network()
                .map_err(|e| context(e, "a new network namespace (needs CAP_SYS_ADMIN)"))?;
            let file = File::open("/proc/thread-self/ns/net")
                .map_err(|e| context(e, "/proc/thread-self/ns/net"))?;
            let mut netlink = Netlink::open().map_err(|e| context(e, "an rtnetlink socket"))?;
            let lo = netlink.link("lo")?.index;
            netlink
                .set_link(
                    lo,
                    LinkChange {
                        up: true,
                        ..LinkChange::default()
                    },
                )
                .map_err(|e| context(e, "bringing lo up"))?;
            let made = setup(&mut netlink)?;
            Ok((
                Namespace {
                    file: Arc::new(file.into()),
                },
                made,
            ))
        })
    }

    /// Runs `f` in a thread of its own inside the namespace; sockets and threads that it makes stay there.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_thread(|| {
            sys::enter_network(self.as_fd())?;
            Ok(f())
        })
    }

    /// A path that `nsenter --net=PATH` takes, for as long as this process lives.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// The descriptor, shared with commands that are going to enter.
    pub(crate) fn shared(&self) -> Arc<OwnedFd> {
        self.file.clone()
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Says what an operation was about.
pub(crate) fn context(error: io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Runs `f` in a new thread and passes its panic on.
fn in_thread<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| match scope.spawn(f).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
