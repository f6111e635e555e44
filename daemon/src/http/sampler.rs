//! What the service does without being asked, on a thread of its own, `tidings-http-s`: it samples the counters of every overlay, and looks at
//! the certificate once a day. It outlives panics and hangs of the service, and uses no part of its runtime: what a node at rest
//! runs every 10 s stays in its memory, and 64 KiB of the program around each place.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use super::limits::{SAMPLE_END, SAMPLE_EVERY};
use super::shared::{Sample, Shared};

/// Samples in a day.
const DAY: u64 = 86_400 / SAMPLE_EVERY.as_secs();

/// The running sampler. Dropping it ends it, and waits for what it asks of a shard, but not without end.
pub struct Sampler {
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
}

impl Sampler {
    /// Starts it.
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let (ends, ended) = channel();
        thread::Builder::new()
            .name("tidings-http-s".to_owned())
            .spawn(move || {
                sample(&shared, &stopped);
                drop((shared, ends));
            })?;
        Ok(Self {
            stop: Some(stop),
            ended,
        })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop = None;
        // It never sends: this returns when it has ended, or waits no more.
        let _ = self.ended.recv_timeout(SAMPLE_END);
    }
}

/// Samples until whoever may stop it has gone.
fn sample(shared: &Shared, stopped: &Receiver<()>) {
    for count in 1.. {
        let next = Instant::now() + SAMPLE_EVERY;
        let one = AssertUnwindSafe(|| {
            take(shared);
            if u64::is_multiple_of(count, DAY) && shared.renews() {
                renew(shared);
            }
        });
        if catch_unwind(one).is_err() {
            shared.panicked("a sample of the counters panicked; the next one is taken as ever");
        }
        // A suspended machine has nothing to make up for.
        let wait = next.saturating_duration_since(Instant::now());
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn take(shared: &Shared) {
    let Some(engine) = shared.engine().upgrade() else {
        return;
    };
    match engine.stats() {
        Ok(stats) => {
            let now = shared.facts.since.elapsed();
            shared.windows().sample(&stats.overlays, now);
        }
        // A shard that does not answer is told by /livez.
        Err(_) => shared.skipped(Sample::Windows),
    }
}

fn renew(shared: &Shared) {
    if let Err(error) = shared.reload_tls() {
        tracing::warn!(%error, remedy = error.remedy, "the certificate was not made anew");
    }
}
