//! A set of descriptors to wait for. Itself a descriptor, so the same set serves io_uring and a plain thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Interest {
    pub(crate) const READ: Self = Self {
        readable: true,
        writable: false,
    };
}

/// Events taken from the set in one call; what does not fit comes with the next, the set is level-triggered.
const EVENTS: usize = 64;

/// An epoll set and the events of its last wait.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: [libc::epoll_event; EVENTS],
    filled: usize,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: plain system call without pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel returned `fd` just now and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            events: [libc::epoll_event { events: 0, u64: 0 }; EVENTS],
            filled: 0,
        })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub(crate) fn change(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::READ)
    }

    fn control(
        &self,
        call: libc::c_int,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let mut events = 0;
        if interest.readable {
            events |= libc::EPOLLIN | libc::EPOLLRDHUP;
        }
        if interest.writable {
            events |= libc::EPOLLOUT;
        }
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: token,
        };
        // SAFETY: `event` lives through the call, which only reads it.
        let rc = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), call, fd.as_raw_fd(), &mut event) };
        if rc == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits for at most `timeout_ms` (-1: for ever) and keeps what is ready for [`Self::ready`].
    pub(crate) fn wait(&mut self, timeout_ms: libc::c_int) -> io::Result<()> {
        // SAFETY: the kernel writes at most `EVENTS` entries into the array.
        let n = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as libc::c_int,
                timeout_ms,
            )
        };
        self.filled = usize::try_from(n).unwrap_or(0);
        if n >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// What the last wait found: token and readiness. Errors and hang-ups count as readable, the read tells which.
    pub(crate) fn ready(&self) -> impl Iterator<Item = (u64, Interest)> + '_ {
        self.events[..self.filled].iter().map(|event| {
            let bits = event.events as libc::c_int;
            let failed = bits & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            let readable = failed || bits & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0;
            (
                event.u64,
                Interest {
                    readable,
                    writable: bits & libc::EPOLLOUT != 0,
                },
            )
        })
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
