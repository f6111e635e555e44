//! Whether anything goes on in a life of the service, for its watcher, without a timer that would wake a node at rest: its thread
//! sleeps until there is something for it, which is well, or answers when it is asked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

use super::serve::unless;

/// The pulse of one life.
#[derive(Default)]
pub struct Pulse {
    is_asleep: AtomicBool,
    beats: AtomicU64,
    asked: Notify,
}

impl Pulse {
    /// The thread of the service is about to sleep in its set of descriptors, with all that is on it done.
    pub fn sleeps(&self) {
        self.is_asleep.store(true, Ordering::Relaxed);
    }

    /// It woke up.
    pub fn wakes(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// What differs from the look before if anything went on since. A thread that is awake is asked, and has until the next look to
    /// answer; one that is asleep is let be.
    pub fn look(&self) -> u64 {
        if self.is_asleep.load(Ordering::Relaxed) {
            return self.beats.fetch_add(1, Ordering::Relaxed) + 1;
        }
        self.asked.notify_one();
        self.beats.load(Ordering::Relaxed)
    }

    /// Answers as this thread does, with all that is on it, until `stopped`.
    pub async fn answer(&self, mut stopped: watch::Receiver<bool>) {
        while unless(&mut stopped, self.asked.notified()).await.is_some() {
            self.beats.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_well_and_one_that_is_awake_is_until_it_leaves_a_question_unanswered()
    {
        let pulse = Pulse::default();
        let first = pulse.look();
        assert_eq!(pulse.look(), first);
        pulse.sleeps();
        let second = pulse.look();
        assert!(second != first && pulse.look() != second);
        pulse.wakes();
        let third = pulse.look();
        assert_eq!(pulse.look(), third);
    }

    #[test]
    fn a_runtime_that_is_busy_answers_what_it_is_asked() {
        let pulse = Arc::new(Pulse::default());
        let runtime = Builder::new_current_thread().build().unwrap();
        let (stop, stopped) = watch::channel(false);
        let before = pulse.look();
        let of_task = Arc::clone(&pulse);
        runtime.block_on(async move {
            let answering = tokio::spawn(async move { of_task.answer(stopped).await });
            // It never sleeps: there is always something to do.
            while pulse.look() == before {
                tokio::task::yield_now().await;
            }
            stop.send_replace(true);
            answering.await.unwrap();
        });
    }
}
