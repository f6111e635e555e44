//! The log on standard error: one line per change of state, no line more often than a person could read.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::Raw;
use crate::config::show::source;
use crate::paths;

/// Lines of one place in the code that are told within [`WINDOW`].
const LINES: u32 = 20;
/// See [`LINES`].
const WINDOW: Duration = Duration::from_secs(10);

/// Where what is logged can be changed.
static WANTED: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts the log with what `node.log` or the environment says.
pub fn start(wanted: &str) {
    let (wanted, handle) = reload::Layer::new(EnvFilter::new(wanted));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_filter(RateLimit::default());
    tracing_subscriber::registry()
        .with(wanted)
        .with(lines)
        .init();
    // A process has one log, which is started once.
    let _ = WANTED.set(handle);
}

/// Logs from now on what `wanted` says, which was checked.
pub fn change(wanted: &str) -> Result<(), String> {
    let handle = WANTED.get().ok_or("this process has no log")?;
    let filter = EnvFilter::try_new(wanted).map_err(|error| error.to_string())?;
    handle.reload(filter).map_err(|error| error.to_string())
}

/// What the file says is to be logged, if the environment says something else and wins.
pub fn overruled(raw: &Raw) -> Option<String> {
    let (of_file, holds) = (raw.node.log.as_ref()?, paths::log_of_environment()?);
    (of_file.value.trim() != holds.trim()).then(|| {
        format!(
            "node.log {} ({}): {}={holds} in the environment wins; start the node without it",
            of_file.value,
            source(&of_file.origin),
            paths::LOG_VARIABLE
        )
    })
}

/// How often one place has logged lately.
struct Place {
    since: Instant,
    lines: u32,
}

/// Lets each place in the code log [`LINES`] lines within [`WINDOW`]; what is left out is counted and told afterwards.
#[derive(Default)]
struct RateLimit(Mutex<HashMap<Identifier, Place>>);

impl RateLimit {
    /// Whether a line may pass now, and how many before it did not.
    fn admits(&self, place: Identifier, now: Instant) -> (bool, u32) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(place).or_insert(Place {
            since: now,
            lines: 0,
        });
        let mut left_out = 0;
        if now.duration_since(place.since) >= WINDOW {
            left_out = place.lines.saturating_sub(LINES);
            *place = Place {
                since: now,
                lines: 0,
            };
        }
        place.lines = place.lines.saturating_add(1);
        (place.lines <= LINES, left_out)
    }
}

impl<S> Filter<S> for RateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let (admitted, left_out) = self.admits(event.metadata().callsite(), Instant::now());
        if left_out > 0 {
            // Nobody may read the log any more: that is no reason to panic.
            let _ = writeln!(
                io::stderr(),
                "({left_out} lines like the next were left out)"
            );
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_logs_too_much_is_silenced_and_counted() {
        struct Callsite;
        impl tracing::callsite::Callsite for Callsite {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &Metadata<'_> {
                unreachable!("nobody asks")
            }
        }
        static CALLSITE: Callsite = Callsite;
        let limit = RateLimit::default();
        let start = Instant::now();
        let passed = (0..50)
            .filter(|_| limit.admits(Identifier(&CALLSITE), start).0)
            .count();
        assert_eq!(passed, LINES as usize);
        assert_eq!(
            limit.admits(Identifier(&CALLSITE), start + WINDOW),
            (true, 30)
        );
    }
}
