//! A timer as a descriptor, with nanosecond deadlines: both ways of waiting sleep on the same set of descriptors, and
//! the executor's own timer wheel rounds to a millisecond, which is too coarse for acknowledgement delays below one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A non-blocking one-shot timer on the monotonic clock.
#[derive(Debug)]
pub(crate) struct TimerFd {
    fd: OwnedFd,
    /// The deadline that the kernel holds, so that an unchanged one costs no system call.
    armed: Option<u64>,
}

impl TimerFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: plain system call without pointers.
        let fd = unsafe {
            libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel returned `fd` just now and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, armed: None })
    }

    /// Makes the descriptor readable at `deadline` (ns of our clock, which reads `now`), or never.
    pub(crate) fn arm(&mut self, now: u64, deadline: Option<u64>) {
        if self.armed == deadline {
            return;
        }
        self.armed = deadline;
        // Zero would disarm; a deadline in the past fires at once.
        let ns = deadline.map_or(0, |at| at.saturating_sub(now).max(1));
        let at = libc::timespec {
            tv_sec: (ns / crate::limits::SECOND_NS) as libc::time_t,
            tv_nsec: (ns % crate::limits::SECOND_NS) as libc::c_long,
        };
        let spec = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: at,
        };
        // SAFETY: `spec` is read during the call, the old value is not asked for.
        unsafe { libc::timerfd_settime(self.fd.as_raw_fd(), 0, &spec, std::ptr::null_mut()) };
    }

    /// Takes note that it fired: setting it anew makes the descriptor unreadable.
    pub(crate) fn fired(&mut self) {
        self.armed = Some(u64::MAX);
        self.arm(0, None);
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
