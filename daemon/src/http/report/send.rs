//! Sends what is in the queue, oldest first, and tries again with growing pauses while the destination fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::sleep;

use super::influx::{self, Unusable};
use super::post::{Answer, post};
use super::queue::Chunk;
use crate::config::InfluxSettings;
use crate::files;
use crate::http::limits::{POST_BYTES, POST_PAUSE_MAX, POST_PAUSE_MIN, RETRY_AFTER_MAX};
use crate::http::serve::unless;
use crate::http::shared::Shared;

/// Letters of the destination's words that go into the log.
const WORDS: usize = 200;

/// What became of a request.
enum Sent {
    Written,
    /// It would never be taken.
    Refused(String),
    /// It may be taken later, at the soonest after a time that the destination named.
    Failed(String, Option<Duration>),
}

/// Sends until the service stops.
pub async fn send(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let Some(settings) = &shared.reports.settings else {
        return;
    };
    let mut trust = None;
    let mut pause = POST_PAUSE_MIN;
    let mut is_failing = false;
    loop {
        let taken = shared.reports.queue().take(POST_BYTES);
        if taken.is_empty() {
            if unless(&mut stopped, shared.reports.news.notified())
                .await
                .is_none()
            {
                return;
            }
            continue;
        }
        let sending = try_to_send(&shared, settings, &mut trust, &taken);
        let Some(sent) = unless(&mut stopped, sending).await else {
            return;
        };
        match sent {
            Sent::Written => {
                shared.reports.queue().written(&taken);
                if is_failing {
                    tracing::info!(
                        destination = settings.authority,
                        "InfluxDB takes statistics again"
                    );
                }
                (is_failing, pause) = (false, POST_PAUSE_MIN);
            }
            Sent::Refused(why) => {
                shared.reports.queue().refused(&taken);
                tracing::warn!(
                    destination = settings.authority,
                    why,
                    "InfluxDB refuses statistics; they are dropped"
                );
            }
            Sent::Failed(why, wanted) => {
                shared.reports.queue().give_back(taken);
                shared.reports.failures.fetch_add(1, Ordering::Relaxed);
                if !is_failing {
                    tracing::warn!(
                        destination = settings.authority,
                        why,
                        "statistics cannot be sent; they wait in the queue, and it is tried again"
                    );
                }
                is_failing = true;
                let wanted = wanted.map(|wanted| wanted.min(RETRY_AFTER_MAX));
                let wait = wanted.unwrap_or_default() + jittered(pause);
                if unless(&mut stopped, sleep(wait)).await.is_none() {
                    return;
                }
                pause = (pause * 2).min(POST_PAUSE_MAX);
            }
        }
    }
}

/// Half of the pause, and at random up to all of it: nodes that failed together do not come again together.
fn jittered(pause: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness they do.
    let _ = files::random(&mut bytes);
    let part = f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + part / 2.0)
}

async fn try_to_send(
    shared: &Shared,
    settings: &InfluxSettings,
    trust: &mut Option<Arc<ClientConfig>>,
    taken: &[Chunk],
) -> Sent {
    // Files are read anew each time but for the authorities, which are many.
    let (of_thread, known) = (settings.clone(), trust.clone());
    let read = shared.blocking(move || {
        let trust = match known {
            Some(known) => Some(known),
            None => influx::trust(&of_thread)?,
        };
        Ok((influx::credentials(&of_thread)?, trust))
    });
    let (credentials, tls) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(Unusable {
            path,
            wrong,
            remedy,
        })) => return Sent::Failed(format!("{} {wrong}; {remedy}", path.display()), None),
        Err(error) => return Sent::Failed(error.code().to_owned(), None),
    };
    trust.clone_from(&tls);
    let points = taken.iter().flat_map(|chunk| chunk.bytes.iter().copied());
    match influx::request(settings, credentials, points.collect()) {
        Ok(request) => judge(post(settings, &shared.reports.lookup, tls, request).await),
        Err(error) => Sent::Refused(error.to_string()),
    }
}

fn judge(answer: io::Result<Answer>) -> Sent {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Sent::Failed(error.to_string(), None),
    };
    let status = answer.status;
    let words: String = answer.text.chars().take(WORDS).collect();
    let why = format!("{status}: {words:?}");
    match status.as_u16() {
        200..=299 => Sent::Written,
        // It is busy; or a database, a bucket or a right is missing, which somebody may give.
        401 | 403 | 404 | 408 | 429 | 500.. => Sent::Failed(why, answer.retry_after),
        _ => Sent::Refused(why),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn what_will_never_be_taken_is_told_from_what_may_be_taken_later() {
        let judged = |status: u16| {
            judge(Ok(Answer {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: Some(Duration::from_secs(7)),
                text: "x".repeat(1_000),
            }))
        };
        for status in [200, 204] {
            assert!(matches!(judged(status), Sent::Written));
        }
        for status in [301, 400, 413, 422] {
            assert!(matches!(judged(status), Sent::Refused(why) if why.len() < 300));
        }
        for status in [401, 403, 404, 429, 500, 503] {
            let wait = Some(Duration::from_secs(7));
            assert!(matches!(judged(status), Sent::Failed(_, after) if after == wait));
        }
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(matches!(judge(Err(refused)), Sent::Failed(_, None)));
    }

    #[test]
    fn pauses_are_drawn_from_their_upper_half() {
        let pauses: Vec<Duration> = (0..100).map(|_| jittered(POST_PAUSE_MAX)).collect();
        let range = POST_PAUSE_MAX / 2..=POST_PAUSE_MAX;
        assert!(pauses.iter().all(|pause| range.contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
