//! Going out of service: from the order on nothing new is published over HTTP, local clients open no more publishers, and the
//! node is not ready any more; when every message that it has accepted has its outcomes, or the deadline is over, it leaves and
//! stops. Begun by the management service.

use std::io;
use std::sync::{Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tidings_engine::{Engine, EngineError};

use super::signals::{Giver, Stop};

/// How long it takes at most if nothing is said.
pub const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How often it is looked whether everything has its outcome.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the node goes out of service.
pub struct Drain {
    engine: Weak<Engine>,
    stop: Giver,
    /// Until when at most, once it has begun.
    until: Mutex<Option<Instant>>,
}

impl Drain {
    /// Of this engine, which is not kept alive.
    pub fn new(engine: Weak<Engine>, stop: Giver) -> Self {
        Self {
            engine,
            stop,
            until: Mutex::default(),
        }
    }

    /// Whether it has begun.
    pub fn is_draining(&self) -> bool {
        self.until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Begins, with this deadline. One that has begun keeps its own. Returns how long it takes at most.
    pub fn begin(&self, time: Duration) -> io::Result<Duration> {
        let mut begun = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(until) = *begun {
            return Ok(until.saturating_duration_since(now));
        }
        let until = now + time;
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        thread::Builder::new()
            .name("tidings-drain".to_owned())
            .spawn(move || {
                tracing::info!(deadline = ?time, "draining: no new messages over HTTP, no new publishers; leaving when what is owed is confirmed");
                tell(&unsettled(&engine, until));
                stop.stop(Stop::Drained);
            })?;
        if let Some(engine) = self.engine.upgrade() {
            engine.refuse_publishers();
        }
        *begun = Some(until);
        Ok(time)
    }
}

fn tell(unsettled: &[String]) {
    match unsettled {
        [] => tracing::info!("drained: every message has its outcome; leaving"),
        names => {
            let overlays = names.join(", ");
            tracing::warn!(%overlays, "the deadline of the drain is over: not every message has its outcome; leaving");
        }
    }
}

/// Waits until every message has its outcomes, at most until `until`: the overlays where some have not.
fn unsettled(engine: &Weak<Engine>, until: Instant) -> Vec<String> {
    loop {
        let Some(engine) = engine.upgrade() else {
            return Vec::new();
        };
        let mut waiting = engine.overlays();
        waiting.retain(|entry| {
            // One that was left meanwhile owes nothing any more; a shard that does not answer may.
            let settled = engine.wait_settled(entry.id, Duration::ZERO);
            !matches!(settled, Ok(true) | Err(EngineError::Unknown))
        });
        // Nobody is kept from stopping it meanwhile.
        drop(engine);
        if waiting.is_empty() || Instant::now() >= until {
            return waiting.into_iter().map(|entry| entry.name).collect();
        }
        thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
    }
}
