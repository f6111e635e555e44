//! What is told on standard error while a run runs: a line that changes on a terminal, a line each second elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where it cannot be changed.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// How often it changes where it can.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// Nobody, a terminal, or a file.
pub(crate) enum Progress {
    Silent,
    Bar(ProgressBar, Instant),
    Lines(Instant),
}

impl Progress {
    /// On a terminal, or anywhere if it is wanted.
    pub(crate) fn new(is_wanted: bool) -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(1_000);
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
                bar.set_style(style);
            }
            Self::Bar(bar, Instant::now())
        } else if is_wanted {
            Self::Lines(Instant::now())
        } else {
            Self::Silent
        }
    }

    /// Whether anybody is told anything.
    pub(crate) fn is_shown(&self) -> bool {
        !matches!(self, Self::Silent)
    }

    /// So much of the run is done; `tell` says more, if it is asked.
    pub(crate) fn tell(&mut self, done: f64, tell: impl FnOnce() -> String) {
        match self {
            Self::Silent => {}
            Self::Bar(bar, last) if last.elapsed() >= BAR_EVERY => {
                *last = Instant::now();
                bar.set_position((done * 1e3) as u64);
                bar.set_message(tell());
            }
            Self::Lines(last) if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                eprintln!("{:3.0} %  {}", done * 100.0, tell());
            }
            Self::Bar(..) | Self::Lines(_) => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Bar(bar, _) = self {
            bar.finish_and_clear();
        }
    }
}
