//! What other threads hold of a shard: a queue of commands, a list of ports whose rings have something, and the means to
//! wake it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::Shard;
use crate::limits::{BELLS_MAX, COMMAND_WAIT, COMMANDS_MAX};
use crate::wait::ShardParker;

/// Something to be done on the shard's thread, between two turns.
pub(crate) type Command = Box<dyn FnOnce(&mut Shard) + Send>;

/// The shard stopped, or does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// One shard, as seen by other threads.
pub(crate) struct Door {
    commands: ArrayQueue<Command>,
    /// Ports to look at: overlay slot << 16 | port.
    bells: ArrayQueue<u32>,
    /// More bells rang than the list holds: look at every port.
    alarm: AtomicBool,
    /// A session was called while the queue of commands was full: look at every session.
    session_alarm: AtomicBool,
    stopped: AtomicBool,
    parker: Arc<ShardParker>,
}

impl Door {
    pub(crate) fn new(parker: Arc<ShardParker>) -> Self {
        Self {
            commands: ArrayQueue::new(COMMANDS_MAX),
            bells: ArrayQueue::new(BELLS_MAX),
            alarm: AtomicBool::new(false),
            session_alarm: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            parker,
        }
    }

    pub(crate) fn parker(&self) -> &Arc<ShardParker> {
        &self.parker
    }

    /// Says that a port's ring has something. Its flag makes sure that this happens once until the shard has looked.
    pub(crate) fn ring(&self, port: u32) {
        if self.bells.push(port).is_err() {
            self.alarm.store(true, Ordering::Release);
        }
        self.parker.wake();
    }

    /// Has the shard call `session`, or all of them if its queue of commands is full: a call is never lost.
    pub(crate) fn call(&self, session: u32) {
        if !self.try_send(Box::new(move |shard| shard.nudge(session))) {
            self.session_alarm.store(true, Ordering::Release);
            self.parker.wake();
        }
    }

    /// Queues a command if there is room now. `false`: there is not, or the shard has stopped.
    pub(crate) fn try_send(&self, command: Command) -> bool {
        let sent = !self.is_stopped() && self.commands.push(command).is_ok();
        if sent {
            self.parker.wake();
        }
        sent
    }

    /// Queues a command without waiting for it to be done.
    pub(crate) fn send(&self, command: Command) -> Result<(), Gone> {
        let mut command = command;
        for _ in 0..COMMAND_WAIT.as_millis() {
            if self.is_stopped() {
                return Err(Gone);
            }
            match self.commands.push(command) {
                Ok(()) => {
                    self.parker.wake();
                    return Ok(());
                }
                Err(full) => command = full,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Gone)
    }

    /// Has `question` answered on the shard's thread and waits for the answer.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Shard) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (tx, rx) = sync_channel(1);
        self.send(Box::new(move |shard| {
            // Whoever asked may have given up meanwhile.
            let _ = tx.try_send(question(shard));
        }))?;
        match rx.recv_timeout(COMMAND_WAIT) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// By the shard, when it takes no more commands. Those in the queue are dropped, which tells their senders.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        while self.commands.pop().is_some() {}
    }

    pub(crate) fn next_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    pub(crate) fn next_bell(&self) -> Option<u32> {
        self.bells.pop()
    }

    pub(crate) fn take_alarm(&self) -> bool {
        self.alarm.load(Ordering::Acquire) && self.alarm.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn take_session_alarm(&self) -> bool {
        self.session_alarm.load(Ordering::Acquire)
            && self.session_alarm.swap(false, Ordering::AcqRel)
    }

    /// Commands and bells that wait.
    pub(crate) fn queued(&self) -> (usize, usize) {
        (self.commands.len(), self.bells.len())
    }

    pub(crate) fn has_mail(&self) -> bool {
        !self.commands.is_empty()
            || !self.bells.is_empty()
            || self.alarm.load(Ordering::Acquire)
            || self.session_alarm.load(Ordering::Acquire)
    }
}
