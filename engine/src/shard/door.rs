//! What other threads hold of a shard: a queue of commands, a list of ports whose rings have something, and the means to
//! wake it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use tidings_wire::OverlayId;

use super::Shard;
use crate::limits::{BELLS_MAX, COMMAND_WAIT, COMMANDS_MAX};
use crate::wait::ShardParker;

/// Something to be done on the shard's thread, between two turns.
pub(crate) type Command = Box<dyn FnOnce(&mut Shard) + Send>;

/// Something to be done at an overlay, on the shard that has it by then, with its slot there; without one if none has it.
pub(crate) type Errand = Box<dyn FnOnce(&mut Shard, Option<u16>) + Send>;

/// The shard stopped, or does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Whose a question is that somebody waits for: of the shard that begins to answer it and of the one who gives it up, one wins.
#[derive(Default)]
struct Claim(AtomicU8);

impl Claim {
    const OPEN: u8 = 0;
    const BEGUN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// By the shard. `false`: nobody waits any more, it must not be done.
    fn begin(&self) -> bool {
        self.settle(Self::BEGUN)
    }

    /// By the one who asked. `false`: the shard has begun.
    fn give_up(&self) -> bool {
        self.settle(Self::GIVEN_UP)
    }

    fn settle(&self, to: u8) -> bool {
        let (won, lost) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.compare_exchange(Self::OPEN, to, won, lost).is_ok()
    }
}

/// A question that is on its way to a shard.
struct Asked<R> {
    claim: Arc<Claim>,
    to: SyncSender<R>,
}

impl<R> Asked<R> {
    /// By the shard, unless nobody waits any more.
    fn answer(self, answer: impl FnOnce() -> R) {
        if self.claim.begin() {
            // Whoever asked may have gone all the same, after a long time.
            let _ = self.to.try_send(answer());
        }
    }
}

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
        self.offer(command).is_ok()
    }

    /// The same, which gives the command back if there is no room.
    pub(crate) fn offer(&self, command: Command) -> Result<(), Command> {
        if self.is_stopped() {
            return Err(command);
        }
        self.commands.push(command)?;
        self.parker.wake();
        Ok(())
    }

    /// [`Self::try_send`] for an errand at an overlay that was here just now.
    pub(crate) fn try_visit(&self, id: OverlayId, errand: Errand) -> bool {
        self.try_send(Box::new(move |shard| shard.visit(id, errand)))
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

    /// Has `question` answered on the shard's thread and waits for the answer. `Gone`: it was not asked and never will be, so that
    /// whoever asked may take back what goes with it. Only of one that the shard began and did not finish within [`COMMAND_WAIT`] is
    /// that not known: it stands still in the midst of it.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Shard) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        self.ask_within(COMMAND_WAIT, question)
    }

    /// [`Self::ask`] at an overlay that was here just now; `None`: no shard has it.
    pub(crate) fn ask_at<R: Send + 'static>(
        &self,
        id: OverlayId,
        question: impl FnOnce(&mut Shard, u16) -> R + Send + 'static,
    ) -> Result<Option<R>, Gone> {
        self.put(COMMAND_WAIT, |asked| {
            let errand: Errand = Box::new(move |shard, slot| {
                asked.answer(|| slot.map(|slot| question(shard, slot)));
            });
            Box::new(move |shard| shard.visit(id, errand))
        })
    }

    fn ask_within<R: Send + 'static>(
        &self,
        wait: Duration,
        question: impl FnOnce(&mut Shard) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        self.put(wait, |asked| {
            Box::new(move |shard| asked.answer(|| question(shard)))
        })
    }

    /// Sends the command that answers a question, and waits for the answer.
    fn put<R>(&self, wait: Duration, command: impl FnOnce(Asked<R>) -> Command) -> Result<R, Gone> {
        let (to, rx) = sync_channel(1);
        let claim = Arc::new(Claim::default());
        let asked = Asked {
            claim: Arc::clone(&claim),
            to,
        };
        self.send(command(asked))?;
        match rx.recv_timeout(wait) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) if !claim.give_up() => {
                rx.recv_timeout(COMMAND_WAIT).map_err(|_| Gone)
            }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use super::*;
    use crate::engine::Engine;

    const SHORT: Duration = Duration::from_millis(50);
    const SOON: Duration = Duration::from_secs(20);

    fn engine() -> Engine {
        let bind = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        Engine::builder().bind(bind).shards(1).start().unwrap()
    }

    #[test]
    fn what_was_given_up_is_not_done_when_the_shard_goes_on() {
        let engine = engine();
        let door = &engine.inner.doors[0];
        let (go_on, stands_still) = sync_channel::<()>(0);
        let still = move |_: &mut Shard| {
            // A test that failed is no longer there.
            let _ = stands_still.recv_timeout(SOON);
        };
        door.send(Box::new(still)).unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&done);
        let given_up = door.ask_within(SHORT, move |_| asked.fetch_add(1, Ordering::AcqRel));
        assert_eq!(given_up, Err(Gone));
        go_on.send(()).unwrap();
        // The answer to a later question comes after that.
        assert_eq!(door.ask(|_| 7), Ok(7));
        assert_eq!(done.load(Ordering::Acquire), 0);
    }

    #[test]
    fn what_the_shard_has_begun_is_waited_for() {
        let engine = engine();
        let door = &engine.inner.doors[0];
        let until = Instant::now() + SOON;
        // On a busy machine the shard may come to it too late.
        let long = |_: &mut Shard| std::thread::sleep(4 * SHORT);
        while door.ask_within(SHORT, long) == Err(Gone) {
            assert!(Instant::now() < until);
        }
    }

    #[test]
    fn of_a_question_one_side_wins() {
        let (begun, given_up) = (Claim::default(), Claim::default());
        assert!(begun.begin() && !begun.give_up());
        assert!(given_up.give_up() && !given_up.begin());
    }
}
