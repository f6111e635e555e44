//! Watches the lives of the service, from a thread beside its own: one that panics, or in which nothing goes on any more, is followed
//! by another. A thread that hangs cannot be ended: it is left alone, told to end should it ever go on, and counted.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
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
    /// Reads what it counts up for as long as anything goes on in it.
    pub beats: Box<dyn Fn() -> u64>,
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
            // A life that nobody watches any more ends: what tells it to is gone.
            let watched = AssertUnwindSafe(|| match (self.begin)(life) {
                Ok(begun) => self.follow(life, &begun, &mut hung),
                Err(error) => End::Failed(error.to_string()),
            });
            let end = catch_unwind(watched)
                .unwrap_or_else(|_| End::Failed("its watcher panicked".to_owned()));
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
                    let beats = Some((begun.beats)());
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
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(20);

    /// What is known of a life that began.
    struct Life {
        stopped: watch::Receiver<bool>,
        looks: Arc<AtomicU64>,
    }

    impl Life {
        fn is_told(&self) -> bool {
            ends(&self.stopped)
        }
    }

    /// As `serve::unless` has it: whoever has nobody to be told by ends, too.
    fn ends(stopped: &watch::Receiver<bool>) -> bool {
        *stopped.borrow() || stopped.has_changed().is_err()
    }

    type Lives = Mutex<Vec<Life>>;

    /// Has watcher and lives end also when a check failed: the threads are waited for.
    struct Over(Sender<News>);

    impl Drop for Over {
        fn drop(&mut self) {
            // It may have ended by itself.
            let _ = self.0.send(News::Stop);
        }
    }

    /// Watches lives; of each `beats` says at its begin, 0, and at each look whether it goes on. Those that do end when they are told to;
    /// `check` says what becomes of it.
    ///
    /// A life that goes on has beaten whenever it is looked at, however late: nothing here depends on how busy the machine is.
    fn watched(beats: fn(u64, u64) -> bool, check: impl FnOnce(&Counted, &Lives, &Sender<News>)) {
        let (counted, lives) = (Counted::default(), Lives::default());
        let (tell, news) = channel();
        thread::scope(|scope| {
            let over = Over(tell.clone());
            let (lives, of_lives) = (&lives, tell.clone());
            let begin = move |life| {
                let (stop, stopped) = watch::channel(false);
                let looks = Arc::new(AtomicU64::new(0));
                let begun = Life {
                    stopped: stopped.clone(),
                    looks: Arc::clone(&looks),
                };
                lives.lock().unwrap().push(begun);
                if beats(life, 0) {
                    let tell = of_lives.clone();
                    scope.spawn(move || {
                        while !ends(&stopped) {
                            thread::sleep(SHORT);
                        }
                        // The watcher may have ended before it.
                        let _ = tell.send(News::Ended(life, Ok(())));
                    });
                }
                let beats = move || {
                    let look = looks.fetch_add(1, Ordering::Relaxed) + 1;
                    if beats(life, look) { look } else { 0 }
                };
                Ok(Begun {
                    stop,
                    beats: Box::new(beats),
                })
            };
            let counted = &counted;
            let watching = scope.spawn(move || {
                let watcher = Watcher {
                    counted,
                    news,
                    begin,
                    every: SHORT,
                };
                watcher.watch();
            });
            check(counted, lives, &tell);
            drop(over);
            watching.join().unwrap();
        });
    }

    fn until(holds: impl Fn() -> bool) -> bool {
        let until = Instant::now() + LONG;
        while !holds() && Instant::now() < until {
            thread::sleep(SHORT);
        }
        holds()
    }

    fn becomes(count: &AtomicU64, wanted: u64) -> bool {
        until(|| count.load(Ordering::Relaxed) == wanted)
    }

    /// Waits until this life was looked at more often than it takes to call it hung.
    fn is_left_alone(lives: &Lives, life: usize) -> bool {
        let often = u64::from(SILENT_LOOKS) + 3;
        until(|| {
            let lives = lives.lock().unwrap();
            let looks = lives
                .get(life)
                .map(|life| life.looks.load(Ordering::Relaxed));
            looks.is_some_and(|looks| looks > often)
        }) && !lives.lock().unwrap()[life].is_told()
    }

    #[test]
    fn a_life_that_hangs_is_told_to_end_and_followed_by_another() {
        watched(
            |life, _| life > 0,
            |counted, lives, tell| {
                assert!(becomes(&counted.restarts, 1) && becomes(&counted.hung, 1));
                assert!(lives.lock().unwrap()[0].is_told());
                // Should it go on in the end it is counted no more, and the other one stays.
                tell.send(News::Ended(0, Ok(()))).unwrap();
                assert!(becomes(&counted.hung, 0));
                assert!(is_left_alone(lives, 1));
            },
        );
    }

    #[test]
    fn after_some_that_hang_no_other_begins_until_one_of_them_goes_on() {
        watched(
            |life, _| life >= HUNG_MAX as u64,
            |counted, lives, tell| {
                assert!(becomes(&counted.hung, HUNG_MAX as u64));
                assert_eq!(lives.lock().unwrap().len(), HUNG_MAX);
                tell.send(News::Ended(1, Ok(()))).unwrap();
                assert!(until(|| lives.lock().unwrap().len() > HUNG_MAX));
                assert!(becomes(&counted.hung, HUNG_MAX as u64 - 1));
            },
        );
    }

    #[test]
    fn a_life_that_fails_is_followed_by_another_and_one_that_beats_is_left_alone() {
        watched(
            |_, _| true,
            |counted, lives, tell| {
                let failed = Err("it panicked".to_owned());
                tell.send(News::Ended(0, failed)).unwrap();
                assert!(becomes(&counted.restarts, 1));
                assert!(is_left_alone(lives, 1));
                assert_eq!(lives.lock().unwrap().len(), 2);
                assert_eq!(counted.hung.load(Ordering::Relaxed), 0);
            },
        );
    }

    #[test]
    fn a_life_whose_watcher_panics_is_told_to_end_and_followed_by_another_that_is_watched() {
        watched(
            |life, look| (life, look) != (0, 2) || panic!("on purpose"),
            |counted, lives, _| {
                assert!(becomes(&counted.restarts, 1));
                assert!(lives.lock().unwrap()[0].is_told());
                assert!(is_left_alone(lives, 1));
                assert_eq!(counted.hung.load(Ordering::Relaxed), 0);
            },
        );
    }

    #[test]
    fn a_check_that_fails_is_told_and_waited_for_by_nobody() {
        let failed =
            std::panic::catch_unwind(|| watched(|_, _| true, |_, _, _| panic!("on purpose")));
        assert!(failed.is_err());
    }
}
