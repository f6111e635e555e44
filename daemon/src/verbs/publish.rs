//! `tidings pub`: messages from the command line, a file or standard input; what became of them at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tidings_client::{Client, Error, Event, Outcome, Publisher};

use super::attach::attach;
use crate::args::{Confirm, Format, PubArgs};
use crate::output::{Failure, count, json, line};

/// Messages published between two looks at what came back.
const LOOK_EVERY: u64 = 4096;
/// How often the number of subscriptions is asked for while waiting for some.
const WAIT_STEP: Duration = Duration::from_millis(50);

/// What became of the messages.
#[derive(Debug, Default)]
struct Counts {
    published: u64,
    accepted: u64,
    owed: u64,
    /// Messages that were owed to nobody.
    unowed: u64,
    outcomes: BTreeMap<&'static str, u64>,
    settled: u64,
    unsynced: bool,
}

impl Counts {
    fn delivered(&self) -> u64 {
        self.outcomes
            .get(Outcome::Delivered.name())
            .copied()
            .unwrap_or(0)
    }

    fn failed(&self) -> u64 {
        self.settled - self.delivered()
    }
}

/// Runs the verb.
pub fn publish(args: PubArgs) -> Result<(), Failure> {
    let mut client = attach(&args.client)?;
    let publisher = client
        .open(&args.overlay, &args.topic)
        .map_err(Failure::new)?;
    if let Some(wanted) = args.wait_for {
        wait_for(&mut client, publisher, wanted)?;
    }
    let began = Instant::now();
    let mut run = Run {
        client,
        publisher,
        counts: Counts::default(),
        bar: progress_bar(),
    };
    let result = run.all(&args);
    run.bar.finish_and_clear();
    let reported = run.report(args.format, began.elapsed());
    // What became of the messages counts for the exit code, also when nobody reads the counts.
    result?;
    verdict(&run.counts, args.confirm)?;
    reported
}

fn too_large(what: &str, limit: usize, remedy: &str) -> Failure {
    Failure::Failed(format!(
        "TooLarge: {what} has more than the {limit} bytes that this overlay takes\n  \
         remedy: {remedy}, or raise max_message of the overlay in this node's configuration (at most 4MiB)"
    ))
}

fn verdict(counts: &Counts, confirm: Confirm) -> Result<(), Failure> {
    if confirm == Confirm::Accepted || counts.published == 0 {
        return Ok(());
    }
    if counts.owed == 0 {
        return Err(Failure::NoSubscriber);
    }
    if counts.failed() > 0 {
        return Err(Failure::Failed(format!(
            "{} failed",
            count(counts.failed(), "delivery").replace("deliverys", "deliveries")
        )));
    }
    if counts.unowed > 0 {
        return Err(Failure::Failed(format!(
            "{} had no subscriber",
            count(counts.unowed, "message")
        )));
    }
    Ok(())
}

fn wait_for(client: &mut Client, publisher: Publisher, wanted: u32) -> Result<(), Failure> {
    let mut told = None;
    loop {
        let owed = client.owed(publisher).map_err(Failure::new)?;
        if owed >= wanted {
            return Ok(());
        }
        if told.replace(owed) != Some(owed) {
            eprintln!(
                "waiting for {}, {owed} so far",
                count(u64::from(wanted), "subscription")
            );
        }
        std::thread::sleep(WAIT_STEP);
    }
}

fn progress_bar() -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}")
        .unwrap_or(ProgressStyle::default_spinner());
    ProgressBar::with_draw_target(None, target).with_style(style)
}

struct Run {
    client: Client,
    publisher: Publisher,
    counts: Counts,
    bar: ProgressBar,
}

impl Run {
    fn all(&mut self, args: &PubArgs) -> Result<(), Failure> {
        self.messages(args)?;
        self.client.flush().map_err(Failure::new)?;
        while self.waits(args.confirm) {
            self.look(None)?;
        }
        Ok(())
    }

    fn waits(&self, confirm: Confirm) -> bool {
        self.counts.accepted < self.counts.published
            || (confirm == Confirm::Delivered && self.counts.settled < self.counts.owed)
    }

    fn messages(&mut self, args: &PubArgs) -> Result<(), Failure> {
        if let Some(message) = &args.message {
            return self.one(message.as_bytes(), "the message");
        }
        match &args.file {
            Some(path) if path != Path::new("-") => {
                let file = File::open(path).map_err(|error| {
                    Failure::Failed(format!("cannot open {}: {error}", path.display()))
                })?;
                self.input(file, args.lines, &path.display().to_string())
            }
            _ => self.input(io::stdin().lock(), args.lines, "standard input"),
        }
    }

    /// Publishes what is read, never holding more of it than the largest message.
    fn input(&mut self, input: impl Read, lines: bool, name: &str) -> Result<(), Failure> {
        let unreadable = |error: io::Error| Failure::Failed(format!("cannot read {name}: {error}"));
        let mut input = BufReader::with_capacity(256 << 10, input);
        let mut message = Vec::new();
        if !lines {
            let read = |room, message: &mut Vec<u8>| {
                let mut part = input.by_ref().take(room);
                part.read_to_end(message).map_err(unreadable)
            };
            if let Some(limit) = self.exceeds(&mut message, read, |_| false)? {
                let remedy = "publish smaller pieces (--lines makes each line a message)";
                return Err(too_large(name, limit, remedy));
            }
            return self.one(&message, name);
        }
        loop {
            if input.buffer().is_empty() {
                self.client.flush().map_err(Failure::new)?; // Before standard input may block.
            }
            message.clear();
            let read = |room, message: &mut Vec<u8>| {
                let mut part = input.by_ref().take(room);
                part.read_until(b'\n', message).map_err(unreadable)
            };
            let is_line = |message: &[u8]| message.ends_with(b"\n");
            if let Some(limit) = self.exceeds(&mut message, read, is_line)? {
                let what = format!("line {} of {name}", self.counts.published + 1);
                return Err(too_large(&what, limit, "shorten the line"));
            }
            if message.is_empty() {
                return Ok(());
            }
            self.one(&message, name)?;
        }
    }

    /// Has `read` append at most so many bytes to the message, and more if the overlay's largest message was raised meanwhile and the
    /// message is not whole. Returns the limit if there are more bytes than that.
    fn exceeds(
        &mut self,
        message: &mut Vec<u8>,
        mut read: impl FnMut(u64, &mut Vec<u8>) -> Result<usize, Failure>,
        is_whole: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<usize>, Failure> {
        let mut limit = self.limit();
        loop {
            read((limit + 1 - message.len()) as u64, message)?;
            if message.len() <= limit {
                return Ok(None);
            }
            // Nothing was read of the daemon while the input was waited for.
            while self.look(Some(Duration::ZERO))? {}
            let now = self.limit();
            if now <= limit {
                return Ok(Some(limit));
            }
            limit = now;
            if message.len() <= limit && is_whole(message) {
                return Ok(None);
            }
        }
    }

    fn limit(&self) -> usize {
        self.client.max_message(self.publisher).unwrap_or(0)
    }

    fn one(&mut self, payload: &[u8], what: &str) -> Result<(), Failure> {
        match self.client.publish(self.publisher, payload) {
            Ok(_) => self.counts.published += 1,
            Err(Error::TooLarge { limit }) => {
                return Err(too_large(what, limit, "publish smaller pieces"));
            }
            Err(Error::EventsWaiting) => {
                while self.look(Some(Duration::ZERO))? {}
                return self.one(payload, what);
            }
            Err(error) => return Err(Failure::new(error)),
        }
        if self.counts.published.is_multiple_of(LOOK_EVERY) {
            while self.look(Some(Duration::ZERO))? {}
        }
        Ok(())
    }

    /// Takes one event; false if none came in time.
    fn look(&mut self, timeout: Option<Duration>) -> Result<bool, Failure> {
        let Some(event) = self.client.next(timeout).map_err(Failure::new)? else {
            return Ok(false);
        };
        let counts = &mut self.counts;
        match event {
            Event::Accepted {
                count,
                owed,
                unsynced,
                ..
            } => {
                counts.accepted += u64::from(count);
                counts.owed += u64::from(count) * u64::from(owed);
                counts.unowed += if owed == 0 { u64::from(count) } else { 0 };
                counts.unsynced |= unsynced;
            }
            Event::Outcome { count, outcome, .. } => {
                counts.settled += u64::from(count);
                *counts.outcomes.entry(outcome.name()).or_default() += u64::from(count);
            }
            Event::Refused { text, .. } => return Err(Failure::Failed(text)),
            Event::Lost { why } => {
                return Err(Failure::Failed(format!(
                    "the daemon is lost: {why}\n  what is not counted as delivered or failed is unknown"
                )));
            }
            _ => {}
        }
        let delivered = counts.delivered();
        self.bar.set_message(format!(
            "published {}  accepted {}  delivered {delivered} of {}",
            counts.published, counts.accepted, counts.owed
        ));
        self.bar.tick();
        Ok(true)
    }

    fn report(&self, format: Format, took: Duration) -> Result<(), Failure> {
        let counts = &self.counts;
        let unknown = counts.owed - counts.settled.min(counts.owed);
        if format == Format::Json {
            return json(&json!({
                "published": counts.published,
                "accepted": counts.accepted,
                "owed": counts.owed,
                "delivered": counts.delivered(),
                "failed": counts.failed(),
                "pending": unknown,
                "outcomes": counts.outcomes,
                "without_subscriber": counts.unowed,
                "unsynced": counts.unsynced,
                "seconds": took.as_secs_f64(),
            }));
        }
        let mut text = format!(
            "accepted {}, delivered {}, failed {}",
            counts.accepted,
            counts.delivered(),
            counts.failed()
        );
        let failures: Vec<String> = counts
            .outcomes
            .iter()
            .filter(|(name, _)| **name != Outcome::Delivered.name())
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        if !failures.is_empty() {
            text.push_str(&format!(" ({})", failures.join(", ")));
        }
        if unknown > 0 {
            text.push_str(&format!(", not known yet {unknown}"));
        }
        if counts.unsynced {
            text.push_str("; the node did not know the subscriptions of every member yet");
        }
        line(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(published: u64, owed: u64, delivered: u64, failed: u64, unowed: u64) -> Counts {
        let outcomes = BTreeMap::from([("delivered", delivered), ("max_attempts", failed)]);
        Counts {
            published,
            accepted: published,
            owed,
            unowed,
            outcomes,
            settled: delivered + failed,
            unsynced: false,
        }
    }

    #[test]
    fn only_messages_that_all_were_delivered_are_a_success() {
        assert!(verdict(&counts(2, 4, 4, 0, 0), Confirm::Delivered).is_ok());
        assert!(matches!(
            verdict(&counts(2, 0, 0, 0, 2), Confirm::Delivered),
            Err(Failure::NoSubscriber)
        ));
        assert!(matches!(
            verdict(&counts(2, 4, 3, 1, 0), Confirm::Delivered),
            Err(Failure::Failed(_))
        ));
        assert!(matches!(
            verdict(&counts(2, 1, 1, 0, 1), Confirm::Delivered),
            Err(Failure::Failed(_))
        ));
        assert!(verdict(&counts(2, 0, 0, 0, 2), Confirm::Accepted).is_ok());
        assert!(verdict(&counts(0, 0, 0, 0, 0), Confirm::Delivered).is_ok());
    }
}
