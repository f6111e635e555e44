//! Looks at the shards for health, one at a time: whoever asks while one is under way has its answer, and so has whoever asks soon
//! after it. Nobody needs a password to ask how the node is, and so nobody may have it do more than this.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_engine::SyncStage;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::limits::{LIVE_FRESH, LIVE_TIME};

/// Overlays by name, and how far each is with the subscriptions of its members.
pub type Stages = Vec<(String, SyncStage)>;

/// What a look found; none if the shards do not answer, or the node ends.
pub type Found = Option<Arc<Stages>>;

/// See the module.
#[derive(Default)]
pub struct Looks(Mutex<Option<Look>>);

/// The last look.
struct Look {
    begun: Instant,
    told: watch::Receiver<Option<Told>>,
    /// Something was changed since it began: it is no answer for later.
    is_outdated: bool,
}

struct Told {
    at: Instant,
    found: Found,
}

impl Look {
    /// Whether it answers whoever asks now.
    fn serves(&self) -> bool {
        match &*self.told.borrow() {
            Some(told) => !self.is_outdated && told.at.elapsed() < LIVE_FRESH,
            // Whoever was to tell may be gone with the service.
            None => self.told.has_changed().is_ok(),
        }
    }
}

impl Looks {
    fn last(&self) -> MutexGuard<'_, Option<Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look under way that began before a change.
    fn outdated(&self) -> Option<(Instant, watch::Receiver<Option<Told>>)> {
        let last = self.last();
        let look = last.as_ref().filter(|look| look.is_outdated)?;
        let joined = (look.begun, look.told.clone());
        look.told.borrow().is_none().then_some(joined)
    }

    /// How the shards are: found lately, or being found, or found by `ask`, which goes on though nobody may wait for it any more. None,
    /// too, if a look takes longer than [`LIVE_TIME`]. Whoever asks after a change hears what was found after it: a look that began before
    /// is waited for, so that there is one at a time.
    pub async fn look<F>(&self, ask: impl FnOnce() -> F) -> Found
    where
        F: Future<Output = Option<Stages>> + Send + 'static,
    {
        if let Some((begun, mut told)) = self.outdated() {
            let ended = timeout_at(begun + LIVE_TIME, told.wait_for(Option::is_some)).await;
            // One that ended without a word did so with the service.
            if ended.is_err() {
                return None;
            }
        }
        // Whatever is under way now began after that.
        let (begun, mut told) = {
            let mut last = self.last();
            let look = match last.take().filter(Look::serves) {
                Some(look) => look,
                None => begin(ask()),
            };
            let joined = (look.begun, look.told.clone());
            *last = Some(look);
            joined
        };
        let told = timeout_at(begun + LIVE_TIME, told.wait_for(Option::is_some)).await;
        told.ok()?.ok()?.as_ref()?.found.clone()
    }

    /// Another life of the service begins. Whoever was to tell may be in the one before, which perhaps hangs and never will.
    pub fn begin_life(&self) {
        *self.last() = None;
    }

    /// Something was changed: what was found before is no answer any more.
    pub fn outdate(&self) {
        if let Some(look) = &mut *self.last() {
            look.is_outdated = true;
        }
    }
}

fn begin(ask: impl Future<Output = Option<Stages>> + Send + 'static) -> Look {
    let (tell, told) = watch::channel(None);
    tokio::spawn(async move {
        let found = ask.await.map(Arc::new);
        let at = Instant::now();
        // Nobody may want to know any more.
        let _ = tell.send(Some(Told { at, found }));
    });
    Look {
        begun: Instant::now(),
        told,
        is_outdated: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{join, join_all};
    use tokio::runtime::{Builder, Runtime};
    use tokio::time::{Duration, sleep};

    use super::*;

    fn paused() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    }

    /// A question that takes so long, counted.
    fn taking(
        time: Duration,
        asked: &Arc<AtomicUsize>,
    ) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Option<Stages>> + Send>> {
        let asked = Arc::clone(asked);
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                sleep(time).await;
                Some(Stages::new())
            })
        }
    }

    #[test]
    fn a_look_answers_all_who_ask_meanwhile_and_soon_after_it() {
        let (looks, asked) = (Looks::default(), Arc::new(AtomicUsize::new(0)));
        let short = Duration::from_millis(5);
        paused().block_on(async {
            let all = join_all((0..300).map(|_| looks.look(taking(short, &asked)))).await;
            assert!(all.iter().all(Option::is_some));
            assert!(looks.look(taking(short, &asked)).await.is_some());
            assert_eq!(asked.load(Ordering::Relaxed), 1);
            sleep(LIVE_FRESH).await;
            assert!(looks.look(taking(short, &asked)).await.is_some());
            assert_eq!(asked.load(Ordering::Relaxed), 2);
            // After a change the next one is new.
            looks.outdate();
            assert!(looks.look(taking(short, &asked)).await.is_some());
            assert_eq!(asked.load(Ordering::Relaxed), 3);
        });
    }

    #[test]
    fn shards_that_are_silent_are_asked_once_and_it_is_told_after_a_second_and_at_once_from_then_on()
     {
        let (looks, asked) = (Looks::default(), Arc::new(AtomicUsize::new(0)));
        let long = LIVE_TIME * 5;
        paused().block_on(async {
            let begun = Instant::now();
            assert!(looks.look(taking(long, &asked)).await.is_none());
            assert_eq!(begun.elapsed().as_secs(), LIVE_TIME.as_secs());
            // Though those who asked first wait no more.
            for _ in 0..9 {
                let since = Instant::now();
                assert!(looks.look(taking(long, &asked)).await.is_none());
                assert!(since.elapsed() < Duration::from_millis(10));
            }
            assert_eq!(asked.load(Ordering::Relaxed), 1);
            // It was heard in the end: the next look is new, and finds them well.
            sleep(long).await;
            let short = Duration::from_millis(5);
            assert!(looks.look(taking(short, &asked)).await.is_some());
            assert_eq!(asked.load(Ordering::Relaxed), 2);
        });
    }

    #[test]
    fn whoever_asks_after_a_change_waits_for_the_look_under_way_and_has_the_answer_of_the_next() {
        let (looks, asked) = (Looks::default(), Arc::new(AtomicUsize::new(0)));
        let short = LIVE_TIME / 4;
        paused().block_on(async {
            let begun = Instant::now();
            let early = async {
                let found = looks.look(taking(short, &asked)).await;
                (found, begun.elapsed())
            };
            let late = async {
                sleep(short / 2).await;
                looks.outdate();
                let all = join_all((0..9).map(|_| looks.look(taking(short, &asked)))).await;
                (all, begun.elapsed())
            };
            let ((found, soon), (all, later)) = join(early, late).await;
            assert!(found.is_some() && soon < short * 2);
            assert!(all.iter().all(Option::is_some) && later >= short * 2);
            assert_eq!(asked.load(Ordering::Relaxed), 2);
            // Shards that are silent are asked no more often by it.
            sleep(LIVE_FRESH).await;
            let long = LIVE_TIME * 5;
            assert!(looks.look(taking(long, &asked)).await.is_none());
            looks.outdate();
            assert!(looks.look(taking(long, &asked)).await.is_none());
            assert_eq!(asked.load(Ordering::Relaxed), 3);
        });
    }

    #[test]
    fn a_look_that_ended_with_the_service_is_begun_anew() {
        let (looks, asked) = (Looks::default(), Arc::new(AtomicUsize::new(0)));
        let first = paused();
        first.block_on(async {
            let look = looks.look(taking(LIVE_TIME * 5, &asked));
            assert!(look.await.is_none());
        });
        drop(first);
        let look = async { looks.look(taking(Duration::ZERO, &asked)).await };
        assert!(paused().block_on(look).is_some());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
