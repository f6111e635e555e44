//! Subscribers that come and go, or come all at once, in one process.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::error::{Error, While};
use crate::plan::{Place, Plan, Task};
use crate::system::System;
use crate::tally::{Counts, Seen, Tallied};
use crate::times::Times;

/// How often a subscriber looks whether its time is over.
const LOOK: Duration = Duration::from_millis(5);
/// Who comes and goes is away for this part of the time that it stays.
const AWAY: f64 = 0.2;

/// What all of a crowd counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Attended {
    /// Subscriptions made.
    pub(crate) joins: u64,
    /// Those that got no message.
    pub(crate) silent: u64,
    pub(crate) counts: Counts,
    /// Messages that came to none of those that were there from their first message to the end.
    pub(crate) lost: u64,
    /// From the wish to subscribe to the first message.
    pub(crate) first: Times,
}

impl Attended {
    fn enter(&mut self, tallied: &Tallied, from: u64, seen: &Seen) {
        self.joins += 1;
        self.counts.add(&tallied.counts);
        match seen.first.load(Relaxed) {
            0 => self.silent += 1,
            first => self.first.record(first.saturating_sub(from)),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.joins += other.joins;
        self.silent += other.silent;
        self.counts.add(&other.counts);
        self.lost += other.lost;
        self.first.add(&other.first);
    }
}

/// The threads of a crowd.
pub(crate) struct Crowd<'scope> {
    seen: Arc<Mutex<Vec<Arc<Seen>>>>,
    stop: Arc<AtomicBool>,
    published: Arc<Mutex<Option<u64>>>,
    threads: Vec<ScopedJoinHandle<'scope, Result<Attended, Error>>>,
}

impl<'scope> Crowd<'scope> {
    /// Has them come.
    pub(crate) fn go<'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        system: &'env dyn System,
        plan: &Plan,
        place: &Place,
    ) -> Result<Self, Error> {
        let mut crowd = Self {
            seen: Arc::default(),
            stop: Arc::default(),
            published: Arc::default(),
            threads: Vec::new(),
        };
        let from = clock::now();
        let threads = match place.task {
            Task::Storm => plan.crowd,
            _ => 1,
        };
        for _ in 0..threads {
            let mut guest = Guest {
                system,
                plan: plan.clone(),
                place: place.clone(),
                seen: Arc::clone(&crowd.seen),
                stop: Arc::clone(&crowd.stop),
                attended: Attended::default(),
            };
            let published = Arc::clone(&crowd.published);
            let thread = std::thread::Builder::new()
                .name("guest".to_owned())
                .spawn_scoped(scope, move || {
                    match guest.place.task {
                        Task::Storm => guest.stay_on(from, &published)?,
                        _ => guest.come_and_go()?,
                    }
                    Ok(guest.attended)
                });
            crowd.threads.push(thread.during("start a subscriber")?);
        }
        Ok(crowd)
    }

    /// Different messages of all.
    pub(crate) fn unique(&self) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|seen| seen.unique.load(Relaxed)).sum()
    }

    /// Whether each that has got anything has got the last message, too.
    pub(crate) fn is_over(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |seen: &Arc<Seen>| seen.total.load(Relaxed) > 0;
        !seen.is_empty() && seen.iter().all(is_over)
    }

    /// Ends them; so many messages were published.
    pub(crate) fn finish(mut self, published: u64) -> Result<Attended, Error> {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(published);
        self.stop.store(true, Relaxed);
        let mut all = Attended::default();
        for thread in std::mem::take(&mut self.threads) {
            let attended = thread.join();
            all.add(&attended.map_err(|_| Error::Failed("a subscriber panicked".to_owned()))??);
        }
        Ok(all)
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// One thread's subscriber, or subscribers one after the other.
struct Guest<'env> {
    system: &'env dyn System,
    plan: Plan,
    place: Place,
    seen: Arc<Mutex<Vec<Arc<Seen>>>>,
    stop: Arc<AtomicBool>,
    attended: Attended,
}

impl Guest<'_> {
    fn new_seen(&self) -> Arc<Seen> {
        let seen = Arc::new(Seen::default());
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&seen));
        seen
    }

    fn wait(&self, until: Option<Instant>) {
        while !self.stop.load(Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            std::thread::sleep(LOOK);
        }
    }

    fn stay_on(&mut self, from: u64, published: &Mutex<Option<u64>>) -> Result<(), Error> {
        let seen = self.new_seen();
        let sink = self
            .system
            .sink(&self.plan, &self.place, Arc::clone(&seen))?;
        self.wait(None);
        let tallied = sink.finish()?;
        let published = published.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(published), 1..) = (*published, tallied.counts.unique) {
            let known = tallied.counts.before + tallied.counts.unique;
            self.attended.lost += published.saturating_sub(known);
        }
        self.attended.enter(&tallied, from, &seen);
        Ok(())
    }

    fn come_and_go(&mut self) -> Result<(), Error> {
        while !self.stop.load(Relaxed) {
            let (seen, from) = (self.new_seen(), clock::now());
            let sink = self
                .system
                .sink(&self.plan, &self.place, Arc::clone(&seen))?;
            self.wait(Some(Instant::now() + clock::seconds(self.plan.stay)));
            let tallied = sink.finish()?;
            self.attended.enter(&tallied, from, &seen);
            self.wait(Some(Instant::now() + clock::seconds(self.plan.stay * AWAY)));
        }
        Ok(())
    }
}
