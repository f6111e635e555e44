//! The part of the service that has something to do without being asked: it samples the counters of every overlay, and looks
//! at the certificate once a day. Ends when the service does.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::limits::SAMPLE_EVERY;
use super::serve::unless;
use super::shared::{Sample, Shared};

/// Samples in a day.
const DAY: u64 = 86_400 / SAMPLE_EVERY.as_secs();

/// Samples until the service stops.
pub async fn sample(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(SAMPLE_EVERY);
    // A suspended machine has nothing to make up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count: u64 = 0;
    while unless(&mut stopped, ticks.tick()).await.is_some() {
        let stats = shared.ask(|engine| Ok(engine.stats()?.overlays));
        match unless(&mut stopped, stats).await {
            Some(Ok(overlays)) => {
                let now = shared.facts.since.elapsed();
                shared.windows().sample(&overlays, now);
            }
            // A shard that does not answer is told by /livez.
            Some(Err(_)) => shared.skipped(Sample::Windows),
            None => return,
        }
        count += 1;
        if count.is_multiple_of(DAY) && shared.renews() {
            renew(&shared).await;
        }
    }
}

async fn renew(shared: &Arc<Shared>) {
    let of_thread = Arc::clone(shared);
    if let Ok(Err(error)) = shared.blocking(move || of_thread.reload_tls()).await {
        tracing::warn!(%error, remedy = error.remedy, "the certificate was not made anew");
    }
}
