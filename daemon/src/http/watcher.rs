//! Watches the lives of the service, from a thread beside its own: one that panics, or in which nothing goes on any more, is followed
//! by another. A thread that hangs cannot be ended: it is left alone, told to end should it ever go on, and counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::limits::{
    HUNG_MAX, RESTART_FORGOTTEN, RESTART_MAX, RESTART_MIN, SILENT_LOOKS, STOP_TIME,
};
use super::shared::Counted;

/// What is heard of the service.
pub enum News {
    /// This life ended: as it was told to, or why.
    Ended(u64, Result<(), String>),
    /// The daemon is about to stop.
    Stop,
}

/// A life that has begun.
pub struct Begun {
    /// Tells it to end.
    pub stop: watch::Sender<bool>,
    /// What it counts up for as long as anything goes on in it.
    pub beats: Arc<AtomicU64>,
}

/// How a life ended for whoever watches it.
enum End {
    /// As it was told to, or not in time.
    Stopped,
    Failed(String),
    Hung,
}

/// Watches lives that `begin` begins, looking this often whether anything goes on in them.
pub struct Watcher<'a, B> {
    /// What is counted of it.
    pub counted: &'a Counted,
    /// What is heard of lives, and of the daemon.
    pub news: Receiver<News>,
    /// Begins the life of this number.
    pub begin: B,
    /// Time between two looks.
    pub every: Duration,
}

impl<B: FnMut(u64) -> io::Result<Begun>> Watcher<'_, B> {
    /// Until the daemon stops.
    pub fn watch(mut self) {
        let mut pause = RESTART_MIN;
        let mut hung = Vec::new();
        for life in 0.. {
            let since = Instant::now();
            let end = match (self.begin)(life) {
                Ok(begun) => self.follow(life, &begun, &mut hung),
                Err(error) => End::Failed(error.to_string()),
            };
            let why = match end {
                End::Stopped => return,
                End::Failed(why) => why,
                End::Hung => {
                    hung.push(life);
                    "it hangs; its thread is left alone".to_owned()
                }
            };
            self.told(&hung);
            self.counted.restarts.fetch_add(1, Ordering::Relaxed);
            if since.elapsed() >= RESTART_FORGOTTEN {
                pause = RESTART_MIN;
            }
            match hung.len() < HUNG_MAX {
                true => {
                    tracing::error!(why, again_in = ?pause, "the management service ended and is started again");
                }
                false => {
                    tracing::error!(
                        why,
                        hung = hung.len(),
                        "the management service hangs each time, and is not started again; the node goes on without it, until it is restarted itself"
                    );
                }
            }
            if !self.rest(Instant::now() + pause, &mut hung) {
                return;
            }
            pause = (pause * 2).min(RESTART_MAX);
        }
    }

    /// Until this life ends, or hangs.
    fn follow(&self, life: u64, begun: &Begun, hung: &mut Vec<u64>) -> End {
        let (mut last, mut silent) = (None, 0);
        let mut ends_by: Option<Instant> = None;
        loop {
            let wait = match ends_by {
                None => self.every,
                Some(by) => by.saturating_duration_since(Instant::now()),
            };
            match self.news.recv_timeout(wait) {
                Ok(News::Ended(which, ended)) if which == life => {
                    return ended.map_or_else(End::Failed, |()| End::Stopped);
                }
                Ok(News::Ended(which, _)) => self.forget(which, hung),
                Ok(News::Stop) => {
                    begun.stop.send_replace(true);
                    ends_by = Some(Instant::now() + STOP_TIME);
                }
                Err(RecvTimeoutError::Timeout) if ends_by.is_some() => {
                    tracing::warn!(
                        "the management service does not end in time; its thread ends with the process"
                    );
                    return End::Stopped;
                }
                // Counted by looks, not by the clock: a process that was stopped itself has one look without a beat, then beats again.
                Err(RecvTimeoutError::Timeout) => {
                    let beats = Some(begun.beats.load(Ordering::Relaxed));
                    silent = if beats == last { silent + 1 } else { 0 };
                    last = beats;
                    if silent >= SILENT_LOOKS {
                        begun.stop.send_replace(true);
                        return End::Hung;
                    }
                }
                // Nobody is there who could begin another.
                Err(RecvTimeoutError::Disconnected) => return End::Stopped,
            }
        }
    }

    /// Until the pause is over and not too many threads hang. False: the daemon stops before that.
    fn rest(&self, until: Instant, hung: &mut Vec<u64>) -> bool {
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            let heard = match hung.len() < HUNG_MAX {
                true if wait.is_zero() => return true,
                true => self.news.recv_timeout(wait),
                false => self.news.recv().map_err(RecvTimeoutError::from),
            };
            match heard {
                Ok(News::Ended(which, _)) => self.forget(which, hung),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// One that hung went on, and has ended.
    fn forget(&self, life: u64, hung: &mut Vec<u64>) {
        hung.retain(|other| *other != life);
        self.told(hung);
    }

    fn told(&self, hung: &[u64]) {
        let count = hung.len() as u64;
        self.counted.hung.store(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};
    use std::thread;

    use super::*;

    /// So long that a busy machine lets a life that beats do so in between.
    const EVERY: Duration = Duration::from_millis(500);
    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(20);

    /// What is known of the lives that began: their ways to be stopped.
    type Lives = Mutex<Vec<watch::Sender<bool>>>;

    /// Watches lives of which those whose numbers `beats` names go on until they are told to end; `check` says what becomes of it.
    fn watched(beats: fn(u64) -> bool, check: impl FnOnce(&Counted, &Lives, &Sender<News>)) {
        let (counted, lives) = (Counted::default(), Lives::default());
        let (tell, news) = channel();
        thread::scope(|scope| {
            let begin = |life| {
                let (stop, mut stopped) = watch::channel(false);
                lives.lock().unwrap().push(stop.clone());
                let count = Arc::new(AtomicU64::new(0));
                if beats(life) {
                    let (tell, count) = (tell.clone(), Arc::clone(&count));
                    scope.spawn(move || {
                        while !*stopped.borrow_and_update() {
                            count.fetch_add(1, Ordering::Relaxed);
                            thread::sleep(SHORT);
                        }
                        tell.send(News::Ended(life, Ok(())))
                    });
                }
                Ok(Begun { stop, beats: count })
            };
            let watcher = Watcher {
                counted: &counted,
                news,
                begin,
                every: EVERY,
            };
            let watching = scope.spawn(move || watcher.watch());
            check(&counted, &lives, &tell);
            tell.send(News::Stop).unwrap();
            watching.join().unwrap();
        });
    }

    fn becomes(count: &AtomicU64, wanted: u64) -> bool {
        let until = Instant::now() + LONG;
        while count.load(Ordering::Relaxed) != wanted && Instant::now() < until {
            thread::sleep(SHORT);
        }
        count.load(Ordering::Relaxed) == wanted
    }

    #[test]
    fn a_life_that_hangs_is_told_to_end_and_followed_by_another() {
        watched(
            |life| life > 0,
            |counted, lives, tell| {
                assert!(becomes(&counted.restarts, 1) && becomes(&counted.hung, 1));
                let is_told = |life: usize| *lives.lock().unwrap()[life].borrow();
                assert!(is_told(0));
                // Should it go on in the end it is counted no more, and the other one stays.
                tell.send(News::Ended(0, Ok(()))).unwrap();
                assert!(becomes(&counted.hung, 0));
                let until = Instant::now() + LONG;
                while lives.lock().unwrap().len() < 2 {
                    assert!(Instant::now() < until);
                    thread::sleep(SHORT);
                }
                assert!(!is_told(1));
            },
        );
    }

    #[test]
    fn after_some_that_hang_no_other_begins_until_one_of_them_goes_on() {
        watched(
            |life| life >= HUNG_MAX as u64,
            |counted, lives, tell| {
                assert!(becomes(&counted.hung, HUNG_MAX as u64));
                assert_eq!(lives.lock().unwrap().len(), HUNG_MAX);
                tell.send(News::Ended(1, Ok(()))).unwrap();
                let until = Instant::now() + LONG;
                while lives.lock().unwrap().len() <= HUNG_MAX {
                    assert!(Instant::now() < until);
                    thread::sleep(SHORT);
                }
                assert!(becomes(&counted.hung, HUNG_MAX as u64 - 1));
            },
        );
    }

    #[test]
    fn a_life_that_fails_is_followed_by_another_and_one_that_beats_is_left_alone() {
        watched(
            |life| life > 0,
            |counted, lives, tell| {
                tell.send(News::Ended(0, Err("it panicked".to_owned())))
                    .unwrap();
                assert!(becomes(&counted.restarts, 1));
                thread::sleep(EVERY * 4);
                assert_eq!(lives.lock().unwrap().len(), 2);
                assert_eq!(counted.hung.load(Ordering::Relaxed), 0);
            },
        );
    }
}
