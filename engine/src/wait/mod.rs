//! The only place where a shard sleeps: `wait(deadline) -> ready`. What it sleeps for is one set of descriptors (sockets,
//! the wake-up of other threads, a timer, local sessions); who puts the thread to sleep is io_uring through glommio's
//! executor, or, where the system refuses io_uring or the shard is quiet, the thread itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::limits::{FAR_NS, MILLISECOND_NS};
use crate::queue::bell::Parker;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::eventfd::EventFd;
use crate::sys::timerfd::TimerFd;

pub(crate) mod polling;
mod sleep;

pub(crate) use sleep::{Life, Sleep, run, try_io_uring};

/// How a shard waits, for metrics and the line at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// On an io_uring, through glommio's executor.
    IoUring,
    /// On an epoll set: the system refused io_uring.
    Epoll,
}

/// A shard's parker.
pub(crate) type ShardParker = Parker<EventFd>;

const CONTROL: u64 = 0;
const DATA: u64 = 1;
const HELLO: u64 = 2;
const WAKE: u64 = 3;
const TIMER: u64 = 4;
/// Tokens from here on are sessions.
const SESSIONS: u64 = 16;

/// The sockets of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Control,
    Data,
    Hello,
}

fn token(input: Input) -> u64 {
    match input {
        Input::Control => CONTROL,
        Input::Data => DATA,
        Input::Hello => HELLO,
    }
}

/// What a wait found; also what the next turn shall look at.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    pub(crate) control: bool,
    pub(crate) data: bool,
    pub(crate) hello: bool,
    /// Another thread ended the sleep.
    pub(crate) woken: bool,
    /// Sessions and what their descriptors are ready for.
    pub(crate) sessions: Vec<(u32, Interest)>,
}

impl Ready {
    /// Look at every socket: after polling, nobody said which.
    pub(crate) fn all_sockets(&mut self) {
        (self.control, self.data, self.hello) = (true, true, true);
    }

    pub(crate) fn any(&self) -> bool {
        self.control || self.data || self.hello || !self.sessions.is_empty()
    }
}

/// The descriptors that a shard waits for.
pub(crate) struct WaitSet {
    epoll: Epoll,
    timer: TimerFd,
    parker: Arc<ShardParker>,
}

impl WaitSet {
    pub(crate) fn new(parker: Arc<ShardParker>) -> io::Result<Self> {
        let set = Self {
            epoll: Epoll::new()?,
            timer: TimerFd::new()?,
            parker,
        };
        set.epoll
            .add(set.parker.signal().as_fd(), WAKE, Interest::READ)?;
        set.epoll.add(set.timer.as_fd(), TIMER, Interest::READ)?;
        Ok(set)
    }

    /// Before the first wait.
    pub(crate) fn begin(&self, sleep: &mut impl Sleep) -> io::Result<()> {
        sleep.begin(&self.epoll)
    }

    pub(crate) fn add_socket(&self, input: Input, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.epoll.add(fd, token(input), Interest::READ)
    }

    /// Neither looks nor sleeps have to do with this socket any more.
    pub(crate) fn remove_socket(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.epoll.remove(fd)
    }

    /// Whether the sleep ends when the socket is readable.
    pub(crate) fn change_socket(
        &self,
        input: Input,
        fd: BorrowedFd<'_>,
        readable: bool,
    ) -> io::Result<()> {
        let interest = Interest {
            readable,
            writable: false,
        };
        self.epoll.change(fd, token(input), interest)
    }

    pub(crate) fn add_session(&self, session: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.epoll
            .add(fd, SESSIONS + u64::from(session), Interest::READ)
    }

    pub(crate) fn change_session(
        &self,
        session: u32,
        fd: BorrowedFd<'_>,
        interest: Interest,
    ) -> io::Result<()> {
        self.epoll
            .change(fd, SESSIONS + u64::from(session), interest)
    }

    pub(crate) fn remove_session(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.epoll.remove(fd)
    }

    /// Sleeps until something is ready or `deadline` (ns) comes. The caller has announced the sleep to the parker and
    /// found its queues empty. `quiet`: sleeps have been long, this one shall cost little.
    pub(crate) async fn wait(
        &mut self,
        sleep: &mut impl Sleep,
        now: u64,
        deadline: Option<u64>,
        quiet: bool,
        ready: &mut Ready,
    ) -> io::Result<()> {
        if quiet {
            let timeout_ms = self.timeout(now, deadline);
            self.epoll.wait(timeout_ms)?;
        } else {
            self.timer.arm(now, deadline);
            sleep.sleep(&mut self.epoll).await?;
        }
        self.collect(ready);
        Ok(())
    }

    /// For a sleep in the set itself: milliseconds until the deadline, -1 where the timer ends it.
    fn timeout(&mut self, now: u64, deadline: Option<u64>) -> libc::c_int {
        let far = deadline.filter(|deadline| *deadline >= now + FAR_NS);
        self.timer.arm(now, deadline.filter(|_| far.is_none()));
        far.map_or(-1, |deadline| {
            let left_ms = (deadline - now).div_ceil(MILLISECOND_NS);
            libc::c_int::try_from(left_ms).unwrap_or(libc::c_int::MAX)
        })
    }

    /// Looks without sleeping: what is ready now.
    pub(crate) fn look(&mut self, ready: &mut Ready) -> io::Result<()> {
        self.epoll.wait(0)?;
        self.collect(ready);
        Ok(())
    }

    fn collect(&mut self, ready: &mut Ready) {
        for (token, interest) in self.epoll.ready() {
            match token {
                CONTROL => ready.control = true,
                DATA => ready.data = true,
                HELLO => ready.hello = true,
                WAKE => {
                    self.parker.signal().clear();
                    ready.woken = true;
                }
                TIMER => self.timer.fired(),
                session => ready.sessions.push(((session - SESSIONS) as u32, interest)),
            }
        }
    }
}
